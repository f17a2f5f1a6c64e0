//! Scans, in both directions.

use super::*;

/// Guards against a scan that walks every slot, or every possible file, of a column with enormous
/// slots.
#[test]
fn sparse_columns_with_enormous_slots_are_scanned_without_walking_the_gaps() {
    for backfill in [false, true] {
        let dir = scratch();
        let slots = [3, 1 << 40, 1 << 60, (1 << 60) + 8192, u64::MAX - 1];
        column(dir.path(), backfill, slots);
        let view = view(dir.path());
        assert_shows(&view, &content(slots), "sparse");
        assert_eq!(view.highest_written_slot(), Some(Slot::MAX));
        let from = |slot: u64| view.range(Slot(slot)..).next().map(|r| r.unwrap().slot().0);
        let before = |slot: u64| view.at_or_before(Slot(slot)).unwrap().map(|r| r.slot().0);
        let after = |slot: u64| view.at_or_after(Slot(slot)).unwrap().map(|r| r.slot().0);
        assert_eq!(from(4), Some(1 << 40));
        assert_eq!(from((1 << 60) + 1), Some((1 << 60) + 8192));
        assert_eq!(from(u64::MAX), None);
        assert_eq!(before(u64::MAX), Some(u64::MAX - 1));
        assert_eq!(before(u64::MAX - 2), Some((1 << 60) + 8192));
        assert_eq!(before((1 << 40) - 1), Some(3));
        assert_eq!(before(2), None);
        assert_eq!(after(4), Some(1 << 40));
        assert_eq!(after((1 << 60) + 8193), Some(u64::MAX - 1));
        assert_eq!(after(u64::MAX), None);
        for slot in [4, 1 << 50, (1 << 60) + 1, u64::MAX - 2, u64::MAX] {
            assert_absent(&view, slot, "sparse");
        }
    }
    // The highest slot alone, at the very end; and a backfill at the very beginning.
    let dir = scratch();
    column(dir.path(), true, [u64::MAX - 1, 0, u64::MAX - 2]);
    assert_shows(&view(dir.path()), &content([0, u64::MAX - 2, u64::MAX - 1]), "the ends");
}

/// Guards against a range that is off by one at either end, or that panics when it is empty.
#[test]
fn ranges_take_every_kind_of_bound() {
    let dir = scratch();
    let slots = [0, 1, 5, 8191, 8192, 9000, 24_576, 24_577];
    column(dir.path(), false, slots);
    let view = view(dir.path());
    let marks = [0, 1, 2, 5, 6, 8190, 8191, 8192, 8193, 16_384, 24_576, 24_577, 24_578, 1 << 60];
    let bounds: Vec<Bound<Slot>> = marks
        .into_iter()
        .chain([u64::MAX - 1, u64::MAX])
        .flat_map(|mark| [Bound::Included(Slot(mark)), Bound::Excluded(Slot(mark))])
        .chain([Bound::Unbounded])
        .collect();
    for &start in &bounds {
        for &end in &bounds {
            let in_range = |slot: u64| {
                let above = match start {
                    Bound::Included(mark) => slot >= mark.0,
                    Bound::Excluded(mark) => slot > mark.0,
                    Bound::Unbounded => true,
                };
                above
                    && match end {
                        Bound::Included(mark) => slot <= mark.0,
                        Bound::Excluded(mark) => slot < mark.0,
                        Bound::Unbounded => true,
                    }
            };
            let mut wanted: Vec<u64> = slots.into_iter().filter(|slot| in_range(*slot)).collect();
            let range = || view.range((start, end)).map(|record| record.unwrap().slot().0);
            assert_eq!(range().collect::<Vec<_>>(), wanted, "{start:?} {end:?}");
            wanted.reverse();
            assert_eq!(range().rev().collect::<Vec<_>>(), wanted, "{start:?} {end:?}, backwards");
        }
    }
    for slot in marks.into_iter().chain([u64::MAX]) {
        let before = view.at_or_before(Slot(slot)).unwrap().map(|record| record.slot().0);
        assert_eq!(before, slots.into_iter().filter(|s| *s <= slot).max(), "before {slot}");
        let after = view.at_or_after(Slot(slot)).unwrap().map(|record| record.slot().0);
        assert_eq!(after, slots.into_iter().filter(|s| *s >= slot).min(), "after {slot}");
    }
}

/// Guards against a record that comes twice, or never, where the two ends of a scan meet.
#[test]
fn the_two_ends_of_a_scan_meet() {
    let dir = scratch();
    let slots = [0, 1, 5, 8191, 8192, 9000, 9001, 40_000];
    column(dir.path(), false, slots);
    let view = view(dir.path());
    for pattern in 0..256_u32 {
        let mut range = view.range(..);
        let (mut front, mut back) = (Vec::new(), Vec::new());
        for step in 0..8 {
            if pattern >> step & 1 == 0 {
                front.push(range.next().unwrap().unwrap().slot().0);
            } else {
                back.push(range.next_back().unwrap().unwrap().slot().0);
            }
        }
        assert!(range.next().is_none() && range.next_back().is_none(), "{pattern:b}");
        back.reverse();
        front.extend(back);
        assert_eq!(front, slots, "{pattern:b}");
    }
}

/// Guards against a reader that believes a conf which belongs to other files: it would hide what was
/// committed.
#[test]
fn a_reader_is_refused_where_the_conf_does_not_fit_the_current_file() {
    type Change = fn(&mut RawConf);
    let cases: [(&str, Change); 5] = [
        ("highest slot lower, a record after it", |conf| conf.highest = 17_000),
        ("highest slot without a record", |conf| conf.highest = 17_011),
        ("highest slot in a file that is not there", |conf| conf.highest = 30_000),
        ("length less by a byte", |conf| conf.len -= 1),
        ("length more by a byte", |conf| conf.len += 1),
    ];
    for backfill in [false, true] {
        for (what, change) in cases {
            let dir = scratch();
            base(dir.path(), backfill);
            append(dir.path(), "data_00002", &[0; 64]);
            RawConf::edit(dir.path(), change);
            let error = try_reader(dir.path()).unwrap_err();
            assert!(error.is_corrupt(), "{what}: {error:?}");
        }
    }
}

/// Guards against options that are lost on the way to the writer's own reader, which has to show
/// every put as soon as it has returned.
#[test]
fn the_reader_of_a_writer_shows_each_put_when_it_has_returned() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    let reader = reader_of(&writer);
    let mut wanted = Content::new();
    for slot in [5, 9000, 6, 7, 17_000, 9001, 8, 16_999, 8193, 9, 100_000, 10] {
        writer.put(Slot(slot), &value(slot)).unwrap();
        wanted.insert(slot, value(slot));
        let clone = reader.clone();
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| content_of(&clone.refresh().unwrap())).join().unwrap()
        });
        assert_eq!(seen, wanted, "after slot {slot}");
        assert_shows(&reader.refresh().unwrap(), &wanted, &format!("after slot {slot}"));
    }
    assert_eq!(reader.directory(), dir.path());
    let options = ReaderOptions::default().expect(SNAPPY);
    assert!(matches!(open_reader(dir.path(), options), Err(Error::ConfMismatch { .. })));
}
