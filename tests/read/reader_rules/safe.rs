//! The reader that maps nothing: it shows what a mapped one shows, and stays alive on a bad medium.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use coldstore::files::pread::Pread;
use coldstore::{
    ArchiveWriter, ArchiveWriterOptions, Column, Compression, OwnedRange, PreadView, Reader,
    Snapshot,
};

use super::*;

const GUARD: Option<Duration> = Some(test_support::HANG);

fn safe_reader(dir: &Path) -> Reader {
    Reader::open(dir, ReaderOptions::default()).unwrap()
}

fn slots_of(range: impl Iterator<Item = coldstore::Result<coldstore::OwnedRecord>>) -> Content {
    range.map(|record| record.map(|record| (record.slot().0, record.to_vec())).unwrap()).collect()
}

#[test]
fn a_safe_reader_shows_what_a_mapped_one_shows() {
    for (spec, backfill) in [(PLAIN, false), (PLAIN, true), (SNAPPY, false), (SNAPPY, true)] {
        let dir = scratch();
        let options = WriterOptions::create(spec).allow_backfill(backfill);
        let mut writer = Writer::open(dir.path(), options).unwrap();
        let slots = [0, 1, 5, 8191, 8192, 9000, 17_000, 17_010, 40_000];
        writer.put_batch(&batch(slots)).unwrap();
        let large = value_of_len(40_001, 5 << 20);
        writer.put(Slot(40_001), &large).unwrap();
        let mut content = content(slots);
        content.insert(40_001, large);
        let (view, mapped) = (safe_reader(dir.path()).view(), reader(dir.path()).view());

        let mut buffer = vec![1, 2, 3];
        let asked = content.keys().flat_map(|slot| [slot.saturating_sub(1), *slot, slot + 1]);
        for slot in asked.chain([30_000, u64::MAX]) {
            let value = content.get(&slot);
            assert_eq!(view.get(Slot(slot)).unwrap().as_ref(), value, "slot {slot}");
            assert_eq!(view.get_into(Slot(slot), &mut buffer).unwrap(), value.is_some());
            assert_eq!(buffer, value.cloned().unwrap_or_default());
            assert_eq!(view.contains(Slot(slot)).unwrap(), value.is_some());
            let stored = mapped.get_stored(Slot(slot)).unwrap();
            assert_eq!(view.get_stored_into(Slot(slot), &mut buffer).unwrap(), stored.is_some());
            assert_eq!(buffer, stored.unwrap_or_default());
            let byte_len = stored.map(|stored| stored.len() as u64);
            assert_eq!(view.stored_len(Slot(slot)).unwrap(), byte_len);
            for bytes in [0..0, 0..10, 3..7, 5..u64::MAX, 1 << 20..(1 << 20) + 9] {
                let part = mapped.record(Slot(slot)).unwrap().map(|record| {
                    let place = |at: u64| usize::try_from(at).unwrap();
                    record.range(place(bytes.start)..place(bytes.end))
                });
                let found = view.get_range_into(Slot(slot), bytes.clone(), &mut buffer).unwrap();
                assert_eq!(found.then_some(&buffer[..]), part, "slot {slot}, {bytes:?}");
            }
            for (ours, theirs) in [
                (view.at_or_before(Slot(slot)), mapped.at_or_before(Slot(slot))),
                (view.at_or_after(Slot(slot)), mapped.at_or_after(Slot(slot))),
            ] {
                let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
                assert_eq!(ours.map(|record| record.slot()), theirs.map(|record| record.slot()));
            }
        }
        assert_eq!(view.first_from(Slot(2)).unwrap(), Some(Slot(5)));
        for (slot, last) in [(0, 0), (4, 1), (9000, 9000), (16_999, 9000), (u64::MAX, 40_001)] {
            assert_eq!(view.last_to(Slot(slot)).unwrap(), Some(Slot(last)));
            assert_eq!(mapped.last_to(Slot(slot)).unwrap(), Some(Slot(last)));
        }
        for view in [&view as &dyn Snapshot, &mapped] {
            assert_eq!(view.value(Slot(5)).unwrap(), Some(content[&5].clone()));
            assert_eq!(view.highest_written_slot(), Some(Slot(40_001)));
        }
    }
}

