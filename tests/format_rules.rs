//! `FORMAT.md`, sections 1 to 5: the bytes, the conf, what a put may do, the order of a commit, and
//! what follows a failure. Healing is in `heal.rs`, reading in `reader_rules.rs`.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use coldstore::{
    ArchiveWriter, Column, ColumnSpec, Compression, Error, FileId, ReaderOptions, Slot, Writer,
    WriterOptions,
};
use common::*;

// ---------------------------------------------------------------------------- 1. Archive and columns

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
    let root = temp_dir();
    let mut archive = ArchiveWriter::open(root.path());
    for (column, name, record_type, compression, max) in table {
        assert_eq!(column.dir_name(), name);
        archive.column(column, false).unwrap();
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
fn unknown_names_in_the_archive_and_in_a_column_are_left_alone() {
    let root = temp_dir();
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
    let mut archive = ArchiveWriter::open(root.path()).raw(true);
    let writer = archive.column(Column::StateSnapshots, true).unwrap();
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
    let root = temp_dir();
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
        let view = try_reader_with(&dir, options).unwrap().view();
        assert_shows(&view, &Content::from([(3, value.clone()), (9000, value)]), name);
        let data = fs::read(dir.join("data_00001")).unwrap();
        assert_eq!(data[8..10], record_type, "{name}");
    }
}

/// Guards against a slot at the edge of a file that ends up in the neighbour.
#[test]
fn a_file_holds_8192_slots() {
    let dir = temp_dir();
    column(dir.path(), false, [0, 8191, 8192, 16_383, 16_384]);
    let names: Vec<String> = files(dir.path()).into_keys().collect();
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
    let dir = temp_dir();
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
    assert!(common::writer(dir.path(), true).heal_report().is_clean());
    assert_shows(&view(dir.path()), &all, "after another opening");

    // data_100000 sorts before data_99999, and is above it.
    let dir = temp_dir();
    column(dir.path(), true, [1, first]);
    write_uncommitted(dir.path(), first + PER_FILE);
    let writer = common::writer(dir.path(), true);
    assert_eq!(writer.heal_report().actions.len(), 2, "{:?}", writer.heal_report());
    assert!(!dir.path().join("data_100000").exists());
    assert!(!dir.path().join("data_100000.off").exists());
    assert_shows(&view(dir.path()), &content([1, first]), "after healing");
}

// ---------------------------------------------------------------------------- 2. Data file

/// Guards against a record header in another order, width or byte order; and against records that
/// are sorted by slot instead of standing in the order of their puts.
#[test]
fn data_file_is_a_version_record_and_then_records_in_the_order_of_the_puts() {
    let dir = temp_dir();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&[(Slot(3), &b"three"[..]), (Slot(9), &b""[..])]).unwrap();
    writer.put(Slot(6), &[6; 0x0102]).unwrap();
    writer.put(Slot(10), b"ten").unwrap();
    let mut wanted = b"\x65\x32\0\0\0\0\0\0".to_vec();
    wanted.extend(b"\x04\0\x05\0\0\0\0\0three");
    wanted.extend(b"\x04\0\0\0\0\0\0\0");
    wanted.extend(b"\x04\0\x02\x01\0\0\0\0");
    wanted.extend([6; 0x0102]);
    wanted.extend(b"\x04\0\x03\0\0\0\0\0ten");
    assert_eq!(fs::read(dir.path().join("data_00000")).unwrap(), wanted);
    let entries = [3, 9, 6, 10].map(|slot| entry(dir.path(), slot));
    assert_eq!(entries, [8, 21, 29, 29 + 8 + 0x0102]);
}

fn snappy_frames(value: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(value).unwrap();
    encoder.into_inner().unwrap()
}

/// Guards against a compressed record that is not one framed stream as `snap` makes it, e.g. when
/// a large value is compressed in parts, and against a length of the decoded bytes in the header.
#[test]
fn compressed_payload_is_one_framed_stream_and_length_counts_stored_bytes() {
    let dir = temp_dir();
    let mut writer = Writer::open(dir.path(), WriterOptions::create(SNAPPY)).unwrap();
    let values: Vec<Vec<u8>> = [1, 10, 65_535, 65_536, 65_537, 1_000_000]
        .into_iter()
        .flat_map(|len| [vec![3; len], value_of_len(len as u64, len)])
        .collect();
    let items: Vec<(Slot, &[u8])> =
        values.iter().enumerate().map(|(at, value)| (Slot(at as u64), &value[..])).collect();
    writer.put_batch(&items).unwrap();
    let mut wanted = VERSION.to_vec();
    for value in &values {
        wanted.extend(record_bytes([1, 0], &snappy_frames(value)));
    }
    assert!(fs::read(dir.path().join("data_00000")).unwrap() == wanted, "the data file differs");
    let content: Content =
        values.into_iter().enumerate().map(|(at, value)| (at as u64, value)).collect();
    assert_shows(&view(dir.path()), &content, "compressed values");
}

/// Guards against a reader that knows one of the two forms of an empty compressed value, and a
/// writer that calls the other one a conflict.
#[test]
fn empty_compressed_value_is_no_payload_or_a_bare_stream_identifier() {
    let dir = temp_dir();
    let mut writer = Writer::open(dir.path(), WriterOptions::create(SNAPPY)).unwrap();
    writer.put_stored_batch(&[(Slot(1), &b""[..]), (Slot(2), &SNAPPY_IDENTIFIER[..])]).unwrap();
    writer.put(Slot(3), b"").unwrap();
    let wanted = Content::from([(1, Vec::new()), (2, Vec::new()), (3, Vec::new())]);
    let view = view(dir.path());
    assert_shows(&view, &wanted, "empty values");
    assert_eq!(view.get_stored(Slot(1)).unwrap(), Some(&b""[..]));
    assert_eq!(view.get_stored(Slot(2)).unwrap(), Some(&SNAPPY_IDENTIFIER[..]));
    let before = files(dir.path());
    for slot in [1, 2, 3] {
        assert_eq!(writer.put(Slot(slot), b"").unwrap().unchanged, 1, "slot {slot}");
        for stored in [&b""[..], &SNAPPY_IDENTIFIER] {
            let committed = writer.put_stored_batch(&[(Slot(slot), stored)]).unwrap();
            assert_eq!(committed.unchanged, 1, "slot {slot}");
        }
    }
    assert_files(dir.path(), &before, "empty values put again");
}

/// Guards against bytes that change, or a length that runs ahead, below or above the committed
/// length: after every put the file ends exactly there, and what was there stays.
#[test]
fn data_files_only_grow_and_end_at_the_committed_length() {
    let dir = temp_dir();
    let mut writer = writer(dir.path(), true);
    let mut before = Files::new();
    for slot in [10, 20, 15, 9000, 9010, 5, 9005, 6, 17_000, 9001, 7, 16_999, 17_001] {
        writer.put(Slot(slot), &value(slot)).unwrap();
        let after = files(dir.path());
        for (name, bytes) in &before {
            if name.starts_with("data_") && !name.ends_with(".off") {
                assert!(after[name].starts_with(bytes), "slot {slot}: bytes of {name} changed");
            }
        }
        let conf = RawConf::read(dir.path());
        assert_eq!(conf.len, data_len(dir.path(), conf.highest / PER_FILE), "slot {slot}");
        let (file, len) = conf.backfill.unwrap();
        if file != u64::MAX && file != conf.highest / PER_FILE {
            assert_eq!(len, data_len(dir.path(), file), "slot {slot}");
        }
        before = after;
    }
}

// ---------------------------------------------------------------------------- 3. Offset file

/// Guards against an offset file of another length, or one with an entry for a skipped slot.
#[test]
fn offset_file_is_8192_entries_and_zero_where_there_is_no_record() {
    let dir = temp_dir();
    column(dir.path(), true, [1, 9000, 17_000, 8192, 16_383, 16_999]);
    for (file, slots) in [(0, &[1][..]), (1, &[8192, 9000, 16_383]), (2, &[16_999, 17_000])] {
        let bytes = fs::read(dir.path().join(offsets_name(file))).unwrap();
        assert_eq!(bytes.len() as u64, OFFSETS_LEN, "file {file}");
        let filled: Vec<u64> = bytes
            .chunks_exact(8)
            .zip(file * PER_FILE..)
            .filter(|(entry, _)| *entry != [0; 8])
            .map(|(_, slot)| slot)
            .collect();
        assert_eq!(filled, slots, "file {file}");
    }
}

/// Guards against a gap that cannot be filled because the offset file of an empty file is missing,
/// which is the same as one full of zeros.
#[test]
fn missing_offset_file_of_a_data_file_without_records_is_zeros() {
    for (what, data) in [("no data file", None), ("a version record", Some(&VERSION[..]))] {
        let dir = temp_dir();
        column(dir.path(), true, [1, 17_000]);
        if let Some(bytes) = data {
            fs::write(dir.path().join("data_00001"), bytes).unwrap();
        }
        assert_reads(dir.path(), &content([1, 17_000]), what);
        let mut writer = writer(dir.path(), true);
        assert!(writer.heal_report().is_clean(), "{what}: {:?}", writer.heal_report());
        writer.put(Slot(9000), &value(9000)).unwrap();
        drop(writer);
        assert_shows(&view(dir.path()), &content([1, 9000, 17_000]), what);
        assert_eq!(entry(dir.path(), 9000), 8, "{what}");
        assert_eq!(data_len(dir.path(), 1), 8 + plain_record(9000).len() as u64, "{what}");
        assert!(common::writer(dir.path(), true).heal_report().is_clean(), "{what}");
    }
}

