//! Finds the validator of a public key: a side index over the registry, in the archive's `index/`.
//!
//! The registry of a state is authoritative, and the index only speeds up the search. A hit is compared with
//! the registry; after a miss the registry is searched. A missing, outdated or damaged index therefore costs
//! time and never a wrong answer. Validators keep their index and key, and new ones come at the end: an index
//! of an older state serves a later one, and an update reads the new validators only.

use std::path::{Path, PathBuf};

use coldstore::{Column, Error, MappedArchive};
use coldstore_consensus::{Preset, StateFault, StateFields};

use crate::atomic_file;
use crate::roots::Updated;
use crate::segment::{self, SEGMENT_PLACES, Segment, Tag, directory};
use crate::states::ValidatorBytes;

const TAG: Tag = *b"pk";

/// A BLS public key in its compressed form.
pub type Pubkey = [u8; 48];

/// The public keys of a state's registry.
pub trait Registry {
    /// Why a validator cannot be read; it also has to hold errors of writing the index.
    type Error: From<coldstore::Error>;

    /// Number of validators.
    fn count(&self) -> u64;

    /// The public key of a validator below [`Self::count`].
    ///
    /// # Errors
    /// If it cannot be read.
    fn pubkey(&self, index: u64) -> Result<Pubkey, Self::Error>;
}

/// The registry of an encoded state.
#[derive(Clone, Copy, Debug)]
pub struct EncodedRegistry<'s>(&'s [ValidatorBytes]);

impl<'s> EncodedRegistry<'s> {
    /// The validators of a state of a known fork.
    ///
    /// # Errors
    /// [`StateFault`]
    pub fn of_state(preset: Preset, ssz: &'s [u8]) -> Result<Self, StateFault> {
        let fields = StateFields::of_ssz(preset, ssz)?;
        let spans = fields.spans(ssz)?;
        let validators = fields.place("validators").map_or(0..0, |place| spans[place].clone());
        Ok(Self(ssz[validators].as_chunks().0))
    }
}

impl Registry for EncodedRegistry<'_> {
    type Error = Error;

    fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn pubkey(&self, index: u64) -> Result<Pubkey, Error> {
        let validator = usize::try_from(index).ok().and_then(|index| self.0.get(index));
        Ok(validator.and_then(|validator| validator.first_chunk().copied()).unwrap_or([0; 48]))
    }
}

/// As [`update`], to the newest state that `bss` has whole; newer validators are found by a search, which begins
/// with them. `None` if there is no such state.
///
/// # Errors
/// Those of reading `bss` and of writing the index.
pub fn update_from_snapshots(
    archive: &MappedArchive,
    preset: Preset,
    anew: bool,
    watch: &mut dyn FnMut(u64),
) -> Result<Option<Updated>, Error> {
    let Some(snapshots) = archive.column_if_there(Column::StateSnapshots)? else {
        return Ok(None);
    };
    for record in snapshots.view().range(..).rev() {
        // A damaged state, or one of a later fork, is passed over.
        let Some(record) = Error::if_sound(record)? else { continue };
        if let Ok(registry) = EncodedRegistry::of_state(preset, record.stored()) {
            return update(archive.root(), &registry, anew, watch).map(Some);
        }
    }
    Ok(None)
}

