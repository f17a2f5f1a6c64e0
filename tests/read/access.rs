//! However the files are gone about, what is read is the same.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;

use coldstore::{
    Access, Compression, Error, MappedReader, ReaderOptions, Slot, View, Writer, WriterOptions,
};
use test_support::{bytes_from, open_reader, reader, scratch, spec};

const BOUND: u64 = 32 << 20;
const ALL: [Access; 4] = [Access::Mixed, Access::Random, Access::Sequential, Access::Unadvised];

/// Lengths around every limit of the direct read: a first read of a page, a guess by the offset
/// table of up to 256 KiB, pieces of 16 MiB.
const LENGTHS: [usize; 12] =
    [0, 1, 32, 4080, 4088, 4089, 70_000, 262_128, 262_136, 262_137, 300_000, 400_000];
const LONG: (u64, usize) = (9, (16 << 20) + 5000);

/// Three files; in the first, records lie in another order than their slots.
fn fill(directory: &Path, compression: Compression) -> Vec<(u64, Vec<u8>)> {
    let options = WriterOptions::create(spec(compression, BOUND)).allow_backfill(true);
    let mut writer = Writer::open(directory, options).unwrap();
    let value = |slot: u64| match slot {
        _ if slot == LONG.0 => bytes_from(slot, LONG.1),
        _ => bytes_from(slot, LENGTHS[usize::try_from(slot).unwrap() % 12]),
    };
    let sequential: Vec<u64> = (0..24).step_by(2).chain(8192..8204).chain([40_000]).collect();
    let backfill: Vec<u64> = vec![200, 23, 1, 9, 150];
    let mut written = Vec::new();
    for slot in sequential.into_iter().chain(backfill) {
        writer.put(Slot(slot), &value(slot)).unwrap();
        written.push((slot, value(slot)));
    }
    written.sort_unstable();
    written
}

fn assert_reads(view: &View, written: &[(u64, Vec<u8>)]) {
    let mut buffer = vec![7; 100];
    for (slot, value) in written {
        let slot = Slot(*slot);
        assert!(view.pread_into(slot, &mut buffer).unwrap() && buffer == *value, "{slot}");
        assert!(view.pread_stored_into(slot, &mut buffer).unwrap(), "{slot}");
        assert!(Some(buffer.as_slice()) == view.get_stored(slot).unwrap(), "{slot}");
        assert!(*view.get(slot).unwrap().unwrap() == *value, "{slot}");
    }
    let slots: BTreeSet<u64> = written.iter().map(|(slot, _)| *slot).collect();
    let absent = [25, 8191, 8204, 20_000, 39_999, 40_001, u64::MAX - 1, u64::MAX];
    for slot in absent {
        assert!(!slots.contains(&slot));
        buffer = vec![7; 100];
        assert!(!view.pread_into(Slot(slot), &mut buffer).unwrap() && buffer.is_empty());
        assert!(!view.pread_stored_into(Slot(slot), &mut buffer).unwrap());
        assert!(view.get(Slot(slot)).unwrap().is_none());
    }
    view.prefetch(slots.into_iter().chain(absent).map(Slot)).unwrap();
    let scanned = view.range(..).map(|record| record.unwrap().value().unwrap().into_owned());
    assert!(scanned.eq(written.iter().map(|(_, value)| value.clone())));
}

#[test]
fn every_access_and_every_way_to_read_give_the_same_values() {
    for compression in [Compression::None, Compression::Snappy] {
        let scratch = scratch();
        let written = fill(scratch.path(), compression);
        for access in ALL {
            let options = ReaderOptions::default().access(access);
            let reader = open_reader(scratch.path(), options).unwrap();
            assert_reads(&reader.view(), &written);
        }
    }
}

