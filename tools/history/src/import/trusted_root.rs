//! A state root trusted by the operator, and its text form.

use std::fmt;
use std::str::FromStr;

use coldstore::Slot;
use coldstore_consensus::Root;

/// `SLOT:0x…`: the root of the state of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedRoot {
    /// The slot.
    pub slot: Slot,
    /// `hash_tree_root` of its state.
    pub root: Root,
}

impl FromStr for TrustedRoot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("wanted SLOT:0x and 64 hex digits, found '{text}'");
        let (slot, root) = text.split_once(':').ok_or_else(wanted)?;
        let slot: Slot = slot.parse().map_err(|_| wanted())?;
        let root = root.starts_with("0x").then_some(root).ok_or_else(wanted)?;
        let root = root.parse().map_err(|_| wanted())?;
        Ok(Self { slot, root })
    }
}

impl fmt::Display for TrustedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.slot, self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_root_survives_a_round_trip_through_text() {
        let text = format!("64:0x{}", "0a".repeat(32));
        let trusted: TrustedRoot = text.parse().unwrap();
        assert_eq!(trusted, TrustedRoot { slot: Slot(64), root: Root([10; 32]) });
        assert_eq!(trusted.to_string(), text);
        let digits = "0a".repeat(32);
        for other in ["", "64", "64:0x", &digits, &format!("64:{digits}"), &format!("x:0x{digits}")]
        {
            assert!(other.parse::<TrustedRoot>().is_err(), "{other}");
        }
        assert!(format!("64:0x{}0", &digits[1..]).parse::<TrustedRoot>().is_ok());
        assert!(format!("64:0x{digits}0").parse::<TrustedRoot>().is_err());
        assert!(format!("64:0x{}g", &digits[1..]).parse::<TrustedRoot>().is_err());
    }
}
