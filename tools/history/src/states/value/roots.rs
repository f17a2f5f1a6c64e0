//! The vectors of recent roots, which `bbr` and `bsr` hold as well: encoding 13 (FORMAT.md, section 5).

use std::error::Error;
use std::ops::Range;

use coldstore::{Slot, Snapshot};
use coldstore_consensus::Root;

use super::fault::{Decoded, Wrong};
use super::packed::Cursor;
use crate::replay::Source;

/// Why a root cannot be read.
pub type RootsError = Box<dyn Error + Send + Sync>;

/// The roots of an archive by slot: `bbr` and `bsr`.
pub trait SlotRoots: Sync {
    /// The root of the last block up to a slot.
    ///
    /// # Errors
    /// The root cannot be read.
    fn block_root(&self, slot: Slot) -> Result<Option<Root>, RootsError>;

    /// The root of the state of a slot.
    ///
    /// # Errors
    /// The root cannot be read.
    fn state_root(&self, slot: Slot) -> Result<Option<Root>, RootsError>;
}

impl<S: Snapshot + Sync> SlotRoots for Source<S> {
    fn block_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.block_root(slot)?)
    }

    fn state_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.state_root(slot)?)
    }
}

/// Which vector of roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootsOf {
    Blocks,
    States,
}

impl RootsOf {
    pub(crate) fn of_field(name: &str) -> Option<Self> {
        match name {
            "block_roots" => Some(Self::Blocks),
            "state_roots" => Some(Self::States),
            _ => None,
        }
    }

    fn read(self, roots: &dyn SlotRoots, slot: Slot) -> Decoded<Root> {
        let (read, column) = match self {
            Self::Blocks => (roots.block_root(slot), "bbr"),
            Self::States => (roots.state_root(slot), "bsr"),
        };
        let wanted = || format!("a root of slot {slot} in {column}");
        match read {
            Ok(Some(root)) => Ok(root),
            Ok(None) => Err(Wrong::new(wanted(), "none")),
            Err(error) => Err(Wrong::new(wanted(), error)),
        }
    }
}

/// The slots whose roots a vector of `length` gets between two states.
fn slots_between(base: Slot, next: Slot, length: u64) -> Range<u64> {
    next.0.saturating_sub(length).max(base.0)..next.0
}

/// Puts the archive's roots of some slots into a vector, and returns their checksum.
fn derive(of: RootsOf, roots: &dyn SlotRoots, field: &mut [u8], slots: Range<u64>) -> Decoded<u32> {
    let (entries, _) = field.as_chunks_mut::<32>();
    let length = entries.len() as u64;
    let mut crc = 0;
    for slot in slots {
        let root = of.read(roots, Slot(slot))?;
        crc = crc32c::crc32c_append(crc, &root.0);
        #[expect(clippy::cast_possible_truncation, reason = "below the length of a vector")]
        let place = (slot % length) as usize;
        entries[place] = root.0;
    }
    Ok(crc)
}

/// Encoding 13, if the archive's roots give the next vector.
pub(crate) fn put(
    of: RootsOf,
    roots: &dyn SlotRoots,
    [base, next]: [(Slot, &[u8]); 2],
) -> Option<Vec<u8>> {
    let slots = slots_between(base.0, next.0, next.1.len() as u64 / 32);
    let mut field = base.1.to_vec();
    let crc = derive(of, roots, &mut field, slots).ok()?;
    (field == next.1).then(|| crc.to_le_bytes().to_vec())
}

/// Reads encoding 13, and makes of the base's vector that of the state of slot `next`.
pub(crate) fn read(
    section: &mut Cursor<'_>,
    of: RootsOf,
    roots: &dyn SlotRoots,
    base: (Slot, Vec<u8>),
    next: Slot,
) -> Decoded<Vec<u8>> {
    let wanted = u32::from_le_bytes(section.array()?);
    let (base_slot, mut field) = base;
    let slots = slots_between(base_slot, next, field.len() as u64 / 32);
    match derive(of, roots, &mut field, slots)? {
        crc if crc == wanted => Ok(field),
        crc => Err(Wrong::new(
            format_args!("roots with CRC-32C {wanted:08x}"),
            format_args!("{crc:08x}"),
        )),
    }
}