#[test]
fn a_damaged_record_is_the_same_error_read_directly_and_through_the_map() {
    let scratch = scratch();
    fill(scratch.path(), Compression::None);
    let view = reader(scratch.path()).view();
    let data = scratch.path().join("data_00001");
    let file = std::fs::OpenOptions::new().write(true).open(&data).unwrap();
    let slot = Slot(8200);
    let at = {
        let table = std::fs::read(scratch.path().join("data_00001.off")).unwrap();
        u64::from_le_bytes(table[64..72].try_into().unwrap())
    };
    // Type, length behind the end of the file, reserved bytes.
    for (offset, byte) in [(0, 9), (5, 0xFF), (6, 1), (7, 1)] {
        let mut before = [0];
        std::fs::File::open(&data).unwrap().read_exact_at(&mut before, at + offset).unwrap();
        file.write_all_at(&[byte], at + offset).unwrap();
        let mapped = view.get_stored(slot).unwrap_err();
        let mut buffer = vec![1];
        let direct = view.pread_stored_into(slot, &mut buffer).unwrap_err();
        assert!(mapped.is_corrupt() && mapped.to_string() == direct.to_string(), "{direct}");
        assert!(buffer.is_empty());
        file.write_all_at(&before, at + offset).unwrap();
        assert!(view.pread_stored_into(slot, &mut buffer).unwrap());
    }
}

#[test]
fn a_file_that_was_cut_is_an_error_for_a_direct_read() {
    let scratch = scratch();
    let written = fill(scratch.path(), Compression::None);
    let view = reader(scratch.path()).view();
    let data = scratch.path().join("data_00001");
    assert!(view.contains(Slot(8203)).unwrap());
    let byte_len = std::fs::metadata(&data).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&data).unwrap().set_len(byte_len - 1).unwrap();
    let mut buffer = Vec::new();
    let error = view.pread_stored_into(Slot(8203), &mut buffer).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    let text = error.to_string();
    assert!(text.contains("data_00001") && text.contains(&byte_len.to_string()), "{text}");
    assert!(view.pread_stored_into(Slot(8192), &mut buffer).unwrap());
    assert!(buffer == written.iter().find(|(slot, _)| *slot == 8192).unwrap().1);
}

#[test]
fn a_direct_read_respects_the_readers_value_limit() {
    for compression in [Compression::None, Compression::Snappy] {
        let scratch = scratch();
        fill(scratch.path(), compression);
        let options = ReaderOptions::default().value_ceiling(70_000);
        let view = open_reader(scratch.path(), options).unwrap().view();
        let mut buffer = Vec::new();
        assert!(view.pread_into(Slot(6), &mut buffer).unwrap() && buffer.len() == 70_000);
        let error = view.pread_into(Slot(8), &mut buffer).unwrap_err();
        assert!(matches!(error, Error::TooLarge { slot: Slot(8), .. }), "{error}");
        assert!(
            view.pread_stored_into(Slot(8), &mut buffer).unwrap(),
            "stored bytes have no limit"
        );
    }
}

/// How often files of the column are mapped by this process.
fn maps(directory: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(directory.to_str().unwrap())).count()
}

