//! `FORMAT.md`, section 6: what opening for writing does about what a crash left, in every window of
//! section 5.2, and what it refuses to touch. Four of the tests come with the specification and bear
//! its names.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod by_name;
mod flushes;
mod healed;
mod refused;
mod windows;

use std::fs;
use std::path::{Path, PathBuf};

use coldstore::{Error, HealAction, HealChange, Slot, Writer, WriterOptions};
use test_support::*;

/// Opens for writing, and checks that the dry run said the same before, that a second opening finds
/// nothing, and that a reader was shown the same before and after.
#[track_caller]
fn heal(dir: &Path, backfill: bool, wanted: &Content, context: &str) -> Vec<HealAction> {
    assert_reads(dir, wanted, &format!("{context}: before healing"));
    let before = files_of(dir);
    let dry = coldstore::inspect(dir).unwrap_or_else(|error| panic!("{context}: inspect: {error}"));
    assert_files(dir, &before, &format!("{context}: the dry run"));
    let writer = try_writer(dir, backfill).unwrap_or_else(|error| panic!("{context}: {error}"));
    let report = writer.heal_report();
    assert_eq!(format!("{report:?}"), format!("{dry:?}"), "{context}: against the dry run");
    assert_eq!(report.is_clean(), report.actions.is_empty(), "{context}");
    let actions = report.actions.clone();
    for action in &actions {
        assert!(!action.to_string().is_empty(), "{context}: {action:?} in words");
    }
    assert_shows(&view(dir), wanted, &format!("{context}: healed, the writer is open"));
    drop(writer);
    let healed = files_of(dir);
    assert!(!healed.contains_key("column.conf.tmp"), "{context}");
    assert!(coldstore::inspect(dir).unwrap().is_clean(), "{context}: a dry run after healing");
    let again = writer_report(dir, backfill);
    assert!(again.is_empty(), "{context}: healing twice: {again:?}");
    assert_files(dir, &healed, &format!("{context}: healing twice"));
    actions
}

#[track_caller]
fn writer_report(dir: &Path, backfill: bool) -> Vec<HealAction> {
    writer(dir, backfill).heal_report().actions.clone()
}

/// A V3 column with three files and the last backfill in file 0, which the conf names.
/// File 2, the current one, ends with a backfilled record as well.
const BASE: [u64; 8] = [1, 3, 9000, 17_000, 17_010, 17_005, 5, 6];

#[track_caller]
fn base(dir: &Path) -> Content {
    column(dir, true, BASE);
    let conf = RawConf::read(dir);
    assert_eq!((conf.highest, conf.len), (17_010, data_len(dir, 2)));
    assert_eq!(conf.backfill, Some((0, data_len(dir, 0))));
    content(BASE)
}
