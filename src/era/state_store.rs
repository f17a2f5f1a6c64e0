//! The interface of a store of boundary states in another form than whole in `bss`.

use std::fmt;
use std::io::Read;

use crate::error::Result;
use crate::slot::Slot;
use crate::write::Writer;

/// Boundary states, some of them in another form than whole in `bss`. Errors are those of the columns and
/// streams.
#[expect(clippy::missing_errors_doc, reason = "the same for all methods")]
pub trait StateStore: fmt::Debug + Send {
    /// The highest slot whose state is there in the other form.
    fn highest(&self) -> Option<Slot>;

    /// Whether the state of a slot is there in the other form.
    fn contains(&self, slot: Slot) -> Result<bool>;

    /// Compares the state of a slot in the other form; `false` if it is not there. Another state is an
    /// [`Error::Conflict`](crate::Error::Conflict).
    fn holds(&self, slot: Slot, state: &mut dyn Read) -> Result<bool>;

    /// The SSZ of a state that is there in the other form. Its reads fail with an [`Error`](crate::Error) inside.
    fn state(&self, slot: Slot) -> Result<Box<dyn Read + '_>>;

    /// Stores a state of `byte_len` bytes in one of the two columns. On return it is durable, with all that
    /// reading it back needs. Returns `false` if it was there.
    fn store(
        &mut self,
        slot: Slot,
        byte_len: u64,
        state: &mut dyn Read,
        snapshots: &mut Writer,
        diffs: Option<&mut Writer>,
    ) -> Result<bool>;
}
