//! Bad files, files of several groups, and their records.

use super::*;

#[test]
fn bad_files_are_listed_with_a_reason_and_the_others_are_imported() {
    let files = scratch();
    for path in &era_files(MINIMAL)[..=3] {
        fs::copy(path, files.path().join(path.file_name().unwrap())).unwrap();
    }
    let original = fs::read(&era_files(MINIMAL)[4]).unwrap();
    let half = &original[..original.len() / 2];
    let preallocated = [half, &vec![0; original.len() - half.len()]].concat();
    for (name, bytes) in [
        ("a.era", &b"<!DOCTYPE html>\n<html><body>Not found</body></html>"[..]),
        ("b.era", b""),
        ("c.era", b"\x1f\x8b\x08\0\0\0\0\0"),
        ("d.era", half),
        ("e.era", &preallocated),
        ("f.era", &[0; 100_000]),
    ] {
        let path = write(&files, name, bytes);
        let plan = ImportPlan::scan(&[files.path()]).unwrap();
        let [bad] = plan.bad_files() else { panic!("{name}: {:?}", plan.bad_files()) };
        assert_eq!(bad.path, path);
        let error = bad.error.to_string();
        assert!(bad.error.is_corrupt() && error.contains(name), "{error}");
        let archive = Archive::new();
        import_columns(&plan, archive.writers().columns(), StatesPolicy::All, &mut go_on).unwrap();
        archive.assert_holds(MINIMAL, 0..=3);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn eras_after_a_bad_file_wait_for_it() {
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
fn if_all_files_are_bad_all_are_named() {
    let files = scratch();
    let paths = ["a.era", "b.era"].map(|name| write(&files, name, b"<html>"));
    let error = ImportPlan::scan(&paths).unwrap_err();
    let ImportError::BadFiles { files } = &error else { panic!("{error}") };
    assert_eq!(files.iter().map(|file| &file.path).collect::<Vec<_>>(), [&paths[0], &paths[1]]);
    assert_eq!(error.to_string(), "none of the 2 files is an .era file");
}

#[test]
fn files_of_one_chain_are_chosen_among_those_of_several() {
    let both = [era_files(MINIMAL), era_files(MAINNET)].concat();
    let root_of =
        |path: &PathBuf| ImportPlan::scan(&[path]).unwrap().files()[0].genesis_validators_root;
    for chain in [MINIMAL, MAINNET] {
        let files = era_files(chain);
        let mut plan = ImportPlan::scan_chains(&both).unwrap();
        let root = root_of(&files[0]);
        let others = plan.retain(|file| file.genesis_validators_root == root);
        assert_eq!(
            plan.files().iter().map(|file| &file.path).collect::<Vec<_>>(),
            files.iter().collect::<Vec<_>>()
        );
        assert_eq!(others.len(), both.len() - files.len());
    }
}

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
fn missing_eras_of_a_file_of_many_eras_are_imported() {
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
        let error = ImportPlan::scan(&[path]).unwrap_err().to_string();
        assert!(error.contains(&format!("found era {at}")), "{error}");
        assert!(error.contains(&format!("offset {}", parts[0].len())), "{error}");
    }
}

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
        record.payload = plain_frames(&record.value());
    }
    let files = scratch();
    let era = write(&files, "1.era", &parts.build(Encoding::Rule));
    let archive = Archive::of(&[paths[0].clone(), era]);
    archive.assert_holds(MINIMAL, 0..=1);
}