// ---------------------------------------------------------------------------- 4. column.conf

/// Guards against a field that moved: the bytes of both kinds of conf, by hand.
#[test]
fn conf_bytes_are_those_of_the_table() {
    let dir = temp_dir();
    let mut writer = Writer::open(dir.path(), WriterOptions::create(SNAPPY)).unwrap();
    let conf = |dir: &Path| fs::read(dir.join("column.conf")).unwrap();
    let mut wanted = b"LHSTBLK2".to_vec();
    wanted.extend([0xff; 8]);
    wanted.extend([0; 8]);
    wanted.extend([1, 0, 1, 0]);
    wanted.extend([0, 0, 0xa0, 0, 0, 0, 0, 0]);
    assert_eq!(conf(dir.path()), wanted, "an empty column");
    writer.put_stored_batch(&[(Slot(0x0102_0304), &b""[..])]).unwrap();
    wanted[8..16].copy_from_slice(&[4, 3, 2, 1, 0, 0, 0, 0]);
    wanted[16..24].copy_from_slice(&[16, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(conf(dir.path()), wanted, "one record");
    assert_eq!(wanted.len(), 36);

    drop(writer);
    let options = WriterOptions::existing().allow_backfill(true);
    let mut writer = Writer::open(dir.path(), options).unwrap();
    wanted[7] = b'3';
    wanted[27] = 1;
    wanted.extend([0xff; 8]);
    wanted.extend([0; 8]);
    assert_eq!(conf(dir.path()), wanted, "with backfill");
    writer.put_stored_batch(&[(Slot(0x0102), &b""[..]), (Slot(0x0103), &b""[..])]).unwrap();
    wanted[36..44].fill(0);
    wanted[44..52].copy_from_slice(&[24, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(conf(dir.path()), wanted, "with a backfill file");
    assert_eq!(wanted.len(), 52);
}

/// A conf that is refused by readers and writers, who touch nothing, in words that name the file.
#[track_caller]
fn assert_conf_refused(dir: &Path, conf: &[u8], what: &str) -> String {
    fs::write(dir.join("column.conf"), conf).unwrap();
    let before = files(dir);
    let mut text = String::new();
    let errors = [
        try_reader(dir).map(drop),
        Writer::open(dir, WriterOptions::existing()).map(drop),
        Writer::open(dir, WriterOptions::create(PLAIN)).map(drop),
        Writer::open(dir, WriterOptions::create(PLAIN).allow_backfill(true)).map(drop),
        coldstore::inspect(dir).map(drop),
    ];
    for (at, result) in errors.into_iter().enumerate() {
        let error = result.err().unwrap_or_else(|| panic!("{what}: opened, way {at}"));
        assert!(
            matches!(error, Error::Corrupt(_) | Error::Unsupported { .. }),
            "{what}: way {at}: {error:?}"
        );
        text = error.to_string();
        assert!(text.contains("column.conf"), "{what}: way {at}: {text} names the conf");
    }
    assert_files(dir, &before, what);
    text
}

/// Guards against a conf of the wrong length that is read as far as it goes: a torn one, one of a
/// draft, one of software that does not exist yet.
#[test]
fn only_two_pairs_of_magic_and_length_are_valid() {
    let v2 = temp_dir();
    column(v2.path(), false, [1, 9000]);
    let v3 = temp_dir();
    column(v3.path(), true, [1, 9000]);
    for dir in [v2.path(), v3.path()] {
        let good = fs::read(dir.join("column.conf")).unwrap();
        let mut long = good.clone();
        long.resize(4200, 0);
        for len in (0..=80).chain([4096, 4200]).filter(|len| *len != good.len()) {
            let error = assert_conf_refused(dir, &long[..len], &format!("{len} bytes"));
            if len == 34 && good[7] == b'3' {
                assert!(error.contains("draft"), "the abandoned draft is named: {error}");
            }
        }
        for magic in [b"LHSTBLK1", b"LHSTBLK4", b"LHSTBLK0", b"lhstblk2", &[0; 8], &[0xff; 8]] {
            let mut conf = good.clone();
            conf[..8].copy_from_slice(magic);
            assert_conf_refused(dir, &conf, &format!("magic {}", magic.escape_ascii()));
        }
        let mut other = good.clone();
        other[7] ^= 1;
        assert_conf_refused(dir, &other, "the other magic");
        fs::write(dir.join("column.conf"), &good).unwrap();
        assert_shows(&view(dir), &content([1, 9000]), "the right conf is back");
    }
}

/// Guards against an unknown setting that is ignored, and fields that contradict each other.
#[test]
fn conf_with_unknown_or_contradicting_fields_is_refused() {
    let v3 = temp_dir();
    column(v3.path(), true, [1, 9000, 17_000]);
    let v2 = temp_dir();
    column(v2.path(), false, [1, 9000, 17_000]);
    let refuse = |dir: &Path, what: &str, change: &dyn Fn(&mut RawConf)| {
        let good = fs::read(dir.join("column.conf")).unwrap();
        let mut conf = RawConf::parse(&good);
        change(&mut conf);
        assert_ne!(conf.bytes(), good, "{what} changes nothing");
        assert_conf_refused(dir, &conf.bytes(), what);
        fs::write(dir.join("column.conf"), good).unwrap();
    };
    for flags in (1..8).map(|bit| 1 << bit).chain([0x80 | 1, 3, 0xff]) {
        refuse(v3.path(), &format!("flags {flags:#x}"), &|conf| conf.byte_27 = flags);
    }
    for dir in [v2.path(), v3.path()] {
        for compression in [2, 3, 0x80, 0xff] {
            refuse(dir, "compression", &|conf| conf.compression = compression);
        }
        refuse(dir, "an empty column with a length", &|conf| conf.highest = u64::MAX);
        for len in 0..16 {
            refuse(dir, &format!("length {len}"), &|conf| conf.len = len);
        }
    }
    for reserved in [1, 2, 0x80] {
        refuse(v2.path(), "V2 with a flag", &|conf| conf.byte_27 = reserved);
    }
    refuse(v3.path(), "a length without a file", &|conf| conf.backfill = Some((u64::MAX, 8)));
    refuse(v3.path(), "a backfill file above the current", &|conf| conf.backfill = Some((3, 0)));
    let empty = temp_dir();
    column(empty.path(), true, []);
    refuse(empty.path(), "a backfill file of an empty column", &|conf| {
        conf.backfill = Some((0, 0));
    });
}

/// Guards against a column opened as another: with the wrong tag every record would be refused,
/// with the wrong compression every value would be garbage.
#[test]
fn type_and_compression_on_disk_win_and_the_error_shows_both() {
    let dir = temp_dir();
    column(dir.path(), false, [1, 2]);
    let before = files(dir.path());
    let other_type = ColumnSpec { record_type: [0xab, 0xcd], ..PLAIN };
    let snappy = ColumnSpec { compression: Compression::Snappy, ..PLAIN };
    for (spec, wanted, found) in [(other_type, "ab", "04"), (snappy, "snappy", "none")] {
        let as_reader =
            try_reader_with(dir.path(), ReaderOptions::default().expect(spec)).map(drop);
        let as_writer = Writer::open(dir.path(), WriterOptions::create(spec)).map(drop);
        let with_backfill =
            Writer::open(dir.path(), WriterOptions::create(spec).allow_backfill(true)).map(drop);
        for error in [as_reader, as_writer, with_backfill].map(Result::unwrap_err) {
            let Error::ConfMismatch { wanted: asked, found: on_disk, .. } = &error else {
                panic!("{error:?}")
            };
            assert_ne!(asked, on_disk);
            let text = error.to_string().to_lowercase();
            assert!(text.contains(wanted) && text.contains(found), "shows both: {text}");
        }
        assert_files(dir.path(), &before, "after a refusal");
    }
    // The bound is none of these: a smaller one than on disk is no mismatch.
    let smaller = ColumnSpec { max_value_bytes: 1, ..PLAIN };
    assert!(try_reader_with(dir.path(), ReaderOptions::default().expect(smaller)).is_ok());
}

/// Guards against a bound that is lowered by whoever opens with a smaller one, or that is raised in
/// memory alone: values above it would be refused by the next opening.
#[test]
fn max_value_bytes_only_goes_up_and_is_persisted_at_once() {
    for backfill in [false, true] {
        let dir = temp_dir();
        let spec = |max_value_bytes| ColumnSpec { max_value_bytes, ..PLAIN };
        let open = |options: WriterOptions| {
            Writer::open(dir.path(), options.allow_backfill(backfill)).unwrap()
        };
        let mut writer = open(WriterOptions::create(spec(100)));
        writer.put(Slot(1), &[1; 100]).unwrap();
        let error = writer.put(Slot(2), &[2; 101]).unwrap_err();
        assert!(
            matches!(error, Error::TooLarge { slot: Slot(2), byte_len: 101, limit: 100, .. }),
            "{error:?}"
        );
        drop(writer);
        let before = files(dir.path());
        for options in [
            WriterOptions::create(spec(99)),
            WriterOptions::create(spec(0)),
            WriterOptions::existing(),
            WriterOptions::existing().max_value_bytes(50),
        ] {
            drop(open(options));
            assert_files(dir.path(), &before, "opened with a smaller bound");
        }
        for (options, wanted) in [
            (WriterOptions::create(spec(101)), 101),
            (WriterOptions::existing().max_value_bytes(200), 200),
        ] {
            let old = RawConf::read(dir.path());
            drop(open(options));
            let wanted_conf = RawConf { max: wanted, ..old };
            assert_eq!(RawConf::read(dir.path()), wanted_conf, "persisted by opening alone");
        }
        let mut writer = open(WriterOptions::existing());
        writer.put(Slot(2), &[2; 200]).unwrap();
        assert!(writer.put(Slot(3), &[3; 201]).is_err());
        assert_eq!(RawConf::read(dir.path()).max, 200);
        assert_eq!(shown(dir.path()), Content::from([(1, vec![1; 100]), (2, vec![2; 200])]));
    }
}

/// Guards against a buffer as large as a header promises, and against a decoder that goes on past
/// the bound: the claim on disk does not lift a reader's own ceiling.
#[test]
fn reader_has_a_ceiling_of_its_own() {
    let dir = temp_dir();
    let spec = ColumnSpec { max_value_bytes: u64::MAX, ..SNAPPY };
    let mut writer = Writer::open(dir.path(), WriterOptions::create(spec)).unwrap();
    writer.put(Slot(1), &vec![0; 1 << 20]).unwrap();
    writer.put(Slot(2), &vec![0; (1 << 20) + 1]).unwrap();
    writer.put(Slot(3), &vec![0; 50 << 20]).unwrap();
    let view = try_reader_with(dir.path(), ReaderOptions::default().value_ceiling(1 << 20))
        .unwrap()
        .view();
    assert_eq!(view.get(Slot(1)).unwrap().unwrap().len(), 1 << 20);
    for slot in [2, 3] {
        let mut buffer = Vec::new();
        for result in [
            view.get(Slot(slot)).map(|value| value.is_some()),
            view.get_into(Slot(slot), &mut buffer),
            view.owned(Slot(slot)).map(|value| value.is_some()),
        ] {
            let error = result.unwrap_err();
            assert!(
                matches!(error, Error::TooLarge { slot: s, limit, .. }
                    if s.0 == slot && limit == 1 << 20),
                "{error:?}"
            );
        }
        assert!(buffer.capacity() <= 4 << 20, "the buffer grew to {}", buffer.capacity());
        assert!(view.contains(Slot(slot)).unwrap());
    }

    // Without compression too: no buffer gets larger than the ceiling.
    let dir = temp_dir();
    let mut writer = common::writer(dir.path(), false);
    writer.put(Slot(1), &[1; 100]).unwrap();
    writer.put(Slot(2), &[2; 101]).unwrap();
    let view =
        try_reader_with(dir.path(), ReaderOptions::default().value_ceiling(100)).unwrap().view();
    let mut buffer = Vec::new();
    assert!(view.get_into(Slot(1), &mut buffer).unwrap());
    assert_eq!(buffer, [1; 100]);
    let error = view.get_into(Slot(2), &mut buffer).unwrap_err();
    assert!(matches!(error, Error::TooLarge { slot: Slot(2), limit: 100, .. }), "{error:?}");
}

/// Guards against a new column that a power cut takes away after it was reported as made: conf,
/// directory and parent are flushed, in this order.
#[test]
fn creating_a_column_flushes_conf_directory_and_parent() {
    for (exists, backfill) in [(false, false), (false, true), (true, false)] {
        let root = temp_dir();
        let dir = root.path().join("bss");
        if exists {
            fs::create_dir(&dir).unwrap();
        }
        let disk = TestDisk::new();
        let options = WriterOptions::create(PLAIN).allow_backfill(backfill);
        let writer = Writer::open_on(disk.shared(), &dir, options).unwrap();
        assert!(writer.heal_report().is_clean());
        let calls = disk.take_calls();
        assert_flushed(&calls, &dir);
        let renamed = rename_positions(&calls);
        assert_eq!(renamed.len(), 1, "one conf is committed: {calls:?}");
        let parent = Call::SyncDir(root.path().to_owned());
        assert!(calls.contains(&parent), "the parent is flushed: {calls:?}");
        if !exists {
            let made = calls.iter().position(|call| matches!(call, Call::CreateDir(_))).unwrap();
            assert!(calls[made..].contains(&parent), "after the directory was made: {calls:?}");
        }
        let conf = RawConf::read(&dir);
        let wanted = RawConf {
            highest: u64::MAX,
            len: 0,
            record_type: [4, 0],
            compression: 0,
            byte_27: u8::from(backfill),
            max: 1 << 30,
            backfill: backfill.then_some((u64::MAX, 0)),
        };
        assert_eq!(conf, wanted);
        assert_eq!(files(&dir).len(), 1, "nothing but the conf");
        drop(writer);
        assert_reads(&dir, &Content::new(), "a new column");
    }
}

/// Guards against a column made by somebody who only wanted an existing one.
#[test]
fn existing_creates_nothing() {
    let root = temp_dir();
    let dir = root.path().join("bss");
    for made in [false, true] {
        if made {
            fs::create_dir(&dir).unwrap();
        }
        let before = stamps(root.path());
        let error = Writer::open(&dir, WriterOptions::existing()).unwrap_err();
        assert!(matches!(error, Error::NoSuchColumn { .. }), "{error:?}");
        assert!(!dir.join("column.conf").exists());
        if !made {
            assert_eq!(stamps(root.path()), before, "nothing was made");
        }
    }
}

/// Guards against a V3 column whose flag is off being filled without anybody asking for it.
#[test]
fn backfill_flag_off_refuses_and_asking_turns_it_on_for_ever() {
    let dir = temp_dir();
    column(dir.path(), true, [1, 9000]);
    RawConf::edit(dir.path(), |conf| conf.byte_27 = 0);
    let before = files(dir.path());
    let mut writer = writer(dir.path(), false);
    let error = writer.put(Slot(5), &value(5)).unwrap_err();
    assert!(matches!(error, Error::BackfillDisabled { slot: Slot(5), .. }), "{error:?}");
    drop(writer);
    assert_files(dir.path(), &before, "nobody asked");
    drop(common::writer(dir.path(), true));
    assert_eq!(RawConf::read(dir.path()).byte_27, 1, "asked for");
    let mut writer = common::writer(dir.path(), false);
    writer.put(Slot(5), &value(5)).unwrap();
    writer.put(Slot(9001), &value(9001)).unwrap();
    assert_eq!(RawConf::read(dir.path()).byte_27, 1, "sticky");
}

// ---------------------------------------------------------------------------- 5.1 What a put may do

/// Puts a batch by every call that takes one; each is refused by the same error, and no byte of any
/// file changes.
#[track_caller]
fn assert_refused(
    writer: &mut Writer,
    items: &[(Slot, Vec<u8>)],
    what: &str,
    is_right: &dyn Fn(&Error) -> bool,
) {
    let dir = writer.directory().to_owned();
    let before = files(&dir);
    let stamped = stamps(&dir);
    let mut errors = vec![
        ("put_batch", writer.put_batch(items).map(drop).unwrap_err()),
        ("put_stored_batch", writer.put_stored_batch(items).map(drop).unwrap_err()),
    ];
    if let [(slot, value)] = items {
        errors.push(("put", writer.put(*slot, value).map(drop).unwrap_err()));
        let source = &mut &value[..];
        let error = writer.put_from(*slot, value.len() as u64, source).map(drop).unwrap_err();
        errors.push(("put_from", error));
        errors.push(("put_bulk", writer.put_bulk(items, |_| {}).map(drop).unwrap_err().error));
    }
    for (call, error) in errors {
        assert!(is_right(&error), "{what}: {call}: {error:?}");
    }
    assert_files(&dir, &before, what);
    assert_eq!(stamps(&dir), stamped, "{what}: a file was touched");
    assert!(!writer.is_poisoned(), "{what}: a refusal is no failure");
}

/// Guards against an order of slots that would make later lookups or replays ambiguous.
#[test]
fn rule_1_slots_of_a_batch_ascend_strictly() {
    let dir = temp_dir();
    column(dir.path(), true, [10, 20, 9000]);
    let mut writer = writer(dir.path(), true);
    for (slots, previous, slot) in [
        (&[9001, 9001][..], 9001, 9001),
        (&[9002, 9001], 9002, 9001),
        (&[9001, 9002, 9003, 9003], 9003, 9003),
        (&[11, 11], 11, 11),
        (&[10, 10], 10, 10),
        (&[20, 10], 20, 10),
        (&[17_000, 9001], 17_000, 9001),
    ] {
        assert_refused(&mut writer, &batch(slots.iter().copied()), "order", &|error| {
            matches!(error, Error::NotAscending { previous: p, slot: s }
                if p.0 == previous && s.0 == slot)
        });
    }
    let error = writer.put_bulk(&batch([9001, 17_000, 9002]), |_| {}).unwrap_err();
    assert!(matches!(error.error, Error::NotAscending { .. }), "{error:?}");
    let wanted: Content = match error.done.written {
        0 => content([10, 20, 9000]),
        _ => panic!("a run that does not ascend is refused before anything: {error:?}"),
    };
    assert_shows(&view(dir.path()), &wanted, "after refusals");
}

/// Guards against the mark of an empty column as a slot: the column would read as empty, and the
/// next opening would remove its files.
#[test]
fn rule_1_the_mark_of_an_empty_column_is_no_slot() {
    for slots in [&[][..], &[10, 9000]] {
        let dir = temp_dir();
        column(dir.path(), true, slots.iter().copied());
        let mut writer = writer(dir.path(), true);
        let invalid = |error: &Error| matches!(error, Error::InvalidSlot);
        assert_refused(&mut writer, &batch([u64::MAX]), "alone", &invalid);
        assert_refused(&mut writer, &batch([9001, u64::MAX]), "at the end", &invalid);
        assert!(!writer.contains(Slot(u64::MAX)).unwrap());
        assert_absent(&view(dir.path()), u64::MAX, "for a reader");
        // The slot before it is one.
        let committed = writer.put(Slot(u64::MAX - 1), b"last").unwrap();
        assert_eq!(committed.written, 1);
        assert_eq!(view(dir.path()).get(Slot::MAX).unwrap().as_deref(), Some(&b"last"[..]));
        assert_refused(&mut writer, &batch([u64::MAX]), "after the last slot", &invalid);
    }
}

/// Guards against a value that is written and then refused by every reader, and against one that is
/// noticed after the values before it have been written.
#[test]
fn rule_1_every_value_fits_the_bound() {
    let dir = temp_dir();
    let spec = ColumnSpec { max_value_bytes: 100, ..PLAIN };
    let options = WriterOptions::create(spec).allow_backfill(true);
    let mut writer = Writer::open(dir.path(), options).unwrap();
    writer.put_batch(&[(Slot(10), vec![1; 100]), (Slot(9000), vec![2; 100])]).unwrap();
    let too_large = |error: &Error| {
        matches!(error, Error::TooLarge { byte_len: 101, limit: 100, at_least: false, .. })
    };
    for slot in [11, 8999, 9001, 17_000] {
        let wrong = vec![3; 101];
        assert_refused(&mut writer, &[(Slot(slot), wrong.clone())], "alone", &too_large);
        let items = [(Slot(10), vec![1; 100]), (Slot(slot), wrong)];
        assert_refused(&mut writer, &items, "behind a good one", &too_large);
    }
    let items = [(Slot(9001), vec![3; 100]), (Slot(17_000), vec![3; 101])];
    assert_refused(&mut writer, &items, "in a later file", &too_large);
}

/// Guards against a bound that is held against the compressed bytes, and against stored bytes that
/// are taken in unseen.
#[test]
fn rule_1_bound_and_form_of_compressed_values_are_checked() {
    let dir = temp_dir();
    let spec = ColumnSpec { max_value_bytes: 1000, ..SNAPPY };
    let mut writer = Writer::open(dir.path(), WriterOptions::create(spec)).unwrap();
    writer.put(Slot(1), &[1; 1000]).unwrap();
    let before = files(dir.path());
    let large = |error: &Error| matches!(error, Error::TooLarge { slot: Slot(2), limit: 1000, .. });
    let error = writer.put(Slot(2), &[1; 1001]).unwrap_err();
    assert!(large(&error), "1001 bytes that compress well: {error:?}");
    for len in [1001, 100_000] {
        let error =
            writer.put_stored_batch(&[(Slot(2), snappy_frames(&vec![1; len]))]).unwrap_err();
        assert!(large(&error), "{len} bytes, stored: {error:?}");
    }
    // Noise grows by being stored: more than 1000 bytes of payload may be a value of 1000.
    let noise = value_of_len(3, 1000);
    assert!(snappy_frames(&noise).len() > 1000);

    let good = snappy_frames(&[9; 500]);
    let mut flipped = good.clone();
    flipped[14] ^= 1;
    for (what, stored) in [
        ("no stream identifier", good[10..].to_vec()),
        ("half a stream identifier", good[..5].to_vec()),
        ("cut", good[..good.len() - 1].to_vec()),
        ("cut chunk header", good[..12].to_vec()),
        ("flipped", flipped),
        ("garbage", vec![0x55; 64]),
        ("a raw block", snap::raw::Encoder::new().compress_vec(&[9; 500]).unwrap()),
        ("garbage behind the end", [&good[..], &[1]].concat()),
    ] {
        let result = writer.put_stored_batch(&[(Slot(2), b"".to_vec()), (Slot(3), stored)]);
        assert!(result.is_err(), "{what}: taken in");
        assert_files(dir.path(), &before, what);
        assert!(!writer.is_poisoned(), "{what}");
    }
    writer.put_stored_batch(&[(Slot(2), good), (Slot(3), snappy_frames(&noise))]).unwrap();
    let wanted = Content::from([(1, vec![1; 1000]), (2, vec![9; 500]), (3, noise)]);
    assert_shows(&view(dir.path()), &wanted, "stored values");
}

/// Guards against a length that wraps around in the 32 bits of a record header.
#[test]
fn rule_1_stored_payload_fits_32_bits() {
    struct Unread;
    impl std::io::Read for Unread {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("all checks come before the first byte");
        }
    }
    let dir = temp_dir();
    let spec = ColumnSpec { max_value_bytes: 1 << 40, ..PLAIN };
    let mut writer = Writer::open(dir.path(), WriterOptions::create(spec)).unwrap();
    writer.put(Slot(1), b"one").unwrap();
    let before = files(dir.path());
    for byte_len in [1 << 32, (1 << 32) + 5, (1 << 40) + 1, u64::MAX] {
        let error = writer.put_from(Slot(2), byte_len, &mut Unread).unwrap_err();
        assert!(
            matches!(error, Error::TooLarge { slot: Slot(2), byte_len: b, .. } if b == byte_len),
            "{error:?}"
        );
        assert_files(dir.path(), &before, "after a value of more than 4 GiB");
    }
    assert!(!writer.is_poisoned());
    writer.put_from(Slot(2), 3, &mut &b"two"[..]).unwrap();
    let wanted = Content::from([(1, b"one".to_vec()), (2, b"two".to_vec())]);
    assert_shows(&view(dir.path()), &wanted, "streamed");
}

/// Guards against skipped slots with an entry, or with a file of their own.
#[test]
fn rule_2_sequential_put_leaves_skipped_slots_without_a_record() {
    for backfill in [false, true] {
        let dir = temp_dir();
        let mut writer = writer(dir.path(), backfill);
        for slot in [3, 7, 40_000] {
            let committed = writer.put(Slot(slot), &value(slot)).unwrap();
            assert_eq!((committed.written, committed.unchanged), (1, 0));
            assert_eq!(writer.highest_written_slot(), Some(Slot(slot)));
        }
        assert_shows(&view(dir.path()), &content([3, 7, 40_000]), "sequential");
        for file in [1, 2, 3] {
            assert!(!dir.path().join(data_name(file)).exists(), "file {file} is all skipped");
            assert!(!dir.path().join(offsets_name(file)).exists(), "file {file} is all skipped");
        }
        assert_eq!(fs::read(dir.path().join("column.conf")).unwrap()[7], b'2' + u8::from(backfill));
    }
}

/// Guards against a replay after a crash that is refused, appended twice, or half taken; and against
/// a conflict that is noticed after something has been written.
#[test]
fn rule_3_identical_put_writes_nothing_and_another_value_is_a_conflict() {
    for backfill in [false, true] {
        let dir = temp_dir();
        let slots = [1, 5, 8191, 8192, 17_000];
        column(dir.path(), backfill, slots);
        let mut writer = writer(dir.path(), backfill);
        let before = files(dir.path());
        let stamped = stamps(dir.path());
        let committed = writer.put_batch(&batch(slots)).unwrap();
        assert_eq!((committed.written, committed.unchanged), (0, 5));
        assert_eq!(writer.put_batch(&batch([])).unwrap().written, 0);
        for slot in slots {
            assert_eq!(writer.put(Slot(slot), &value(slot)).unwrap().unchanged, 1);
            let value = value(slot);
            let source = &mut &value[..];
            let committed = writer.put_from(Slot(slot), value.len() as u64, source).unwrap();
            assert_eq!((committed.written, committed.unchanged), (0, 1), "streamed");
        }
        assert_files(dir.path(), &before, "after replays");
        assert_eq!(stamps(dir.path()), stamped, "a replay touches no file");

        for slot in slots {
            let conflict =
                |error: &Error| matches!(error, Error::Conflict { slot: s } if s.0 == slot);
            let mut wrong = value(slot);
            wrong.push(0);
            assert_refused(&mut writer, &[(Slot(slot), wrong.clone())], "alone", &conflict);
            let mut items = batch(slots.into_iter().chain([17_001, 30_000]));
            items.iter_mut().find(|(s, _)| s.0 == slot).unwrap().1 = wrong;
            assert_refused(&mut writer, &items, "in a replay that goes on", &conflict);
        }
        let committed = writer.put_batch(&batch([1, 5, 8191, 8192, 17_000, 17_001])).unwrap();
        assert_eq!((committed.written, committed.unchanged), (1, 5));
        assert_shows(&view(dir.path()), &content([1, 5, 8191, 8192, 17_000, 17_001]), "replay");
    }
}

/// Guards against values compared by what is stored: two encoders may store the same value in two
/// ways.
#[test]
fn rule_3_compressed_values_are_compared_decoded() {
    let dir = temp_dir();
    let mut writer = Writer::open(dir.path(), WriterOptions::create(SNAPPY)).unwrap();
    let value = vec![42; 300];
    // A chunk of uncompressed data, as another encoder may choose it. The checksum is copied from
    // what our encoder says of the same bytes.
    let ours = snappy_frames(&value);
    assert_eq!(ours[10], 0, "a chunk of compressed data");
    let mut other = SNAPPY_IDENTIFIER.to_vec();
    other.extend([1, 48, 1, 0]);
    other.extend(&ours[14..18]);
    other.extend(&value);
    assert_eq!(48 + 256, value.len() + 4);
    writer.put_stored_batch(&[(Slot(1), &other)]).unwrap();
    writer.put(Slot(2), &value).unwrap();
    let before = files(dir.path());
    for slot in [1, 2] {
        assert_eq!(writer.put(Slot(slot), &value).unwrap().unchanged, 1, "slot {slot}");
        for stored in [&ours, &other] {
            let committed = writer.put_stored_batch(&[(Slot(slot), stored)]).unwrap();
            assert_eq!(committed.unchanged, 1, "slot {slot}");
        }
        let error = writer.put(Slot(slot), &value[1..]).unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    }
    assert_files(dir.path(), &before, "after replays");
}

/// Guards against the two answers to a gap being mixed up, and a highest slot that moves.
#[test]
fn rule_4_a_gap_is_filled_only_where_backfill_is_on() {
    let dir = temp_dir();
    column(dir.path(), false, [10, 9000]);
    let mut writer = writer(dir.path(), false);
    for slot in [0, 9, 11, 8191, 8192, 8999] {
        assert_refused(&mut writer, &batch([slot]), "backfill is off", &|error| {
            matches!(error, Error::BackfillDisabled { slot: s, highest: Slot(9000) }
                if s.0 == slot)
        });
    }
    drop(writer);
    let mut writer = common::writer(dir.path(), true);
    for slot in [0, 9, 11, 8191, 8192, 8999] {
        assert_eq!(writer.put(Slot(slot), &value(slot)).unwrap().written, 1);
        assert_eq!(writer.highest_written_slot(), Some(Slot(9000)));
    }
    let all = content([0, 9, 10, 11, 8191, 8192, 8999, 9000]);
    assert_shows(&view(dir.path()), &all, "filled");
}

/// Guards against one commit of two kinds, and against calling a batch mixed whose lower slots are
/// there already.
#[test]
fn rule_5_a_batch_does_not_fill_a_gap_and_go_past_the_highest_slot() {
    let dir = temp_dir();
    column(dir.path(), true, [10, 20, 9000]);
    let mut writer = writer(dir.path(), true);
    for (slots, gap, next) in [
        (&[11, 9001][..], 11, 9001),
        (&[8999, 9001], 8999, 9001),
        (&[10, 15, 20, 9000, 17_000], 15, 17_000),
        (&[8999, 9000, 9001, 9002], 8999, 9001),
    ] {
        assert_refused(&mut writer, &batch(slots.iter().copied()), "mixed", &|error| {
            matches!(error, Error::MixedBatch { backfill, sequential }
                if backfill.0 == gap && sequential.0 == next)
        });
    }
    assert_eq!(writer.put_batch(&batch([10, 20, 9000, 9001])).unwrap().written, 1);
    assert_shows(&view(dir.path()), &content([10, 20, 9000, 9001]), "not mixed");
    // In an empty column nothing is a gap.
    let empty = temp_dir();
    let mut writer = common::writer(empty.path(), true);
    writer.put_batch(&batch([0, 5, 9000])).unwrap();
    assert_shows(&view(empty.path()), &content([0, 5, 9000]), "the first batch");
}

/// Guards against gaps in two files under a conf that can name one, and against counting files in
/// which nothing is to be filled.
#[test]
fn rule_6_a_backfill_batch_fills_one_file_besides_the_current_one() {
    let dir = temp_dir();
    column(dir.path(), true, [10, 9000, 17_000, 33_000]);
    let mut writer = writer(dir.path(), true);
    for (slots, ids) in [
        (&[8191, 8192][..], &[0, 1][..]),
        (&[11, 9001, 17_001], &[0, 1, 2]),
        (&[11, 25_000], &[0, 3]),
        (&[9001, 17_001, 32_999], &[1, 2]),
    ] {
        let ids: Vec<FileId> = ids.iter().map(|&id| FileId(id)).collect();
        assert_refused(
            &mut writer,
            &batch(slots.iter().copied()),
            "spans",
            &|error| matches!(error, Error::SpansFiles { files } if files[..] == ids[..]),
        );
    }
    // Slots that are there already do not count, nor does the current file.
    let committed = writer.put_batch(&batch([10, 9000, 17_000, 17_001, 32_999, 33_000])).unwrap();
    assert_eq!((committed.written, committed.unchanged), (2, 4));
    assert_shows(
        &view(dir.path()),
        &content([10, 9000, 17_000, 17_001, 32_999, 33_000]),
        "one file besides the current one",
    );
}

/// Guards against a check that comes after a later one: an operator would be told of the lesser
/// mistake, and a batch refused by rule 1 could already have been read against the disk.
#[test]
fn errors_come_in_the_order_of_the_rules() {
    fn name(error: &Error) -> &'static str {
        match error {
            Error::NotAscending { .. } => "NotAscending",
            Error::InvalidSlot => "InvalidSlot",
            Error::TooLarge { .. } => "TooLarge",
            Error::Conflict { .. } => "Conflict",
            Error::BackfillDisabled { .. } => "BackfillDisabled",
            Error::MixedBatch { .. } => "MixedBatch",
            Error::SpansFiles { .. } => "SpansFiles",
            _ => "another",
        }
    }
    let spec = ColumnSpec { max_value_bytes: 400, ..PLAIN };
    let (wrong, large) = (b"wrong".to_vec(), vec![0; 401]);
    let with = |slots: &[u64], changes: &[(u64, &Vec<u8>)]| {
        let mut items = batch(slots.iter().copied());
        for (slot, value) in changes {
            items.iter_mut().find(|(s, _)| s.0 == *slot).unwrap().1 = (*value).clone();
        }
        items
    };
    for backfill in [false, true] {
        let dir = temp_dir();
        let options = WriterOptions::create(spec).allow_backfill(backfill);
        let mut writer = Writer::open(dir.path(), options).unwrap();
        writer.put_batch(&batch([10, 9000, 17_000, 33_000])).unwrap();
        let cases = [
            // Rule 1 before all others.
            (with(&[10, 11, 9001, 33_001, 33_001], &[(10, &wrong)]), ["NotAscending"; 2]),
            (with(&[10, 11, 9001, 33_001, u64::MAX], &[(10, &wrong)]), ["InvalidSlot"; 2]),
            (with(&[10, 11, 9001, 33_001], &[(10, &wrong), (33_001, &large)]), ["TooLarge"; 2]),
            (with(&[10], &[(10, &large)]), ["TooLarge"; 2]),
            // Rule 3 before the rules about gaps, wherever in the batch it is.
            (with(&[10, 11, 9000], &[(9000, &wrong)]), ["Conflict"; 2]),
            (with(&[10, 33_001], &[(10, &wrong)]), ["Conflict"; 2]),
            (with(&[11, 9001, 17_000, 33_001], &[(17_000, &wrong)]), ["Conflict"; 2]),
            // Rule 4 before 5 and 6.
            (with(&[11, 33_001], &[]), ["BackfillDisabled", "MixedBatch"]),
            (with(&[11, 9001], &[]), ["BackfillDisabled", "SpansFiles"]),
            // Rule 5 before 6.
            (with(&[11, 9001, 33_001], &[]), ["BackfillDisabled", "MixedBatch"]),
        ];
        for (items, wanted) in cases {
            let slots: Vec<u64> = items.iter().map(|(slot, _)| slot.0).collect();
            let wanted = wanted[usize::from(backfill)];
            assert_refused(&mut writer, &items, &format!("{slots:?}"), &|error| {
                name(error) == wanted
            });
        }
        assert_shows(&view(dir.path()), &content([10, 9000, 17_000, 33_000]), "after refusals");
    }
}

/// Guards against a long run that is refused, cut in the wrong places, or of which nobody knows how
/// far it came.
#[test]
fn rule_6_a_run_is_split_into_one_commit_per_file() {
    let dir = temp_dir();
    let base = [10, 9000, 17_000, 60_000];
    column(dir.path(), true, base);
    let mut writer = writer(dir.path(), true);
    let slots = [5, 9, 10, 11, 8191, 8192, 9001, 30_000, 57_344, 59_999];
    let report = writer.put_bulk(&batch(slots), |_| {}).unwrap();
    assert_eq!((report.written, report.unchanged), (9, 1));
    assert_eq!(report.last, Some(Slot(59_999)));
    assert!((3..=4).contains(&report.commits), "files 0, 1, 3 and 7: {report:?}");
    let all = content(base.into_iter().chain(slots));
    assert_shows(&view(dir.path()), &all, "after the run");

    // The same again is nothing; so is nothing.
    let before = files(dir.path());
    let report = writer.put_bulk(&batch(slots), |_| {}).unwrap();
    assert_eq!((report.written, report.unchanged), (0, 10));
    assert_eq!(report.last, Some(Slot(59_999)));
    let report = writer.put_bulk(&batch([]), |_| {}).unwrap();
    assert_eq!((report.written, report.unchanged, report.last), (0, 0, None));
    assert_files(dir.path(), &before, "the same run again");

    // Gaps, then past the highest slot: no batch, but a run.
    let report = writer.put_bulk(&batch([6, 9002, 59_998, 60_001, 70_000]), |_| {}).unwrap();
    assert_eq!((report.written, report.last), (5, Some(Slot(70_000))));
    let all: Content = all.into_iter().chain(content([6, 9002, 59_998, 60_001, 70_000])).collect();
    assert_shows(&view(dir.path()), &all, "gaps and then sequential");

    // An error in the middle: what was committed stays, and the error says so.
    let mut items = batch([7, 9000, 9003, 17_001]);
    items[1].1 = b"wrong".to_vec();
    let error = writer.put_bulk(&items, |_| {}).unwrap_err();
    assert!(matches!(error.error, Error::Conflict { slot: Slot(9000) }), "{error:?}");
    let mut wanted = all;
    if error.done.last == Some(Slot(7)) {
        wanted.insert(7, value(7));
    }
    assert_eq!(error.done.written, u64::from(error.done.last.is_some()), "{error:?}");
    assert_shows(&view(dir.path()), &wanted, "as far as the error says");
    assert!(!error.to_string().is_empty());
}

/// Guards against a report of commits that nobody made: a run that is all there already changes no
/// conf, and every commit that is reported is durable when the callback is told of it.
#[test]
fn a_run_reports_the_commits_that_were_made() {
    let dir = temp_dir();
    column(dir.path(), true, [10, 9000, 17_000]);
    let mut writer = writer(dir.path(), true);
    let slots = [11, 12, 9001, 16_999, 17_001];
    let mut told = Vec::new();
    let report = writer
        .put_bulk(&batch(slots), |commit| {
            let view = view(dir.path());
            for slot in slots.into_iter().filter(|slot| *slot <= commit.last.0) {
                assert_eq!(view.get(Slot(slot)).unwrap().unwrap(), value(slot), "{commit:?}");
            }
            told.push((commit.first.0, commit.last.0, commit.records));
        })
        .unwrap();
    assert_eq!(report.commits, told.len() as u64);
    assert_eq!(told.iter().map(|commit| commit.2).sum::<u64>(), 5);
    assert!(told.iter().zip(told.iter().skip(1)).all(|(one, next)| one.1 < next.0), "{told:?}");

    let before = stamps(dir.path());
    let mut told = 0;
    let report = writer.put_bulk(&batch(slots), |_| told += 1).unwrap();
    assert_eq!(stamps(dir.path()), before);
    assert_eq!(report.commits, 0, "nothing was committed: {report:?}");
    assert_eq!((told, report.last), (3, Some(Slot(17_001))), "one step a file, all of it durable");
}

/// Guards against a put that is acknowledged before all of it is flushed: a power cut would take it
/// away. Every call is followed by a flush of what it changed, and the commit comes last.
#[test]
fn a_put_is_durable_when_it_returns() {
    for scenario in SCENARIOS {
        let dir = temp_dir();
        scenario.build(dir.path());
        let disk = TestDisk::new();
        let mut writer = open_on(&disk, dir.path(), scenario.backfill);
        disk.take_calls();
        writer.put_batch(&scenario.items()).unwrap();
        let calls = disk.take_calls();
        assert_flushed(&calls, dir.path());
        assert!(!calls.is_empty(), "{}", scenario.name);
        drop(writer);
        assert!(disk.take_calls().iter().all(|call| !call.changes()), "closing changes nothing");
        assert_shows(&view(dir.path()), &scenario.after(), scenario.name);
    }
}

// ---------------------------------------------------------------------------- 5.2 Order of a commit

/// Guards against any change in the order of the five steps: an entry on disk before its record, a
/// conf before either, a new file whose name is lost, an intent that comes too late.
#[test]
fn the_steps_of_a_commit_come_in_their_order() {
    for scenario in SCENARIOS {
        let name = scenario.name;
        let dir = temp_dir();
        scenario.build(dir.path());
        let (before, after) = scenario.files();
        let conf_before = RawConf::parse(&before["column.conf"]);
        let disk = TestDisk::new();
        let mut writer = open_on(&disk, dir.path(), scenario.backfill);
        disk.take_calls();
        writer.put_batch(&scenario.items()).unwrap();
        let calls = disk.take_calls();
        let renames = rename_positions(&calls);
        let confs: Vec<RawConf> = calls
            .iter()
            .filter_map(|call| match call {
                Call::Write { file, bytes, .. } if file == "column.conf.tmp" => {
                    Some(RawConf::parse(bytes))
                }
                _ => None,
            })
            .collect();
        assert_eq!(confs.len(), renames.len(), "{name}: a conf is written at once: {calls:?}");

        // 1. The intent, and only where one is needed. It names the file with its present length.
        let intents = usize::from(scenario.intent.is_some());
        assert_eq!(renames.len(), intents + 1, "{name}: commits: {calls:?}");
        if let Some(file) = scenario.intent {
            let present = before.get(&data_name(file)).map_or(0, Vec::len) as u64;
            let wanted = RawConf { backfill: Some((file, present)), ..conf_before.clone() };
            assert_eq!(confs[0], wanted, "{name}: intent");
            let flushed = calls[renames[0] + 1..].iter().position(Call::is_flush);
            let changed = calls
                .iter()
                .position(|call| changed_file(call).is_some_and(|file| file.starts_with("data_")));
            assert_eq!(flushed, Some(0), "{name}: the intent is flushed: {calls:?}");
            assert!(changed > Some(renames[0] + 1), "{name}: intent first: {calls:?}");
        }
        let last = *renames.last().unwrap();
        assert_eq!(confs.last().unwrap().bytes(), after["column.conf"], "{name}: last conf");
        assert_eq!(
            calls[last + 1..],
            [Call::SyncDir(dir.path().to_owned())],
            "{name}: the directory is flushed after the commit point, and that is the end"
        );

        // 2 to 5. What lies under the commit.
        let start = if intents == 1 { renames[0] + 1 } else { 0 };
        let commit = &calls[start..last];
        let flushed_before = |at: usize, file: &str| {
            let changed = commit[..at].iter().rposition(|call| changed_file(call) == Some(file));
            let flushed =
                commit[..at].iter().rposition(|call| *call == Call::Sync(file.to_owned()));
            changed.is_none() || flushed > changed
        };
        for (at, call) in commit.iter().enumerate() {
            match call {
                Call::Write { file, at: offset, bytes } if file.ends_with(".off") => {
                    assert!(offset % 8 == 0 && bytes.len() % 8 == 0, "{name}: aligned: {call:?}");
                    let data = file.strip_suffix(".off").unwrap();
                    assert!(
                        commit[..at].iter().any(|call| changed_file(call) == Some(data)),
                        "{name}: entries of {data} without a record: {calls:?}"
                    );
                }
                Call::Write { file, at: offset, .. } if file.starts_with("data_") => {
                    let len = before.get(file).map_or(0, Vec::len) as u64;
                    assert!(*offset >= len, "{name}: below the committed length: {call:?}");
                }
                Call::SetLen { file, .. } => {
                    assert!(file.ends_with(".off"), "{name}: the length of data: {call:?}");
                }
                Call::Remove(_) | Call::Rename { .. } | Call::CreateDir(_) => {
                    panic!("{name}: no step of a commit: {call:?}")
                }
                _ => {}
            }
        }
        let tmp = commit
            .iter()
            .position(|call| *call == Call::Create("column.conf.tmp".to_owned()))
            .unwrap_or_else(|| panic!("{name}: column.conf.tmp is made anew: {calls:?}"));
        // Everything is written, then everything is flushed, then the conf is renamed.
        let flushes = commit[tmp..].iter().position(Call::is_flush).map(|at| tmp + at);
        let flushes = flushes.unwrap_or_else(|| panic!("{name}: nothing is flushed: {calls:?}"));
        assert!(commit[flushes..].iter().all(Call::is_flush), "{name}: {calls:?}");
        let first = commit.iter().position(|call| changed_file(call).is_some()).unwrap_or(tmp);
        assert!(!commit[first..flushes].iter().any(Call::is_flush), "{name}: {calls:?}");
        let mut touched: BTreeSet<&str> = commit.iter().filter_map(changed_file).collect();
        for file in &touched {
            assert!(flushed_before(commit.len(), file), "{name}: {file} first: {calls:?}");
        }
        assert!(touched.remove("column.conf.tmp"), "{name}: {calls:?}");
        let creates = |call: &Call| matches!(call, Call::Create(file) if file != "column.conf.tmp");
        let named = commit[first..].iter().any(|call| matches!(call, Call::SyncDir(_)));
        assert_eq!(named, commit.iter().any(creates), "{name}: new names first: {calls:?}");

        // Nobody else's file is touched.
        let files: BTreeSet<String> = scenario
            .batch
            .iter()
            .filter(|slot| !scenario.before().contains_key(slot))
            .flat_map(|slot| [data_name(slot / PER_FILE), offsets_name(slot / PER_FILE)])
            .chain(["column.check".to_owned()])
            .collect();
        let touched: BTreeSet<String> = touched.into_iter().map(str::to_owned).collect();
        assert_eq!(touched, files, "{name}: the files of the batch, and no other");
    }
}

/// Guards against a disk that takes less than it is given being believed to have taken all.
#[test]
fn short_writes_are_continued() {
    for scenario in SCENARIOS {
        let dir = temp_dir();
        scenario.build(dir.path());
        let disk = TestDisk::new();
        disk.shorten_writes(24);
        let mut writer = open_on(&disk, dir.path(), scenario.backfill);
        writer.put_batch(&scenario.items()).unwrap();
        assert_files(dir.path(), &scenario.files().1, scenario.name);
    }
}

/// Guards against an intent for every put where the conf already names the file, and against the
/// lack of one after it was moved away.
#[test]
fn the_intent_is_committed_only_when_the_conf_names_another_file() {
    let dir = temp_dir();
    column(dir.path(), true, [1, 9000, 17_000]);
    let disk = TestDisk::new();
    let mut writer = open_on(&disk, dir.path(), true);
    for (slot, commits) in
        [(5, 2), (6, 1), (7, 1), (16_999, 1), (8, 1), (9001, 2), (9002, 1), (9, 2), (17_001, 1)]
    {
        // The current file is put into in between: whether the conf goes on naming file 0 is left
        // to the writer, but it never commits twice where the conf does name the file.
        let named = RawConf::read(dir.path()).backfill.map(|(file, _)| file);
        disk.take_calls();
        writer.put(Slot(slot), &value(slot)).unwrap();
        let renames = rename_positions(&disk.take_calls()).len();
        let current = slot / PER_FILE == 2;
        let wanted = if current || named == Some(slot / PER_FILE) { 1 } else { 2 };
        assert_eq!(renames, wanted, "slot {slot}, the conf names {named:?}");
        if slot != 8 {
            assert_eq!(renames, commits, "slot {slot}");
        }
    }
}

/// Guards against an append that brings a stray entry to life: a sealed file is checked before the
/// conf names it, and left as it is when it is not in order.
#[test]
fn a_sealed_file_that_is_not_in_order_is_refused_before_the_intent() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 8] = [
        ("an entry at its end", |dir| set_entry(dir, 3, data_len(dir, 0))),
        ("an entry past its end", |dir| set_entry(dir, 8191, data_len(dir, 0) + 1)),
        ("an entry far past its end", |dir| set_entry(dir, 0, u64::MAX)),
        ("shorter than a version record", |dir| set_len(dir, "data_00000", 7)),
        ("empty", |dir| set_len(dir, "data_00000", 0)),
        ("records and no offset file", |dir| remove(dir, "data_00000.off")),
        ("an offset file that is too long", |dir| {
            append(dir, "data_00000.off", &[0; 8]);
        }),
        ("entries and no data file", |dir| remove(dir, "data_00000")),
    ];
    for (what, damage) in cases {
        let dir = temp_dir();
        column(dir.path(), true, [1, 9000, 17_000, 9001]);
        damage(dir.path());
        let before = files(dir.path());
        let mut writer = writer(dir.path(), true);
        assert!(writer.heal_report().is_clean(), "{what}: it is sealed, nobody named it");
        for slots in [&[5][..], &[5, 16_999]] {
            let error = writer.put_batch(&batch(slots.iter().copied())).unwrap_err();
            let Error::Corrupt(corruption) = &error else { panic!("{what}: {error:?}") };
            let file = corruption.file.file_name().unwrap().to_str().unwrap();
            assert!(file.starts_with("data_00000"), "{what}: {error}");
            assert_files(dir.path(), &before, what);
        }
        // The others go on.
        assert!(!writer.is_poisoned(), "{what}: nothing was written yet");
        writer.put(Slot(9002), &value(9002)).unwrap();
        writer.put(Slot(17_001), &value(17_001)).unwrap();
    }
}

