//! Importing `.era` files: the two real chains, and everything that may come in an import's way.

#![allow(clippy::disallowed_methods, reason = "the tests make files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod era_common;

use std::fs;
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::path::PathBuf;

use coldstore::era::{
    EraOutcome, EraReport, ImportError, ImportOptions, ImportReport, IndexEncoding, Observer,
    Phase, Plan, Progress, StateOutcome, import,
};
use coldstore::{Column, Slot, StatesPolicy};
use era_common::*;
use tempfile::TempDir;

fn every(eras: u64) -> StatesPolicy {
    StatesPolicy::Every(NonZeroU64::new(eras).unwrap())
}

fn eras(report: &ImportReport) -> Vec<u64> {
    report.eras.iter().map(|era| era.era).collect()
}

fn encoding(report: &EraReport) -> Option<IndexEncoding> {
    match report.outcome {
        EraOutcome::Imported { index_encoding, .. } => index_encoding,
        _ => None,
    }
}

// ------------------------------------------------------------------------------- whole chains

#[test]
fn every_value_of_the_minimal_chain_is_the_expected_one() {
    let archive = Archive::new();
    let report = archive.import(&[data(MINIMAL).join("era")]).unwrap();
    archive.assert_holds(MINIMAL, 0..=9);
    assert_eq!(eras(&report), Vec::from_iter(0..=9));
    let counts = (report.imported, report.blocks, report.skipped_slots, report.states);
    assert_eq!(counts, (10, 516, 60, 10));
    assert_eq!(report.slots.map(|slots| (slots.first, slots.last)), Some((Slot(0), Slot(575))));
    assert_eq!(report.genesis_validators_root.unwrap()[..4], [0x0a, 0x08, 0xc2, 0x7f]);
    assert_eq!(report.began_at_era, None);
    assert_eq!(encoding(&report.eras[0]), None);
    assert!(report.eras[1..].iter().all(|era| encoding(era) == Some(IndexEncoding::Rule)));
}

#[test]
fn every_value_of_the_chain_of_the_mainnet_preset_is_the_expected_one() {
    let archive = Archive::new();
    let report = archive.import(&era_files(MAINNET)).unwrap();
    archive.assert_holds(MAINNET, 0..=3);
    assert!(report.eras[1..].iter().all(|era| encoding(era) == Some(IndexEncoding::Nimbus)));
}

#[test]
fn block_records_are_stored_byte_for_byte_as_they_came() {
    let archive = Archive::of(&era_files(MINIMAL));
    let view = archive.view(Column::Blocks);
    for path in era_files(MINIMAL) {
        for record in Parts::read(&path).records {
            if record.kind == BLOCK {
                let stored = view.get_stored(Slot(record.slot())).unwrap();
                assert_eq!(stored, Some(&*record.payload), "slot {}", record.slot());
            }
        }
    }
}

#[test]
fn importing_again_changes_no_byte_and_says_that_everything_was_there() {
    for chain in [MINIMAL, MAINNET] {
        let archive = Archive::of(&era_files(chain));
        let before = archive.files();
        let report = archive.import(&era_files(chain)).unwrap();
        assert!(archive.files() == before, "{chain}");
        assert!(report.eras.iter().all(|era| era.outcome == EraOutcome::Present));
        assert!(report.eras.iter().all(|era| era.state == StateOutcome::Present));
        assert_eq!(report.imported, 0);
    }
}

#[test]
fn files_may_come_in_any_order_and_under_any_name() {
    let whole = Archive::of(&era_files(MINIMAL));
    let files = scratch();
    let mut paths: Vec<PathBuf> = Vec::new();
    for (name, path) in (b'a'..).zip(era_files(MINIMAL).iter().rev()) {
        let bytes = fs::read(path).unwrap();
        paths.push(write(&files, &format!("{}.bin", name as char), &bytes));
    }
    paths.swap(2, 7);
    let archive = Archive::of(&paths);
    assert!(archive.files() == whole.files());
}

#[test]
fn eras_may_come_one_import_at_a_time() {
    let whole = Archive::of(&era_files(MINIMAL));
    let archive = Archive::new();
    for path in era_files(MINIMAL) {
        assert_eq!(archive.import(&[path]).unwrap().imported, 1);
    }
    assert!(archive.files() == whole.files());
}

