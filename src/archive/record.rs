//! Updates the manifest while an archive is open for writing.

use std::path::{Path, PathBuf};

use super::held::Held;
use crate::column::Column;
use crate::error::{Error, Result};
use crate::files::disk::{Disk as _, OsDisk};
use crate::format::ssz::{STATE_HEAD_BYTES, StateHead};
use crate::manifest::{Manifest, StatesPolicy};
use crate::occupancy::lowest_slot;
use crate::read::{Reader, ReaderOptions, Snapshot as _};
use crate::slot::{SLOTS_PER_FILE, Slot};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Records the highest slots of some of an archive's columns, and whether the newest state is proved. Does
/// nothing without a manifest. The caller must hold the locks of these columns, so that no commit is undone
/// meanwhile.
///
/// 1. Read the confs.
/// 2. Flush the directories of columns that are ahead of the manifest: the rename of a commit that is
///    just being made is durable then.
/// 3. Raise the highest slots in the manifest.
///
/// # Errors
/// As [`Manifest::update`].
pub fn record(root: &Path, columns: &[Column]) -> Result<()> {
    let Some(known) = Manifest::read(root)? else { return Ok(()) };
    // 1.
    let mut raised = Vec::new();
    for &column in columns {
        let highest = Held::of(root, column)?.highest();
        if highest > known.column(column).highest {
            raised.push((column, highest));
        }
    }
    if raised.is_empty() {
        return Ok(());
    }
    // 2.
    for (column, _) in &raised {
        let directory = root.join(column.dir_name());
        let flushed = OsDisk.sync_dir(&directory);
        flushed.map_err(|error| Error::io(directory, "flush the directory", error))?;
    }
    // 3.
    let recorded = Manifest::update(root, |manifest| {
        raise(manifest, raised);
        Ok(())
    });
    recorded.map(drop)
}

/// Raises the highest slots in a manifest. A newest state that is new to the manifest and lies at the
/// beginning of an era counts as unproved until `bsr` has a root of its slot. A caller with another proof
/// clears `unproved_state` afterwards. If the process dies before that, the state stays marked as
/// unproved, and the next era proves it.
pub(super) fn raise(
    manifest: &mut Manifest,
    highest: impl IntoIterator<Item = (Column, Option<Slot>)>,
) {
    let newest_of = |manifest: &Manifest| {
        let columns = [Column::StateSnapshots, Column::StateDiffs];
        columns.map(|column| manifest.column(column).highest).into_iter().max().flatten()
    };
    let known = newest_of(manifest);
    for (column, highest) in highest {
        manifest.raise_highest(column, highest);
    }
    let newest = newest_of(manifest);
    let roots = manifest.column(Column::StateRoots).highest;
    let is_unproved = newest > known || manifest.unproved_state == newest;
    // The default is the mainnet preset's, in which an era is as long as a file.
    let slots_per_era = manifest.slots_per_era.unwrap_or(SLOTS_PER_FILE);
    manifest.unproved_state = newest.filter(|newest| {
        is_unproved && roots < Some(*newest) && newest.0.is_multiple_of(slots_per_era)
    });
}

/// Updates the manifest a last time when it is dropped.
#[derive(Debug)]
pub(super) struct Recorder {
    root: PathBuf,
    columns: Vec<Column>,
    /// The columns are open, and therefore locked.
    is_open: AtomicBool,
}

impl Recorder {
    /// For an archive of which these columns are open.
    pub(super) fn new(root: &Path, columns: impl Iterator<Item = Column>) -> Self {
        let columns = columns.collect();
        Self { root: root.to_owned(), columns, is_open: AtomicBool::new(true) }
    }

    /// Records a last time, before the locks are released. After an error, the next opening of the
    /// archive records instead.
    pub(super) fn end(&self) {
        if self.is_open.swap(false, Ordering::Relaxed)
            && let Err(error) = record(&self.root, &self.columns)
        {
            tracing::warn!(%error, "cannot record the highest slots in the manifest; the next opening records them");
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

/// A new manifest for an archive that has records but lost its manifest; `None` if there are no records.
pub(crate) fn rebuilt(root: &Path) -> Result<Option<Manifest>> {
    let mut manifest = Manifest::default();
    manifest.rebuilt = true;
    manifest.states = Some(StatesPolicy::Unknown);
    let (mut assumed, mut found) = (Vec::new(), Vec::new());
    for column in Column::ALL {
        let held = Held::of(root, column)?;
        if held == Held::Empty {
            manifest.column_mut(column);
        }
        if let Some(highest) = held.highest() {
            found.push((column, Some(highest)));
            assumed.push(format!("{column} up to slot {highest}"));
        }
    }
    if assumed.is_empty() {
        return Ok(None);
    }
    raise(&mut manifest, found);
    let view = |column: Column| {
        let opened = Reader::open(root.join(column.dir_name()), ReaderOptions::default());
        Error::if_sound(opened.map(|reader| reader.view()))
    };
    let mut lowest = Vec::new();
    for column in [Column::Blocks, Column::BlockRoots, Column::StateRoots] {
        if let Some(view) = view(column)? {
            lowest.extend(lowest_slot(&view)?);
        }
    }
    manifest.first_slot = lowest.into_iter().min();
    if let Some(states) = view(Column::StateSnapshots)?
        && let Some(Some(first)) = Error::if_sound(states.first_from(Slot(0)))?
    {
        let mut head = Vec::new();
        let read = states.get_range_into(first, 0..STATE_HEAD_BYTES as u64, &mut head);
        Error::if_sound(read)?;
        let head = StateHead::parse(&head).ok().filter(|head| head.slot == first);
        manifest.genesis_validators_root = head.map(|head| head.genesis_validators_root);
    }
    tracing::warn!(
        "{}: archive.toml is missing; rebuilt it, assuming that no records were lost: {}. Unknown: the \
         states policy, earlier pruning, unfinished operations",
        root.display(),
        assumed.join(", ")
    );
    Ok(Some(manifest))
}