/// Guards against a data file that ends within its version record, and so far holds nothing: what is
/// appended would stand at the wrong place, or behind half a version record.
#[test]
fn a_sealed_file_shorter_than_a_version_record_is_refused_before_the_intent() {
    for len in 0..8 {
        for with_offsets in [false, true] {
            let dir = temp_dir();
            column(dir.path(), true, [9000, 17_000]);
            fs::write(dir.path().join("data_00000"), &VERSION[..len]).unwrap();
            if with_offsets {
                set_len(dir.path(), "data_00000.off", OFFSETS_LEN);
            }
            let before = files(dir.path());
            let mut writer = writer(dir.path(), true);
            let error = writer.put(Slot(5), &value(5)).unwrap_err();
            assert_corrupt(&error, "data_00000", &format!("{len} bytes"));
            assert_files(dir.path(), &before, &format!("{len} bytes"));
            assert!(!writer.is_poisoned());
        }
    }
}

/// Guards against bytes at the end of a sealed file being written over: a reader may have taken the
/// file's length for a bound.
#[test]
fn backfill_appends_at_the_present_length_of_a_sealed_file() {
    let dir = temp_dir();
    column(dir.path(), true, [1, 9000, 17_000]);
    // Left by software without the intent step: a record that no entry leads to, and half of one.
    append(dir.path(), "data_00000", &plain_record(77));
    append(dir.path(), "data_00000", &plain_record(78)[..11]);
    let present = fs::read(dir.path().join("data_00000")).unwrap();
    assert_reads(dir.path(), &content([1, 9000, 17_000]), "with a tail");
    let mut writer = writer(dir.path(), true);
    writer.put(Slot(5), &value(5)).unwrap();
    let wanted = [&present[..], &plain_record(5)].concat();
    assert_eq!(fs::read(dir.path().join("data_00000")).unwrap(), wanted);
    assert_eq!(entry(dir.path(), 5), present.len() as u64);
    drop(writer);
    assert!(common::writer(dir.path(), true).heal_report().is_clean());
    assert_shows(&view(dir.path()), &content([1, 5, 9000, 17_000]), "behind the tail");
}