#[test]
fn a_search_does_not_pass_over_entries_that_cannot_be_read() {
    let dir = scratch();
    let mut writer = Writer::open(dir.path(), WriterOptions::create(PLAIN)).unwrap();
    writer.put_batch(&batch([1, 600, 5000])).unwrap();
    // The entries of slots 512 to 1023.
    let name = "data_00000.off";
    let bad = Arc::new(test_support::BadSectors { name, bytes: 4096..4097, error: 5 });
    let view = Reader::open_on(bad, dir.path(), ReaderOptions::default()).unwrap().view();
    let is_lost = |found| matches!(found, Err(coldstore::Error::Io(_)));
    assert_eq!(view.last_to(Slot(511)).unwrap(), Some(Slot(1)));
    assert!(is_lost(view.last_to(Slot(600))));
    assert!(is_lost(view.last_to(Slot(4999))));
    assert_eq!(view.last_to(Slot(5000)).unwrap(), Some(Slot(5000)));
    assert_eq!(view.first_from(Slot(0)).unwrap(), Some(Slot(1)));
    assert!(is_lost(view.first_from(Slot(2))));
    assert_eq!(view.first_from(Slot(1024)).unwrap(), Some(Slot(5000)));
}

/// What an engine behind a client's trait returns.
struct Cursor(
    Box<dyn DoubleEndedIterator<Item = coldstore::Result<coldstore::OwnedRecord>> + Send>,
);

