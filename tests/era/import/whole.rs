//! Whole chains, and the choice of eras.

use super::*;

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
fn only_era_files_directly_in_a_directory_count() {
    let files = scratch();
    for path in &era_files(MINIMAL)[..3] {
        fs::copy(path, files.path().join(path.file_name().unwrap())).unwrap();
    }
    write(&files, "download.era.part", b"half");
    fs::create_dir(files.path().join("deeper.era")).unwrap();
    let other = &era_files(MINIMAL)[4];
    fs::copy(other, files.path().join("deeper.era/4.era")).unwrap();
    let plan = ImportPlan::scan(&[files.path()]).unwrap();
    let eras: Vec<u64> = plan.files().iter().map(|file| file.first_era).collect();
    assert_eq!(eras, [0, 1, 2]);

    let empty = scratch();
    let error = ImportPlan::scan(&[empty.path()]).unwrap_err();
    assert!(matches!(&error, ImportError::NoFiles { path } if path == empty.path()), "{error}");
    assert!(matches!(ImportPlan::scan::<&str>(&[]), Err(ImportError::NoFiles { .. })));
    let error = ImportPlan::scan(&[empty.path().join("none.era")]).unwrap_err();
    assert!(error.to_string().contains("none.era"), "{error}");
}

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