/// Guards against a sequential batch over files that is committed file by file.
#[test]
fn a_sequential_batch_over_files_is_one_commit() {
    let dir = temp_dir();
    column(dir.path(), false, [1]);
    let disk = TestDisk::new();
    let mut writer = open_on(&disk, dir.path(), false);
    let slots: Vec<u64> = (2..60).map(|n| n * 1000).collect();
    disk.take_calls();
    let committed = writer.put_batch(&batch(slots.iter().copied())).unwrap();
    assert_eq!(committed.written, 58);
    assert_eq!(rename_positions(&disk.take_calls()).len(), 1);
    assert_shows(&view(dir.path()), &content(slots.into_iter().chain([1])), "one commit");
}

/// Guards against a look-ahead conf that costs more than it saves, names a file with a wrong length,
/// or loses the batch that it commits: where the files exist, a run pays for one switch, the first.
#[test]
fn a_run_commits_once_per_file_and_once_ahead() {
    let dir = temp_dir();
    let base = [1, 9000, 17_000, 33_000, 50_000];
    column(dir.path(), true, base);
    let disk = TestDisk::new();
    let mut writer = open_on(&disk, dir.path(), true);
    let mut all = content(base);
    // Files 0, 1, 2, 4 and 6, which is the current one; then 3 and 5, which do not exist, between
    // others; then all of them and past the highest slot. At most so many confs.
    let runs: [(&[u64], usize); 3] = [
        (&[2, 3, 9001, 9002, 17_001, 33_001, 49_999], 5 + 1),
        (&[4, 17_002, 25_000, 33_002, 49_000, 49_998], 2 * 6),
        (&[5, 9003, 17_003, 25_001, 33_003, 49_001, 49_997, 50_001, 60_000], 8 + 1),
    ];
    for (run, most) in runs {
        disk.take_calls();
        let report = writer.put_bulk(&batch(run.iter().copied()), |_| {}).unwrap();
        let calls = disk.take_calls();
        let renames = rename_positions(&calls).len();
        assert_flushed(&calls, dir.path());
        assert!(renames <= most, "{renames} confs: {report:?}");
        assert_eq!(report.last.map(|slot| slot.0), run.last().copied());
        all.extend(content(run.iter().copied()));
        assert_shows(&view(dir.path()), &all, "after the run");
    }
    drop(writer);
    assert!(common::writer(dir.path(), true).heal_report().is_clean());
    assert_shows(&view(dir.path()), &all, "after another opening");
}

