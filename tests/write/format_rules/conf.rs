//! Section 4: `column.conf`.

use coldstore::format::conf::{Backfill, BackfillTarget, Conf};
use coldstore::format::conf_check::check_entries;

use super::*;

/// Guards against a field that moved: the bytes of both kinds of conf, by hand.
#[test]
fn conf_bytes_are_those_of_the_table() {
    let dir = scratch();
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
    let options = WriterOptions::default().allow_backfill(true);
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
pub(crate) fn assert_conf_refused(dir: &Path, conf: &[u8], what: &str) -> String {
    fs::write(dir.join("column.conf"), conf).unwrap();
    let before = files_of(dir);
    let mut text = String::new();
    let errors = [
        try_reader(dir).map(drop),
        Writer::open(dir, WriterOptions::default()).map(drop),
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
    let v2 = scratch();
    column(v2.path(), false, [1, 9000]);
    let v3 = scratch();
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
    let v3 = scratch();
    column(v3.path(), true, [1, 9000, 17_000]);
    let v2 = scratch();
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
    let empty = scratch();
    column(empty.path(), true, []);
    refuse(empty.path(), "a backfill file of an empty column", &|conf| {
        conf.backfill = Some((0, 0));
    });
}

/// Guards against a column opened as another: with the wrong tag every record would be refused,
/// with the wrong compression every value would be garbage.
#[test]
fn type_and_compression_on_disk_win_and_the_error_shows_both() {
    let dir = scratch();
    column(dir.path(), false, [1, 2]);
    let before = files_of(dir.path());
    let other_type = ColumnSpec { record_type: [0xab, 0xcd], ..PLAIN };
    let snappy = ColumnSpec { compression: Compression::Snappy, ..PLAIN };
    for (spec, wanted, found) in [(other_type, "ab", "04"), (snappy, "snappy", "none")] {
        let as_reader = open_reader(dir.path(), ReaderOptions::default().expect(spec)).map(drop);
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
    assert!(open_reader(dir.path(), ReaderOptions::default().expect(smaller)).is_ok());
}

/// Guards against a bound that is lowered by whoever opens with a smaller one, or that is raised in
/// memory alone: values above it would be refused by the next opening.
#[test]
fn max_value_bytes_only_goes_up_and_is_persisted_at_once() {
    for backfill in [false, true] {
        let dir = scratch();
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
        let before = files_of(dir.path());
        for options in [
            WriterOptions::create(spec(99)),
            WriterOptions::create(spec(0)),
            WriterOptions::default(),
            WriterOptions::default().max_value_bytes(50),
        ] {
            drop(open(options));
            assert_files(dir.path(), &before, "opened with a smaller bound");
        }
        for (options, wanted) in [
            (WriterOptions::create(spec(101)), 101),
            (WriterOptions::default().max_value_bytes(200), 200),
        ] {
            let old = RawConf::read(dir.path());
            drop(open(options));
            let wanted_conf = RawConf { max: wanted, ..old };
            assert_eq!(RawConf::read(dir.path()), wanted_conf, "persisted by opening alone");
        }
        let mut writer = open(WriterOptions::default());
        writer.put(Slot(2), &[2; 200]).unwrap();
        assert!(writer.put(Slot(3), &[3; 201]).is_err());
        assert_eq!(RawConf::read(dir.path()).max, 200);
        assert_eq!(shown(dir.path()), Content::from([(1, vec![1; 100]), (2, vec![2; 200])]));
    }
}

/// Guards against a buffer as large as a header promises, and against a decoder that goes on past
/// the bound: the claim on disk does not lift a reader's own ceiling.
#[test]
fn a_reader_has_its_own_value_limit() {
    let dir = scratch();
    let spec = ColumnSpec { max_value_bytes: u64::MAX, ..SNAPPY };
    let mut writer = Writer::open(dir.path(), WriterOptions::create(spec)).unwrap();
    writer.put(Slot(1), &vec![0; 1 << 20]).unwrap();
    writer.put(Slot(2), &vec![0; (1 << 20) + 1]).unwrap();
    writer.put(Slot(3), &vec![0; 50 << 20]).unwrap();
    let view =
        open_reader(dir.path(), ReaderOptions::default().value_ceiling(1 << 20)).unwrap().view();
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
    let dir = scratch();
    let mut writer = test_support::writer(dir.path(), false);
    writer.put(Slot(1), &[1; 100]).unwrap();
    writer.put(Slot(2), &[2; 101]).unwrap();
    let view = open_reader(dir.path(), ReaderOptions::default().value_ceiling(100)).unwrap().view();
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
        let root = scratch();
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
        assert_eq!(files_of(&dir).len(), 1, "nothing but the conf");
        drop(writer);
        assert_reads(&dir, &Content::new(), "a new column");
    }
}

/// Guards against a column made by somebody who only wanted an existing one.
#[test]
fn existing_creates_nothing() {
    let root = scratch();
    let dir = root.path().join("bss");
    for made in [false, true] {
        if made {
            fs::create_dir(&dir).unwrap();
        }
        let before = stamps(root.path());
        let error = Writer::open(&dir, WriterOptions::default()).unwrap_err();
        assert!(matches!(error, Error::NoSuchColumn { .. }), "{error:?}");
        assert!(!dir.join("column.conf").exists());
        if !made {
            assert_eq!(stamps(root.path()), before, "nothing was made");
        }
    }
}

/// Guards against a V3 column whose flag is off being filled without anybody asking for it.
#[test]
fn backfill_is_refused_when_off_and_stays_on_once_requested() {
    let dir = scratch();
    column(dir.path(), true, [1, 9000]);
    RawConf::edit(dir.path(), |conf| conf.byte_27 = 0);
    let before = files_of(dir.path());
    let mut writer = writer(dir.path(), false);
    let error = writer.put(Slot(5), &value(5)).unwrap_err();
    assert!(matches!(error, Error::BackfillDisabled { slot: Slot(5), .. }), "{error:?}");
    drop(writer);
    assert_files(dir.path(), &before, "nobody asked");
    drop(test_support::writer(dir.path(), true));
    assert_eq!(RawConf::read(dir.path()).byte_27, 1, "asked for");
    let mut writer = test_support::writer(dir.path(), false);
    writer.put(Slot(5), &value(5)).unwrap();
    writer.put(Slot(9001), &value(9001)).unwrap();
    assert_eq!(RawConf::read(dir.path()).byte_27, 1, "sticky");
}

#[test]
fn current_data_len_counts_if_the_current_file_is_the_backfill_file_too() {
    let target = Some(BackfillTarget { file_id: FileId(2), data_len: 9 });
    let conf = Conf {
        highest: Some(Slot(16_400)),
        current_data_len: 282,
        spec: Column::StateSnapshots.spec(),
        backfill: Some(Backfill { allowed: true, target }),
    };
    assert_eq!(conf.named_len(FileId(2)), Some(282));
    assert_eq!(conf.backfill_target(), None);
}

/// Guards against a conf that is trusted though it was copied from elsewhere or has a flipped bit:
/// healing would cut off good records, and a reader would hide them.
#[test]
fn a_conf_fits_if_its_highest_slot_is_the_last_committed_one() {
    let check = |entries: &[u64], highest, data_len| {
        let entries = entries.iter().copied();
        match check_entries("data_00000.off".into(), Slot(highest), data_len, entries) {
            Ok(largest) => Ok(largest),
            Err(Error::Corrupt(error)) => Err((error.offset.unwrap(), error.found)),
            Err(error) => panic!("{error}"),
        }
    };
    let entries = [0, 8, 0, 30, 0, 90];
    let refused = |index: u64, entry: u64| Err((index * 8, format!("entry {entry}")));
    assert_eq!(check(&entries, 3, 90), Ok(30));
    assert_eq!(check(&entries, 3, 91), refused(5, 90));
    assert_eq!(check(&entries, 2, 30), refused(2, 0));
    assert_eq!(check(&entries, 3, 30), refused(3, 30));
    assert_eq!(check(&entries, 1, 90), refused(3, 30));
    assert_eq!(check(&[5], 0, 90), refused(0, 5));
}