#[test]
fn an_era_given_twice_is_imported_once() {
    let mut paths = era_files(MINIMAL);
    let files = scratch();
    paths.push(write(&files, "copy.era", &fs::read(&paths[4]).unwrap()));
    paths.push(paths[7].clone());
    let archive = Archive::new();
    let report = archive.import(&paths).unwrap();
    archive.assert_holds(MINIMAL, 0..=9);
    assert_eq!(report.imported, 10);
    assert_eq!(report.present, 2);
}

#[test]
fn of_a_directory_only_its_own_era_files_count() {
    let files = scratch();
    for path in &era_files(MINIMAL)[..3] {
        fs::copy(path, files.path().join(path.file_name().unwrap())).unwrap();
    }
    write(&files, "download.era.part", b"half");
    fs::create_dir(files.path().join("deeper.era")).unwrap();
    let other = &era_files(MINIMAL)[4];
    fs::copy(other, files.path().join("deeper.era/4.era")).unwrap();
    let plan = Plan::scan(&[files.path()]).unwrap();
    let eras: Vec<u64> = plan.files().iter().map(|file| file.first_era).collect();
    assert_eq!(eras, [0, 1, 2]);

    let empty = scratch();
    let error = Plan::scan(&[empty.path()]).unwrap_err();
    assert!(matches!(&error, ImportError::NoFiles { path } if path == empty.path()), "{error}");
    assert!(matches!(Plan::scan::<&str>(&[]), Err(ImportError::NoFiles { .. })));
    let error = Plan::scan(&[empty.path().join("none.era")]).unwrap_err();
    assert!(error.to_string().contains("none.era"), "{error}");
}

// --------------------------------------------------------------------------------- which eras

#[test]
fn a_missing_era_is_named_and_those_before_it_are_imported() {
    let mut paths = era_files(MINIMAL);
    paths.remove(5);
    let archive = Archive::new();
    let failure = archive.import(&paths).unwrap_err();
    let text = failure.to_string();
    assert!(text.starts_with("era 5 is missing"), "{text}");
    assert!(text.contains("slot 255") && text.contains("minimal-00006"), "{text}");
    assert_eq!(eras(&failure.done), Vec::from_iter(0..=4));
    archive.assert_holds(MINIMAL, 0..=4);

    archive.import(&era_files(MINIMAL)).unwrap();
    archive.assert_holds(MINIMAL, 0..=9);
}

#[test]
fn several_missing_eras_are_named_together() {
    let paths = era_files(MINIMAL);
    let archive = Archive::of(&paths[..3]);
    let failure = archive.import(&paths[6..]).unwrap_err();
    assert!(matches!(failure.error, ImportError::MissingEras { first: 3, last: 5, era: 6, .. }));
    assert!(failure.to_string().starts_with("eras 3 to 5 are missing"), "{failure}");
    archive.assert_holds(MINIMAL, 0..=2);
}

#[test]
fn an_empty_archive_may_begin_at_any_era_and_the_report_says_so() {
    let paths = era_files(MINIMAL);
    let archive = Archive::new();
    let report = archive.import(&paths[4..=6]).unwrap();
    assert_eq!(report.began_at_era, Some(4));
    archive.assert_holds(MINIMAL, 4..=6);

    let before = archive.files();
    let failure = archive.import(&paths[3..=3]).unwrap_err();
    assert!(matches!(failure.error, ImportError::NotConsecutive { era: 3, .. }), "{failure}");
    assert!(archive.files() == before);
    archive.import(&paths[7..]).unwrap();
    archive.assert_holds(MINIMAL, 4..=9);
}

// --------------------------------------------------------------------------------- bad files

/// A file whose last write is long ago.
fn write_old(directory: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = write(directory, name, bytes);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    path
}

