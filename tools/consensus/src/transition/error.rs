//! Why a block, or a slot, cannot be applied to a state.

use std::fmt::Display;

/// A rule of the transition that a block, a state or a config does not keep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slot {slot}: {step}: wanted {wanted}, found {found}")]
#[non_exhaustive]
pub struct TransitionError {
    /// The slot of the state at that moment.
    pub slot: u64,
    /// The specification's function that refuses, such as `process_block_header`.
    pub step: &'static str,
    /// What the rule requires.
    pub wanted: String,
    /// What is there.
    pub found: String,
}

pub(crate) type Result<T, E = Box<TransitionError>> = std::result::Result<T, E>;

/// An error whose slot is filled in by [`AtSlot::at`].
pub(crate) fn refused(
    step: &'static str,
    wanted: impl Display,
    found: impl Display,
) -> Box<TransitionError> {
    let (wanted, found) = (wanted.to_string(), found.to_string());
    Box::new(TransitionError { slot: 0, step, wanted, found })
}

/// Refuses unless a condition holds.
pub(crate) fn ensure(
    holds: bool,
    step: &'static str,
    wanted: impl FnOnce() -> String,
    found: impl FnOnce() -> String,
) -> Result<()> {
    if holds { Ok(()) } else { Err(refused(step, wanted(), found())) }
}

/// Refuses unless two values are equal.
pub(crate) fn ensure_equal<T: Copy + PartialEq + Display>(
    step: &'static str,
    what: &str,
    wanted: T,
    found: T,
) -> Result<()> {
    if wanted == found {
        return Ok(());
    }
    Err(refused(step, format_args!("{what} {wanted}"), found))
}

/// Fills in the slot of an error.
pub(crate) trait AtSlot<T> {
    fn at(self, slot: u64) -> Result<T>;
}

impl<T> AtSlot<T> for Result<T> {
    fn at(self, slot: u64) -> Self {
        self.map_err(|mut error| {
            error.slot = slot;
            error
        })
    }
}

/// A sum of the specification's `uint64`, which must not overflow.
pub(crate) fn add(step: &'static str, left: u64, right: u64) -> Result<u64> {
    left.checked_add(right).ok_or_else(|| overflow(step, left, right))
}

#[cold]
fn overflow(step: &'static str, left: u64, right: u64) -> Box<TransitionError> {
    refused(step, "a sum below 2^64", format_args!("{left} + {right}"))
}
