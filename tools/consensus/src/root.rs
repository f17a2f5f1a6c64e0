//! A `hash_tree_root` and its text form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A `hash_tree_root`. Its text form is `0x` and 64 hex digits; parsing accepts it without the `0x`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Root(pub [u8; 32]);

/// Text that is not a root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a root has 64 hex digits, found '{0}'")]
pub struct NotARoot(String);

impl Root {
    /// The root in a slice of exactly 32 bytes, else `None`.
    #[must_use]
    pub fn of_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The first four bytes in hex, as in the names of `.era` files.
    #[must_use]
    pub fn short(&self) -> String {
        const_hex::encode(&self.0[..4])
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(const_hex::Buffer::<32, true>::new().format(&self.0))
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Root {
    type Err = NotARoot;

    fn from_str(text: &str) -> Result<Self, NotARoot> {
        let bytes = const_hex::decode_to_array(text).map_err(|_| NotARoot(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

impl From<[u8; 32]> for Root {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Root {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Root {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_survives_a_round_trip_through_text() {
        let root = Root(std::array::from_fn(|index| u8::try_from(index * 8).unwrap()));
        let text = root.to_string();
        assert_eq!(&text[..12], "0x0008101820");
        assert_eq!(text.len(), 66);
        assert_eq!(root.short(), "00081018");
        assert_eq!(text.parse(), Ok(root));
        assert_eq!(text[2..].to_uppercase().parse(), Ok(root));
        let json = serde_json::to_string(&root).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Root>(&json).unwrap(), root);
        for wrong in ["", "0x", "0x12", &text[..65], &format!("{text}0"), &"+1".repeat(32)] {
            let refused = wrong.parse::<Root>().unwrap_err().to_string();
            assert_eq!(refused, format!("a root has 64 hex digits, found '{wrong}'"));
        }
        assert_eq!(Root::of_slice(&root.0), Some(root));
        assert_eq!(Root::of_slice(&root.0[1..]), None);
    }
}