#[test]
fn bad_files_are_listed_with_what_they_look_like_and_the_others_are_imported() {
    let files = scratch();
    for path in &era_files(MINIMAL)[..=3] {
        fs::copy(path, files.path().join(path.file_name().unwrap())).unwrap();
    }
    let original = fs::read(&era_files(MINIMAL)[4]).unwrap();
    let half = &original[..original.len() / 2];
    let preallocated = [half, &vec![0; original.len() - half.len()]].concat();
    for (name, bytes, looks) in [
        ("a.era", &b"<!DOCTYPE html>\n<html><body>Not found</body></html>"[..], "an HTML page"),
        ("b.era", b"", "empty"),
        ("c.era", b"\x1f\x8b\x08\0\0\0\0\0", "gzip: unpack it first"),
        ("d.era", half, "cut short: 73.1 of at least 73.4 kB"),
        ("e.era", &preallocated, "zeros at its end: it was not filled up to there"),
        ("f.era", &[0; 100_000], "zeros: its space was reserved and not filled"),
    ] {
        let path = write_old(&files, name, bytes);
        let plan = Plan::scan(&[files.path()]).unwrap();
        let [bad] = plan.bad_files() else { panic!("{name}: {:?}", plan.bad_files()) };
        assert_eq!(bad.to_string(), format!("{}: {looks}", path.display()));
        let archive = Archive::new();
        import(&plan, archive.writers().columns(), StatesPolicy::All, &mut go_on).unwrap();
        archive.assert_holds(MINIMAL, 0..=3);
        fs::remove_file(path).unwrap();
    }
    let path = write(&files, "g.era", half);
    let plan = Plan::scan(&[files.path()]).unwrap();
    let text = plan.bad_files()[0].to_string();
    assert!(text.ends_with("it may still be growing") && text.contains("cut short"), "{text}");
    fs::remove_file(path).unwrap();
}

#[test]
fn eras_behind_a_bad_file_wait_for_it() {
    let files = scratch();
    for (era, path) in era_files(MINIMAL)[..=6].iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        let byte_len = if era == 4 { 1000 } else { bytes.len() };
        write(&files, &format!("{era}.era"), &bytes[..byte_len]);
    }
    let archive = Archive::new();
    let failure = archive.import(&[files.path()]).unwrap_err();
    assert!(matches!(failure.error, ImportError::MissingEras { first: 4, last: 4, era: 5, .. }));
    archive.assert_holds(MINIMAL, 0..=3);
    fs::copy(&era_files(MINIMAL)[4], files.path().join("4.era")).unwrap();
    assert_eq!(archive.import(&[files.path()]).unwrap().imported, 3);
    archive.assert_holds(MINIMAL, 0..=6);
}

#[test]
fn of_nothing_but_bad_files_all_are_named() {
    let files = scratch();
    let paths = ["a.era", "b.era"].map(|name| write(&files, name, b"<html>"));
    let error = Plan::scan(&paths).unwrap_err();
    let ImportError::BadFiles { files } = &error else { panic!("{error}") };
    assert_eq!(files.iter().map(|file| &file.path).collect::<Vec<_>>(), [&paths[0], &paths[1]]);
    assert_eq!(error.to_string(), "none of the 2 files is an .era file");
}

#[test]
fn copies_are_left_out_and_files_that_differ_stay() {
    let mut paths = era_files(MINIMAL)[..=4].to_vec();
    let files = scratch();
    let fourth = fs::read(&paths[4]).unwrap();
    paths.push(write(&files, "copy.era", &fourth));
    paths.push(paths[2].clone());
    paths.push(write(&files, "other.era", &Parts::parse(&fourth).build(Encoding::Nimbus)));
    let mut plan = Plan::scan(&paths).unwrap();
    let copies = plan.leave_out_copies().unwrap();
    assert_eq!(copies.iter().map(|file| file.first_era).collect::<Vec<_>>(), [2, 4]);
    let kept: Vec<u64> = plan.files().iter().map(|file| file.first_era).collect();
    assert_eq!(kept, [0, 1, 2, 3, 4, 4]);
}

#[test]
fn files_of_one_chain_are_chosen_among_those_of_several() {
    let both = [era_files(MINIMAL), era_files(MAINNET)].concat();
    let root_of = |path: &PathBuf| Plan::scan(&[path]).unwrap().files()[0].genesis_validators_root;
    for chain in [MINIMAL, MAINNET] {
        let files = era_files(chain);
        let plan = Plan::scan_chain(&both, root_of(&files[0])).unwrap();
        assert_eq!(
            plan.files().iter().map(|file| &file.path).collect::<Vec<_>>(),
            files.iter().collect::<Vec<_>>()
        );
        assert_eq!(plan.files_of_other_chains().len(), both.len() - files.len());
    }
    assert!(Plan::scan_chain(&both, [7; 32]).unwrap().files().is_empty());
}

// --------------------------------------------------------------------------- several groups

