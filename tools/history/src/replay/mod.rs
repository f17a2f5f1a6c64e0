//! Rebuilds the states between stored ones from the archive's own blocks.
//!
//! A replay needs no hashing of states: the state root of every slot is in `bsr`. What it trusts is therefore
//! checked at every slot: each block must be the one that `bbr` names, and name the state root in `bsr`. That
//! the replayed state *has* that root is a [`Check`] that the caller chooses, and a comparison with the next
//! stored state ([`Replay::compare_with`]).

mod check;
mod error;
mod rules;
mod source;

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;

use coldstore::{Slot, Snapshot};
use coldstore_consensus::Root;
use coldstore_consensus::transition::{BeaconState, Block, ChainRules, StateTree, TransitionError};

pub use self::check::Check;
pub use self::error::ReplayError;
pub use self::rules::{RulesError, rules_of};
pub use self::source::Source;

/// A state that is moved from slot to slot. After an error it must be dropped.
///
/// `'s` is the lifetime of the encoded state from which it started; public keys and credentials stay there.
#[derive(Debug)]
pub struct Replay<'s> {
    rules: Arc<ChainRules>,
    state: BeaconState<'s>,
    /// Holds nothing until the state is hashed for the first time.
    tree: StateTree,
    check: Check,
    /// The encoded block, whose memory is reused.
    block: Vec<u8>,
}

impl<'s> Replay<'s> {
    /// Starts from the stored state of a slot.
    ///
    /// # Errors
    /// [`ReplayError::Start`] if the bytes are not a state of this chain and slot.
    pub fn start(
        rules: Arc<ChainRules>,
        slot: Slot,
        state: impl Into<Cow<'s, [u8]>>,
        check: Check,
    ) -> Result<Self, ReplayError> {
        let state = BeaconState::from_ssz(Arc::clone(&rules), state)
            .map_err(|fault| ReplayError::start(slot, &fault))?;
        if state.slot() != slot.0 {
            let (wanted, found) = (format!("slot {slot}"), format!("slot {}", state.slot()));
            return Err(ReplayError::Start { slot, wanted, found });
        }
        Ok(Self::start_from(rules, state, check))
    }

    /// Starts from a state.
    #[must_use]
    pub fn start_from(rules: Arc<ChainRules>, state: BeaconState<'s>, check: Check) -> Self {
        Self { rules, state, tree: StateTree::default(), check, block: Vec::new() }
    }

    /// The state's slot.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot(self.state.slot())
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &BeaconState<'s> {
        &self.state
    }

    /// Frees the tree, which has half as much memory as the state. The next root hashes all of the state.
    pub(crate) fn drop_tree(&mut self) {
        self.tree = StateTree::default();
    }

    /// The state, of which only the changes are taken.
    pub(crate) fn state_mut(&mut self) -> &mut BeaconState<'s> {
        &mut self.state
    }

    /// `hash_tree_root` of the state. The first call hashes all of it; later ones what changed since.
    pub fn root(&mut self) -> Root {
        self.tree.root(&mut self.state)
    }

    /// Moves the state to the next slot:
    ///
    /// 1. process the slot, with the root of the state in `bsr`,
    /// 2. check that the state's latest block is the one in `bbr`,
    /// 3. apply the next slot's block, if it has one,
    /// 4. compare the state's root with `bsr`, if the [`Check`] is due.
    ///
    /// # Errors
    /// [`ReplayError`]
    pub fn step<S: Snapshot>(&mut self, source: &Source<S>) -> Result<(), ReplayError> {
        // 1.
        let slot = self.slot();
        let root = match source.state_root(slot)? {
            Some(root) => root,
            None => self.root(),
        };
        self.state.process_slots(slot.0 + 1, |_| Ok::<_, Box<TransitionError>>(root))?;
        // 2.
        let parent = self.state.latest_block_header().root();
        if let Some(wanted) = source.block_root(slot)?.filter(|wanted| *wanted != parent) {
            return Err(ReplayError::WrongBlockRoot { slot, wanted, found: parent });
        }
        // 3.
        let mut block = mem::take(&mut self.block);
        self.apply_block(source, parent, &mut block)?;
        self.block = block;
        // 4.
        let is_due = self.check.is_at(self.state.slot(), self.rules.preset().slots_per_epoch());
        if is_due && !self.check_root(source)? {
            return Err(ReplayError::NoStateRoot { slot: self.slot() });
        }
        Ok(())
    }

    /// Compares the state's root with the one in `bsr`; returns `false` if there is none.
    ///
    /// # Errors
    /// [`ReplayError::WrongStateRoot`]; [`ReplayError::WrongState`], which names the field, if `bss` has another
    /// state of the slot.
    pub fn check_root<S: Snapshot>(&mut self, source: &Source<S>) -> Result<bool, ReplayError> {
        let slot = self.slot();
        let Some(wanted) = source.state_root(slot)? else { return Ok(false) };
        let found = self.root();
        if wanted == found {
            return Ok(true);
        }
        if let Some(stored) = source.snapshots.get(slot)?
            && let Err(named @ ReplayError::WrongState { .. }) = self.compare_with(&stored)
        {
            return Err(named);
        }
        Err(ReplayError::WrongStateRoot { slot, wanted, found, hashed: true })
    }

    /// Compares the state, byte for byte, with a stored one of its slot.
    ///
    /// # Errors
    /// [`ReplayError::WrongState`] names the first field that differs; [`ReplayError::Start`] if the bytes are
    /// not a state of this fork.
    pub fn compare_with(&self, stored: &[u8]) -> Result<(), ReplayError> {
        let slot = self.slot();
        let difference = self.state.first_difference(stored);
        match difference.map_err(|fault| ReplayError::start(slot, &fault))? {
            None => Ok(()),
            Some(difference) => {
                Err(ReplayError::WrongState { slot, difference: Box::new(difference) })
            }
        }
    }

    /// Applies the slot's block, unless the slot was skipped: then `bbr` repeats the parent's root.
    fn apply_block<S: Snapshot>(
        &mut self,
        source: &Source<S>,
        parent: Root,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ReplayError> {
        let slot = self.slot();
        let wanted = source.block_root(slot)?.ok_or(ReplayError::NoBlockRoot { slot })?;
        let is_there = source.blocks.get_into(slot, bytes)?;
        let refuse = |wanted, found| Err(ReplayError::WrongBlock { slot, wanted, found });
        if wanted == parent {
            return match is_there {
                false => Ok(()),
                true => refuse(
                    "no block, as bbr repeats the root before".to_owned(),
                    "a block".to_owned(),
                ),
            };
        }
        if !is_there {
            return Err(ReplayError::MissingBlock { slot, root: wanted });
        }
        let block = match Block::parse(self.rules.preset(), bytes) {
            Ok(block) => block,
            Err(fault) => return refuse(format!("the block {wanted}"), fault.to_string()),
        };
        if block.root() != wanted {
            return refuse(format!("the block {wanted}"), format!("the block {}", block.root()));
        }
        self.state.process_block(&block)?;
        let found = block.header().state_root;
        match source.state_root(slot)? {
            Some(wanted) if wanted != found => {
                Err(ReplayError::WrongStateRoot { slot, wanted, found, hashed: false })
            }
            _ => Ok(()),
        }
    }
}