// ---------------------------------------------------------------------------- 5.3 Failure

/// Every way of writing.
fn try_all_writes(writer: &mut Writer, slot: u64) -> Vec<(&'static str, Result<(), Error>)> {
    let value = value(slot);
    vec![
        ("put", writer.put(Slot(slot), &value).map(drop)),
        ("put_batch", writer.put_batch(&[(Slot(slot), &value)]).map(drop)),
        ("put_stored_batch", writer.put_stored_batch(&[(Slot(slot), &value)]).map(drop)),
        ("put_from", {
            writer.put_from(Slot(slot), value.len() as u64, &mut &value[..]).map(drop)
        }),
        ("put_bulk", {
            writer.put_bulk(&[(Slot(slot), &value)], |_| {}).map(drop).map_err(|error| error.error)
        }),
    ]
}

/// Guards against a writer that goes on after a failure: it would adopt leftovers, or retry a flush
/// that proves nothing. Whichever call fails, and however, the batch is there as a whole or not at
/// all, for readers before healing and for everybody after it.
#[test]
fn whichever_call_of_a_put_fails_the_writer_is_poisoned_and_the_batch_is_whole() {
    for scenario in SCENARIOS {
        let (before, after) = (scenario.before(), scenario.after());
        let wanted_files = scenario.files().1;
        for fault in [Fault::Once, Fault::Torn, Fault::Dead] {
            for n in 0.. {
                let name = format!("{}: {fault:?} at call {n}", scenario.name);
                let dir = temp_dir();
                scenario.build(dir.path());
                let disk = TestDisk::new();
                let mut writer = open_on(&disk, dir.path(), scenario.backfill);
                let reader = reader_of(&writer);
                let old = reader.view();
                // Every file is touched, so that the view's bounds are those of now.
                assert_eq!(scan(&old), before, "{name}: before the put");
                for (slot, _) in scenario.items() {
                    assert_eq!(old.contains(slot).unwrap(), before.contains_key(&slot.0));
                }
                disk.fail_at(n, fault);
                let result = writer.put_batch(&scenario.items());
                if !disk.was_hit() {
                    result.unwrap();
                    assert!(n > 5, "{name}: a commit has more calls than that");
                    break;
                }
                let calls = disk.take_calls();
                let error = result.expect_err(&name);
                let Error::Io(io) = &error else { panic!("{name}: {error:?}") };
                assert!(io.path.starts_with(dir.path()), "{name}: {error}");

                // Poisoned, for every way of writing, also of what is there already.
                if calls.iter().any(Call::changes) {
                    assert!(writer.is_poisoned(), "{name}: {calls:?}");
                }
                if writer.is_poisoned() {
                    let at_rest = files(dir.path());
                    for slot in [100_000, 2, *before.keys().next().unwrap_or(&1)] {
                        for (call, result) in try_all_writes(&mut writer, slot) {
                            let error = result.expect_err(call);
                            assert!(matches!(error, Error::Poisoned { .. }), "{call}: {error:?}");
                        }
                    }
                    assert_files(dir.path(), &at_rest, &format!("{name}: poisoned"));
                }

                // Reads go on.
                let seen = scan(&reader.refresh().unwrap());
                assert!(seen == before || seen == after, "{name}: a part of the batch is seen");
                for &slot in before.keys() {
                    assert!(writer.contains(Slot(slot)).unwrap(), "{name}: slot {slot}");
                }
                assert_eq!(scan(&old), before, "{name}: the view before");
                let fresh = shown(dir.path());
                assert!(fresh == before || fresh == after, "{name}: before healing");
                drop(writer);

                // Healed, it is one or the other, and the batch can be put again.
                let mut writer = common::writer(dir.path(), scenario.backfill);
                let healed = shown(dir.path());
                assert!(healed == before || healed == after, "{name}: after healing");
                assert_eq!(healed, fresh, "{name}: healing takes and adds nothing");
                writer.put_batch(&scenario.items()).unwrap();
                drop(writer);
                assert_shows(&view(dir.path()), &after, &name);
                assert_files(dir.path(), &wanted_files, &format!("{name}: as without a failure"));
                assert_eq!(scan(&old), before, "{name}: the view before, in the end");
            }
        }
    }
}

