//! The errors of an export.

use std::io;

use crate::column::Column;
use crate::error::Error;
use crate::slot::Slot;

/// Why the export of an era failed. A partial file is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The era's last slot would exceed [`Slot::MAX`].
    #[error("there is no era {era}: its slots would be past the last possible slot")]
    NoSuchEra {
        /// The era.
        era: u64,
    },

    /// `bss` lacks the state at the end of the era.
    #[error("era {era} cannot be exported: bss has no state of slot {slot}, which it ends with")]
    NoState {
        /// The era.
        era: u64,
        /// The slot of its state.
        slot: Slot,
    },

    /// `blk` lacks a block that exists according to `bbr`.
    #[error(
        "era {era} cannot be exported: by bbr slot {slot} has a block, and blk does not have it"
    )]
    NoBlock {
        /// The era.
        era: u64,
        /// The slot.
        slot: Slot,
    },

    /// It cannot be determined whether a slot has a block.
    #[error("era {era} cannot be exported: nothing proves what slot {slot} held: {why}")]
    Unproved {
        /// The era.
        era: u64,
        /// The slot.
        slot: Slot,
        /// The missing evidence.
        why: &'static str,
    },

    /// A block is blinded.
    #[error(
        "era {era} cannot be exported: blk has a blinded block at slot {slot}: in the place of its \
         execution payload is that one's header, as Lighthouse stores it, and an .era file needs \
         the payload"
    )]
    Blinded {
        /// The era.
        era: u64,
        /// The slot.
        slot: Slot,
    },

    /// A value does not fit the era.
    #[error("era {era} cannot be exported: {column}, slot {slot}: wanted {wanted}, found {found}")]
    Unfit {
        /// The era.
        era: u64,
        /// The column.
        column: Column,
        /// The slot.
        slot: Slot,
        /// What the era needs.
        wanted: String,
        /// What was found.
        found: String,
    },

    /// A column cannot be read.
    #[error("era {era} cannot be exported: {column}: {source}")]
    Column {
        /// The era.
        era: u64,
        /// The column.
        column: Column,
        /// The column's error.
        #[source]
        source: Error,
    },

    /// The file cannot be written.
    #[error("era {era}: {source}")]
    Sink {
        /// The era.
        era: u64,
        /// The sink's error.
        #[source]
        source: io::Error,
    },

    /// The observer stopped the export.
    #[error("the export was stopped in era {era}")]
    Stopped {
        /// The era.
        era: u64,
    },
}
