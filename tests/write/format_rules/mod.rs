//! `FORMAT.md`, sections 1 to 5, 8, 9 and 11: the bytes, the conf, what a put may do, the order of a commit,
//! what follows a failure, checksum files, the manifest and the witness. Healing is in `tests/write/heal`, reading in
//! `tests/read/reader_rules`.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod archive;
mod conf;
mod data_file;
mod failure;
mod frames;
mod manifest;
mod names;
mod offset_file;
mod order;
mod puts;
mod records;
mod ssz;
mod sums;
mod witness;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use coldstore::{
    ArchiveWriter, ArchiveWriterOptions, Column, ColumnSpec, Compression, CorruptItem, Error,
    ErrorKind, FileId, ReaderOptions, Slot, Writer, WriterOptions,
};
use data_file::*;
use test_support::*;