/// Guards against a value whose source ends early, or fails, and leaves half a record that a later
/// put adopts. It is no failure of the disk, so the writer goes on, and the files end up as if it had
/// never been tried.
#[test]
fn a_source_that_fails_leaves_nothing_of_its_value() {
    struct Failing<'a>(&'a [u8]);
    impl std::io::Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match std::io::Read::read(&mut self.0, buffer)? {
                0 => Err(std::io::Error::other("the source failed")),
                count => Ok(count),
            }
        }
    }
    let base = [1, 9000, 33_000];
    for (what, slot) in [
        ("the current file", 33_001),
        ("the next file", 50_000),
        ("a gap in the current file", 32_999),
        ("a gap in a sealed file", 2),
        ("a gap in a file that never existed", 20_000),
        ("a slot that is there", 9000),
    ] {
        for spec in [PLAIN, SNAPPY] {
            let dir = temp_dir();
            let options = WriterOptions::create(spec).allow_backfill(true);
            let mut writer = Writer::open(dir.path(), options).unwrap();
            writer.put_batch(&batch(base)).unwrap();
            let before = files(dir.path());
            let twin = temp_dir();
            write_files(twin.path(), &before);
            for source in [&mut Failing(&[7; 1000]) as &mut dyn std::io::Read, &mut &[7; 1000][..]]
            {
                let error = writer.put_from(Slot(slot), 5000, source).unwrap_err();
                let is_right = match &error {
                    Error::Io(_) => true,
                    // Its first bytes are others, which may be noticed first.
                    Error::Conflict { .. } => slot == 9000,
                    _ => false,
                };
                assert!(is_right, "{what}: {error:?}");
                assert!(!writer.is_poisoned(), "{what}: the disk did not fail");
                assert_shows(&view(dir.path()), &content(base), what);
                // An intent may have been committed, but nothing else is left.
                let mut left = files(dir.path());
                left.insert("column.conf".to_owned(), before["column.conf"].clone());
                assert_eq!(difference(&left, &before), None, "{what}");
            }
            if slot != 9000 {
                let mut twin_writer = Writer::open(twin.path(), options).unwrap();
                for writer in [&mut writer, &mut twin_writer] {
                    let value = value_of_len(slot, 5000);
                    let committed = writer.put_from(Slot(slot), 5000, &mut &value[..]).unwrap();
                    assert_eq!(committed.written, 1);
                }
            }
            drop(writer);
            assert_files(dir.path(), &files(twin.path()), what);
            let writer = Writer::open(dir.path(), options).unwrap();
            assert!(writer.heal_report().is_clean(), "{what}");
        }
    }
}