#[test]
fn a_file_of_many_eras_is_imported_like_a_file_for_each() {
    for chain in [MINIMAL, MAINNET] {
        let paths = era_files(chain);
        let whole = Archive::of(&paths);
        let files = scratch();
        let bytes: Vec<u8> = paths.iter().flat_map(|path| fs::read(path).unwrap()).collect();
        let archive = Archive::new();
        let report = archive.import(&[write(&files, "all.era", &bytes)]).unwrap();
        assert_eq!(report.imported, paths.len() as u64);
        assert!(archive.files() == whole.files(), "{chain}");
    }
}

#[test]
fn of_a_file_of_many_eras_those_that_are_missing_are_imported() {
    let paths = era_files(MINIMAL);
    let files = scratch();
    let join = |range: std::ops::RangeInclusive<usize>| -> Vec<u8> {
        paths[range].iter().flat_map(|path| fs::read(path).unwrap()).collect()
    };
    let early = write(&files, "early.era", &join(1..=5));
    let late = write(&files, "late.era", &join(4..=9));
    let archive = Archive::of(&paths[..=2]);
    let report = archive.import(&[late, early]).unwrap();
    assert_eq!(eras(&report), [1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9]);
    assert_eq!((report.present, report.imported), (4, 7));
    archive.assert_holds(MINIMAL, 0..=9);
}

#[test]
fn a_file_of_many_eras_is_committed_only_when_all_of_them_are_good() {
    let paths = era_files(MINIMAL);
    let mut last = Parts::read(&paths[3]);
    let block = last.block(150).unwrap();
    last.change(block, |value| value[120] ^= 1);
    let mut bytes: Vec<u8> = paths[1..=2].iter().flat_map(|path| fs::read(path).unwrap()).collect();
    bytes.extend(last.build(Encoding::Rule));
    let files = scratch();
    let archive = Archive::of(&paths[..1]);
    let before = archive.files();
    let failure = archive.import(&[write(&files, "three.era", &bytes)]).unwrap_err();
    assert!(failure.to_string().contains("slot 150"), "{failure}");
    assert!(archive.files() == before);
}

#[test]
fn groups_of_a_file_must_be_of_consecutive_eras() {
    let paths = era_files(MINIMAL);
    let files = scratch();
    for (eras, at) in [([1, 3], 3), ([2, 1], 1), ([0, 2], 2)] {
        let parts = eras.map(|era| fs::read(&paths[era]).unwrap());
        let path = write(&files, "gap.era", &parts.concat());
        let error = Plan::scan(&[path]).unwrap_err().to_string();
        assert!(error.contains(&format!("found era {at}")), "{error}");
        assert!(error.contains(&format!("offset {}", parts[0].len())), "{error}");
    }
}

// ------------------------------------------------------------------------------ index, records

#[test]
fn each_encoding_of_the_block_index_is_accepted_and_named() {
    let files = scratch();
    for (written, named) in [
        (Encoding::Rule, IndexEncoding::Rule),
        (Encoding::Nimbus, IndexEncoding::Nimbus),
        (Encoding::Payload, IndexEncoding::Payload),
    ] {
        let paths: Vec<PathBuf> = era_files(MINIMAL)
            .iter()
            .enumerate()
            .map(|(era, path)| {
                write(&files, &format!("{era}.era"), &Parts::read(path).build(written))
            })
            .collect();
        let archive = Archive::new();
        let report = archive.import(&paths).unwrap();
        archive.assert_holds(MINIMAL, 0..=9);
        assert!(report.eras[1..].iter().all(|era| encoding(era) == Some(named)), "{named}");
    }
}

#[test]
fn a_file_taken_apart_and_built_again_is_the_same() {
    for path in era_files(MINIMAL) {
        assert!(Parts::read(&path).build(Encoding::Rule) == fs::read(&path).unwrap());
    }
    for path in era_files(MAINNET).iter().skip(1) {
        assert!(Parts::read(path).build(Encoding::Nimbus) == fs::read(path).unwrap());
    }
}

