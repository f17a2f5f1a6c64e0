//! `column.check`, the witness of the conf: the last two confs that this software wrote.
//!
//! `FORMAT.md`, section 11. A conf has no checksum of its own. The witness holds the last two confs in
//! two slots, each with a checksum. A conf that is in neither slot was written by other software, or
//! has rotted.

use std::path::Path;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::format::conf::{Conf, V3_BYTES};
use crate::slot::FileId;

/// Magic bytes at the start of every slot.
pub const MAGIC: [u8; 8] = *b"CSTCHK01";

/// One slot of the witness.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct CheckSlot {
    magic: [u8; 8],
    sequence: U64,
    /// The conf's bytes; zero after the first `conf_len`.
    conf: [u8; V3_BYTES],
    conf_len: u8,
    reserved: [u8; 55],
    /// CRC-32C of all preceding bytes of the slot.
    checksum: U32,
}

/// Bytes of a slot.
pub const CHECK_SLOT_BYTES: usize = 128;
const _: () = assert!(size_of::<CheckSlot>() == CHECK_SLOT_BYTES);
/// Bytes covered by a slot's own checksum: all that precede it.
const SUMMED_BYTES: usize = CHECK_SLOT_BYTES - size_of::<U32>();

/// Distance between the starts of the two slots. A torn write to one page or sector cannot damage the
/// other slot.
const SLOT_STRIDE: usize = 4096;
/// Number of slots in the witness.
const SLOTS: usize = 2;
/// Offset of the mark from the start of its slot. It is written alone, as one 8-byte store, once the
/// commit of the other slot is durable.
const MARK_OFFSET: usize = CHECK_SLOT_BYTES;
/// Bytes of a mark.
pub const MARK_BYTES: usize = size_of::<U64>();
const _: () = assert!(MARK_OFFSET.is_multiple_of(MARK_BYTES));
/// Bytes of the whole file.
pub const CHECK_BYTES: usize = SLOTS * SLOT_STRIDE;

/// The content of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    /// Increases with every write.
    sequence: u64,
    conf: Conf,
}

/// The content of the readable slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    slots: [Option<Written>; SLOTS],
    /// Beside each slot: [`mark_of`] the conf in the other, once its commit was finished.
    marks: [u64; SLOTS],
}

/// The mark of a finished commit: the complement of its sequence number. A mark has no checksum, and no
/// single bit flip turns zeros into a complement.
fn mark_of(finished: &Written) -> u64 {
    !finished.sequence
}

/// How a conf relates to the witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No slot is readable, so nothing is known.
    Unwitnessed,
    /// The conf is the newest one in the witness.
    Newest,
    /// The conf is the older one in the witness. Either the newer commit was in flight when the writer
    /// stopped, or it completed and the conf has since rotted or was restored from a copy.
    Before {
        /// The conf of the newer commit.
        unfinished: Conf,
    },
    /// The conf is in no slot, but another writer could have produced it from a conf in a slot.
    Continued {
        /// The newest conf in the witness.
        newest: Conf,
    },
    /// The conf is in no slot, and no writer produces it from a conf in a slot: it has rotted, or is
    /// outdated.
    Contradicted {
        /// The newest conf in the witness.
        newest: Conf,
    },
}

