//! Stores and reads the states at the ends of eras: whole, or as diffs by the archive's layers.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use coldstore::archive::held::is_there;
use coldstore::era::StateStore;
use coldstore::{
    Column, Error, Manifest, MappedArchive, ReaderOptions, Result, Slot, Snapshot as _, Writer,
};
use coldstore_consensus::{Preset, Root, StateFault};

use super::claim::view;
use super::columns::{Columns, StateRef};
use super::hierarchy::{Hierarchy, Layer, Shape};
use super::kind::{Foreign, ValueKind, Values, check_ours};
use super::stored_state::StoredState;
use super::value::{DiffContext, DiffValue, RootsError, SlotRoots, apply_path, encode_diff};
use crate::replay::Source;

/// Opens the archive, whose columns are mapped: the caller vouches for its files.
type Open = Box<dyn Fn(&Path) -> Result<MappedArchive> + Send + Sync>;

/// The boundary states of an archive, for an import or an export.
///
/// # Order of writes
/// A diff is durable after all that reading it back needs: its base, and the base's place in the manifest if
/// it is none of the first layer. The import commits `bbr` after it.
pub struct BoundaryStates {
    root: PathBuf,
    preset: Preset,
    open: Open,
    archive: OnceLock<MappedArchive>,
    /// Stores diffs by these layers; `None`: all states whole.
    layers: Option<Hierarchy>,
    /// States that were stored whole though a layer wanted a diff, and why.
    stored_whole: Vec<(Slot, String)>,
    /// The state that was read last.
    last: Mutex<Option<(Slot, StoredState)>>,
}

impl fmt::Debug for BoundaryStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, preset, layers, .. } = self;
        let mut debug = f.debug_struct("BoundaryStates");
        debug.field("root", root).field("preset", preset).field("layers", layers);
        debug.finish_non_exhaustive()
    }
}

impl BoundaryStates {
    /// The states of the archive in the directory `root`, which may still be missing. States are stored whole.
    pub fn new(
        root: impl Into<PathBuf>,
        preset: Preset,
        open: impl Fn(&Path) -> Result<MappedArchive> + Send + Sync + 'static,
    ) -> Self {
        let (archive, last) = (OnceLock::new(), Mutex::new(None));
        let (root, open, stored_whole) = (root.into(), Box::new(open), Vec::new());
        Self { root, preset, open, archive, layers: None, stored_whole, last }
    }

    /// Stores states as diffs from now on: by these layers, else by those of the manifest or of the preset.
    /// Changes nothing yet.
    ///
    /// # Errors
    /// [`Foreign`] if the archive holds another's values.
    pub fn layered(self, shape: Option<Shape>) -> Result<Self, Foreign> {
        let manifest = Manifest::read(&self.root)?.unwrap_or_default();
        let open = |column: Column| view(&self.root.join(column.dir_name()));
        let [snapshots, diffs] = [Column::StateSnapshots, Column::StateDiffs];
        let views = (open(snapshots)?, open(diffs)?);
        let columns = [(snapshots, views.0.as_ref()), (diffs, views.1.as_ref())];
        check_ours(&self.root, &manifest, columns)?;
        let known = Hierarchy::of_manifest(&self.root, &manifest, self.preset)?;
        let layers = match shape {
            // What nobody recorded was not used either.
            Some(shape) if manifest.state_layers.is_empty() => Hierarchy::new(shape),
            Some(shape) => known.reshaped(shape),
            None => known,
        };
        Ok(Self { layers: Some(layers), ..self })
    }

    /// The layers by which diffs are stored.
    #[must_use]
    pub fn layers(&self) -> Option<&Hierarchy> {
        self.layers.as_ref()
    }

    /// The states that were stored whole because no diff gave them back, and why.
    #[must_use]
    pub fn stored_whole(&self) -> &[(Slot, String)] {
        &self.stored_whole
    }

    /// The archive; `None` while it does not exist.
    fn archive(&self) -> Result<Option<&MappedArchive>> {
        if self.archive.get().is_none() && is_there(&self.root)? {
            let opened = (self.open)(&self.root)?;
            return Ok(Some(self.archive.get_or_init(|| opened)));
        }
        Ok(self.archive.get())
    }