#[test]
fn records_of_unknown_types_are_skipped() {
    let unknown = |kind, len| Record { kind, payload: vec![0xff; len] };
    let files = scratch();
    let paths: Vec<PathBuf> = era_files(MINIMAL)
        .iter()
        .map(|path| {
            let mut parts = Parts::read(path);
            let state = parts.state();
            parts.records.insert(state + 1, unknown([0x99, 0x00], 5));
            parts.records.insert(state, unknown([0x00, 0x00], 0));
            parts.records.insert(0, unknown([0x73, 0x6c], 70_000));
            write(&files, &format!("{}.era", parts.era), &parts.build(Encoding::Rule))
        })
        .collect();
    let archive = Archive::of(&paths);
    archive.assert_holds(MINIMAL, 0..=9);

    let bytes: Vec<u8> = paths.iter().flat_map(|path| fs::read(path).unwrap()).collect();
    let archive = Archive::of(&[write(&files, "all.era", &bytes)]);
    archive.assert_holds(MINIMAL, 0..=9);
}

#[test]
fn values_in_other_frames_are_the_same_values() {
    // Every chunk uncompressed, as some encoders write it.
    let paths = era_files(MINIMAL);
    let mut parts = Parts::read(&paths[1]);
    for record in &mut parts.records {
        let value = record.value();
        let mut payload = frames(&[])[..0].to_vec();
        payload.extend(b"\xff\x06\x00\x00sNaPpY");
        for piece in value.chunks(1000) {
            // The framing of incompressible bytes has the checksum that any framing has.
            let whole = frames(piece);
            let checksum = &whole[14..18];
            let len = u32::try_from(piece.len() + 4).unwrap().to_le_bytes();
            payload.extend([1, len[0], len[1], len[2]]);
            payload.extend(checksum);
            payload.extend(piece);
        }
        record.payload = payload;
    }
    let files = scratch();
    let era = write(&files, "1.era", &parts.build(Encoding::Rule));
    let archive = Archive::of(&[paths[0].clone(), era]);
    archive.assert_holds(MINIMAL, 0..=1);
}

// -------------------------------------------------------------------------------------- states

#[test]
fn states_are_stored_as_selected() {
    let slots = |archive: &Archive| -> Vec<u64> {
        let view = archive.view(Column::StateSnapshots);
        view.range(..).map(|record| record.unwrap().slot().0).collect()
    };
    for (states, stored) in [
        (StatesPolicy::None, vec![576]),
        (every(1), (0..=9).map(|era| era * 64).collect()),
        (every(3), vec![0, 192, 384, 576]),
        (every(100), vec![0, 576]),
    ] {
        let archive = Archive::new();
        let report = archive.import_with(&era_files(MINIMAL), states, &mut go_on).unwrap();
        assert_eq!(slots(&archive), stored, "{states:?}");
        assert_eq!(report.states, stored.len() as u64);
        assert_eq!(archive.lines(Column::BlockRoots).len(), 576);
        let first = report.eras[0].outcome;
        assert_eq!(first == EraOutcome::Nothing, states == StatesPolicy::None, "{first:?}");
    }
}

#[test]
fn states_that_are_not_selected_need_no_column() {
    use coldstore::era::ImportColumns;
    let archive = Archive::new();
    let plan = Plan::scan(&era_files(MINIMAL)).unwrap();
    let mut writers = archive.writers();
    let mut columns = |states| {
        let columns = ImportColumns { state_snapshots: None, ..writers.columns() };
        import(&plan, columns, states, &mut go_on)
    };
    assert!(matches!(columns(every(5)).unwrap_err().error, ImportError::NoSnapshotColumn));
    assert_eq!(columns(StatesPolicy::None).unwrap().blocks, 516);
}

#[test]
fn a_state_behind_later_ones_needs_backfill_and_the_error_says_so() {
    let paths = era_files(MINIMAL);
    let archive = Archive::new();
    archive.writer(Column::StateSnapshots, false).put(Slot(1000), b"a later state").unwrap();
    let before = archive.files();
    let failure = archive.import(&paths[..=1]).unwrap_err();
    let (era, column, slot) = (0, Column::StateSnapshots, Slot(0));
    assert!(matches!(
        &failure.error,
        ImportError::NeedsBackfill { era: e, column: c, slot: s, .. } if (*e, *c, *s) == (era, column, slot)
    ));
    let text = failure.to_string();
    assert!(text.contains("minimal-00000") && text.contains("--backfill"), "{text}");
    let made = |name: &PathBuf| !before.contains_key(name);
    assert!(archive.files().iter().all(|(name, bytes)| made(name) || before[name] == *bytes));
    assert_eq!(archive.lines(Column::StateSnapshots).len(), 1, "nothing was written");

    let plan = Plan::scan(&paths).unwrap();
    let mut writers = archive.writers();
    drop(writers.bss);
    writers.bss = archive.writer(Column::StateSnapshots, true);
    import(&plan, writers.columns(), StatesPolicy::All, &mut go_on).unwrap();
    drop(writers);
    assert_eq!(archive.lines(Column::StateSnapshots).len(), 11);
}