/// Guards against a run that says it came further than it did, or not as far.
#[test]
fn whichever_call_of_a_run_fails_the_error_says_how_far_it_came() {
    let base = [1, 9000, 17_000, 33_000];
    let run = [2, 3, 9001, 17_001, 20_000, 25_000, 32_999, 33_001, 33_002, 41_000];
    // What can be there: whole files of gaps, in order, then the sequential rest.
    let steps: Vec<Content> = [0, 2, 3, 5, 6, 7, 9, 10]
        .into_iter()
        .map(|count| content(base.into_iter().chain(run[..count].iter().copied())))
        .collect();
    let mut partial = BTreeSet::new();
    for fault in [Fault::Torn, Fault::Dead] {
        for n in 0.. {
            let name = format!("{fault:?} at call {n}");
            let dir = temp_dir();
            column(dir.path(), true, base);
            let disk = TestDisk::new();
            let mut writer = open_on(&disk, dir.path(), true);
            disk.fail_at(n, fault);
            let result = writer.put_bulk(&batch(run), |_| {});
            if !disk.was_hit() {
                assert_eq!(result.unwrap().last, Some(Slot(41_000)));
                break;
            }
            let error = result.expect_err(&name);
            assert!(matches!(error.error, Error::Io(_)), "{name}: {error:?}");
            let done = usize::try_from(error.done.written).unwrap();
            assert_eq!(error.done.last.map(|slot| slot.0), run[..done].last().copied(), "{name}");
            let fresh = shown(dir.path());
            assert!(steps.contains(&fresh), "{name}: {:?}", fresh.keys());
            assert!(fresh.len() >= base.len() + done, "{name}: durable, said the error");
            drop(writer);
            let mut writer = common::writer(dir.path(), true);
            assert_eq!(shown(dir.path()), fresh, "{name}: healing takes and adds nothing");
            partial.insert(fresh.len());
            let report = writer.put_bulk(&batch(run), |_| {}).unwrap();
            assert_eq!(report.written + report.unchanged, 10, "{name}");
            assert_shows(&view(dir.path()), steps.last().unwrap(), &name);
        }
    }
    assert!(partial.len() >= 4, "the run was cut in several places: {partial:?}");
}