fn touch_all(view: &View, files: u64) {
    for file in 0..files {
        assert_eq!(view.get_stored(Slot(file * 8192)).unwrap(), Some(&b"here"[..]));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn unused_maps_are_dropped_and_held_ones_kept() {
    const FILES: u64 = 40;
    const LIMIT: usize = 10;
    let scratch = scratch();
    let directory = scratch.path().canonicalize().unwrap();
    let mut writer =
        Writer::open(&directory, WriterOptions::create(spec(Compression::None, 64))).unwrap();
    let items: Vec<(Slot, &str)> = (0..FILES).map(|file| (Slot(file * 8192), "here")).collect();
    writer.put_batch(&items).unwrap();

    let options = ReaderOptions::default().max_mapped_files(LIMIT);
    let reader: MappedReader = open_reader(&directory, options).unwrap();
    let held = reader.view();
    let kept: Vec<&[u8]> =
        (0..FILES).map(|file| held.get_stored(Slot(file * 8192)).unwrap().unwrap()).collect();
    let all = maps(&directory);
    assert!(all >= 2 * usize::try_from(FILES).unwrap(), "{all}");

    // Others come and go, and what the first view holds stays.
    for _ in 0..5 {
        touch_all(&reader.view(), FILES);
        touch_all(&reader.refresh().unwrap(), FILES);
    }
    assert!(kept.iter().all(|value| *value == b"here"));
    drop(held);
    drop(reader.view());
    touch_all(&reader.view(), 1);
    // Two maps for each file that stays, one file over the limit at most, and the current one.
    let left = maps(&directory);
    assert!(left <= 2 * (LIMIT + 2), "{left}");
}

/// Guards against a direct read from another file than the one whose offsets it goes by: a view goes
/// on with the file that it has mapped, whatever its name leads to by now.
#[test]
fn a_direct_read_is_from_the_file_that_the_view_has_mapped() {
    let scratch = scratch();
    for (number, is_open) in [false, true].into_iter().enumerate() {
        let column = scratch.path().join(number.to_string());
        let written = fill(&column, Compression::None);
        // Where nothing is asked for, the file is opened a second time by the direct read alone.
        let options = ReaderOptions::default().access(Access::Unadvised);
        let view = open_reader(&column, options).unwrap().view();
        let mut buffer = Vec::new();
        for (slot, value) in &written {
            assert!(*view.get(Slot(*slot)).unwrap().unwrap() == *value);
            assert!(!is_open || view.pread_into(Slot(*slot), &mut buffer).unwrap());
        }
        let path = column.join("data_00000");
        // Records of the same lengths at the same places, with other values.
        let mut other = std::fs::read(&path).unwrap();
        for (slot, value) in written.iter().filter(|(slot, _)| *slot < 8192) {
            let at = entry(&column, *slot) + 8;
            let at = usize::try_from(at).unwrap();
            other[at..at + value.len()].fill(0xEE);
        }
        std::fs::write(column.join("other"), other).unwrap();
        std::fs::rename(column.join("other"), &path).unwrap();
        assert_reads(&view, &written);
        std::fs::remove_file(&path).unwrap();
        assert_reads(&view, &written);
    }
}

/// Where the record of a slot of the first file begins.
fn entry(column: &Path, slot: u64) -> u64 {
    let table = std::fs::File::open(column.join("data_00000.off")).unwrap();
    let mut entry = [0; 8];
    table.read_exact_at(&mut entry, slot * 8).unwrap();
    u64::from_le_bytes(entry)
}

/// Advice makes no difference to what is read, and neither does a file that can be had through its
/// map alone.
#[cfg(target_os = "linux")]
#[test]
fn a_direct_read_needs_neither_advice_nor_a_descriptor() {
    use test_support::system_calls::{Verdict, restrict};
    let scratch = scratch();
    let written = fill(scratch.path(), Compression::None);
    for (call, errno) in [(libc::SYS_fadvise64, libc::ENOSYS), (libc::SYS_openat, libc::EMFILE)] {
        let view = reader(scratch.path()).view();
        // Mapped, and not open.
        assert!(view.range(..).all(|record| record.is_ok()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let fails = Verdict::Fail(u16::try_from(errno).unwrap());
                restrict(Verdict::Allow, &[(call, fails)]);
                assert_reads(&view, &written);
            });
        });
    }
}

/// A part of a record is cut at its end, however it is read.
#[test]
fn every_way_to_read_a_part_gives_those_bytes() {
    for compression in [Compression::None, Compression::Snappy] {
        let scratch = scratch();
        let written = fill(scratch.path(), compression);
        for (access, checksums) in
            ALL.map(|access| (access, false)).into_iter().chain([(ALL[0], true)])
        {
            let options = ReaderOptions::default().access(access).checksums(checksums);
            let view = open_reader(scratch.path(), options).unwrap().view();
            let mut buffer = vec![7; 100];
            for (slot, _) in &written {
                let slot = Slot(*slot);
                let record = view.record(slot).unwrap().unwrap();
                let len = record.stored_len();
                for (start, end) in [
                    (0, 0),
                    (0, 1),
                    (len / 2, len / 2 + 121),
                    (0, len),
                    (len, len + 5),
                    (5, usize::MAX),
                ] {
                    let wanted = &record.stored()[start.min(len)..end.min(len).max(start.min(len))];
                    // A record of its own: of this one, all was read.
                    let part = view.record(slot).unwrap().unwrap().range(start..end);
                    assert!(part == wanted, "{slot}, {start}..{end}, {access:?}");
                    let bytes = start as u64..end as u64;
                    view.prefetch_range(slot, bytes.clone()).unwrap();
                    assert!(view.pread_range_into(slot, bytes, &mut buffer).unwrap());
                    assert!(buffer == wanted, "{slot}, {start}..{end}, {access:?}");
                }
            }
            for slot in [25, 39_999, 40_001, u64::MAX].map(Slot) {
                assert!(!view.pread_range_into(slot, 0..9, &mut buffer).unwrap());
                view.prefetch_range(slot, 0..9).unwrap();
                assert!(buffer.is_empty() && view.record(slot).unwrap().is_none());
            }
        }
    }
}
