//! Why an era cannot be written out.

use std::io;

use crate::column::Column;
use crate::error::Error;
use crate::slot::Slot;

/// Every way in which the export of an era can fail. No file that is half an era is of any use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Its last slot would be past the last possible one.
    #[error("there is no era {era}: its slots would be past the last possible slot")]
    NoSuchEra {
        /// The era.
        era: u64,
    },

    /// `bss` does not have the state that the era ends with.
    #[error("era {era} cannot be exported: bss has no state of slot {slot}, which it ends with")]
    NoState {
        /// The era.
        era: u64,
        /// The slot of its state.
        slot: Slot,
    },

    /// `bbr` says that there is a block, and `blk` does not have it.
    #[error(
        "era {era} cannot be exported: by bbr slot {slot} has a block, and blk does not have it"
    )]
    NoBlock {
        /// The era.
        era: u64,
        /// The slot.
        slot: Slot,
    },

    /// Whether a slot has a block cannot be told.
    #[error("era {era} cannot be exported: nothing proves what slot {slot} held: {why}")]
    Unproved {
        /// The era.
        era: u64,
        /// The slot.
        slot: Slot,
        /// What would prove it.
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

    /// A value is not what the era needs in its place.
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
        /// What is there.
        found: String,
    },

    /// A column cannot be read.
    #[error("era {era} cannot be exported: {column}: {source}")]
    Column {
        /// The era.
        era: u64,
        /// The column.
        column: Column,
        /// What the column says.
        #[source]
        source: Error,
    },

    /// The file cannot be written.
    #[error("era {era}: {source}")]
    Sink {
        /// The era.
        era: u64,
        /// What the sink says.
        #[source]
        source: io::Error,
    },

    /// Whoever watched asked to stop.
    #[error("the export was stopped in era {era}")]
    Stopped {
        /// The era.
        era: u64,
    },
}
