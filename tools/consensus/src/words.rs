//! How roots and places are written in errors.

use std::fmt;

use crate::Root;

/// A root as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A root as people write it, in a string.
#[must_use]
pub fn hex(root: &Root) -> String {
    Hex(root).to_string()
}
