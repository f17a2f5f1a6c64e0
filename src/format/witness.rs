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
