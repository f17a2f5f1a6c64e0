//! Checks that the blocks of an era fit each other and the era's state.
//!
//! The checks compare fields at fixed offsets; nothing is hashed. Only the verification of a whole archive
//! proves that a root is the hash of its block or state.

use std::path::Path;

use super::group::{BLOCK, EraBlock, EraSlots, EraState, STATE};
use crate::error::{Error, Result};
use crate::format::hex::Hex;
use crate::format::ssz::{BlockHead, EraRoots, Mismatch};
use crate::slot::Slot;

/// Checks an era whose blocks have ascending slots of the era.
///
/// # Errors
/// [`Error::Corrupt`] with the record and the slot if
/// * a block's state root differs from the state's root of its slot,
/// * a block's parent root differs from the block root of the preceding slot,
/// * a slot with a block repeats the block root of the preceding slot,
/// * a slot without a block has a block root other than the preceding slot's.
pub(super) fn check_era(
    path: &Path,
    slots: EraSlots,
    blocks: &[EraBlock],
    state: &EraState,
    roots: &EraRoots,
) -> Result<()> {
    let mut blocks = blocks.iter().peekable();
    let mut previous: Option<&[u8; 32]> = None;
    for (index, (root, state_root)) in roots.block_roots.iter().zip(&roots.state_roots).enumerate()
    {
        let slot = slots.slot_at(index);
        match blocks.next_if(|block| block.head.slot == slot) {
            Some(block) => {
                check_block(path, block, state_root, previous)?;
                if previous == Some(root) {
                    let wanted = format!("slot {slot}: a new block root, for there is a block");
                    let found = format!("{}, as at the slot before", Hex(root));
                    return Err(corrupt_state(path, state, wanted, found));
                }
            }
            None => {
                if let Some(previous) = previous.filter(|previous| *previous != root) {
                    let wanted = format!(
                        "slot {slot}: without a block, the block root of the slot before, {}",
                        Hex(previous)
                    );
                    return Err(corrupt_state(path, state, wanted, Hex(root).to_string()));
                }
            }
        }
        previous = Some(root);
    }
    Ok(())
}

fn check_block(
    path: &Path,
    block: &EraBlock,
    state_root: &[u8; 32],
    previous: Option<&[u8; 32]>,
) -> Result<()> {
    let slot = block.head.slot;
    // The genesis block has no parent (consensus specification, `get_genesis_block`).
    let previous = previous.or((slot == Slot(0)).then_some(&[0; 32]));
    check_head(&block.head, Some(state_root), previous).map_err(|Mismatch { wanted, found }| {
        let wanted = format!("slot {slot}: {wanted}");
        Error::corrupt(path, block.record.offset, BLOCK, wanted, found)
    })
}

/// Compares a block with the state root of its slot and the block root of the slot before, as far as they are
/// known.
pub(super) fn check_head(
    head: &BlockHead,
    state_root: Option<&[u8; 32]>,
    previous: Option<&[u8; 32]>,
) -> Result<(), Mismatch> {
    for (what, wanted, found) in
        [("state root", state_root, &head.state_root), ("parent root", previous, &head.parent_root)]
    {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            let wanted = format!("the {what} {}, by the era's state", Hex(wanted));
            return Err(Mismatch { wanted, found: Hex(found).to_string() });
        }
    }
    Ok(())
}

fn corrupt_state(path: &Path, state: &EraState, wanted: String, found: String) -> Error {
    Error::corrupt(path, state.record.offset, STATE, wanted, found)
}

/// The block root that an era requires at the last slot before it; `None` if its first slot is slot 0.
pub(super) fn wanted_before(
    slots: EraSlots,
    blocks: &[EraBlock],
    roots: &EraRoots,
) -> Option<(Slot, [u8; 32])> {
    let before = slots.first.previous()?;
    let first_block = blocks.first().filter(|block| block.head.slot == slots.first);
    let root = match first_block {
        Some(block) => block.head.parent_root,
        None => *roots.block_roots.first()?,
    };
    Some((before, root))
}