impl Witness {
    /// Parses the file's bytes. A torn or damaged slot counts as empty.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut witness = Self::default();
        for (index, page) in bytes.chunks(SLOT_STRIDE).take(SLOTS).enumerate() {
            let Ok((slot, rest)) = CheckSlot::read_from_prefix(page) else { continue };
            witness.slots[index] = slot.written();
            witness.marks[index] = U64::read_from_prefix(rest).map_or(0, |(mark, _)| mark.get());
        }
        witness
    }

    /// Encodes the whole file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; CHECK_BYTES];
        let of_slots = self.slots.iter().zip(self.marks);
        for (page, (written, mark)) in bytes.chunks_mut(SLOT_STRIDE).zip(of_slots) {
            let Some((slot, rest)) = page.split_first_chunk_mut::<CHECK_SLOT_BYTES>() else {
                continue;
            };
            *slot = written.map_or([0; CHECK_SLOT_BYTES], |w| CheckSlot::new(&w).to_bytes());
            if let Some(bytes) = rest.first_chunk_mut::<MARK_BYTES>() {
                *bytes = mark.to_le_bytes();
            }
        }
        bytes
    }

    /// Puts `next` into the slot that does not hold the conf in force. Returns the slot's offset in the
    /// file, and its bytes.
    pub fn fill(&mut self, in_force: Option<&Conf>, next: Conf) -> (u64, [u8; CHECK_SLOT_BYTES]) {
        let [first, second] = self.slots;
        let kept = match (self.index_of(in_force), first, second) {
            (Some(index), ..) => index,
            (None, Some(first), Some(second)) => usize::from(second.sequence > first.sequence),
            (None, None, _) => 1,
            (None, Some(_), None) => 0,
        };
        let newest = self.newest().map_or(0, |newest| newest.sequence);
        let written = Written { sequence: newest.saturating_add(1), conf: next };
        let index = usize::from(kept == 0);
        self.slots[index] = Some(written);
        let offset = index.saturating_mul(SLOT_STRIDE) as u64;
        (offset, CheckSlot::new(&written).to_bytes())
    }

    /// Clears the slot of an abandoned commit, which is the one that does not hold the conf in force.
    /// Returns the slot's offset in the file, and its bytes.
    pub fn clear(&mut self, in_force: &Conf) -> Option<(u64, [u8; CHECK_SLOT_BYTES])> {
        let index = usize::from(self.index_of(Some(in_force))? == 0);
        self.slots.get_mut(index)?.take()?;
        Some((index.saturating_mul(SLOT_STRIDE) as u64, [0; CHECK_SLOT_BYTES]))
    }

    /// Marks the commit of the conf in force as finished: its rename is durable. Returns the mark's offset
    /// in the file, and its bytes; `None` if the other slot is empty, so that no mark is needed.
    pub fn finish(&mut self, in_force: &Conf) -> Option<(u64, [u8; MARK_BYTES])> {
        let index = self.index_of(Some(in_force))?;
        let other = usize::from(index == 0);
        self.slots[other]?;
        self.marks[other] = mark_of(&self.slots[index]?);
        let offset = other.saturating_mul(SLOT_STRIDE).saturating_add(MARK_OFFSET);
        Some((offset as u64, self.marks[other].to_le_bytes()))
    }

    /// How `conf` relates to the witness.
    #[must_use]
    pub fn standing(&self, conf: &Conf) -> Standing {
        let Some(newest) = self.newest() else { return Standing::Unwitnessed };
        let mut written = self.slots.iter().flatten();
        if newest.conf == *conf {
            Standing::Newest
        } else if written.clone().any(|written| written.conf == *conf) {
            Standing::Before { unfinished: newest.conf }
        } else if written.any(|written| conf.may_follow(&written.conf)) {
            Standing::Continued { newest: newest.conf }
        } else {
            Standing::Contradicted { newest: newest.conf }
        }
    }

    /// The confs in the slots, newest first.
    pub fn confs(&self) -> impl Iterator<Item = Conf> {
        let newest = self.newest().map(|newest| newest.sequence);
        let mut written: Vec<Written> = self.slots.iter().flatten().copied().collect();
        written.sort_by_key(|written| Some(written.sequence) != newest);
        written.into_iter().map(|written| written.conf)
    }

    /// Checksums vouch only for records of the data file that start below this offset; `u64::MAX` if
    /// they vouch for all. Past it, other software may have cut off an uncommitted record and written
    /// another in its place, while the checksum of the first remained.
    #[must_use]
    pub fn vouched_len(&self, conf: &Conf, file_id: FileId) -> u64 {
        let len_in = |written: &Written| {
            let is_new = Some(file_id) > written.conf.current_file();
            written.conf.named_len(file_id).unwrap_or(if is_new { 0 } else { u64::MAX })
        };
        match self.standing(conf) {
            Standing::Unwitnessed | Standing::Before { .. } => u64::MAX,
            // Other software may have arrived at exactly the conf that was about to be written.
            Standing::Newest => self.before_unfinished().map_or(u64::MAX, |before| len_in(&before)),
            Standing::Continued { .. } | Standing::Contradicted { .. } => {
                self.slots.iter().flatten().map(len_in).min().unwrap_or(u64::MAX)
            }
        }
    }

    /// The conf that was in force before the newest one, unless the newest commit is marked as finished.
    fn before_unfinished(&self) -> Option<Written> {
        let newest = self.newest()?;
        let is_before = |(written, _): &(Written, u64)| written.sequence != newest.sequence;
        let slots = self.slots.iter().zip(self.marks);
        let mut slots = slots.filter_map(|(written, mark)| Some(((*written)?, mark)));
        let (before, mark) = slots.find(is_before)?;
        (mark != mark_of(&newest)).then_some(before)
    }

    /// Whether a slot holds this conf.
    #[must_use]
    pub fn knows(&self, conf: &Conf) -> bool {
        self.index_of(Some(conf)).is_some()
    }

    fn newest(&self) -> Option<Written> {
        self.slots.iter().flatten().copied().max_by_key(|written| written.sequence)
    }

    /// The index of the slot that holds a conf. If both do, the newer one: the flush of the older may
    /// have failed.
    fn index_of(&self, conf: Option<&Conf>) -> Option<usize> {
        let found = self.slots.iter().enumerate().filter_map(|(index, written)| {
            written.filter(|written| Some(&written.conf) == conf).map(|w| (w.sequence, index))
        });
        found.max().map(|(_, index)| index)
    }
}

