//! One file of a side index in the archive's `index/`: the keys of 1,048,576 places, sorted. Keys are roots
//! and places slots, or keys are public keys and places validators.
//!
//! The header has 48 bytes, all little-endian: `CSTROOT1`, the tag of the kind of keys (2 bytes) and
//! six zeros, the number of the segment, one past the last place covered, the number of entries, four
//! zeros, and the CRC-32C of the preceding bytes. Then come the entries of 12 bytes, ascending: the
//! first eight bytes of the key (big-endian, so they sort as numbers) and the place in the segment.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Number of places per segment: 12 MiB of index, and for roots 128 files of a column.
pub(crate) const SEGMENT_PLACES: u64 = 1 << 20;

const MAGIC: [u8; 8] = *b"CSTROOT1";
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 12;

/// Number of entries per read. Keys are so evenly distributed that the first guess is usually within
/// this distance.
const WINDOW: u64 = 1024;

/// The directory of an archive's side indexes.
pub(crate) fn directory(archive: &Path) -> PathBuf {
    archive.join("index")
}

/// The kind of keys in a segment.
pub(crate) type Tag = [u8; 2];

/// The first eight bytes of a key, by which it is sorted; `None` if it is shorter.
pub(crate) fn prefix_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.first_chunk()?))
}

fn header(tag: Tag, number: u64, end: u64, count: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&tag);
    header[16..24].copy_from_slice(&number.to_le_bytes());
    header[24..32].copy_from_slice(&end.to_le_bytes());
    header[32..40].copy_from_slice(&count.to_le_bytes());
    let sum = crc32c::crc32c(&header[..HEADER_BYTES - 4]);
    header[HEADER_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    header
}

/// Encodes a whole file of sorted entries.
pub(crate) fn encode(tag: Tag, number: u64, end: u64, entries: &[(u64, u32)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + entries.len() * ENTRY_BYTES);
    bytes.extend_from_slice(&header(tag, number, end, entries.len() as u64));
    for (prefix, at) in entries {
        bytes.extend_from_slice(&prefix.to_be_bytes());
        bytes.extend_from_slice(&at.to_le_bytes());
    }
    bytes
}

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    file: File,
    number: u64,
    end: u64,
    count: u64,
}

impl Segment {
    /// Opens a segment; `None` unless the file is complete and of this kind and number.
    pub(crate) fn open(path: &Path, tag: Tag, number: u64) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
        let mut found = [0; HEADER_BYTES];
        file.read_exact_at(&mut found, 0).ok()?;
        let field = |at: usize| found.get(at..)?.first_chunk().copied().map(u64::from_le_bytes);
        let (end, count) = (field(24)?, field(32)?);
        let byte_len = count.checked_mul(ENTRY_BYTES as u64)?.checked_add(HEADER_BYTES as u64)?;
        let is_whole =
            found == header(tag, number, end, count) && file.metadata().ok()?.len() == byte_len;
        is_whole.then_some(Self { file, number, end, count })
    }

    /// One past the last place covered.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Number of keys.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn byte_len(&self) -> u64 {
        HEADER_BYTES as u64 + self.count * ENTRY_BYTES as u64
    }

    /// The places whose keys have this key's prefix; usually one or none.
    pub(crate) fn places_of(&self, key: &[u8]) -> Vec<u64> {
        let mut places = Vec::new();
        let Some(prefix) = prefix_of(key) else { return places };
        let Some(mut from) = self.lower_bound(prefix) else { return places };
        // Usually one entry matches, and a second one shows that it is the last.
        let mut count = 2;
        while let Some(window) = self.read(from, count).filter(|window| window.count() > 0) {
            for (found, at) in window.entries() {
                if found != prefix {
                    return places;
                }
                places.push(self.number * SEGMENT_PLACES + u64::from(at));
            }
            from += window.count();
            count = WINDOW;
        }
        places
    }

    /// Index of the first entry not below `prefix`, by interpolation: keys are evenly distributed.
    fn lower_bound(&self, prefix: u64) -> Option<u64> {
        // Entries before `low` are below the prefix, entries from `high` on are not.
        let (mut low, mut high) = (0, self.count);
        let (mut least, mut most) = (0_u64, u64::MAX);
        while high - low > WINDOW {
            let span = u128::from(most - least).max(1);
            let part = u128::from(prefix.saturating_sub(least)) * u128::from(high - low) / span;
            let guess = low + u64::try_from(part).unwrap_or(u64::MAX).min(high - low);
            let start = guess.saturating_sub(WINDOW / 2).clamp(low, high - WINDOW);
            let window = self.read(start, WINDOW)?;
            let (first, last) = (window.entries().next()?.0, window.entries().next_back()?.0);
            let (low_before, high_before) = (low, high);
            if first >= prefix {
                (high, most) = (start, first);
            } else if last < prefix {
                (low, least) = (start + WINDOW, last);
            } else {
                return Some(start + window.below(prefix));
            }
            // The entries are not evenly distributed, so bisect.
            if high - low > (high_before - low_before) / 2 {
                let middle = low + (high - low) / 2;
                let (found, _) = self.read(middle, 1)?.entries().next()?;
                if found < prefix {
                    (low, least) = (middle + 1, found);
                } else {
                    (high, most) = (middle, found);
                }
            }
        }
        Some(low + self.read(low, high - low)?.below(prefix))
    }

    /// Reads up to [`WINDOW`] entries from an index on.
    fn read(&self, from: u64, count: u64) -> Option<Window> {
        let count = usize::try_from(count.min(WINDOW).min(self.count.checked_sub(from)?)).ok()?;
        let mut bytes = vec![0; count * ENTRY_BYTES];
        self.file
            .read_exact_at(&mut bytes, HEADER_BYTES as u64 + from * ENTRY_BYTES as u64)
            .ok()?;
        Some(Window(bytes))
    }
}

