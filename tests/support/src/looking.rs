//! What a column should show.

use super::*;

/// What came of waiting for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    Record,
    Skipped,
    TimedOut,
}

#[track_caller]
pub fn wait_for<S: Taken>(reader: &Reader<S>, slot: u64, timeout: Option<Duration>) -> Arrival {
    match reader.wait_for(Slot(slot), timeout).unwrap() {
        Some(view) if view.contains(Slot(slot)).unwrap() => Arrival::Record,
        Some(_) => Arrival::Skipped,
        None => Arrival::TimedOut,
    }
}

/// Everything that a scan of the whole column gives.
#[track_caller]
pub fn content_of(view: &View) -> Content {
    scan(view, ..).into_iter().collect()
}

/// Every record of a range of the view, by its value; panics on an error.
#[track_caller]
pub fn scan(view: &View, slots: impl RangeBounds<Slot>) -> Vec<(u64, Vec<u8>)> {
    view.range(slots)
        .map(|record| record.unwrap_or_else(|error| panic!("scan: {error}")))
        .map(|record| (record.slot().0, record.value().unwrap().into_owned()))
        .collect()
}

/// What a view that is opened now shows.
#[track_caller]
pub fn shown(dir: &Path) -> Content {
    content_of(&view(dir))
}

fn slots_of(content: &Content) -> Vec<u64> {
    content.keys().copied().collect()
}

/// The view shows exactly this, by every way of asking: both scans, every kind of get of every slot
/// that is listed, and of the slots around it.
#[track_caller]
pub fn assert_shows(view: &View, wanted: &Content, context: &str) {
    let forward: Vec<(u64, Vec<u8>)> = view
        .range(..)
        .map(|record| {
            let record = record.unwrap_or_else(|error| panic!("{context}: scan: {error}"));
            (record.slot().0, record.value().unwrap().into_owned())
        })
        .collect();
    let scanned: Vec<u64> = forward.iter().map(|(slot, _)| *slot).collect();
    assert_eq!(scanned, slots_of(wanted), "{context}: slots of a scan forwards");
    for ((slot, found), wanted) in forward.iter().zip(wanted.values()) {
        assert_eq!(found, wanted, "{context}: value of slot {slot} in a scan");
    }
    let mut backward: Vec<(u64, Vec<u8>)> = view
        .range(..)
        .rev()
        .map(|record| {
            let record = record.unwrap_or_else(|error| panic!("{context}: backward scan: {error}"));
            (record.slot().0, record.value().unwrap().into_owned())
        })
        .collect();
    backward.reverse();
    assert_eq!(backward, forward, "{context}: a scan backwards against one forwards");

    let mut buffer = b"left over".to_vec();
    for (&slot, wanted) in wanted {
        let found = view.get(Slot(slot)).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(found.as_deref(), Some(&wanted[..]), "{context}: get of slot {slot}");
        assert!(view.contains(Slot(slot)).unwrap(), "{context}: contains of slot {slot}");
        assert!(view.get_into(Slot(slot), &mut buffer).unwrap(), "{context}: slot {slot}");
        assert_eq!(&buffer, wanted, "{context}: get_into of slot {slot}");
        let owned = view.owned(Slot(slot)).unwrap().expect("an owned record");
        assert_eq!(&owned[..], &wanted[..], "{context}: owned record of slot {slot}");
    }
    for &slot in wanted.keys() {
        for near in [
            slot.wrapping_sub(PER_FILE),
            slot.wrapping_sub(2),
            slot.wrapping_sub(1),
            slot.wrapping_add(1),
            slot.wrapping_add(2),
            slot.wrapping_add(PER_FILE),
        ] {
            if !wanted.contains_key(&near) {
                assert_absent(view, near, context);
            }
        }
    }
    assert_absent(view, wanted.keys().next_back().map_or(0, |slot| slot.wrapping_add(1)), context);
}

/// No way of asking shows a record at this slot.
#[track_caller]
pub fn assert_absent(view: &View, slot: u64, context: &str) {
    let slot = Slot(slot);
    let mut buffer = b"left over".to_vec();
    assert_eq!(view.get(slot).unwrap(), None, "{context}: get of slot {slot}");
    assert_eq!(view.get_stored(slot).unwrap(), None, "{context}: get_stored of slot {slot}");
    assert!(!view.contains(slot).unwrap(), "{context}: contains of slot {slot}");
    assert!(!view.get_into(slot, &mut buffer).unwrap(), "{context}: get_into of slot {slot}");
    assert!(view.record(slot).unwrap().is_none(), "{context}: record of slot {slot}");
    assert!(view.owned(slot).unwrap().is_none(), "{context}: owned record of slot {slot}");
}

/// A reader of the directory shows exactly this, and changes nothing by looking.
#[track_caller]
pub fn assert_reads(dir: &Path, wanted: &Content, context: &str) {
    let before = stamps(dir);
    let bytes = files_of(dir);
    assert_shows(&view(dir), wanted, context);
    assert_eq!(stamps(dir), before, "{context}: a reader changed the directory");
    assert_files(dir, &bytes, context);
}

/// The error is `Corrupt`, and names a file.
#[track_caller]
pub fn assert_corrupt(error: &Error, file: &str, context: &str) {
    let Error::Corrupt(corruption) = error else {
        panic!("{context}: wanted Corrupt, found {error:?}");
    };
    let name = corruption.file.file_name().unwrap().to_str().unwrap();
    assert_eq!(name, file, "{context}: {error}");
}

/// Opening for writing is refused with `Corrupt`, whatever the options are, and touches nothing;
/// neither does a dry run.
#[track_caller]
pub fn assert_writer_refuses(dir: &Path, context: &str) {
    let bytes = files_of(dir);
    for (name, options) in [
        ("existing", WriterOptions::default()),
        ("create", WriterOptions::create(PLAIN)),
        ("create with backfill", WriterOptions::create(PLAIN).allow_backfill(true)),
        ("existing with backfill", WriterOptions::default().allow_backfill(true)),
        ("existing, larger bound", WriterOptions::default().max_value_bytes(1 << 40)),
    ] {
        let before: Vec<_> = stamps(dir).into_iter().filter(|(path, _)| is_data(path)).collect();
        let error =
            Writer::open(dir, options).err().unwrap_or_else(|| panic!("{context}: {name}: opened"));
        assert!(error.is_corrupt(), "{context}: {name}: wanted Corrupt, found {error:?}");
        assert_files(dir, &bytes, &format!("{context}: {name}"));
        let after: Vec<_> = stamps(dir).into_iter().filter(|(path, _)| is_data(path)).collect();
        assert_eq!(after, before, "{context}: {name}: something was touched");
    }
    let error = coldstore::inspect(dir).expect_err("inspect of a corrupt column");
    assert!(error.is_corrupt(), "{context}: inspect: wanted Corrupt, found {error:?}");
    assert_files(dir, &bytes, &format!("{context}: inspect"));
}

/// Everything but the lock and the directory (whose times move when the lock is made).
fn is_data(path: &Path) -> bool {
    path != Path::new("") && path != Path::new("lock")
}
