//! The one folder with `unsafe` code, and the one that maps files.
//!
//! A [`SlotMap`] is the committed part of one data file with its offset table; a [`MapIndex`] holds
//! the maps of a snapshot by file. What leaves this folder is safe: a slice that ends at the bound,
//! and entries loaded one by one. A `SlotMap` can also be made from bytes in memory, so everything
//! above can be tested without a file.
//!
//! # Why it is sound
//! The caller of [`Reader::open_mapped`](crate::Reader::open_mapped) promises that only writers of this format
//! change the files. Under that promise
//! * bytes of a data file below the bound never change, so a `&[u8]` of them is sound; no slice
//!   reaches past the bound, where a writer appends;
//! * a file never becomes shorter than a bound, so no access faults;
//! * entries of an offset file do change. They are only loaded as atomics: relaxed, 8 bytes wide,
//!   from memory that is mapped read-only. The standard library guarantees such loads on 64-bit
//!   targets ([`std::sync::atomic`], "Atomic accesses to read-only memory"); `lib.rs` refuses to
//!   compile for other targets.
//!
//! Only [`SlotMap`] holds raw pointers, with the owner of what they lead to, and a leaf copies of
//! them, beside the maps that they are of.
#![allow(unsafe_code)]

mod index;
mod mapping;
mod plain;
mod syscalls;

pub(crate) use index::{Leaf, MapIndex};
pub(crate) use mapping::{MappedData, MappedTable, Part, SlotMap};
pub(crate) use syscalls::begin_flush;