    /// The state of a slot; `None` if it is not there.
    ///
    /// # Errors
    /// As [`StoredState::read`].
    pub fn read(&self, slot: Slot) -> Result<Option<StoredState>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, state)) = last.as_ref().filter(|(of, _)| *of == slot) {
            return Ok(Some(state.clone()));
        }
        let Some(archive) = self.archive()? else { return Ok(None) };
        let state = StoredState::read(archive, self.preset, slot)?;
        if let Some(state) = &state {
            *last = Some((slot, state.clone()));
        }
        Ok(state)
    }

    fn there(&self, slot: Slot) -> Result<StoredState> {
        self.read(slot)?.ok_or_else(|| self.fault(format!("the state of slot {slot}"), "none"))
    }

    fn fault(&self, wanted: String, found: impl Into<String>) -> Error {
        let directory = self.root.join(Column::StateDiffs.dir_name());
        Error::corrupt(directory, None, "state diff", wanted, found)
    }

    /// The base of a new diff: the best that is there. `None` if the state is to be stored whole.
    ///
    /// Without a whole state below it in its window, a state becomes one itself. A whole one that no layer names
    /// is listed in the manifest.
    fn base_of(&mut self, slot: Slot, snapshots: &Writer) -> Result<Option<Slot>> {
        let Some(layers) = &self.layers else { return Ok(None) };
        let of = layers.layer(slot);
        for base in layers.bases(slot) {
            if snapshots.contains(base)? || self.contains(base)? {
                return Ok(Some(base));
            }
        }
        if of == Layer::Raw {
            return Ok(None);
        }
        let window = layers.shape().window(slot);
        let view = snapshots.reader(ReaderOptions::default())?.view();
        let below = slot.previous().map_or(Ok(None), |below| view.last_to(below))?;
        let base = below.filter(|below| *below >= window);
        self.list(base.unwrap_or(slot))?;
        Ok(base)
    }

    /// Lists a base in the manifest, durably.
    fn list(&mut self, base: Slot) -> Result<()> {
        if let Some(layers) = self.layers.take() {
            self.layers = Some(layers.with_base(base));
        }
        self.record()
    }

    /// Writes the layers, and whose the values are, to the manifest, durably.
    fn record(&self) -> Result<()> {
        let Some(layers) = &self.layers else { return Ok(()) };
        let recorded = Manifest::update(&self.root, |manifest| {
            layers.record(manifest);
            manifest.state_values = Some(Values::Coldstore.name().to_owned());
            Ok(())
        });
        recorded.map(drop)
    }

    /// The root of a base, which the state's own roots have if it is of the last era.
    fn root_of(
        &self,
        base: Slot,
        next: StateRef<'_>,
        source: &Source<coldstore::View>,
    ) -> Result<Option<Root>> {
        let slots_per_era = self.preset.slots_per_era();
        if let Some(roots) = next.field("state_roots")
            && next.slot().0 - base.0 <= slots_per_era
            && let Ok(place) = usize::try_from(base.0 % slots_per_era)
        {
            return Ok(roots.as_chunks::<32>().0.get(place).map(|root| Root(*root)));
        }
        source
            .state_root(base)
            .map_err(|error| self.fault(format!("a root of slot {base} in bsr"), error.to_string()))
    }

    /// The diff of the state to its base, and the state. The diff is applied again: one that does not
    /// give the state back is not stored.
    fn encode(
        &self,
        base_slot: Slot,
        slot: Slot,
        byte_len: u64,
        state: &mut dyn Read,
    ) -> Result<(Result<Vec<u8>, String>, StoredState)> {
        let base = self.there(base_slot)?;
        let base_columns = base.columns(self.preset)?;
        let whole = &base.base()?[..];
        let directory = self.root.join(Column::StateDiffs.dir_name());
        let read = Columns::from_stream(self.preset, whole, byte_len, state);
        let columns = read.map_err(|fault| match fault {
            StateFault::Source(error) => match error.downcast() {
                Ok(error) => error,
                Err(error) => Error::io(&directory, "read the state for", error),
            },
            fault => self.fault(format!("slot {slot}: a state"), fault.to_string()),
        })?;
        let next = StateRef { base: whole, columns: &columns };
        let source = match self.archive()? {
            Some(archive) => Source::of(archive)?,
            None => return Err(self.fault("an archive".to_owned(), "none")),
        };
        let root = self.root_of(base_slot, next, &source)?;
        let roots = BaseRoot { slot: base_slot, root };
        let context = DiffContext::new(&roots);
        let from = StateRef { base: whole, columns: &base_columns };
        let encoded = encode_diff(from, next, context).and_then(|value| {
            let path = [DiffValue::parse(slot, &value)?];
            let applied = apply_path(self.preset, whole, &base_columns, &path, context)?;
            let again = StateRef { base: whole, columns: &applied };
            Ok(is_same(next, again).then_some(value))
        });
        let value = match encoded {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err("its diff does not give it back".to_owned()),
            Err(fault) => Err(fault.to_string()),
        };
        Ok((value, base.with(columns)))
    }
}

impl StateStore for BoundaryStates {
    fn highest(&self) -> Option<Slot> {
        let archive = self.archive().ok()??;
        archive.column_if_there(Column::StateDiffs).ok()??.view().highest_written_slot()
    }