/// Guards against a re-import that takes an era for done because `bbr` has it, and leaves out the
/// states that were not wanted the first time.
#[test]
fn states_that_are_wanted_later_are_filled_in_where_backfill_is_allowed() {
    let paths = era_files(MINIMAL);
    let archive = Archive::new();
    archive.import_with(&paths, every(4), &mut go_on).unwrap();
    assert_eq!(archive.lines(Column::StateSnapshots).len(), 4, "0, 4, 8 and the newest");
    let before = archive.files();
    let failure = archive.import(&paths).unwrap_err();
    assert!(matches!(failure.error, ImportError::NeedsBackfill { era: 1, .. }), "{failure}");
    assert!(archive.files() == before);

    let options = ImportOptions::default().backfill(true);
    let report = archive.import_with(&paths, options, &mut go_on).unwrap();
    archive.assert_holds(MINIMAL, 0..=9);
    let stored = report.eras.iter().filter(|era| era.state == StateOutcome::Stored);
    assert_eq!(stored.map(|era| era.era).collect::<Vec<_>>(), [1, 2, 3, 5, 6, 7]);
}

/// The next import is proved by it, whatever was selected.
#[test]
fn the_newest_state_is_kept_by_every_import_that_makes_one() {
    let paths = era_files(MINIMAL);
    let archive = Archive::new();
    let slots = || -> Vec<u64> {
        let view = archive.view(Column::StateSnapshots);
        view.range(..).map(|record| record.unwrap().slot().0).collect()
    };
    archive.import_with(&paths[..=2], StatesPolicy::None, &mut go_on).unwrap();
    assert_eq!(slots(), [128]);
    archive.import_with(&paths[..=5], StatesPolicy::None, &mut go_on).unwrap();
    assert_eq!(slots(), [128, 320]);
    // Not the archive's newest: a re-import of old files asks for nothing.
    archive.import_with(&paths[..=4], StatesPolicy::None, &mut go_on).unwrap();
    assert_eq!(slots(), [128, 320]);
}

// ---------------------------------------------------------------- columns that lack something

fn backfill() -> ImportOptions<'static> {
    ImportOptions::default().backfill(true)
}

/// Guards against "it was there already" when a column's directory is gone.
#[test]
fn a_column_that_is_lost_is_filled_again_by_the_same_files() {
    let paths = era_files(MINIMAL);
    for column in COLUMNS {
        let archive = Archive::of(&paths);
        fs::remove_dir_all(archive.root.path().join(column.dir_name())).unwrap();
        let report = archive.import(&paths).unwrap();
        archive.assert_holds(MINIMAL, 0..=9);
        let completed = report.eras.iter().filter(|era| era.completed == [column]).count();
        assert_eq!(completed, 9, "{column}: era 0 has no slots");
    }
}

#[test]
fn a_column_from_an_older_copy_is_completed_by_the_same_files() {
    let paths = era_files(MINIMAL);
    let old = Archive::of(&paths[..=4]);
    for column in COLUMNS {
        let archive = Archive::of(&paths);
        fs::remove_dir_all(archive.root.path().join(column.dir_name())).unwrap();
        archive.copy_column(&old, column);
        archive.import(&paths).unwrap();
        archive.assert_holds(MINIMAL, 0..=9);
    }
}

/// Guards against eras that are put behind a hole, which nothing would ever fill.
#[test]
fn later_eras_are_not_put_behind_what_a_column_has_lost() {
    let paths = era_files(MINIMAL);
    for column in [Column::Blocks, Column::BlockRoots, Column::StateRoots] {
        let archive = Archive::of(&paths[..=4]);
        fs::remove_dir_all(archive.root.path().join(column.dir_name())).unwrap();
        let failure = archive.import(&paths[5..]).unwrap_err();
        assert!(
            matches!(&failure.error, ImportError::MissingEras { first: 1, last: 4, column: c, column_last: None, .. } if *c == column),
            "{failure}"
        );
        assert_eq!(archive.lines(column).len(), 0);
        archive.import(&paths).unwrap();
        archive.assert_holds(MINIMAL, 0..=9);
    }
}

