//! Finds the slot of a root: a side index over `bbr` and `bsr`, in the archive's `index/`.
//!
//! The columns are authoritative, and the index only speeds up the search. A hit is checked in the
//! column; after a miss the column is searched. A missing, outdated or damaged index therefore costs
//! time and never a wrong answer, and no reader has to write one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use coldstore::{Column, Error, MappedArchive, Result, Slot, Snapshot};
use coldstore_consensus::Root;

use crate::atomic_file;
use crate::segment::{self, SEGMENT_PLACES, Segment, Tag, directory};

/// Number of slots per segment.
pub const SEGMENT_SLOTS: u64 = SEGMENT_PLACES;

/// The kind of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A block's root, in `bbr`.
    Block,
    /// A state's root, in `bsr`.
    State,
}

impl Kind {
    /// Both.
    pub const ALL: [Kind; 2] = [Kind::Block, Kind::State];

    /// The column that holds such roots.
    #[must_use]
    pub fn column(self) -> Column {
        match self {
            Kind::Block => Column::BlockRoots,
            Kind::State => Column::StateRoots,
        }
    }

    fn tag(self) -> Tag {
        self.column().spec().record_type
    }

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Block => "block_root",
            Kind::State => "state_root",
        }
    }
}

/// Finds the slot of a block root or a state root. A skipped slot repeats the block root of the slot
/// before: the slot is that of the block.
///
/// # Errors
/// Those of reading the two columns.
pub fn find(archive: &MappedArchive, root: &Root) -> Result<Option<(Kind, Slot)>> {
    for kind in Kind::ALL {
        let view = match archive.column(kind.column()) {
            Ok(column) => column.view(),
            Err(Error::NoSuchColumn { .. }) => continue,
            Err(error) => return Err(error),
        };
        if let Some(slot) = slot_of(archive.root(), kind, &view, root)? {
            return Ok(Some((kind, slot)));
        }
    }
    Ok(None)
}

/// The slot of a root in a snapshot of its column ([`Kind::column`]). `archive` is the archive's directory.
///
/// Takes microseconds for a root that [`update`] has put into the index. Any other root, and so one that is not
/// in the archive, costs a scan of the column; [`slot_by_index`] does without.
///
/// ```
/// use coldstore::{ArchivePipeline, ArchiveWriterOptions, Column, PipelineOptions, Slot};
/// use coldstore_consensus::Root;
/// use coldstore_history::roots::{self, Kind};
///
/// # fn main() -> coldstore::Result<()> {
/// # let scratch = tempfile::tempdir().unwrap();
/// # let root = scratch.path();
/// let archive =
///     ArchivePipeline::open(root, ArchiveWriterOptions::default(), |_| PipelineOptions::default())?;
/// archive.put(Column::BlockRoots, Slot(7), vec![7; 32])?;
/// let view = archive.view(Column::BlockRoots)?;
/// assert_eq!(roots::slot_of(root, Kind::Block, &view, &Root([7; 32]))?, Some(Slot(7)));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Those of reading the column.
pub fn slot_of(
    archive: &Path,
    kind: Kind,
    view: &impl Snapshot,
    root: &Root,
) -> Result<Option<Slot>> {
    match slot_by_index(archive, kind, view, root)? {
        Some(slot) => Ok(Some(slot)),
        None => search(view, root),
    }
}

/// As [`slot_of`], but finds only roots that are in the index.
///
/// # Errors
/// As [`slot_of`].
pub fn slot_by_index(
    archive: &Path,
    kind: Kind,
    view: &impl Snapshot,
    root: &Root,
) -> Result<Option<Slot>> {
    let index = directory(archive);
    for number in numbers(view) {
        // A damaged segment is ignored.
        let Some(segment) = Segment::open(&path_of(&index, kind, number), kind.tag(), number)
        else {
            continue;
        };
        for slot in segment.places_of(&root.0).into_iter().map(Slot) {
            if is_first(view, slot, root)? {
                return Ok(Some(slot));
            }
        }
    }
    Ok(None)
}

/// The numbers of the segments with a slot of the view.
fn numbers(view: &impl Snapshot) -> std::ops::Range<u64> {
    let end = view.highest_written_slot().map_or(0, |slot| slot.0 / SEGMENT_SLOTS + 1);
    0..end
}