/// Entries in their encoded form.
struct Window(Vec<u8>);

impl Window {
    fn count(&self) -> u64 {
        self.all().len() as u64
    }

    fn all(&self) -> &[[u8; ENTRY_BYTES]] {
        self.0.as_chunks().0
    }

    fn entries(&self) -> impl DoubleEndedIterator<Item = (u64, u32)> + '_ {
        self.all().iter().map(entry)
    }

    /// Number of entries below a prefix.
    fn below(&self, prefix: u64) -> u64 {
        self.all().partition_point(|bytes| entry(bytes).0 < prefix) as u64
    }
}

fn entry(bytes: &[u8; ENTRY_BYTES]) -> (u64, u32) {
    let [a, b, c, d, e, f, g, h, at @ ..] = *bytes;
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_le_bytes(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = *b"br";

    fn segment(directory: &Path, entries: &[(u64, u32)]) -> Segment {
        let path = directory.join("x.roots");
        let bytes = encode(TAG, 3, 4 * SEGMENT_PLACES, entries);
        crate::atomic_file::replace(&path, &bytes).unwrap();
        Segment::open(&path, TAG, 3).unwrap()
    }

    fn key(prefix: u64) -> [u8; 32] {
        let mut key = [7; 32];
        key[..8].copy_from_slice(&prefix.to_be_bytes());
        key
    }

    #[test]
    fn every_key_is_found_in_any_distribution() {
        let directory = tempfile::tempdir().unwrap();
        type Spread = fn(u64) -> u64;
        let spreads: [(&str, Spread); 4] = [
            ("even", |n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            ("at the start", |n| n * 3),
            ("at both ends", |n| if n % 2 == 0 { n } else { u64::MAX - n }),
            ("the same", |_| 42),
        ];
        for (name, spread) in spreads {
            for count in [0, 1, 2, 1000, 1023, 1024, 1025, 20_000] {
                let mut entries: Vec<(u64, u32)> =
                    (0..count).map(|n| (spread(u64::from(n)), n)).collect();
                entries.sort_unstable();
                let segment = segment(directory.path(), &entries);
                assert_eq!(segment.count(), u64::from(count));
                for n in (0..count).step_by(37) {
                    let prefix = spread(u64::from(n));
                    let wanted: Vec<u64> = entries
                        .iter()
                        .filter(|(found, _)| *found == prefix)
                        .map(|(_, at)| 3 * SEGMENT_PLACES + u64::from(*at))
                        .collect();
                    assert_eq!(segment.places_of(&key(prefix)), wanted, "{name} {count} {n}");
                    if name == "the same" {
                        break;
                    }
                }
                for absent in [1, u64::MAX / 2, u64::MAX] {
                    let is_there = entries.iter().any(|(found, _)| *found == absent);
                    let found = segment.places_of(&key(absent));
                    assert_eq!(found.is_empty(), !is_there, "{name} {count}");
                }
            }
        }
    }

    #[test]
    fn a_damaged_segment_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        segment(directory.path(), &[(1, 1), (2, 2)]);
        let path = directory.path().join("x.roots");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..HEADER_BYTES {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            crate::atomic_file::replace(&path, &bytes).unwrap();
            assert!(Segment::open(&path, TAG, 3).is_none(), "{at}");
        }
        crate::atomic_file::replace(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(Segment::open(&path, TAG, 3).is_none());
        crate::atomic_file::replace(&path, &whole).unwrap();
        assert!(Segment::open(&path, *b"sr", 3).is_none());
        assert!(Segment::open(&path, TAG, 2).is_none());
        assert!(Segment::open(&directory.path().join("y"), TAG, 3).is_none());
    }
}
