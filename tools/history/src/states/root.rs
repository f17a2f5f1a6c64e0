//! Roots of states, with the tree of the validators that were hashed last.

use std::ops::Range;
use std::sync::PoisonError;

use coldstore::{Slot, Snapshot};
use coldstore_consensus::{Malformed, Root, ValidatorsTree, root_of_fields};

use super::columns::{StateRef, VALIDATOR_BYTES, Validators};
use super::{StateView, States};
use crate::replay::ReplayError;

/// A tree of validators, and whose it is.
#[derive(Debug, Default)]
pub(crate) struct ValidatorsRoot {
    /// The slot of the whole state, and the validators on it.
    of: Option<(Slot, Validators)>,
    tree: ValidatorsTree,
}

impl ValidatorsRoot {
    /// The root of a state's validators; hashes those that differ from the ones before.
    fn update(&mut self, whole: Slot, state: StateRef<'_>) -> Result<Root, Malformed> {
        let validators = state.columns.validators();
        let changed = match self.of.take() {
            Some((of, before)) if of == whole => differing(&before, validators),
            _ => {
                self.tree = ValidatorsTree::default();
                Vec::new()
            }
        };
        let append = |range: Range<usize>, out: &mut Vec<u8>| {
            state.validators(range).for_each(|validator| out.extend_from_slice(validator));
        };
        let preset = state.columns.preset();
        let root = self.tree.update(preset, validators.len(), changed, &append)?;
        self.of = Some((whole, validators.clone()));
        Ok(root)
    }
}

/// The validators of both lists that differ, ascending; `before` is on the same whole state.
fn differing(before: &Validators, now: &Validators) -> Vec<u32> {
    let (ours, theirs) = (&before.changed, &now.changed);
    let (mut left, mut right) = (ours.iter().peekable(), theirs.iter().peekable());
    let mut differing = Vec::new();
    loop {
        let next = match (left.peek(), right.peek()) {
            (Some((index, _)), Some((other, _))) => *index.min(other),
            (Some((index, _)), None) | (None, Some((index, _))) => *index,
            (None, None) => break,
        };
        let [was, is] = [&mut left, &mut right].map(|list| list.next_if(|(at, _)| *at == next));
        if was != is {
            differing.push(next);
        }
    }
    let [first, other] = [before, now].map(|validators| validators.base.len() / VALIDATOR_BYTES);
    let [was, is] =
        [before, now].map(|validators| validators.appended.as_chunks::<VALIDATOR_BYTES>().0);
    if first == other {
        let pairs = (first..).zip(was.iter().zip(is));
        let indices = pairs.filter(|(_, (was, is))| was != is).map(|(index, _)| index);
        differing.extend(indices.filter_map(|index| u32::try_from(index).ok()));
    } else {
        // A registry shorter than that of the whole state: never on one chain.
        let from = first.min(other);
        differing.retain(|index| (*index as usize) < from);
        let indices = from..before.len().min(now.len());
        differing.extend(indices.filter_map(|index| u32::try_from(index).ok()));
    }
    differing
}

impl<S: Snapshot> States<S> {
    /// Compares the root of a state with the one in `bsr`, and returns it.
    pub(super) fn check_root(&self, view: &StateView<'_, S>) -> Result<Root, ReplayError> {
        let slot = view.slot();
        let wanted = self.source.state_root(slot)?.ok_or(ReplayError::NoStateRoot { slot })?;
        match view.root()? {
            found if found == wanted => Ok(found),
            found => Err(ReplayError::WrongStateRoot { slot, wanted, found, hashed: true }),
        }
    }

    /// `hash_tree_root` of a state that is on the whole state of a slot.
    pub(super) fn root_of(&self, whole: Slot, state: StateRef<'_>) -> Result<Root, ReplayError> {
        let refuse = |fault: Malformed| ReplayError::start(state.slot(), &fault);
        let Some(fork) = state.fork() else {
            let (wanted, found) = ("a state of a known fork", "one with another layout");
            return Err(refuse(Malformed::new(wanted, found)));
        };
        let bytes = ValidatorsTree::bytes_for(state.validator_count());
        let kept = self.decoded.validators_root(bytes);
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let validators = kept.update(whole, state).map_err(refuse)?;
        drop(kept);
        let field = |name| state.field(name).unwrap_or_default();
        root_of_fields(state.columns.preset(), fork, validators, &field).map_err(refuse)
    }
}
