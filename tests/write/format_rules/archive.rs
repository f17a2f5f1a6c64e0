//! Section 1: the archive and its columns.

use super::*;

/// Guards against a column whose directory, tag, compression or bound drifts from the table: other
/// software could no longer open it.
#[test]
fn the_five_columns_have_the_names_tags_and_bounds_of_the_table() {
    let table = [
        (Column::Blocks, "blk", [1, 0], 1, 10 << 20),
        (Column::BlockRoots, "bbr", [2, 0], 0, 64),
        (Column::StateRoots, "bsr", [3, 0], 0, 64),
        (Column::StateSnapshots, "bss", [4, 0], 0, 1 << 30),
        (Column::StateDiffs, "bsd", [5, 0], 0, 1 << 30),
    ];
    assert_eq!(Column::ALL, table.map(|(column, ..)| column));
    let root = scratch();
    let archive =
        ArchiveWriter::open(root.path(), ArchiveWriterOptions::default().columns(Column::ALL))
            .unwrap();
    for (column, name, record_type, compression, max) in table {
        assert_eq!(column.dir_name(), name);
        let conf = RawConf {
            highest: u64::MAX,
            len: 0,
            record_type,
            compression,
            byte_27: 0,
            max,
            backfill: None,
        };
        let only_conf = Files::from([("column.conf".to_owned(), conf.bytes())]);
        assert_files(&root.path().join(name), &only_conf, name);
    }
    drop(archive);
    assert_eq!(open_archive(root.path()).columns().unwrap(), Column::ALL);
}

/// Guards against an archive that cleans up what is not its own, or trips over it.
#[test]
fn unknown_names_in_an_archive_or_column_are_kept() {
    let root = scratch();
    fs::create_dir(root.path().join("index")).unwrap();
    fs::write(root.path().join("index/data_00099"), b"not ours").unwrap();
    fs::write(root.path().join("README"), b"not ours").unwrap();
    let bss = root.path().join("bss");
    column(&bss, true, [1, 9000]);
    // Names that look like those of later files, but are none of a column's.
    let strange = [
        "data_00099.bak",
        "data_99",
        "data_000099",
        "data_00099.of",
        "data_0009x",
        "data_+0099",
        "data_",
        "notes.txt",
        "column.conf.old",
        "data_18446744073709551615",
    ];
    for name in strange {
        fs::write(bss.join(name), b"not ours").unwrap();
    }
    fs::create_dir(bss.join("directory")).unwrap();
    let options = ArchiveWriterOptions::default().raw(true).backfill(Column::StateSnapshots);
    let mut archive = ArchiveWriter::open(root.path(), options).unwrap();
    let writer = archive.writer(Column::StateSnapshots).unwrap();
    assert!(writer.heal_report().is_clean(), "{:?}", writer.heal_report());
    writer.put(Slot(5), &value(5)).unwrap();
    writer.put(Slot(17_000), &value(17_000)).unwrap();
    drop(archive);
    for name in strange {
        assert_eq!(fs::read(bss.join(name)).unwrap(), b"not ours", "{name}");
    }
    assert!(bss.join("directory").is_dir());
    assert_eq!(fs::read(root.path().join("index/data_00099")).unwrap(), b"not ours");
    assert_eq!(fs::read(root.path().join("README")).unwrap(), b"not ours");
    let archive = open_archive(root.path());
    assert_eq!(archive.columns().unwrap(), [Column::StateSnapshots]);
    let view = archive.column(Column::StateSnapshots).unwrap().view();
    assert_shows(&view, &content([1, 5, 9000, 17_000]), "beside strange names");
}