/// The index of the validator with a public key. `archive` is the archive's directory.
///
/// # Errors
/// Those of the registry.
pub fn find<R: Registry>(
    archive: &Path,
    registry: &R,
    pubkey: &Pubkey,
) -> Result<Option<u64>, R::Error> {
    let directory = directory(archive);
    let count = registry.count();
    for number in 0..count.div_ceil(SEGMENT_PLACES) {
        // A damaged segment is ignored.
        let Some(segment) = Segment::open(&path_of(&directory, number), TAG, number) else {
            continue;
        };
        for index in segment.places_of(pubkey) {
            if index < count && registry.pubkey(index)? == *pubkey {
                return Ok(Some(index));
            }
        }
    }
    // New validators are the ones that an index lacks.
    for index in (0..count).rev() {
        if registry.pubkey(index)? == *pubkey {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Updates the index of an archive to a registry, best that of its newest state; with `anew`, rebuilds it. What
/// covers more validators than the registry has is left as it is: it is of a later state.
///
/// # Errors
/// Those of the registry and of writing the index.
pub fn update<R: Registry>(
    archive: &Path,
    registry: &R,
    anew: bool,
    watch: &mut dyn FnMut(u64),
) -> Result<Updated, R::Error> {
    let directory = directory(archive);
    let mut updated = Updated::default();
    let count = registry.count();
    for number in 0..count.div_ceil(SEGMENT_PLACES) {
        let first = number * SEGMENT_PLACES;
        let end = count.min(first + SEGMENT_PLACES);
        let path = path_of(&directory, number);
        let kept = Segment::open(&path, TAG, number);
        let kept = kept.filter(|segment| !anew && segment.end() >= end);
        let (pubkeys, byte_len) = match kept {
            Some(segment) => (segment.count(), segment.byte_len()),
            None => {
                atomic_file::create_dir_in_archive(&directory)?;
                let entries = entries_of(registry, first, end, watch)?;
                let bytes = segment::encode(TAG, number, end, &entries);
                atomic_file::replace(&path, &bytes)?;
                updated.written += 1;
                (entries.len() as u64, bytes.len() as u64)
            }
        };
        updated.segments += 1;
        updated.keys += pubkeys;
        updated.byte_len += byte_len;
    }
    Ok(updated)
}

/// The sorted entries of a segment: prefix of the key, and the validator's index in the segment.
fn entries_of<R: Registry>(
    registry: &R,
    first: u64,
    end: u64,
    watch: &mut dyn FnMut(u64),
) -> Result<Vec<(u64, u32)>, R::Error> {
    let mut entries = Vec::new();
    for index in first..end {
        let prefix = segment::prefix_of(&registry.pubkey(index)?).unwrap_or_default();
        let at = u32::try_from(index - first).expect("a segment's places fit 32 bits");
        entries.push((prefix, at));
        if index.is_multiple_of(65_536) {
            watch(index);
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

fn path_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("pubkeys_{number:05}.index"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A registry of keys derived from their index, which counts how often it is read.
    struct Numbers {
        count: u64,
        changed: Option<u64>,
        reads: Cell<u64>,
    }

    fn registry(count: u64) -> Numbers {
        Numbers { count, changed: None, reads: Cell::new(0) }
    }

    fn key(index: u64) -> Pubkey {
        let mut key = [0x80; 48];
        key[1..9].copy_from_slice(&index.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        key
    }

    impl Registry for Numbers {
        type Error = coldstore::Error;

        fn count(&self) -> u64 {
            self.count
        }

        fn pubkey(&self, index: u64) -> coldstore::Result<Pubkey> {
            assert!(index < self.count);
            self.reads.set(self.reads.get() + 1);
            Ok(if self.changed == Some(index) { [1; 48] } else { key(index) })
        }
    }

    fn found(archive: &Path, registry: &Numbers, pubkey: &Pubkey) -> (Option<u64>, u64) {
        registry.reads.set(0);
        (find(archive, registry, pubkey).unwrap(), registry.reads.get())
    }

    #[test]
    fn a_key_is_found_with_and_without_the_index() {
        let archive = tempfile::tempdir().unwrap();
        let old = registry(5000);
        assert_eq!(found(archive.path(), &old, &key(17)), (Some(17), 5000 - 17));
        let updated = update(archive.path(), &old, false, &mut |_| {}).unwrap();
        assert_eq!((updated.written, updated.segments, updated.keys), (1, 1, 5000));
        for index in [0, 17, 4999] {
            assert_eq!(found(archive.path(), &old, &key(index)), (Some(index), 1));
        }
        assert_eq!(found(archive.path(), &old, &key(5000)).0, None);
        // A validator that is newer than the index.
        assert_eq!(found(archive.path(), &registry(5001), &key(5000)), (Some(5000), 1));
        // One that an older state does not have yet.
        assert_eq!(found(archive.path(), &registry(4000), &key(4000)).0, None);
    }

    #[test]
    fn an_update_reads_only_a_registry_that_has_grown() {
        let archive = tempfile::tempdir().unwrap();
        update(archive.path(), &registry(10), false, &mut |_| {}).unwrap();
        for (count, written) in [(10, 0), (9, 0), (11, 1), (10, 0)] {
            let registry = registry(count);
            let updated = update(archive.path(), &registry, false, &mut |_| {}).unwrap();
            assert_eq!((updated.written, registry.reads.get()), (written, count * written));
        }
        let updated = update(archive.path(), &registry(10), true, &mut |_| {}).unwrap();
        assert_eq!((updated.written, updated.keys), (1, 10));
    }

    #[test]
    fn a_wrong_or_damaged_index_gives_no_wrong_validator() {
        let archive = tempfile::tempdir().unwrap();
        update(archive.path(), &registry(100), false, &mut |_| {}).unwrap();
        let other = Numbers { changed: Some(40), ..registry(100) };
        assert_eq!(found(archive.path(), &other, &key(40)).0, None);
        assert_eq!(found(archive.path(), &other, &[1; 48]).0, Some(40));
        let path = path_of(&directory(archive.path()), 0);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        atomic_file::replace(&path, &bytes).unwrap();
        assert_eq!(found(archive.path(), &registry(100), &key(40)).0, Some(40));
    }
}