    fn contains(&self, slot: Slot) -> Result<bool> {
        let Some(archive) = self.archive()? else { return Ok(false) };
        let Some(diffs) = archive.column_if_there(Column::StateDiffs)? else {
            return Ok(false);
        };
        // Lighthouse's diffs are not read, so they count as absent.
        let is_ours = |value: &[u8]| ValueKind::of(slot, value) == ValueKind::Diff;
        Ok(diffs.refresh()?.get(slot)?.is_some_and(|value| is_ours(&value)))
    }

    fn holds(&self, slot: Slot, state: &mut dyn Read) -> Result<bool> {
        if !self.contains(slot)? {
            return Ok(false);
        }
        let mut compared = Compared { given: state, buffer: Vec::new(), differs: false };
        let written = self.there(slot)?.write_ssz(&mut compared);
        if compared.differs || (written.is_ok() && compared.has_more()) {
            return Err(Error::Conflict { slot });
        }
        let directory = || self.root.join(Column::StateDiffs.dir_name());
        written.map_err(|error| Error::io(directory(), "compare a state with one of", error))?;
        Ok(true)
    }

    fn state(&self, slot: Slot) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.there(slot)?.reader()?))
    }

    /// 1. Record the layers, and whose the values are: durable before any state.
    /// 2. Choose the base; if there is none, store the state whole.
    /// 3. Encode the diff while the state streams by, and check that it gives the state back.
    /// 4. Commit the diff. A state that no diff gives back becomes a listed base and is stored whole.
    fn store(
        &mut self,
        slot: Slot,
        byte_len: u64,
        state: &mut dyn Read,
        snapshots: &mut Writer,
        diffs: Option<&mut Writer>,
    ) -> Result<bool> {
        // 1.
        self.record()?;
        // 2.
        let base = self.base_of(slot, snapshots)?;
        let Some((base, diffs)) = base.zip(diffs) else {
            return put_whole(slot, byte_len, state, snapshots);
        };
        // 3.
        let (value, state) = self.encode(base, slot, byte_len, state)?;
        // 4.
        match value {
            Ok(value) => {
                if Some(slot) <= diffs.highest_written_slot() {
                    diffs.allow_backfill()?;
                }
                Ok(diffs.put(slot, &value)?.written > 0)
            }
            Err(why) => {
                self.stored_whole.push((slot, why));
                self.list(slot)?;
                put_whole(slot, byte_len, &mut state.reader()?, snapshots)
            }
        }
    }
}

fn put_whole(
    slot: Slot,
    byte_len: u64,
    state: &mut dyn Read,
    snapshots: &mut Writer,
) -> Result<bool> {
    if Some(slot) <= snapshots.highest_written_slot() {
        snapshots.allow_backfill()?;
    }
    Ok(snapshots.put_from(slot, byte_len, state)?.written > 0)
}

/// Whether two states on the same whole state have the same fields and validators.
fn is_same(left: StateRef<'_>, right: StateRef<'_>) -> bool {
    let count = left.validator_count();
    left.slot() == right.slot()
        && left.ssz_len() == right.ssz_len()
        && left.fork() == right.fork()
        && match left.fork() {
            Some(_) => {
                let mut names = left.field_names().filter(|name| *name != "validators");
                names.all(|name| left.field(name) == right.field(name))
                    && count == right.validator_count()
                    && left.validators(0..count).eq(right.validators(0..count))
            }
            // A layout without fields is compared as a whole.
            None => {
                let mut right_bytes = Vec::new();
                right.write_ssz(&mut right_bytes).is_ok() && {
                    let mut given = &right_bytes[..];
                    let mut compared =
                        Compared { given: &mut given, buffer: Vec::new(), differs: false };
                    left.write_ssz(&mut compared).is_ok() && !compared.differs
                }
            }
        }
}

/// Compares what is written with a stream.
struct Compared<'s> {
    given: &'s mut dyn Read,
    buffer: Vec<u8>,
    differs: bool,
}

impl Compared<'_> {
    fn has_more(&mut self) -> bool {
        self.buffer.clear();
        !matches!((&mut self.given).take(1).read_to_end(&mut self.buffer), Ok(0))
    }
}

impl Write for Compared<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.clear();
        (&mut self.given).take(bytes.len() as u64).read_to_end(&mut self.buffer)?;
        if self.buffer != bytes {
            self.differs = true;
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The root of a base alone. Without the others, a diff has all roots of its era, so that it can be read
/// before `bbr` and `bsr` have them, and after they are pruned.
struct BaseRoot {
    slot: Slot,
    root: Option<Root>,
}

impl SlotRoots for BaseRoot {
    fn block_root(&self, _: Slot) -> Result<Option<Root>, RootsError> {
        Ok(None)
    }

    fn state_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.root.filter(|_| slot == self.slot))
    }
}
