//! States that are not kept: replayed from the nearest one that is.

use std::borrow::Cow;
use std::sync::Arc;

use coldstore::{Slot, Snapshot};
use coldstore_consensus::transition::BeaconState;
use coldstore_consensus::{Malformed, StateFields};

use super::columns::{Columns, FieldBytes, VALIDATOR_BYTES, Validators};
use super::path::PathFault;
use super::{How, StateRef, StateView, States};
use crate::replay::{Check, Replay, ReplayError};

/// Stored states that are tried, each below a record that is missing or damaged.
const MAX_TRIES: usize = 64;

impl<S: Snapshot> States<S> {
    /// The state of a slot by a replay from the nearest state that can be read. `fault` is why the state itself
    /// cannot.
    pub(super) fn replayed(
        &self,
        slot: Slot,
        fault: Option<PathFault>,
        watch: &mut dyn FnMut(Slot),
    ) -> Result<StateView<'_, S>, ReplayError> {
        let mut instead_of = None;
        let replayed = self.nearest(slot, fault, &mut instead_of).and_then(|nearest| {
            let base = nearest.slot();
            let replayed = self.replayed_from(nearest, slot, watch);
            replayed.or_else(|error| self.without(base, slot, watch).ok_or(error))
        });
        match (replayed, instead_of) {
            (Ok(view), None) => Ok(view),
            (Ok(mut view), Some(fault)) => {
                if let PathFault::Whole { slot, .. } = &fault {
                    view.wrong_base.get_or_insert(*slot);
                }
                if let How::Replayed { instead_of, .. } = &mut view.how {
                    *instead_of = Some(Arc::new(fault));
                }
                Ok(view)
            }
            (Err(_), Some(PathFault::Whole { error, .. })) => Err(*error),
            (Err(replay), Some(fault)) => {
                Err(ReplayError::Diffs { fault: Box::new(fault), replay: Box::new(replay) })
            }
            (Err(replay), None) => Err(replay),
        }
    }

    /// The nearest state up to a slot that can be read. Those above the record of a fault are passed over; the
    /// first fault is left in `instead_of`.
    fn nearest(
        &self,
        slot: Slot,
        mut fault: Option<PathFault>,
        instead_of: &mut Option<PathFault>,
    ) -> Result<StateView<'_, S>, ReplayError> {
        let mut below = Some(slot);
        for _ in 0..MAX_TRIES {
            if let Some(fault) = fault.take() {
                below = fault.slot().previous();
                let of = fault.slot();
                let is_whole = matches!(fault, PathFault::Whole { .. });
                instead_of.get_or_insert(fault);
                if is_whole && self.is_boundary(of) {
                    break;
                }
            }
            let stored = match below {
                Some(below) => self.source.stored().last_to(below)?,
                None => None,
            };
            let Some(stored) = stored else { break };
            match self.stored_at(stored) {
                Ok(Some(view)) => return Ok(view),
                Ok(None) => below = stored.previous(),
                Err(found) => fault = Some(found),
            }
        }
        Err(ReplayError::NoState { slot, next: self.source.stored().first_from(slot)? })
    }

    /// The state of a slot without the nearest stored one, if that is wrong and is not at an era's end.
    pub(super) fn without(
        &self,
        nearest: Slot,
        slot: Slot,
        watch: &mut dyn FnMut(Slot),
    ) -> Option<StateView<'_, S>> {
        if self.is_boundary(nearest) {
            return None;
        }
        // A fault of a block or a root stops the replay from the older state too.
        let wrong = self.stored_at(nearest).ok()??;
        self.check_root(&wrong).is_err().then_some(())?;
        let slots_per_era = self.preset.slots_per_era();
        let mut boundary = nearest.0 - nearest.0 % slots_per_era;
        let base = loop {
            if let Some(view) = self.stored_at(Slot(boundary)).ok()? {
                break view;
            }
            boundary = boundary.checked_sub(slots_per_era)?;
        };
        let mut view = self.replayed_from(base, slot, watch).ok()?;
        view.wrong_base = Some(nearest);
        Some(view)
    }

    fn is_boundary(&self, slot: Slot) -> bool {
        slot.0.is_multiple_of(self.preset.slots_per_era())
    }

    /// Replays the blocks after a state.
    fn replayed_from<'s>(
        &'s self,
        base: StateView<'s, S>,
        slot: Slot,
        watch: &mut dyn FnMut(Slot),
    ) -> Result<StateView<'s, S>, ReplayError> {
        let mut replay = self.replay(base.state())?;
        while replay.slot() < slot {
            watch(Slot(replay.slot().0 + 1));
            replay.step(&self.source)?;
        }
        let columns = columns_of(base.state(), replay.state())
            .map_err(|fault| ReplayError::start(slot, &fault))?;
        let records = match &base.how {
            How::Diffs { records, .. } | How::Replayed { records, .. } => records.clone(),
            How::Stored => Vec::new(),
        };
        drop(replay);
        let how = How::Replayed { base: base.slot(), records, instead_of: None };
        Ok(StateView { columns, how, ..base })
    }

    /// A replay that starts from a state. Public keys and credentials stay where that one has them.
    fn replay<'v>(&self, base: StateRef<'v>) -> Result<Replay<'v>, ReplayError> {
        let refuse = |fault: Malformed| ReplayError::start(base.slot(), &fault);
        let rules = self.rules.as_ref().ok_or(ReplayError::NoRules { slot: base.slot() })?;
        let Some(fork) = base.fork() else {
            let (wanted, found) = ("a state of a known fork", "one with another layout");
            return Err(refuse(Malformed::new(wanted, found)));
        };
        let validators = base.columns.validators();
        let changed = validators.changed.iter().copied();
        let (appended, _) = validators.appended.as_chunks::<VALIDATOR_BYTES>();
        let first = validators.base.len() / VALIDATOR_BYTES;
        let appended = (first..).zip(appended.iter().copied());
        let appended = appended.map(|(index, one)| (u32::try_from(index).unwrap_or(u32::MAX), one));
        let mut field = |name: &'static str| match name {
            "validators" => Cow::Borrowed(base.base_validators().as_flattened()),
            name => Cow::Borrowed(base.bytes_of(name).unwrap_or_default()),
        };
        let state = BeaconState::from_fields(rules, fork, &mut field, &mut changed.chain(appended));
        let state = state.map_err(refuse)?;
        Ok(Replay::start_from(Arc::clone(rules), state, Check::Boundary))
    }
}

