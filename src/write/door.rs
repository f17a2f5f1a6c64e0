//! The door: plausibility checks on values before they are written to one of the five known columns.
//!
//! The checks need only the slot and the first bytes of a value, so they cost next to nothing. They do
//! not prove that a block or a state belongs to the chain.

use crate::column::Column;
use crate::error::{Error, ObjectionKind, Result};
use crate::format::hex::Hex;
use crate::format::ssz::{
    BLOCK_MESSAGE_OFFSET, BLOCK_SLOT_END, STATE_HEAD_BYTES, StateHead, block_slot, u32_at,
};
use crate::slot::Slot;

/// Bytes of a block root and of a state root.
const ROOT_BYTES: u64 = 32;

/// Default number of slots in an era: mainnet's.
const SLOTS_PER_ERA: u64 = 8192;

/// Number of leading bytes of a value that the door inspects.
pub(super) const HEAD_BYTES: usize = BLOCK_SLOT_END;
const _: () = assert!(HEAD_BYTES >= STATE_HEAD_BYTES);

/// Checks values that are written to a known column: [`WriterOptions::door`](crate::WriterOptions::door).
///
/// * No value is empty.
/// * A root has 32 bytes. Roots are appended at the highest slot + 1 (anywhere in an empty column), or
///   fill gaps below it; the slots of one write are contiguous.
/// * The SSZ of a block or state contains the slot under which it is stored; a state also contains the
///   archive's genesis validators root.
/// * A slot is at most one era above the next slot of the archive, which follows the highest slot of all
///   its columns. An empty archive accepts any slot.
///
/// A value that fails a check is [`Error::Refused`], before anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    column: Column,
    genesis_validators_root: Option<[u8; 32]>,
    slots_per_era: u64,
    raw: bool,
    far: bool,
}

impl Door {
    /// The door of a column whose directory lies beside those of the archive's other columns.
    #[must_use]
    pub fn new(column: Column) -> Self {
        let slots_per_era = SLOTS_PER_ERA;
        Self { column, genesis_validators_root: None, slots_per_era, raw: false, far: false }
    }

    /// Requires states to have this genesis validators root. Without it, states of any chain pass.
    #[must_use]
    pub fn genesis_validators_root(self, root: Option<[u8; 32]>) -> Self {
        Self { genesis_validators_root: root, ..self }
    }

    /// Number of slots in an era (default 8192).
    #[must_use]
    pub fn slots_per_era(self, slots: u64) -> Self {
        Self { slots_per_era: slots, ..self }
    }

    /// Accepts any values, and roots with gaps: for encodings other than the consensus specification's
    /// SSZ.
    #[must_use]
    pub fn raw(self, raw: bool) -> Self {
        Self { raw, ..self }
    }

    /// Accepts slots at any distance above the highest.
    #[must_use]
    pub fn far(self, far: bool) -> Self {
        Self { far, ..self }
    }

    /// This door with additional checks waived.
    pub(super) fn waiving(self, raw: bool, far: bool) -> Self {
        Self { raw: self.raw || raw, far: self.far || far, ..self }
    }

    /// Checks one value. `head` is its first [`HEAD_BYTES`], or the whole value if it is shorter.
    pub(super) fn check_value(&self, slot: Slot, head: &[u8], byte_len: u64) -> Result<()> {
        if self.raw {
            return Ok(());
        }
        if byte_len == 0 {
            return Err(self.wrong_value(slot, "a value", "0 bytes"));
        }
        match self.column {
            Column::BlockRoots | Column::StateRoots if byte_len != ROOT_BYTES => {
                Err(self.wrong_value(slot, "a root of 32 bytes", format!("{byte_len} bytes")))
            }
            Column::Blocks => self.check_block(slot, head),
            Column::StateSnapshots => self.check_state(slot, head, byte_len),
            Column::BlockRoots | Column::StateRoots | Column::StateDiffs => Ok(()),
        }
    }

