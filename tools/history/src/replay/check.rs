//! How often a replay hashes its state.

use std::fmt;
use std::str::FromStr;

/// How often a replay compares the root of its own state with the one in `bsr`. The roots of the blocks, and
/// the state roots that they name, are compared at every block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Never: the caller compares the state at its end, by its bytes or by its root.
    #[default]
    Boundary,
    /// At the first slot of every epoch.
    Epoch,
    /// At every slot.
    Slot,
}

impl Check {
    const ALL: [Self; 3] = [Self::Boundary, Self::Epoch, Self::Slot];

    /// Whether the root at this slot is compared.
    pub(crate) fn is_at(self, slot: u64, slots_per_epoch: u64) -> bool {
        match self {
            Self::Boundary => false,
            Self::Epoch => slot.is_multiple_of(slots_per_epoch),
            Self::Slot => true,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boundary => "boundary",
            Self::Epoch => "epoch",
            Self::Slot => "slot",
        })
    }
}

impl FromStr for Check {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|check| check.to_string() == name);
        found.ok_or_else(|| format!("'{name}' is none of boundary, epoch, slot"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_goes_by_its_name_and_is_due_at_slots_or_epochs() {
        for (name, due) in
            [("boundary", [false; 3]), ("epoch", [true, false, true]), ("slot", [true; 3])]
        {
            let check: Check = name.parse().unwrap();
            assert_eq!(check.to_string(), name);
            assert_eq!([0, 7, 8].map(|slot| check.is_at(slot, 8)), due, "{name}");
        }
        assert!("era".parse::<Check>().unwrap_err().contains("boundary, epoch, slot"));
    }
}