/// The columns of a state that was replayed from another one, on the whole state of that.
fn columns_of(base: StateRef<'_>, state: &BeaconState<'_>) -> Result<Columns, Malformed> {
    let layout = StateFields::of(base.columns.preset(), state.fork());
    let fields = layout.iter().map(|field| {
        if field.name == "validators" {
            return FieldBytes::Base(0..0);
        }
        let mut bytes = Vec::new();
        state.write_field(field.name, &mut bytes);
        match base.columns.place_of(field.name) {
            Some(place) if place.bytes(base.base) == bytes => place.clone(),
            _ => FieldBytes::Own(Arc::new(bytes)),
        }
    });
    let fields = fields.collect();
    let known = base.base_validators();
    let (mut changed, mut appended) = (Vec::new(), Vec::new());
    for index in 0..state.validator_count() {
        let validator = state.encoded_validator(index);
        match known.get(index) {
            Some(known) if *known == validator => {}
            Some(_) => changed.push((u32::try_from(index).unwrap_or(u32::MAX), validator)),
            None => appended.extend_from_slice(&validator),
        }
    }
    let start = base.columns.validators().base.start;
    let shared = known.len().min(state.validator_count());
    let validators = Validators {
        base: start..start + shared * VALIDATOR_BYTES,
        changed: Arc::new(changed),
        appended: Arc::new(appended),
    };
    Columns::new(layout, Slot(state.slot()), fields, validators)
}