    fn check_block(&self, slot: Slot, head: &[u8]) -> Result<()> {
        let wanted = format!("the SSZ of the signed block of slot {slot}");
        let found = match (u32_at(head, 0), block_slot(head)) {
            (Some(BLOCK_MESSAGE_OFFSET), Some(found)) if found == slot => return Ok(()),
            (Some(BLOCK_MESSAGE_OFFSET), Some(found)) => format!("that of slot {found}"),
            (Some(offset), Some(_)) => {
                format!("{offset} where the offset {BLOCK_MESSAGE_OFFSET} of its message belongs")
            }
            _ => format!("{} bytes", head.len()),
        };
        Err(self.wrong_value(slot, wanted, found))
    }

    fn check_state(&self, slot: Slot, head: &[u8], byte_len: u64) -> Result<()> {
        let wanted = format!("the SSZ of the state of slot {slot}");
        let state = match StateHead::parse(head) {
            Ok(state) if state.slot == slot => state,
            Ok(state) => {
                return Err(self.wrong_value(slot, wanted, format!("that of slot {}", state.slot)));
            }
            Err(_) => return Err(self.wrong_value(slot, wanted, format!("{byte_len} bytes"))),
        };
        match self.genesis_validators_root {
            Some(root) if root != state.genesis_validators_root => {
                let chain = "a state of the chain with the genesis validators root";
                let found = Hex(&state.genesis_validators_root).to_string();
                Err(self.wrong_value(slot, format!("{chain} {}", Hex(&root)), found))
            }
            _ => Ok(()),
        }
    }

    /// Checks the ascending slots of one write against the column's highest slot and the archive's.
    pub(super) fn check_slots(
        &self,
        highest: Option<Slot>,
        archive: Option<Slot>,
        slots: impl Iterator<Item = Slot>,
    ) -> Result<()> {
        let is_root = matches!(self.column, Column::BlockRoots | Column::StateRoots);
        let mut previous: Option<Slot> = None;
        let mut top = highest.max(archive);
        for slot in slots {
            if is_root && !self.raw {
                let next = match previous {
                    Some(previous) => previous.next(),
                    None => highest.filter(|highest| *highest < slot).and_then(Slot::next),
                };
                if let Some(next) = next.filter(|next| *next != slot) {
                    let wanted = format!("roots without a gap, slot {next} next");
                    return Err(self.refused(slot, ObjectionKind::RootGap, wanted, "a gap"));
                }
            }
            if let Some(top) = top.filter(|top| self.is_far(*top, slot)) {
                let wanted = format!(
                    "at most one era ({} slots) above slot {top}, the archive's highest",
                    self.slots_per_era
                );
                let found = format!("{} slots above it", slot.0 - top.0);
                return Err(self.refused(slot, ObjectionKind::TooFar, wanted, found));
            }
            previous = Some(slot);
            top = top.max(previous);
        }
        Ok(())
    }

    /// Whether slots at any distance above the highest pass.
    pub(super) fn allows_far(&self) -> bool {
        self.far
    }

    /// Whether a slot lies too far above the highest one. The state at the end of the era that begins with
    /// the next slot is not too far.
    pub(super) fn is_far(&self, highest: Slot, slot: Slot) -> bool {
        let most = highest.0.saturating_add(1).saturating_add(self.slots_per_era);
        !self.far && slot.0 > most
    }

    fn wrong_value(
        &self,
        slot: Slot,
        wanted: impl Into<Box<str>>,
        found: impl Into<Box<str>>,
    ) -> Error {
        self.refused(slot, ObjectionKind::WrongValue, wanted, found)
    }

    fn refused(
        &self,
        slot: Slot,
        kind: ObjectionKind,
        wanted: impl Into<Box<str>>,
        found: impl Into<Box<str>>,
    ) -> Error {
        let (column, wanted, found) = (self.column, wanted.into(), found.into());
        Error::Refused { column, slot, kind, wanted, found }
    }
}