impl CheckSlot {
    fn new(written: &Written) -> Self {
        let mut slot = Self::new_zeroed();
        slot.magic = MAGIC;
        slot.sequence = U64::new(written.sequence);
        let bytes = written.conf.encode();
        for (to, from) in slot.conf.iter_mut().zip(&bytes) {
            *to = *from;
        }
        slot.conf_len = u8::try_from(bytes.len()).unwrap_or_default();
        slot.checksum = U32::new(slot.own_sum());
        slot
    }

    fn written(&self) -> Option<Written> {
        let is_intact = self.magic == MAGIC
            && self.checksum.get() == self.own_sum()
            && self.reserved == [0; 55];
        let bytes = self.conf.get(..usize::from(self.conf_len)).filter(|_| is_intact)?;
        // Callers treat every invalid conf alike, so the error is dropped.
        let conf = Conf::decode(Path::new(""), bytes).ok()?;
        Some(Written { sequence: self.sequence.get(), conf })
    }

    fn own_sum(&self) -> u32 {
        let (bytes, _) = self.as_bytes().split_at(SUMMED_BYTES);
        crc32c::crc32c(bytes)
    }

    fn to_bytes(self) -> [u8; CHECK_SLOT_BYTES] {
        let mut bytes = [0; CHECK_SLOT_BYTES];
        bytes.copy_from_slice(self.as_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Column;
    use crate::format::conf::{Backfill, BackfillTarget};
    use crate::slot::Slot;

    fn v2(highest: u64, len: u64) -> Conf {
        let empty = Conf::empty(Column::BlockRoots.spec(), false);
        Conf { highest: Some(Slot(highest)), current_data_len: len, ..empty }
    }

    fn v3(highest: u64, len: u64, target: Option<(u64, u64)>) -> Conf {
        let target = target.map(|(id, data_len)| BackfillTarget { file_id: FileId(id), data_len });
        Conf { backfill: Some(Backfill { allowed: true, target }), ..v2(highest, len) }
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut witness = Witness::default();
        let (offset, bytes) = witness.fill(None, v2(5, 48));
        assert_eq!(offset, 0);
        let mut wanted = b"CSTCHK01".to_vec();
        wanted.extend_from_slice(&1u64.to_le_bytes());
        wanted.extend_from_slice(b"LHSTBLK2");
        wanted.extend_from_slice(&5u64.to_le_bytes());
        wanted.extend_from_slice(&48u64.to_le_bytes());
        wanted.extend_from_slice(&[2, 0, 0, 0]);
        wanted.extend_from_slice(&64u64.to_le_bytes());
        wanted.resize(68, 0);
        wanted.push(36);
        wanted.resize(124, 0);
        // CRC-32C of the 124 bytes, computed with Python.
        wanted.extend_from_slice(&0x9053_724cu32.to_le_bytes());
        assert_eq!(bytes[..124], wanted[..124]);
        assert_eq!(bytes[124..], wanted[124..], "{:x?}", &bytes[124..]);
        let (offset, second) = witness.fill(Some(&v2(5, 48)), v3(6, 88, None));
        assert_eq!((offset, second[68]), (4096, 52));
        let mut file = vec![0; 8192];
        file[..128].copy_from_slice(&bytes);
        file[4096..4096 + 128].copy_from_slice(&second);
        assert_eq!(witness.to_bytes(), file);
        assert_eq!(Witness::from_bytes(&file), witness);
    }

    #[test]
    fn fill_never_overwrites_the_slot_of_the_conf_in_force() {
        let mut witness = Witness::default();
        witness.fill(None, v2(1, 48));
        // Commits that did not happen, each followed by another attempt.
        for next in [v2(2, 88), v2(3, 88), v2(4, 88)] {
            let (offset, _) = witness.fill(Some(&v2(1, 48)), next);
            assert_eq!(offset, 4096);
            assert_eq!(witness.standing(&v2(1, 48)), Standing::Before { unfinished: next });
            assert_eq!(witness.standing(&next), Standing::Newest);
        }
        assert_eq!(witness.fill(Some(&v2(4, 88)), v2(5, 128)).0, 0);
        // Abandoning a commit leaves only the slot of the conf in force.
        witness.fill(Some(&v2(5, 128)), v2(6, 168));
        assert_eq!(witness.clear(&v2(5, 128)), Some((4096, [0; 128])));
        assert_eq!(witness.confs().collect::<Vec<_>>(), [v2(5, 128)]);
        assert_eq!(witness.clear(&v2(5, 128)), None);
        witness.fill(Some(&v2(5, 128)), v2(6, 168));
        // The conf in force is in no slot: the newest slot is kept.
        assert_eq!(witness.fill(Some(&v2(9, 1000)), v2(10, 1040)).0, 0);
        assert_eq!(witness.confs().collect::<Vec<_>>(), [v2(10, 1040), v2(6, 168)]);
    }

    #[test]
    fn a_finished_commit_is_marked_beside_the_other_slot() {
        let mut witness = Witness::default();
        witness.fill(None, v2(1, 48));
        assert_eq!(
            witness.finish(&v2(1, 48)),
            None,
            "there is nothing that it could be doubted for"
        );
        witness.fill(Some(&v2(1, 48)), v2(2, 88));
        let vouched = |witness: &Witness, conf| witness.vouched_len(&conf, FileId(0));
        assert_eq!(vouched(&witness, v2(2, 88)), 48);
        let unmarked = witness;
        // The complement of sequence number 2, behind the slot of number 1.
        let (offset, bytes) = (128, [0xfd, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(witness.finish(&v2(2, 88)), Some((offset, bytes)));
        assert_eq!(vouched(&witness, v2(2, 88)), u64::MAX);
        let mut file = unmarked.to_bytes();
        for bit in 0..64 {
            file[128..136].fill(0);
            file[128 + bit / 8] = 1 << (bit % 8);
            assert_eq!(vouched(&Witness::from_bytes(&file), v2(2, 88)), 48, "bit {bit}");
        }
        file[128..136].copy_from_slice(&bytes);
        assert_eq!(Witness::from_bytes(&file), witness);
        assert_eq!(witness.to_bytes(), file);
        // It says nothing of the commits after it, nor does the mark of an earlier one.
        for (at, highest, len) in [(4224, 3, 128), (128, 4, 168), (4224, 5, 208)] {
            witness.fill(Some(&v2(highest - 1, len - 40)), v2(highest, len));
            assert_eq!(vouched(&witness, v2(highest, len)), len - 40, "slot {highest}");
            assert_eq!(witness.finish(&v2(highest, len)).unwrap().0, at);
        }
        // A commit that was given up leaves no doubt about the conf in force.
        witness.fill(Some(&v2(5, 208)), v2(6, 248));
        witness.clear(&v2(5, 208));
        assert_eq!(vouched(&witness, v2(5, 208)), u64::MAX);
        witness.fill(Some(&v2(5, 208)), v2(7, 288));
        assert_eq!(vouched(&witness, v2(7, 288)), 208);
    }

    #[test]
    fn a_slot_with_a_flipped_bit_or_cut_short_reads_as_empty() {
        let mut witness = Witness::default();
        witness.fill(None, v2(1, 48));
        witness.fill(Some(&v2(1, 48)), v2(2, 88));
        let bytes = witness.to_bytes();
        for bit in 0..CHECK_SLOT_BYTES * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let read = Witness::from_bytes(&changed);
            assert_eq!(read.slots, [None, witness.slots[1]], "bit {bit}");
        }
        for len in 0..4096 + CHECK_SLOT_BYTES {
            let read = Witness::from_bytes(&bytes[..len]);
            let first = witness.slots[0].filter(|_| len >= CHECK_SLOT_BYTES);
            assert_eq!(read.slots, [first, None], "{len} bytes");
        }
    }

    #[test]
    fn a_conf_that_may_follow_is_continued_and_any_other_contradicted() {
        let mut witness = Witness::default();
        let base = v3(40_960, 88, Some((3, 4008)));
        assert_eq!(witness.standing(&base), Standing::Unwitnessed);
        witness.fill(None, base);
        let continued = [
            v3(40_961, 128, Some((3, 4008))),
            v3(49_152, 48, Some((3, 4048))),
            v3(40_960, 88, Some((2, 8))),
            v3(40_960, 88, None),
        ];
        for conf in continued {
            assert_eq!(witness.standing(&conf), Standing::Continued { newest: base }, "{conf:?}");
        }
        let mut other_type = base;
        other_type.spec.record_type = [3, 0];
        let mut lower_bound = base;
        lower_bound.spec.max_value_bytes = 63;
        let contradicted = [
            v3(40_959, 88, Some((3, 4008))),
            v3(40_960, 48, Some((3, 4008))),
            v3(40_960, 88, Some((3, 4007))),
            v3(40_960, 88, Some((3, 0))),
            v2(40_960, 88),
            other_type,
            lower_bound,
        ];
        for conf in contradicted {
            assert_eq!(
                witness.standing(&conf),
                Standing::Contradicted { newest: base },
                "{conf:?}"
            );
        }
    }

    #[test]
    fn checksums_vouch_below_the_shortest_length_in_the_witness() {
        let mut witness = Witness::default();
        let (before, after) = (v2(8190, 1000), v2(8192, 48));
        witness.fill(None, before);
        witness.fill(Some(&before), after);
        assert_eq!(witness.vouched_len(&before, FileId(0)), u64::MAX);
        assert_eq!([0, 1].map(|id| witness.vouched_len(&after, FileId(id))), [1000, 0]);
        witness.finish(&after);
        assert_eq!([0, 1].map(|id| witness.vouched_len(&after, FileId(id))), [u64::MAX; 2]);
        let other = v2(8193, 88);
        let lens = [0, 1, 2].map(|id| witness.vouched_len(&other, FileId(id)));
        assert_eq!(lens, [1000, 0, 0]);
        assert_eq!(Witness::default().vouched_len(&other, FileId(0)), u64::MAX);
    }
}
