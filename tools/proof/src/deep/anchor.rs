//! What the eras of an archive are compared with.

use coldstore::Slot;

use super::Views;
use crate::Root;
use crate::import::{Anchor, Trust};
use crate::preset::Preset;
use crate::state::{HashedState, hash_state};

/// The roots of eras, from a trusted state or else from the archive's latest.
#[derive(Debug)]
pub(super) struct Known {
    trust: Trust,
    /// The latest state in `bss`, unless a trusted one is as late.
    latest: Option<(Slot, HashedState)>,
}

impl Known {
    pub(super) fn of(views: &Views, preset: Preset, trust: Trust) -> Self {
        let latest = || {
            let view = views.snapshots.as_ref()?;
            let record = view.at_or_before(Slot::MAX).ok()??;
            if trust.proves_up_to() >= Some(record.slot()) {
                return None;
            }
            let state = hash_state(preset, &mut record.stored()).ok()?;
            Some((record.slot(), state))
        };
        Self { latest: latest(), trust }
    }

    /// The root of an era's roots, and who says so.
    pub(super) fn era_root(&self, era: u64) -> Option<(Root, String)> {
        if let Some(root) = self.trust.era_root(era) {
            return Some((root, "the state of the trusted root".to_owned()));
        }
        let (slot, state) = self.latest.as_ref()?;
        let root = state.body.as_ref()?.accumulators.era_root(era)?;
        Some((root, format!("the state of slot {slot} in bss")))
    }

    /// The state of a slot, where it was hashed already.
    pub(super) fn hashed(&self, slot: Slot) -> Option<HashedState> {
        let (_, state) = self.latest.as_ref().filter(|(latest, _)| *latest == slot)?;
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
}
