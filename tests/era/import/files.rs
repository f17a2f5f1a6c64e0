//! Bad files, files of several groups, and their records.

use super::*;

/// A file whose last write is long ago.
fn write_old(directory: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = write(directory, name, bytes);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    path
}

#[test]
fn bad_files_are_listed_with_a_reason_and_the_others_are_imported() {
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
        ("d.era", half, "truncated: 73.1 of at least 73.4 kB"),
        ("e.era", &preallocated, "zeros at its end: space that was reserved and not filled"),
        ("f.era", &[0; 100_000], "zeros: space that was reserved and not filled"),
    ] {
        let path = write_old(&files, name, bytes);
        let plan = ImportPlan::scan(&[files.path()]).unwrap();
        let [bad] = plan.bad_files() else { panic!("{name}: {:?}", plan.bad_files()) };
        assert_eq!(bad.to_string(), format!("{}: {looks}", path.display()));
        let archive = Archive::new();
        import(&plan, archive.writers().columns(), StatesPolicy::All, &mut go_on).unwrap();
        archive.assert_holds(MINIMAL, 0..=3);
        fs::remove_file(path).unwrap();
    }
    let path = write(&files, "g.era", half);
    let plan = ImportPlan::scan(&[files.path()]).unwrap();
    let text = plan.bad_files()[0].to_string();
    assert!(text.ends_with("it may still be growing") && text.contains("truncated"), "{text}");
    fs::remove_file(path).unwrap();
}

/// What a file of these bytes seems to be, or its error.
fn looks(directory: &TempDir, bytes: &[u8]) -> String {
    let path = write_old(directory, "x.era", bytes);
    let error = ImportPlan::scan(&[&path]).unwrap_err();
    let ImportError::BadFiles { files } = error else { panic!("{error}") };
    files[0].to_string().replace(&format!("{}: ", path.display()), "")
}

#[test]
fn a_bad_file_is_recognized_by_its_first_bytes_or_its_truncated_record() {
    const VERSION: &[u8] = b"e2\0\0\0\0\0\0";
    let directory = scratch();
    let looks = |bytes: &[u8]| looks(&directory, bytes);
    let block = [VERSION, b"\x01\0\x10\0\0\0\0\0", &[7; 16]].concat();
    for (bytes, wanted) in [
        (&b"\xef\xbb\xbf\r\n <HTML lang=en>"[..], "an HTML page"),
        (b"<?xml version=\"1.0\"?><!DOCTYPE html><html>", "an HTML page"),
        (b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code>", "an XML document"),
        (b"404: not found\n", "a text file"),
        (b"\x28\xb5\x2f\xfd\0", "zstd: unpack it first"),
        (&block[..9], "truncated: 9 of at least 16 bytes"),
        (&block[..15], "truncated: 15 of at least 16 bytes"),
        (&block[..16], "truncated: 16 of at least 32 bytes"),
        (&block[..31], "truncated: 31 of at least 32 bytes"),
        (&block[..32], "truncated: 32 bytes, and no index at its end"),
        (&block[..8], "truncated: 8 bytes, and no index at its end"),
    ] {
        assert_eq!(looks(bytes), wanted, "{:?}", &bytes[..bytes.len().min(40)]);
    }
    // Both lengths have the same unit.
    for (there, wanted, text) in [
        (3_149_000, 7_000_001_u32, "truncated: 3.1 of at least 7.0 MB"),
        (900, 2_500, "truncated: 0.9 of at least 2.5 kB"),
    ] {
        let length = (wanted - 16).to_le_bytes();
        let mut bytes = [VERSION, b"\x01\0", &length, &[0; 2]].concat();
        bytes.resize(there, 7);
        assert_eq!(looks(&bytes), text);
    }
    // Of others, the error says more.
    for bytes in [
        &[0xff; 9000][..],
        b"e3\0\0\0\0\0\0",
        &[&block[..], b"i2\x01\0\0\0\0\0\x01"].concat(),
        &[&block[..], b"\x09\0\xff\0\0\0\0\0"].concat(),
    ] {
        assert!(looks(bytes).contains("wanted"), "{bytes:?}: {}", looks(bytes));
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
fn copies_are_left_out_and_files_that_differ_stay() {
    let mut paths = era_files(MINIMAL)[..=4].to_vec();
    let files = scratch();
    let fourth = fs::read(&paths[4]).unwrap();
    paths.push(write(&files, "copy.era", &fourth));
    paths.push(paths[2].clone());
    paths.push(write(&files, "other.era", &Parts::parse(&fourth).build(Encoding::Nimbus)));
    let mut plan = ImportPlan::scan(&paths).unwrap();
    let copies = plan.leave_out_copies().unwrap();
    assert_eq!(copies.iter().map(|file| file.first_era).collect::<Vec<_>>(), [2, 4]);
    let kept: Vec<u64> = plan.files().iter().map(|file| file.first_era).collect();
    assert_eq!(kept, [0, 1, 2, 3, 4, 4]);
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