#[test]
fn what_a_column_lacks_behind_its_highest_slot_takes_backfill() {
    let paths = era_files(MINIMAL);
    let whole = Archive::of(&paths);
    for column in COLUMNS {
        let archive = Archive::of(&paths);
        // A hole of two eras, and the end of another; of the states those of three eras.
        archive.cut_column(&whole, column, |slot| !(100..=200).contains(&slot) && slot < 500);
        let before = archive.files();
        let failure = archive.import(&paths).unwrap_err();
        let text = failure.to_string();
        assert!(
            matches!(failure.error, ImportError::NeedsBackfill { column: c, .. } if c == column)
        );
        assert!(text.contains("--backfill") && text.contains(column.dir_name()), "{text}");
        assert!(archive.files() == before, "nothing has changed, no conf was upgraded");

        archive.import_with(&paths, backfill(), &mut go_on).unwrap();
        archive.assert_holds(MINIMAL, 0..=9);
        for other in COLUMNS {
            let writer = archive.writer(other, false);
            assert_eq!(writer.conf().allows_backfill(), other == column, "{other} for {column}");
        }
    }
}

/// A copy that was taken with `cp` while an import ran may have any column behind any other.
#[test]
fn columns_that_are_each_at_another_era_are_completed() {
    let paths = era_files(MINIMAL);
    let copies: Vec<Archive> = (1..=4).map(|last| Archive::of(&paths[..=last * 2])).collect();
    for turn in 0..4 {
        let archive = Archive::new();
        for (place, column) in COLUMNS.into_iter().enumerate() {
            archive.copy_column(&copies[(place + turn) % 4], column);
        }
        archive.import(&paths).unwrap();
        archive.assert_holds(MINIMAL, 0..=9);
    }
}

#[test]
fn one_block_that_is_lost_is_seen() {
    let paths = era_files(MINIMAL);
    let whole = Archive::of(&paths);
    let archive = Archive::of(&paths);
    archive.cut_column(&whole, Column::Blocks, |slot| slot != 300);
    let failure = archive.import(&paths).unwrap_err();
    assert!(
        matches!(failure.error, ImportError::NeedsBackfill { era: 5, slot: Slot(300), .. }),
        "{failure}"
    );
    let report = archive.import_with(&paths, backfill(), &mut go_on).unwrap();
    assert_eq!((report.completed, report.present), (1, 9));
    archive.assert_holds(MINIMAL, 0..=9);
}

// ------------------------------------------------------------------------------- interruptions

/// Stops an import at its n-th report of progress.
struct StopAt {
    left: usize,
}