#[test]
fn an_owned_range_goes_in_both_directions_and_outlives_reader_and_view() {
    let dir = scratch();
    let content = base(dir.path(), true);
    let ranges: [OwnedRange; 2] =
        [safe_reader(dir.path()).view().range(..), reader(dir.path()).view().owned_range(..)];
    for range in ranges {
        let mut cursor = Cursor(Box::new(range));
        let shown = thread::spawn(move || {
            let first = cursor.0.next().unwrap().unwrap();
            let last = cursor.0.next_back().unwrap().unwrap();
            let rest: Vec<_> = cursor.0.map(Result::unwrap).collect();
            let between = rest.iter().map(|record| (record.slot().0, record.to_vec()));
            let ends = [&first, &last].map(|record| (record.slot().0, record.to_vec()));
            between.chain(ends).collect::<Content>()
        });
        assert_eq!(shown.join().unwrap(), content);
    }
    let view = safe_reader(dir.path()).view();
    let backwards: Vec<u64> = view.range(..).rev().map(|record| record.unwrap().slot().0).collect();
    assert_eq!(backwards, BASE.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(
        slots_of(view.range(Slot(5)..Slot(17_000))).into_keys().collect::<Vec<_>>(),
        [5, 9000]
    );
    assert_eq!(view.range(Slot(17_011)..).count(), 0);
    let value_of = |view: &dyn Snapshot| view.value(Slot(9000)).unwrap();
    assert_eq!(value_of(&view), Some(value(9000)));
}

#[test]
fn a_held_snapshot_does_not_change_and_a_refresh_shows_the_last_commit() {
    let dir = scratch();
    let mut before = base(dir.path(), true);
    let reader = safe_reader(dir.path());
    let held = reader.view();
    assert_eq!(slots_of(held.range(..)), before);
    let mut writer = Writer::open(dir.path(), WriterOptions::default()).unwrap();
    // Appended, filled in a sealed file that the snapshot has read, and in the current one.
    for slot in [20_000, 3, 17_005, 4, 30_000] {
        writer.put(Slot(slot), &value(slot)).unwrap();
        for shown in [held.get(Slot(slot)).unwrap(), reader.view().get(Slot(slot)).unwrap()] {
            assert_eq!(shown, None, "slot {slot}");
        }
        assert!(!held.contains(Slot(slot)).unwrap());
        assert_eq!(slots_of(held.range(..)), before);
    }
    before.extend(content([20_000, 3, 17_005, 4, 30_000]));
    assert_eq!(slots_of(reader.refresh().unwrap().range(..)), before);
}

/// A reclaim replaces a data file by a sparse copy of the same content.
#[test]
fn a_held_snapshot_does_not_change_when_a_copy_replaces_a_data_file() {
    let dir = scratch();
    let content = base(dir.path(), true);
    let reader = safe_reader(dir.path());
    let held = reader.view();
    assert_eq!(held.get(Slot(3)).unwrap(), None);
    let mut writer = Writer::open(dir.path(), WriterOptions::default()).unwrap();
    writer.put(Slot(3), &value(3)).unwrap();
    writer.put(Slot(30_000), &value(30_000)).unwrap();
    let (data, copy) = (dir.path().join("data_00000"), dir.path().join("copy"));
    fs::copy(&data, &copy).unwrap();
    fs::rename(&copy, &data).unwrap();
    // A newer snapshot opens the copy; the descriptor of the old file is closed.
    assert_eq!(reader.refresh().unwrap().get(Slot(3)).unwrap(), Some(value(3)));
    assert_eq!(held.get(Slot(3)).unwrap(), None);
    assert_eq!(slots_of(held.range(..)), content);
}

/// The follower lists the directory when it begins; the writer then creates a file ahead of it.
#[test]
fn a_slot_backfilled_into_a_new_file_ahead_of_a_safe_follower_is_shown_once() {
    let dir = scratch();
    let options = WriterOptions::create(PLAIN).allow_backfill(true);
    let mut writer = Writer::open(dir.path(), options).unwrap();
    writer.put_batch(&batch([1, 17_000, 30_000])).unwrap();
    let mut follower = safe_reader(dir.path()).follow_backfill(Slot(0), Slot(0)).unwrap();
    writer.put(Slot(8_200), &value(8_200)).unwrap();
    let mut next = |timeout| follower.next_slot(timeout).unwrap().map(|slot| slot.0);
    assert_eq!([(); 4].map(|()| next(GUARD).unwrap()), [1, 17_000, 30_000, 8_200]);
    writer.put(Slot(30_001), &value(30_001)).unwrap();
    assert_eq!(next(GUARD), Some(30_001), "8200 was shown twice");
    assert_eq!(next(Some(Duration::from_millis(30))), None);
}

#[test]
fn a_safe_reader_waits_and_follows_backfill_included() {
    let dir = scratch();
    base(dir.path(), true);
    let reader = safe_reader(dir.path());
    let mut follower = reader.follow_backfill(Slot(9000), Slot(0)).unwrap();
    let mut next = || {
        let slot = follower.next_slot(GUARD).unwrap().unwrap();
        assert_eq!(follower.view().get(slot).unwrap(), Some(value(slot.0)));
        slot.0
    };
    assert_eq!([next(), next(), next()], [9000, 17_000, 17_010]);
    let path = dir.path().to_owned();
    let writing = thread::spawn(move || {
        let mut writer = Writer::open(&path, WriterOptions::default()).unwrap();
        for slot in [17_011, 2, 26_000, 9001] {
            writer.put(Slot(slot), &value(slot)).unwrap();
        }
    });
    let mut shown = [next(), next(), next(), next()];
    writing.join().unwrap();
    shown.sort_unstable();
    assert_eq!(shown, [2, 9001, 17_011, 26_000]);
    assert_eq!(wait_for(&reader, 26_000, GUARD), Arrival::Record);
    assert_eq!(wait_for(&reader, 25_999, GUARD), Arrival::Skipped);
}

/// A medium on which one page of a file cannot be read. Counts the bytes that are read.
#[derive(Debug, Default)]
struct Medium {
    bad: Option<(&'static str, u64)>,
    bytes_read: AtomicU64,
}

impl Pread for Medium {
    fn pread(&self, path: &Path, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut byte_len = buffer.len();
        if let Some((name, page)) = self.bad
            && path.ends_with(name)
            && offset < page + 4096
        {
            byte_len = byte_len.min(usize::try_from(page.saturating_sub(offset)).unwrap());
            if byte_len == 0 {
                return Err(rustix::io::Errno::IO.into());
            }
        }
        let count = file.read_at(&mut buffer[..byte_len], offset)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[test]
fn a_small_get_reads_its_entry_and_its_record_and_no_table() {
    let dir = scratch();
    let options = WriterOptions::create(Column::BlockRoots.spec());
    let roots: Vec<_> = (0..9000).map(|slot| (Slot(slot), value_of_len(slot, 32))).collect();
    Writer::open(dir.path(), options).unwrap().put_batch(&roots).unwrap();
    let medium = Arc::new(Medium::default());
    let view: PreadView =
        Reader::open_on(medium.clone(), dir.path(), ReaderOptions::default()).unwrap().view();
    for slot in [0, 4000, 8191, 8192, 8999] {
        let before = medium.bytes_read.load(Ordering::Relaxed);
        assert_eq!(view.get(Slot(slot)).unwrap(), Some(value_of_len(slot, 32)));
        let bytes_read = medium.bytes_read.load(Ordering::Relaxed) - before;
        assert!(bytes_read <= 1024, "{bytes_read} bytes for slot {slot}");
    }
}

#[test]
fn a_damaged_length_in_a_compressed_column_is_refused_before_that_many_bytes_are_read() {
    let dir = scratch();
    let options = WriterOptions::create(spec(Compression::Snappy, 100_000));
    let batch: Vec<_> = (0..40).map(|slot| (Slot(slot), bytes_from(slot, 100_000))).collect();
    Writer::open(dir.path(), options).unwrap().put_batch(&batch).unwrap();
    overwrite(dir.path(), "data_00000", entry(dir.path(), 1) + 2, &2_000_000_u32.to_le_bytes());
    let medium = Arc::new(Medium::default());
    let options = ReaderOptions::default();
    let view = Reader::open_on(medium.clone(), dir.path(), options).unwrap().view();
    view.get(Slot(0)).unwrap();
    let mut stored = Vec::new();
    assert!(view.get_stored_into(Slot(1), &mut stored).unwrap() && stored.len() == 2_000_000);
    let before = medium.bytes_read.load(Ordering::Relaxed);
    let error = view.get(Slot(1)).unwrap_err();
    assert_corrupt(&error, "data_00000", "slot 1");
    let bytes_read = medium.bytes_read.load(Ordering::Relaxed) - before;
    assert!(bytes_read < 300_000, "{bytes_read}");
    let error = view.range(Slot(1)..=Slot(1)).next().unwrap().unwrap_err();
    assert_corrupt(&error, "data_00000", "slot 1 in a range");
    assert_eq!(view.get(Slot(2)).unwrap(), Some(bytes_from(2, 100_000)));
}

/// An encoder may leave chunks nearly empty, so long frames may hold a short value.
#[test]
fn frames_much_longer_than_any_value_are_read() {
    let dir = scratch();
    let options = WriterOptions::create(spec(Compression::Snappy, 1000));
    let mut writer = Writer::open(dir.path(), options).unwrap();
    writer.put_stored_batch(&[(Slot(1), SNAPPY_IDENTIFIER.repeat(20_000))]).unwrap();
    let view = safe_reader(dir.path()).view();
    assert_eq!(view.get(Slot(1)).unwrap(), Some(Vec::new()));
    assert_eq!(slots_of(view.range(..)), Content::from([(1, Vec::new())]));
}

#[test]
fn a_bad_sector_is_an_error_of_the_reads_that_meet_it() {
    let dir = scratch();
    let slots: Vec<u64> = (0..40).chain(9000..9040).collect();
    let batch: Vec<_> = slots.iter().map(|slot| (Slot(*slot), value_of_len(*slot, 1000))).collect();
    Writer::open(dir.path(), WriterOptions::create(PLAIN)).unwrap().put_batch(&batch).unwrap();
    for (bad, lost) in [(("data_00000", 8192), 8..=12), (("data_00000.off", 0), 0..=39)] {
        let medium = Arc::new(Medium { bad: Some(bad), ..Medium::default() });
        let view = Reader::open_on(medium, dir.path(), ReaderOptions::default()).unwrap().view();
        for slot in &slots {
            let got = view.get(Slot(*slot));
            if lost.contains(slot) {
                let error = got.unwrap_err().to_string();
                let wanted = dir.path().join(bad.0).display().to_string();
                assert!(error.starts_with(&format!("{wanted}: cannot read")), "{error}");
            } else {
                assert_eq!(got.unwrap(), Some(value_of_len(*slot, 1000)), "slot {slot}");
            }
        }
        let intact = slots.iter().filter(|slot| !lost.contains(slot)).count();
        assert_eq!(view.range(..).filter(Result::is_ok).count(), intact);
        assert_eq!(view.range(..).rev().filter(Result::is_ok).count(), intact);
        assert!(view.range(..).any(|record| record.is_err()));
    }
}

#[test]
fn views_of_several_columns_are_of_one_instant_beside_a_writer() {
    const LAST: u64 = 300;
    let dir = scratch();
    let columns = [Column::BlockRoots, Column::StateRoots];
    let options = ArchiveWriterOptions::default().columns(columns).raw(true);
    let mut writer = ArchiveWriter::open(dir.path(), options).unwrap();
    let mut put = move |slot: u64| {
        for column in columns {
            writer.writer(column).unwrap().put(Slot(slot), &value_of_len(slot, 32)).unwrap();
        }
    };
    put(0);
    let archive = coldstore::Archive::open(dir.path(), ReaderOptions::default()).unwrap();
    let mapped = open_archive(dir.path());
    let writing = thread::spawn(move || (1..=LAST).for_each(&mut put));
    let mut highest = Some(Slot(0));
    while highest < Some(Slot(LAST)) {
        // The writer puts a block root first, so no instant has a state root without one.
        let [blocks, states] = archive.views(columns).unwrap();
        let ends = [blocks.highest_written_slot(), states.highest_written_slot()];
        assert!(ends[0] == ends[1] || ends[0] == ends[1].and_then(Slot::next), "{ends:?}");
        let [blocks, states] = mapped.views(columns).unwrap();
        highest = states.highest_written_slot();
        let end = blocks.highest_written_slot();
        assert!(end == highest || end == highest.and_then(Slot::next), "{end:?}, {highest:?}");
    }
    writing.join().unwrap();
}
