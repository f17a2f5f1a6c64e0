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

    /// A column lacks the era's state, a block that exists according to `bbr` or its execution payload, or the
    /// root that would prove whether a slot has a block.
    #[error("era {era} cannot be exported: {what}")]
    Missing {
        /// The era.
        era: u64,
        /// The slot of what is missing.
        slot: Slot,
        /// What is missing, with the slot.
        what: String,
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
