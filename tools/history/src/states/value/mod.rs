//! The diff of a state: what `bsd` holds of a state that is not stored whole (FORMAT.md beside this folder).
//!
//! A value is made of the fields that differ from those of an earlier state, each in a section with its own
//! encoding. [`encode_diff`] makes one, [`apply_path`] applies a chain of them.

mod apply;
mod balances;
mod chunk;
#[cfg(test)]
mod column_tests;
mod committees;
mod duties;
mod encode;
mod exceptions;
mod fault;
mod generic;
mod header;
mod lists;
mod packed;
mod participation;
mod registry;
mod roots;
mod scores;
mod section;
mod single;
mod slot;
mod slot_balances;
#[cfg(test)]
mod slot_tests;
mod small;
mod stack;

use coldstore::Slot;
use coldstore_consensus::Preset;

use self::chunk::Chunks;
use self::fault::Wrong;
use self::header::{Header, MAGIC, Section};

pub(crate) use self::exceptions::Unpacker;
pub(crate) use self::single::Single;

pub use self::apply::apply_path;
pub use self::duties::DutyCache;
pub use self::encode::{encode_diff, encode_slot};
pub use self::fault::DiffFault;
pub use self::header::Kind;
pub use self::roots::{RootsError, SlotRoots};

/// What a diff is made and applied with, besides the states.
#[derive(Clone, Copy)]
pub struct DiffContext<'c> {
    /// The archive's roots.
    pub roots: &'c dyn SlotRoots,
    /// Validators in a chunk of a new value, as a power of 2; from 4 to 20.
    pub chunk_log2: u8,
    /// Committees for diffs of slots. Without, each call computes its own.
    pub duties: Option<&'c DutyCache>,
}

impl<'c> DiffContext<'c> {
    /// Validators in a chunk: 65,536 is the balance between size and partial reads.
    pub const CHUNK_LOG2: u8 = 16;

    /// With chunks of the usual size.
    #[must_use]
    pub fn new(roots: &'c dyn SlotRoots) -> Self {
        Self { roots, chunk_log2: Self::CHUNK_LOG2, duties: None }
    }
}

impl std::fmt::Debug for DiffContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiffContext").field("chunk_log2", &self.chunk_log2).finish_non_exhaustive()
    }
}

/// A diff whose header and table of sections are checked. The sections are checked when they are applied.
#[derive(Clone, Debug)]
pub struct DiffValue<'v> {
    header: Header,
    sections: Vec<Section<'v>>,
}

impl<'v> DiffValue<'v> {
    /// Whether a value in `bsd` begins like a diff.
    #[must_use]
    pub fn is_one(value: &[u8]) -> bool {
        value.starts_with(&MAGIC)
    }

    /// Reads the value of a slot. Nothing is allocated but the list of sections.
    ///
    /// # Errors
    /// [`DiffFault`]
    pub fn parse(slot: Slot, value: &'v [u8]) -> Result<Self, DiffFault> {
        let (header, sections) = Header::read(value).map_err(|wrong| wrong.at(slot, None, None))?;
        if header.slot != slot {
            let wrong =
                Wrong::new("the diff of that slot", format_args!("that of {}", header.slot));
            return Err(wrong.at(slot, None, None));
        }
        Ok(Self { header, sections })
    }

    /// The state's slot.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.header.slot
    }

    /// The slot of the state on which the diff is.
    #[must_use]
    pub fn base_slot(&self) -> Slot {
        self.header.base_slot
    }

    /// The first bytes of the root of that state.
    #[must_use]
    pub fn base_tag(&self) -> [u8; 8] {
        self.header.base_tag
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.header.kind
    }

    /// The state's preset.
    #[must_use]
    pub fn preset(&self) -> Preset {
        self.header.preset
    }

    /// Length of the encoded state in bytes.
    #[must_use]
    pub fn ssz_len(&self) -> u64 {
        self.header.ssz_len
    }

    /// The fields that differ, with the numbers of their encodings and their lengths in the value.
    pub fn sections(&self) -> impl Iterator<Item = (&'static str, u8, usize)> + '_ {
        self.sections.iter().map(|section| (section.field, section.encoding, section.len()))
    }

    fn chunks(&self) -> Chunks {
        Chunks { log2: self.header.chunk_log2, validators: self.header.validators as usize }
    }

    fn fault(&self, field: Option<&'static str>, wrong: Wrong) -> DiffFault {
        wrong.at(self.header.slot, Some(self.header.base_slot), field)
    }
}
