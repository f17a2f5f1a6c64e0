//! Which states are stored as diffs, and which state each refers to.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::str::FromStr;

use coldstore::{Result, Slot};

use crate::states::hierarchy::{Hierarchy, Layer};

/// The states to store as diffs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Those of the first slots of all epochs.
    Epochs,
    /// All of them.
    Slots,
    /// Those of the slots that are multiples of this number.
    Every(NonZeroU64),
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epochs => f.write_str("epochs"),
            Self::Slots => f.write_str("slots"),
            Self::Every(slots) => write!(f, "every:{slots}"),
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let every = || text.strip_prefix("every:")?.parse().ok().map(Self::Every);
        match text {
            "epochs" => Ok(Self::Epochs),
            "slots" => Ok(Self::Slots),
            _ => every().ok_or_else(|| format!("'{text}' is none of epochs, slots, every:N")),
        }
    }
}

/// The slots whose states are stored as diffs, by the archive's hierarchy: those that are kept, and those
/// to which the diffs of kept ones refer.
#[derive(Clone, Debug)]
pub(super) struct Diffs {
    pub(super) hierarchy: Hierarchy,
    /// The kept slots are the multiples of this number.
    distance: u64,
}

impl Diffs {
    pub(super) fn new(keep: Keep, hierarchy: Hierarchy, slots_per_epoch: u64) -> Self {
        let distance = match keep {
            Keep::Epochs => slots_per_epoch,
            Keep::Slots => 1,
            Keep::Every(slots) => slots.get(),
        };
        Self { hierarchy, distance }
    }

    /// Whether a diff belongs at this slot. In a flat layer that is so where a kept slot follows before the
    /// layer's next one, up to `end`.
    pub(super) fn contains(&self, slot: Slot, end: Slot) -> bool {
        match self.hierarchy.layer(slot) {
            Layer::Raw => false,
            _ if slot.0.is_multiple_of(self.distance) => true,
            Layer::Flat(exponent) => {
                let next_kept = (slot.0 + 1).next_multiple_of(self.distance);
                next_kept <= end.0 && next_kept < slot.0 + (1 << exponent)
            }
            Layer::Chained(_) | Layer::None => false,
        }
    }

    /// The slots of diffs in a range, ascending.
    pub(super) fn within(&self, slots: &RangeInclusive<u64>) -> impl Iterator<Item = Slot> + '_ {
        let end = Slot(*slots.end());
        slots.clone().map(Slot).filter(move |slot| self.contains(*slot, end))
    }

    /// The slot to which a diff refers: the first one by the hierarchy whose state is there.
    pub(super) fn base(
        &self,
        slot: Slot,
        mut is_there: impl FnMut(Slot) -> Result<bool>,
    ) -> Result<Option<Slot>> {
        for base in self.hierarchy.bases(slot) {
            if is_there(base)? {
                return Ok(Some(base));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diffs(keep: &str) -> Diffs {
        let hierarchy = Hierarchy::new("11,6,4+3,0".parse().unwrap()).with_base(Slot(192));
        Diffs::new(keep.parse().unwrap(), hierarchy, 8)
    }

    fn within(keep: &str, slots: RangeInclusive<u64>) -> Vec<u64> {
        diffs(keep).within(&slots).map(|slot| slot.0).collect()
    }

    #[test]
    fn a_choice_goes_by_its_name() {
        for name in ["epochs", "slots", "every:7"] {
            assert_eq!(name.parse::<Keep>().unwrap().to_string(), name);
        }
        for wrong in ["", "every", "every:", "every:0", "epoch", "7"] {
            let message = wrong.parse::<Keep>().unwrap_err();
            assert_eq!(message, format!("'{wrong}' is none of epochs, slots, every:N"));
        }
    }

    #[test]
    fn kept_slots_and_what_they_refer_to_are_stored() {
        assert_eq!(within("epochs", 60..=81), [64, 72, 80]);
        assert_eq!(within("slots", 60..=66), [60, 61, 62, 63, 64, 65, 66]);
        // Keyframes only where a kept slot follows them.
        assert_eq!(within("every:40", 1..=200), [32, 40, 64, 80, 112, 120, 128, 160, 200]);
        assert_eq!(within("every:40", 1..=110), [32, 40, 64, 80]);
        assert_eq!(within("every:128", 1..=300), [128, 256]);
        // Raw states.
        assert_eq!(within("slots", 191..=193), [191, 193]);
        assert_eq!(within("slots", 2047..=2049), [2047, 2049]);
    }

    #[test]
    fn a_diff_refers_to_the_nearest_state_that_is_there() {
        let base = |slot, there: &[u64]| {
            let found = diffs("slots").base(Slot(slot), |base| Ok(there.contains(&base.0)));
            found.unwrap().map(|slot| slot.0)
        };
        assert_eq!(base(87, &[86, 80, 64]), Some(86));
        assert_eq!(base(87, &[72, 80, 64]), Some(80));
        assert_eq!(base(87, &[64, 0]), Some(64));
        assert_eq!(base(88, &[87, 80]), Some(80));
        assert_eq!(base(200, &[64, 192, 0]), Some(192));
        assert_eq!(base(87, &[85]), None);
    }
}
