//! `FORMAT.md`, section 7: what a view shows, what it does not, and that it stays as it is.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod missing_and_short;
mod read_only;
mod safe;
mod scans;
mod views;
mod visibility;

use std::fs;
use std::ops::Bound;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use coldstore::{Error, ReaderOptions, Slot, View, Writer, WriterOptions};
use test_support::*;

const BASE: [u64; 5] = [1, 5, 9000, 17_000, 17_010];

/// A column with [`BASE`], V2 or V3.
fn base(dir: &Path, backfill: bool) -> Content {
    column(dir, backfill, BASE);
    content(BASE)
}

/// Every way of asking a view for this slot gives an error; they are all returned.
#[track_caller]
fn errors_of(view: &View, slot: u64, context: &str) -> Vec<Error> {
    let slot = Slot(slot);
    let mut buffer = Vec::new();
    let in_scan = |error: Option<Result<(), Error>>| {
        error.unwrap_or_else(|| panic!("{context}: a scan leaves slot {slot} out"))
    };
    [
        ("get", view.get(slot).map(drop)),
        ("get_stored", view.get_stored(slot).map(drop)),
        ("get_into", view.get_into(slot, &mut buffer).map(drop)),
        ("record", view.record(slot).map(drop)),
        ("owned", view.owned(slot).map(drop)),
        ("range", in_scan(view.range(slot..=slot).next().map(|item| item.map(drop)))),
        ("range back", in_scan(view.range(slot..=slot).next_back().map(|item| item.map(drop)))),
    ]
    .into_iter()
    .map(|(call, result)| result.err().unwrap_or_else(|| panic!("{context}: {call} is no error")))
    .collect()
}

/// Every way of asking for this slot is `Corrupt` in this file at this offset.
#[track_caller]
fn assert_slot_corrupt(view: &View, slot: u64, file: &str, offset: u64, context: &str) {
    for error in errors_of(view, slot, context) {
        assert_corrupt(&error, file, context);
        let Error::Corrupt(corruption) = &error else { unreachable!() };
        assert_eq!(corruption.offset, Some(offset), "{context}: {error}");
        assert!(error.to_string().contains(file), "{context}: {error}");
    }
}
