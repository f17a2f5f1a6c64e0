//! Finds the slot of a root: a side index over `bbr` and `bsr`, in the archive's `index/`.
//!
//! The columns are authoritative, and the index only speeds up the search. A hit is checked in the
//! column; after a miss the column is searched. A missing, outdated or damaged index therefore costs
//! time and never a wrong answer, and no reader has to write one.

mod segment;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use coldstore::{Column, Error, MappedArchive, Result, Slot, View};
use coldstore_consensus::Root;

use self::segment::Segment;
use crate::atomic_file;

/// Number of slots per segment: 128 files of a column, 12 MiB of index.
pub const SEGMENT_SLOTS: u64 = 1 << 20;

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
        if let Some(slot) = find_in(&directory(archive.root()), kind, &view, root)? {
            return Ok(Some((kind, slot)));
        }
    }
    Ok(None)
}

fn find_in(index: &Path, kind: Kind, view: &View, root: &Root) -> Result<Option<Slot>> {
    for number in numbers(view) {
        // A damaged segment is ignored.
        let Some(segment) = Segment::open(&path_of(index, kind, number), kind, number) else {
            continue;
        };
        for slot in segment.slots_of(root) {
            if is_first(view, slot, root)? {
                return Ok(Some(slot));
            }
        }
    }
    search(view, root)
}

/// The numbers of the segments with a slot of the view.
fn numbers(view: &View) -> std::ops::Range<u64> {
    let end = view.highest_written_slot().map_or(0, |slot| slot.0 / SEGMENT_SLOTS + 1);
    0..end
}

/// Whether the root is new at this slot, not repeated from the slot before.
fn is_first(view: &View, slot: Slot, root: &Root) -> Result<bool> {
    let has = |slot: Slot| -> Result<bool> {
        Ok(view.get_stored(slot)?.is_some_and(|stored| stored == root.0))
    };
    let before = slot.0.checked_sub(1).map(Slot);
    Ok(has(slot)? && !before.map_or(Ok(false), has)?)
}

fn search(view: &View, root: &Root) -> Result<Option<Slot>> {
    for record in view.range(..) {
        let record = record?;
        if record.stored() == root.0 {
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
    /// Total number of roots.
    pub roots: u64,
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
                let index = directory(archive.root());
                let updated = update_kind(&index, kind, &column.view(), anew, watch)?;
                all.insert(kind.name(), updated);
            }
            Err(Error::NoSuchColumn { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn update_kind(
    index: &Path,
    kind: Kind,
    view: &View,
    anew: bool,
    watch: &mut dyn FnMut(Kind, Slot),
) -> Result<Updated> {
    let mut updated = Updated::default();
    // A column with backfill may have changed anywhere.
    let is_steady = view.conf().backfill.is_none();
    for number in numbers(view) {
        let end = covered_end(view, number);
        let path = path_of(index, kind, number);
        let kept = Segment::open(&path, kind, number)
            .filter(|segment| !anew && is_steady && segment.end() == end);
        let (roots, byte_len) = match kept {
            Some(segment) => (segment.count(), segment.byte_len()),
            None => {
                atomic_file::create_dir_in_archive(index)?;
                let entries = entries_of(view, number, end, &mut |slot| watch(kind, slot))?;
                let bytes = segment::encode(kind, number, end, &entries);
                atomic_file::replace(&path, &bytes)?;
                updated.written += 1;
                (entries.len() as u64, bytes.len() as u64)
            }
        };
        updated.segments += 1;
        updated.roots += roots;
        updated.byte_len += byte_len;
    }
    Ok(updated)
}

/// One past the last slot that a segment covers.
fn covered_end(view: &View, number: u64) -> u64 {
    let end = (number + 1).saturating_mul(SEGMENT_SLOTS);
    view.highest_written_slot().map_or(0, |slot| end.min(slot.0.saturating_add(1)))
}

/// The sorted entries of a segment: prefix of the root, and the slot's index in the segment.
fn entries_of(
    view: &View,
    number: u64,
    end: u64,
    watch: &mut dyn FnMut(Slot),
) -> Result<Vec<(u64, u32)>> {
    let first = number * SEGMENT_SLOTS;
    let mut entries = Vec::new();
    let mut before = match first.checked_sub(1) {
        Some(slot) => view.get_stored(Slot(slot))?.map(<[u8]>::to_vec),
        None => None,
    };
    let mut next = first;
    for record in view.range(Slot(first)..Slot(end)) {
        let record = record?;
        let slot = record.slot();
        let repeats = slot.0 == next && before.as_deref() == Some(record.stored());
        if !repeats && let Some(prefix) = segment::prefix_of(record.stored()) {
            entries.push((
                prefix,
                u32::try_from(slot.0 - first).expect("a segment's slots fit 32 bits"),
            ));
        }
        before = Some(record.stored().to_vec());
        next = slot.0 + 1;
        if slot.0.is_multiple_of(8192) {
            watch(slot);
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

fn directory(archive: &Path) -> PathBuf {
    archive.join("index")
}

fn path_of(index: &Path, kind: Kind, number: u64) -> PathBuf {
    index.join(format!("{}_{number:05}.roots", kind.column().dir_name()))
}