impl Observer for StopAt {
    fn progress(&mut self, _: &Progress<'_>) -> ControlFlow<()> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn an_import_that_was_stopped_anywhere_is_completed_by_the_next_one() {
    let paths = &era_files(MINIMAL)[..=3];
    let whole = Archive::of(paths).files();
    let mut stops = 0;
    for left in 1.. {
        let archive = Archive::new();
        match archive.import_with(paths, StatesPolicy::All, &mut StopAt { left }) {
            Ok(_) => break,
            Err(failure) => {
                assert!(matches!(failure.error, ImportError::Stopped { .. }), "{failure}");
                stops += 1;
            }
        }
        archive.import(paths).unwrap();
        assert!(archive.files() == whole, "stopped at {left}");
    }
    assert!(stops > 150, "{stops}");
}

#[test]
fn an_era_of_which_some_columns_were_written_is_completed() {
    let paths = &era_files(MINIMAL)[..=2];
    let whole = Archive::of(paths).files();
    let before = Archive::of(&paths[..=1]);
    let almost = Archive::of(&paths[..=1]);
    let mut stop = |progress: &Progress<'_>| {
        let here = progress.era == 2 && progress.phase == Phase::BlockRoots;
        if here { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    almost.import_with(paths, StatesPolicy::All, &mut stop).unwrap_err();
    let has = |column: Column| almost.view(column).highest_written_slot();
    assert_eq!(has(Column::BlockRoots), Some(Slot(63)), "bbr comes last");
    assert_eq!(has(Column::Blocks), Some(Slot(127)));
    assert_eq!(has(Column::StateRoots), Some(Slot(127)));
    assert_eq!(has(Column::StateSnapshots), Some(Slot(128)));
    // The other columns are written at the same time: a crash leaves any of them.
    let at_once = [Column::Blocks, Column::StateRoots, Column::StateSnapshots];
    for left in 0..1 << at_once.len() {
        let archive = Archive::new();
        for column in COLUMNS {
            let place = at_once.iter().position(|other| *other == column);
            let is_written = place.is_some_and(|place| left >> place & 1 == 1);
            archive.copy_column(if is_written { &almost } else { &before }, column);
        }
        archive.import(paths).unwrap();
        assert!(archive.files() == whole, "{left:03b}");
    }
}

#[test]
fn blocks_that_were_written_in_part_are_completed() {
    let paths = &era_files(MINIMAL)[..=2];
    let archive = Archive::of(&paths[..=1]);
    let blocks: Vec<(Slot, Vec<u8>)> = Parts::read(&paths[2])
        .records
        .into_iter()
        .filter(|record| record.kind == BLOCK)
        .take(20)
        .map(|record| (Slot(record.slot()), record.payload))
        .collect();
    archive.writer(Column::Blocks, false).put_stored_batch(&blocks).unwrap();
    archive.import(paths).unwrap();
    archive.assert_holds(MINIMAL, 0..=2);
}

#[test]
fn no_era_is_put_behind_one_that_is_unfinished() {
    let paths = era_files(MINIMAL);
    let archive = Archive::new();
    let mut stop = |progress: &Progress<'_>| {
        let here = progress.phase == Phase::BlockRoots;
        if here { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    archive.import_with(&paths[2..=2], StatesPolicy::None, &mut stop).unwrap_err();
    let before = archive.files();
    for other in [&paths[5..=5], &paths[1..=1]] {
        let failure = archive.import(other).unwrap_err();
        assert!(matches!(failure.error, ImportError::NotConsecutive { .. }), "{failure}");
        assert!(failure.to_string().contains("unfinished"), "{failure}");
        assert!(archive.files() == before);
    }
    archive.import(&paths[2..=4]).unwrap();
    archive.assert_holds(MINIMAL, 2..=4);
}

#[test]
fn block_roots_that_somebody_else_wrote_first_are_completed() {
    let paths = &era_files(MINIMAL)[..=2];
    let whole = Archive::of(paths);
    let archive = Archive::of(&paths[..=1]);
    let roots: Vec<(Slot, Vec<u8>)> = (64..100)
        .map(|slot| (Slot(slot), slot_value(&whole, Column::BlockRoots, slot).unwrap()))
        .collect();
    archive.writer(Column::BlockRoots, false).put_batch(&roots).unwrap();
    archive.import(paths).unwrap();
    archive.assert_holds(MINIMAL, 0..=2);
}

// ------------------------------------------------------------------------------------ progress

#[derive(Default)]
struct Log {
    ticks: Vec<(Phase, u64, u64, u64)>,
    total: u64,
    eras: Vec<u64>,
}

impl Observer for Log {
    fn progress(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        let Progress { phase, era, bytes_done, eras_done, .. } = *progress;
        self.ticks.push((phase, era, bytes_done, eras_done));
        self.total = progress.bytes_total;
        assert!(progress.file.exists());
        assert_eq!(progress.eras_total, 10);
        ControlFlow::Continue(())
    }

    fn era_done(&mut self, era: &EraReport) {
        self.eras.push(era.era);
    }
}

#[test]
fn progress_only_grows_and_ends_at_the_total() {
    let archive = Archive::new();
    let mut log = Log::default();
    for pass in 0..2 {
        log = Log::default();
        archive.import_with(&era_files(MINIMAL), StatesPolicy::All, &mut log).unwrap();
        assert!(log.ticks.is_sorted_by_key(|tick| tick.2), "pass {pass}");
        assert!(log.ticks.last().unwrap().2 <= log.total);
        assert_eq!(log.eras, Vec::from_iter(0..=9));
    }
    let bytes: u64 = era_files(MINIMAL).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(log.total, 2 * bytes);
    assert!(log.ticks.is_sorted_by_key(|tick| tick.3));
}