/// Whether the root is new at this slot, not repeated from the slot before.
fn is_first(view: &impl Snapshot, slot: Slot, root: &Root) -> Result<bool> {
    let has = |slot: Slot| -> Result<bool> {
        Ok(view.value(slot)?.is_some_and(|stored| stored == root.0))
    };
    let before = slot.0.checked_sub(1).map(Slot);
    Ok(has(slot)? && !before.map_or(Ok(false), has)?)
}

fn search(view: &impl Snapshot, root: &Root) -> Result<Option<Slot>> {
    for record in view.owned_range(..) {
        let record = record?;
        if record[..] == root.0 {
            return Ok(Some(record.slot()));
        }
    }
    Ok(None)
}

/// The result of an update.
#[derive(Clone, Copy, Debug, Default)]
pub struct Updated {
    /// Segments written; complete ones are kept.
    pub written: u64,
    /// Total number of segments.
    pub segments: u64,
    /// Total number of roots or public keys.
    pub keys: u64,
    /// Total number of bytes.
    pub byte_len: u64,
}

/// Updates the index of an archive to its columns; with `anew`, rebuilds it. `watch` is called with the
/// current slot from time to time.
///
/// # Errors
/// Those of reading the two columns and of writing the index.
pub fn update(
    archive: &MappedArchive,
    anew: bool,
    watch: &mut dyn FnMut(Kind, Slot),
) -> Result<BTreeMap<&'static str, Updated>> {
    let mut all = BTreeMap::new();
    for kind in Kind::ALL {
        match archive.column(kind.column()) {
            Ok(column) => {
                let watch = &mut |slot| watch(kind, slot);
                let updated = update_kind(archive.root(), kind, &column.view(), anew, watch)?;
                all.insert(kind.name(), updated);
            }
            Err(Error::NoSuchColumn { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// As [`update`], for the roots of one kind, to a snapshot of their column. Writes the last segment again, up to
/// 12 MiB, so call it after many slots rather than after each.
///
/// # Errors
/// As [`update`].
pub fn update_kind(
    archive: &Path,
    kind: Kind,
    view: &impl Snapshot,
    anew: bool,
    watch: &mut dyn FnMut(Slot),
) -> Result<Updated> {
    let index = &directory(archive);
    let mut updated = Updated::default();
    // A column with backfill may have changed anywhere.
    let is_steady = view.conf().backfill.is_none();
    for number in numbers(view) {
        let end = covered_end(view, number);
        let path = path_of(index, kind, number);
        let kept = Segment::open(&path, kind.tag(), number)
            .filter(|segment| !anew && is_steady && segment.end() == end);
        let (roots, byte_len) = match kept {
            Some(segment) => (segment.count(), segment.byte_len()),
            None => {
                atomic_file::create_dir_in_archive(index)?;
                let entries = entries_of(view, number, end, watch)?;
                let bytes = segment::encode(kind.tag(), number, end, &entries);
                atomic_file::replace(&path, &bytes)?;
                updated.written += 1;
                (entries.len() as u64, bytes.len() as u64)
            }
        };
        updated.segments += 1;
        updated.keys += roots;
        updated.byte_len += byte_len;
    }
    Ok(updated)
}

/// One past the last slot that a segment covers.
fn covered_end(view: &impl Snapshot, number: u64) -> u64 {
    let end = (number + 1).saturating_mul(SEGMENT_SLOTS);
    view.highest_written_slot().map_or(0, |slot| end.min(slot.0.saturating_add(1)))
}

/// The sorted entries of a segment: prefix of the root, and the slot's index in the segment.
fn entries_of(
    view: &impl Snapshot,
    number: u64,
    end: u64,
    watch: &mut dyn FnMut(Slot),
) -> Result<Vec<(u64, u32)>> {
    let first = number * SEGMENT_SLOTS;
    let mut entries = Vec::new();
    let mut before = match first.checked_sub(1) {
        Some(slot) => view.value(Slot(slot))?,
        None => None,
    };
    let mut next = first;
    for record in view.owned_range(Slot(first)..Slot(end)) {
        let record = record?;
        let slot = record.slot();
        let repeats = slot.0 == next && before.as_deref() == Some(&record[..]);
        if !repeats && let Some(prefix) = segment::prefix_of(&record) {
            entries.push((
                prefix,
                u32::try_from(slot.0 - first).expect("a segment's slots fit 32 bits"),
            ));
        }
        before = Some(record.to_vec());
        next = slot.0 + 1;
        if slot.0.is_multiple_of(8192) {
            watch(slot);
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

fn path_of(index: &Path, kind: Kind, number: u64) -> PathBuf {
    index.join(format!("{}_{number:05}.roots", kind.column().dir_name()))
}
