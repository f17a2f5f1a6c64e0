//! The roots that the eras of an archive are compared with.

use coldstore::{Error, Result, Slot, Snapshot as _, View};
use coldstore_consensus::{HashedState, Preset, Root, StateFault, hash_state};

use super::Views;
use super::report::{NotProved, PassedOver};
use crate::import::{Anchor, Trust};
use crate::states::{PathFault, States};

/// The roots of eras, from a trusted state or else from a state in the archive.
#[derive(Debug)]
pub(super) struct Known {
    trust: Trust,
    /// The newest state in `bss` that can be hashed, unless a trusted one is as new.
    own: Option<(Slot, HashedState)>,
    /// The newer states in `bss`, which cannot be hashed.
    passed_over: PassedOver,
}

impl Known {
    /// Finds the newest state of a known fork: whole in `bss`, or at the boundary of an era and rebuilt from
    /// diffs in `bsd`. A newer state that cannot be hashed must not prevent the proof of older eras: every
    /// archive has such states after the next fork.
    pub(super) fn of(
        views: &Views,
        states: Option<&States<View>>,
        preset: Preset,
        trust: Trust,
    ) -> Result<Self> {
        let mut known = Self { trust, own: None, passed_over: PassedOver::default() };
        let mut whole = views.snapshots.iter().flat_map(|view| view.range(..).rev()).peekable();
        let diffs = states.and_then(|states| states.source().diffs.as_ref());
        let mut boundaries =
            diffs.into_iter().flat_map(|view| boundaries(view, preset.slots_per_era())).peekable();
        loop {
            let is_rebuilt = match (whole.peek(), boundaries.peek()) {
                (Some(Ok(record)), Some(slot)) => *slot > record.slot(),
                (None, Some(_)) => true,
                _ => false,
            };
            let (slot, hashed) = if is_rebuilt {
                let (Some(slot), Some(states)) = (boundaries.next(), states) else { break };
                match states.stored_at(slot) {
                    Ok(Some(view)) => (slot, view.hashed()),
                    Err(PathFault::Storage { error: error @ Error::Io(_), .. }) => {
                        return Err(error);
                    }
                    Ok(None) | Err(_) => {
                        known.passed_over.damaged += 1;
                        continue;
                    }
                }
            } else {
                match whole.next() {
                    None => break,
                    Some(Ok(record)) => (record.slot(), hash_state(preset, &mut record.stored())),
                    Some(Err(Error::Corrupt(_))) => {
                        known.passed_over.damaged += 1;
                        continue;
                    }
                    Some(Err(error)) => return Err(error),
                }
            };
            if known.trust.proves_up_to() >= Some(slot) {
                break;
            }
            match hashed {
                Ok(state)
                    if state.prefix.slot != slot.0 || state.contradiction(preset).is_some() =>
                {
                    known.passed_over.damaged += 1;
                }
                Ok(state) if state.body.is_none() => known.passed_over.of_unknown_forks += 1,
                Ok(state) => {
                    known.own = Some((slot, state));
                    break;
                }
                Err(StateFault::UnknownLayout(_)) => known.passed_over.of_unknown_layout += 1,
                Err(_) => known.passed_over.damaged += 1,
            }
        }
        Ok(known)
    }

    /// The root of an era's roots, and its source.
    pub(super) fn era_root(&self, era: u64) -> Option<(Root, String)> {
        if let Some(root) = self.trust.era_root(era) {
            return Some((root, "the state of the trusted root".to_owned()));
        }
        let (slot, state) = self.own.as_ref()?;
        let root = state.body.as_ref()?.accumulators.era_root(era)?;
        Some((root, format!("the state of slot {slot} in the archive")))
    }

    /// The state of a slot, if already hashed.
    pub(super) fn hashed(&self, slot: Slot) -> Option<HashedState> {
        let (_, state) = self.own.as_ref().filter(|(own, _)| *own == slot)?;
        Some(state.clone())
    }

    pub(super) fn is_trusted(&self, era: u64) -> bool {
        self.trust.era_root(era).is_some()
    }

    pub(super) fn trusted_state_root(&self, slot: Slot) -> Option<&Root> {
        self.trust.state_root(slot)
    }

    pub(super) fn anchor(&self) -> Anchor {
        self.trust.anchor()
    }

    pub(super) fn own_slot(&self) -> Option<Slot> {
        self.own.as_ref().map(|(slot, _)| *slot)
    }

    pub(super) fn passed_over(&self) -> PassedOver {
        self.passed_over
    }

    /// Why no era is proved.
    pub(super) fn why_not(&self) -> NotProved {
        let newest = self.trust.proves_up_to().max(self.own_slot());
        match newest {
            Some(slot) => NotProved::NoEra { slot },
            None if self.passed_over.count() == 0 => NotProved::NoState,
            None => NotProved::NoKnownState(self.passed_over),
        }
    }
}

/// The boundaries of eras that a column has, descending. Unreadable tables end it.
fn boundaries(view: &View, slots_per_era: u64) -> impl Iterator<Item = Slot> {
    let mut next = view.highest_written_slot();
    let below = move || {
        let last = view.last_to(next?).ok()??;
        let boundary = Slot(last.0 - last.0 % slots_per_era);
        next = boundary.previous();
        Some(boundary)
    };
    std::iter::from_fn(below).filter(|slot| matches!(view.contains(*slot), Ok(true)))
}