/// Guards against something in the engine that is specific to the five columns.
#[test]
fn a_column_stands_alone_with_any_name_type_compression_and_bound() {
    let root = scratch();
    let specs = [
        ("my column", [0xab, 0xcd], Compression::None, 1),
        ("blk", [0x00, 0x00], Compression::Snappy, 0),
        ("x", [0xff, 0xff], Compression::Snappy, u64::MAX),
    ];
    for (name, record_type, compression, max_value_bytes) in specs {
        let dir = root.path().join(name);
        let spec = ColumnSpec { record_type, compression, max_value_bytes };
        let options = WriterOptions::create(spec).allow_backfill(true);
        let mut writer = Writer::open(&dir, options).unwrap();
        let value = vec![7; usize::try_from(max_value_bytes.min(100_000)).unwrap()];
        writer.put(Slot(9000), &value).unwrap();
        writer.put(Slot(3), &value).unwrap();
        let expected = spec_of(&RawConf::read(&dir));
        assert_eq!(expected, spec, "{name}");
        let options = ReaderOptions::default().expect(spec);
        let view = open_reader(&dir, options).unwrap().view();
        assert_shows(&view, &Content::from([(3, value.clone()), (9000, value)]), name);
        let data = fs::read(dir.join("data_00001")).unwrap();
        assert_eq!(data[8..10], record_type, "{name}");
    }
}

/// Guards against a slot at the edge of a file that ends up in the neighbour.
#[test]
fn a_file_holds_8192_slots() {
    let dir = scratch();
    column(dir.path(), false, [0, 8191, 8192, 16_383, 16_384]);
    let names: Vec<String> = files_of(dir.path()).into_keys().collect();
    let wanted = [
        "column.conf",
        "data_00000",
        "data_00000.off",
        "data_00001",
        "data_00001.off",
        "data_00002",
        "data_00002.off",
    ];
    assert_eq!(names, wanted);
    for (file, slots) in [(0, &[0, 8191][..]), (1, &[8192, 16_383]), (2, &[16_384])] {
        let records: Vec<u8> = slots.iter().flat_map(|&slot| plain_record(slot)).collect();
        let data = fs::read(dir.path().join(data_name(file))).unwrap();
        assert_eq!(data, [&VERSION[..], &records].concat(), "file {file}");
        let mut at = 8;
        for &slot in slots {
            assert_eq!(entry(dir.path(), slot), at, "slot {slot}");
            at += plain_record(slot).len() as u64;
        }
    }
}

/// Guards against file ids that are cut to five digits, sorted or compared as text: leftovers above
/// `data_99999` would stay, and good files below it would be removed as leftovers.
#[test]
fn file_ids_above_99999_get_longer() {
    let dir = scratch();
    let first = 99_999 * PER_FILE;
    let slots = [1, first, first + PER_FILE, 1_000_000 * PER_FILE + 5, u64::MAX - 1];
    column(dir.path(), true, slots);
    let top = (u64::MAX - 1) / PER_FILE;
    assert_eq!(top.to_string().len(), 16);
    for name in ["data_99999", "data_100000", "data_1000000.off", &data_name(top)] {
        assert!(dir.path().join(name).exists(), "{name}");
    }
    let mut writer = writer(dir.path(), true);
    assert!(writer.heal_report().is_clean(), "{:?}", writer.heal_report());
    writer.put(Slot(first + PER_FILE + 1), &value(first + PER_FILE + 1)).unwrap();
    assert_eq!(RawConf::read(dir.path()).backfill, Some((100_000, data_len(dir.path(), 100_000))));
    let all = content(slots.into_iter().chain([first + PER_FILE + 1]));
    assert_shows(&view(dir.path()), &all, "long file ids");
    drop(writer);
    assert!(test_support::writer(dir.path(), true).heal_report().is_clean());
    assert_shows(&view(dir.path()), &all, "after another opening");

    // data_100000 sorts before data_99999, and is above it.
    let dir = scratch();
    column(dir.path(), true, [1, first]);
    write_uncommitted(dir.path(), first + PER_FILE);
    let writer = test_support::writer(dir.path(), true);
    assert_eq!(writer.heal_report().actions.len(), 2, "{:?}", writer.heal_report());
    assert!(!dir.path().join("data_100000").exists());
    assert!(!dir.path().join("data_100000.off").exists());
    assert_shows(&view(dir.path()), &content([1, first]), "after healing");
}
