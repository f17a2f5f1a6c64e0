//! The slot stream: a column's items as an e2store file.
//!
//! The version record, then for each item a record of type `sl` with the slot as 8 bytes little-endian,
//! and a record of the column's own type with the *uncompressed* value. Slots ascend. Another version
//! record may precede an item, as in any e2store file, so streams can be concatenated.

// Numbers from a stream are untrusted: arithmetic here must neither overflow nor panic.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod decoder;
mod encoder;
mod stream_error;
#[cfg(test)]
mod tests;

use coldstore::format::record::HEADER_BYTES;

pub use decoder::{Item, ItemHead, Parser, SlotStream};
pub use encoder::{item_head, write_item, write_start};
pub use stream_error::StreamError;

const SLOT_TYPE: [u8; 2] = *b"sl";
const SLOT_BYTES: u32 = 8;
const VERSION_TYPE: [u8; 2] = *b"e2";

/// Everything but the values comes in words of this many bytes: record headers and slots.
pub const WORD_BYTES: usize = 8;
const _: () = assert!(HEADER_BYTES == WORD_BYTES as u64 && SLOT_BYTES as usize == WORD_BYTES);