/// Guards against a failure while a column is made or upgraded that leaves something nobody can
/// open again.
#[test]
fn whichever_call_of_an_opening_fails_the_next_opening_succeeds() {
    type Build = fn(&Path);
    let cases: [(&str, bool, u64, Build); 5] = [
        ("a new column", false, 1 << 30, |_| {}),
        ("a new column with backfill", true, 1 << 30, |_| {}),
        ("an upgrade", true, 1 << 30, |dir| column(dir, false, [1, 9000])),
        ("a larger bound", false, 1 << 31, |dir| column(dir, false, [1, 9000])),
        ("an upgrade with leftovers", true, 1 << 31, |dir| {
            column(dir, false, [1, 9000]);
            write_uncommitted(dir, 9001);
            write_uncommitted(dir, 17_000);
            fs::write(dir.join("column.conf.tmp"), b"LHST").unwrap();
        }),
    ];
    for (what, backfill, max_value_bytes, build) in cases {
        for fault in [Fault::Once, Fault::Torn, Fault::Dead] {
            for n in 0.. {
                let name = format!("{what}: {fault:?} at call {n}");
                let root = temp_dir();
                let dir = root.path().join("column");
                build(&dir);
                let wanted = if dir.exists() { shown(&dir) } else { Content::new() };
                let disk = TestDisk::new();
                disk.fail_at(n, fault);
                let spec = ColumnSpec { max_value_bytes, ..PLAIN };
                let options = WriterOptions::create(spec).allow_backfill(backfill);
                let result = Writer::open_on(disk.shared(), &dir, options);
                if !disk.was_hit() {
                    result.unwrap();
                    break;
                }
                let error = result.map(drop).expect_err(&name);
                assert!(matches!(error, Error::Io(_)), "{name}: {error:?}");
                if !wanted.is_empty() {
                    assert_shows(&view(&dir), &wanted, &name);
                }
                let mut writer = Writer::open(&dir, options).unwrap();
                assert_eq!(writer.conf().encode(), fs::read(dir.join("column.conf")).unwrap());
                let conf = RawConf::read(&dir);
                assert_eq!((conf.max, conf.backfill.is_some()), (max_value_bytes, backfill));
                assert_shows(&view(&dir), &wanted, &name);
                writer.put(Slot(50_000), &value(50_000)).unwrap();
                assert_eq!(shown(&dir).len(), wanted.len() + 1, "{name}");
            }
        }
    }
}
