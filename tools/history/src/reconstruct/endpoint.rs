//! The stored states at which replays start and end: whole, or as diffs.

use std::borrow::Cow;
use std::sync::Arc;

use coldstore::{Slot, View};
use coldstore_consensus::Malformed;
use coldstore_consensus::transition::{BeaconState, ChainRules};

use crate::replay::{Check, Replay, ReplayError};
use crate::states::mirror::is_equal;
use crate::states::{Columns, StateView, States};

/// A stored state at which a replay starts, or with which it is compared.
#[derive(Debug)]
pub(super) enum Endpoint<'a> {
    Whole(Slot, Cow<'a, [u8]>),
    Diffs(StateView<'a, View>),
}

impl<'a> Endpoint<'a> {
    /// Reads the stored state of a slot.
    pub(super) fn read(states: &'a States<View>, slot: Slot) -> Result<Self, ReplayError> {
        if let Some(whole) = states.source().snapshots.get(slot)? {
            return Ok(Self::Whole(slot, whole));
        }
        let kept = states.stored_at(slot)?;
        let kept = kept.ok_or_else(|| ReplayError::NoBase { slot, bases: vec![slot] })?;
        Ok(Self::Diffs(kept))
    }

    /// The bytes of the whole state on which it is.
    pub(super) fn base(&self) -> &[u8] {
        match self {
            Self::Whole(_, whole) => whole,
            Self::Diffs(view) => view.state().base,
        }
    }

    /// The columns of the state on the whole one.
    pub(super) fn columns(&self, rules: &ChainRules) -> Result<Columns, ReplayError> {
        match self {
            Self::Whole(slot, whole) => Columns::of_raw(rules.preset(), whole)
                .map_err(|fault| ReplayError::start(*slot, &fault)),
            Self::Diffs(view) => Ok(view.state().columns.clone()),
        }
    }

    /// A replay that starts from the state.
    pub(super) fn replay(
        &self,
        rules: &Arc<ChainRules>,
        check: Check,
    ) -> Result<Replay<'a>, ReplayError> {
        let (slot, rules) = (self.slot(), Arc::clone(rules));
        match self {
            Self::Whole(_, whole) => Replay::start(rules, slot, whole.clone(), check),
            Self::Diffs(view) => {
                let state = decoded(&rules, view).map_err(|fault| ReplayError::start(slot, &fault));
                Ok(Replay::start_from(rules, state?, check))
            }
        }
    }

    fn slot(&self) -> Slot {
        match self {
            Self::Whole(slot, _) => *slot,
            Self::Diffs(view) => view.slot(),
        }
    }

    /// Compares the state of a replay with this one.
    pub(super) fn compare_with(&self, replay: &Replay<'_>) -> Result<(), ReplayError> {
        match self {
            Self::Whole(_, whole) => replay.compare_with(whole),
            Self::Diffs(view) if is_equal(replay.state(), view.state()) => Ok(()),
            Self::Diffs(view) => {
                let mut encoded = Vec::new();
                // Writing to a vector does not fail.
                let written = view.write_ssz(&mut encoded);
                debug_assert!(written.is_ok());
                replay.compare_with(&encoded)
            }
        }
    }
}

/// The state in memory; public keys and credentials stay in the whole one.
fn decoded<'a>(
    rules: &Arc<ChainRules>,
    view: &StateView<'a, View>,
) -> Result<BeaconState<'a>, Malformed> {
    let (state, base) = (view.state(), view.base_bytes());
    let validators = state.columns.validators();
    let mut field = |name: &'static str| match name {
        "validators" => match base {
            Cow::Borrowed(base) => Cow::Borrowed(&base[validators.base.clone()]),
            Cow::Owned(base) => Cow::Owned(base[validators.base.clone()].to_vec()),
        },
        name => Cow::Owned(state.bytes_of(name).unwrap_or_default().to_vec()),
    };
    let appended = (state.base_validators().len()..).zip(validators.appended.as_chunks().0);
    let appended = appended.map(|(index, one)| (u32::try_from(index).unwrap_or(u32::MAX), *one));
    let mut changed = validators.changed.iter().copied().chain(appended);
    let unknown = || Malformed::new("a state of a known fork", "one with another layout");
    let fork = state.fork().ok_or_else(unknown)?;
    BeaconState::from_fields(rules, fork, &mut field, &mut changed)
}
