//! What the manifest records while an archive is written to.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::check::Held;
use crate::column::Column;
use crate::error::{Error, Result};
use crate::files::disk::{Disk as _, OsDisk};
use crate::format::ssz::{STATE_HEAD_BYTES, StateHead};
use crate::manifest::{Manifest, StatesPolicy};
use crate::occupancy::lowest_slot;
use crate::read::{Reader, ReaderOptions};
use crate::slot::{SLOTS_PER_FILE, Slot};

/// Records how far the columns of an archive are by now, and with that whether the newest state is proved,
/// where it has a manifest. Whoever calls this holds the columns' locks: nobody takes commits back meanwhile.
///
/// 1. read the confs,
/// 2. flush the directories of those that are further than the manifest says: a commit that is being
///    made is durable then,
/// 3. raise what the manifest says.
///
/// # Errors
/// As [`Manifest::update`].
pub fn record(root: &Path) -> Result<()> {
    let Some(known) = Manifest::read(root)? else { return Ok(()) };
    // 1.
    let mut raised = Vec::new();
    for column in Column::ALL {
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

/// Raises what a manifest says of columns. A newest state that it did not know of, at the beginning of an
/// era, is unproved, wherever it came from, until `bsr` has a root of its slot. That it is proved otherwise is said afterwards: a process
/// that dies before that leaves a state that is called unproved, and the next era proves it.
pub(super) fn raise(
    manifest: &mut Manifest,
    highest: impl IntoIterator<Item = (Column, Option<Slot>)>,
) {
    let known = manifest.column(Column::StateSnapshots).highest;
    for (column, highest) in highest {
        manifest.raise_highest(column, highest);
    }
    let newest = manifest.column(Column::StateSnapshots).highest;
    let roots = manifest.column(Column::StateRoots).highest;
    let is_unproved = newest > known || manifest.unproved_state == newest;
    // Where nothing tells, an era is what most are: as long as a file.
    let slots_per_era = manifest.slots_per_era.unwrap_or(SLOTS_PER_FILE);
    manifest.unproved_state = newest.filter(|newest| {
        is_unproved && roots < Some(*newest) && newest.0.is_multiple_of(slots_per_era)
    });
}

/// Records once more when it is dropped.
#[derive(Debug)]
pub(super) struct Recorder {
    root: PathBuf,
    /// Columns are open, and so locked.
    is_open: AtomicBool,
}

impl Recorder {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), is_open: AtomicBool::new(false) }
    }
}

impl Recorder {
    /// Columns were opened.
    pub(super) fn begin(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// Records for the last time before the locks are given back. What cannot be recorded here is
    /// when the archive is opened again.
    pub(super) fn end(&self) {
        if self.is_open.swap(false, Ordering::Relaxed)
            && let Err(error) = record(&self.root)
        {
            tracing::warn!(%error, "the manifest does not say how far the columns are");
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

/// The manifest of an archive that has records and has lost its own; `None` for one without records.
pub(super) fn rebuilt(root: &Path) -> Result<Option<Manifest>> {
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
        let opened = Reader::open_mapped(&root.join(column.dir_name()), ReaderOptions::default());
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
        && let Some(Some(record)) = Error::if_sound(states.at_or_after(Slot(0)))?
    {
        let head = record.stored().get(..STATE_HEAD_BYTES).map(StateHead::parse);
        let head = head.and_then(Result::ok).filter(|head| head.slot == record.slot());
        manifest.genesis_validators_root = head.map(|head| head.genesis_validators_root);
    }
    tracing::warn!(
        "{}: there is no archive.toml; made again, assuming that nothing was lost: {}. Unknown: which \
         states were wanted, what was pruned, what was unfinished",
        root.display(),
        assumed.join(", ")
    );
    Ok(Some(manifest))
}
