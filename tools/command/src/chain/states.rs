//! The states of an archive, as far as they identify its chain.

use std::path::Path;

use coldstore::era::ssz::{EraRoots, STATE_HEAD_BYTES, StateHead, state_roots_end};
use coldstore::{Column, Error, FileId, PreadView, Reader, ReaderOptions, Slot, Snapshot};
use coldstore_consensus::Preset;
use coldstore_history::states::value::DiffValue;

/// The columns that identify a chain, read with `pread`: a bad sector is an error and not a signal. A
/// missing or damaged column is `None`.
#[derive(Debug)]
pub(crate) struct States {
    snapshots: Option<PreadView>,
    block_roots: Option<PreadView>,
    diffs: Option<PreadView>,
}

/// Which end of the states to start from.
#[derive(Clone, Copy)]
pub(super) enum End {
    Oldest,
    Newest,
}

impl End {
    /// Orders an ascending iterator from this end.
    fn ordered<T>(
        self,
        ascending: coldstore::Result<Vec<T>>,
    ) -> impl Iterator<Item = coldstore::Result<T>> {
        let mut items: Vec<_> = match ascending {
            Ok(items) => items.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        if matches!(self, Self::Newest) {
            items.reverse();
        }
        items.into_iter()
    }
}

/// The fixed head of a state, with its era's roots.
pub(super) struct State {
    pub(super) slot: Slot,
    start: Vec<u8>,
    byte_len: u64,
}

impl State {
    /// `None` for a state with the wrong slot.
    pub(super) fn head(&self) -> Option<StateHead> {
        let head = StateHead::parse(self.start.get(..STATE_HEAD_BYTES)?).ok()?;
        (head.slot == self.slot).then_some(head)
    }
}

impl States {
    pub(crate) fn of(root: &Path) -> coldstore::Result<Self> {
        Self::open(root, &|path, options| Reader::open(path, options))
    }

    pub(super) fn open(
        root: &Path,
        open: &dyn Fn(&Path, ReaderOptions) -> coldstore::Result<Reader>,
    ) -> coldstore::Result<Self> {
        let column = |column: Column| {
            let options = ReaderOptions::default().expect(column.spec());
            let opened = open(&root.join(column.dir_name()), options);
            Error::if_sound(opened.map(|reader| reader.view()))
        };
        Ok(Self {
            snapshots: column(Column::StateSnapshots)?,
            block_roots: column(Column::BlockRoots)?,
            diffs: column(Column::StateDiffs)?,
        })
    }

    /// The slots per era of the preset that the first diff names. Where states are kept as diffs, the
    /// whole ones may be too few to tell.
    pub(super) fn slots_per_era_of_diffs(&self) -> coldstore::Result<Option<u64>> {
        let Some(diffs) = &self.diffs else { return Ok(None) };
        let Some(Some(slot)) = Error::if_sound(diffs.first_from(Slot(0)))? else {
            return Ok(None);
        };
        let Some(Some(value)) = Error::if_sound(diffs.value(slot))? else { return Ok(None) };
        let diff = DiffValue::parse(slot, &value).ok();
        Ok(diff.map(|diff| diff.preset().slots_per_era()))
    }

    /// The undamaged states.
    pub(super) fn from(&self, end: End) -> impl Iterator<Item = coldstore::Result<State>> {
        self.snapshots.iter().flat_map(move |snapshots| {
            let slots = end.ordered(files_of(snapshots)).flat_map(move |file_id| {
                end.ordered(file_id.and_then(|file_id| slots_of(snapshots, file_id)))
            });
            slots.filter_map(|slot| {
                let state = slot.and_then(|slot| Error::if_sound(state_of(snapshots, slot)));
                state.map(Option::flatten).transpose()
            })
        })
    }

    /// The slots per era for which the state's block roots match `bbr`.
    pub(super) fn slots_per_era(&self, state: &State) -> coldstore::Result<Option<u64>> {
        let (Some(last), Some(roots)) = (state.slot.previous(), &self.block_roots) else {
            return Ok(None);
        };
        let Some(Some(root)) = Error::if_sound(roots.value(last))? else { return Ok(None) };
        let mut all = Preset::ALL.into_iter().map(Preset::slots_per_era);
        Ok(all.find(|slots| {
            let roots = usize::try_from(*slots)
                .ok()
                .and_then(|count| EraRoots::parse(&state.start, state.byte_len, count).ok());
            let place = usize::try_from(last.0 % slots).unwrap_or(usize::MAX);
            roots.is_some_and(|roots| {
                roots.block_roots.get(place).is_some_and(|found| found[..] == root[..])
            })
        }))
    }
}

/// Files that may hold records. The conf may point far beyond the existing ones.
fn files_of(column: &PreadView) -> coldstore::Result<Vec<FileId>> {
    let current = column.highest_written_slot().map(Slot::file_id);
    let mut file_ids = column.file_ids()?;
    file_ids.retain(|file_id| Some(*file_id) <= current);
    Ok(file_ids)
}

/// Slots of a file that have a record or an unreadable entry.
fn slots_of(column: &PreadView, file_id: FileId) -> coldstore::Result<Vec<Slot>> {
    let Some(table) = Error::if_sound(column.table(file_id))? else { return Ok(Vec::new()) };
    let entries = table.entries.into_iter().zip(table.is_known).enumerate();
    let slots = entries.filter(|(_, (entry, is_known))| *entry != 0 || !is_known);
    Ok(slots.map(|(index, _)| file_id.slot_at(index)).collect())
}

fn state_of(snapshots: &PreadView, slot: Slot) -> coldstore::Result<Option<State>> {
    let longest = Preset::ALL.into_iter().map(Preset::slots_per_era).max();
    let limit = state_roots_end(longest.and_then(|slots| slots.try_into().ok()).unwrap_or(0));
    let Some(byte_len) = snapshots.stored_len(slot)? else { return Ok(None) };
    let mut start = Vec::new();
    snapshots.get_range_into(slot, 0..limit as u64, &mut start)?;
    Ok(Some(State { slot, start, byte_len }))
}
