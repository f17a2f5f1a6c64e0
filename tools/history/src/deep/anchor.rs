//! The roots that the eras of an archive are compared with.

use coldstore::{Error, Result, Slot};
use coldstore_consensus::{HashedState, Preset, Root, StateFault, hash_state};

use super::Views;
use super::report::{NotProved, PassedOver};
use crate::import::{Anchor, Trust};

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
    /// Finds the newest state of a known fork. A newer state that cannot be hashed must not prevent the
    /// proof of older eras: every archive has such states after the next fork.
    pub(super) fn of(views: &Views, preset: Preset, trust: Trust) -> Result<Self> {
        let mut known = Self { trust, own: None, passed_over: PassedOver::default() };
        let Some(view) = &views.snapshots else { return Ok(known) };
        for record in view.range(..).rev() {
            let record = match record {
                Ok(record) => record,
                Err(Error::Corrupt(_)) => {
                    known.passed_over.damaged += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let slot = record.slot();
            if known.trust.proves_up_to() >= Some(slot) {
                break;
            }
            match hash_state(preset, &mut record.stored()) {
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
        Some((root, format!("the state of slot {slot} in bss")))
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
