//! Several threads take, share and fill views while a writer commits.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coldstore_interleavings::Slot;
use shuttle::thread;
use support::{Steps, explore, highest, reader, scratch, writer};

/// Slots per file.
const FILE: u64 = 8192;

#[test]
fn the_latest_view_never_goes_back() {
    explore(|| {
        let scratch = scratch();
        let disk = Steps { only_commits: true, ..Steps::default() };
        let mut writer = writer(scratch.path(), disk);
        writer.put(Slot(1), b"1").unwrap();
        let shared = reader(scratch.path());
        let committed = Arc::new(AtomicU64::new(1));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (reader, committed) = (shared.clone(), Arc::clone(&committed));
                thread::spawn(move || {
                    let mut seen = 0;
                    for _ in 0..2 {
                        let durable = committed.load(Ordering::SeqCst);
                        let fresh = highest(&reader.refresh().unwrap());
                        assert!(fresh >= durable, "{durable} was durable, a refresh shows {fresh}");
                        assert!(fresh >= seen, "a refresh showed {seen}, then {fresh}");
                        let latest = highest(&reader.view());
                        assert!(latest >= fresh, "a refresh showed {fresh}, the latest {latest}");
                        seen = latest;
                    }
                })
            })
            .collect();
        for slot in 2..=4 {
            writer.put(Slot(slot), b"more").unwrap();
            committed.store(slot, Ordering::SeqCst);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(highest(&shared.refresh().unwrap()), 4);
    });
}

/// The first access to a file decides what the view shows of it, for all threads.
#[test]
fn threads_sharing_a_view_see_the_same_records() {
    explore(|| {
        let scratch = scratch();
        let mut writer = writer(scratch.path(), Steps::default());
        // Files 1 and 2 are skipped. A scan that comes to file 2 lists what there is; file 1 is made
        // by a backfill while the view is there.
        writer.put_batch(&[(Slot(0), "a"), (Slot(3 * FILE), "b")]).unwrap();
        let view = reader(scratch.path()).view();
        let slots = [0, 3, 4, FILE + 3, FILE + 4, 3 * FILE, 3 * FILE + 3];
        let one_by_one = {
            let view = view.clone();
            thread::spawn(move || {
                let value = |slot| view.get(Slot(slot)).unwrap().map(std::borrow::Cow::into_owned);
                slots.map(value)
            })
        };
        let scanning = {
            let view = view.clone();
            thread::spawn(move || -> BTreeMap<u64, Vec<u8>> {
                let records = view.range(..).rev().map(|record| record.unwrap());
                records
                    .map(|record| (record.slot().0, record.value().unwrap().into_owned()))
                    .collect()
            })
        };
        writer.put_batch(&[(Slot(FILE + 3), "c"), (Slot(FILE + 4), "d")]).unwrap();
        writer.put_batch(&[(Slot(3), "e"), (Slot(4), "f")]).unwrap();
        writer.put(Slot(3 * FILE + 3), b"not in the view").unwrap();
        let (one_by_one, scanned) = (one_by_one.join().unwrap(), scanning.join().unwrap());
        for (slot, value) in slots.into_iter().zip(&one_by_one) {
            assert_eq!(scanned.get(&slot), value.as_ref(), "slot {slot}");
            assert_eq!(view.get(Slot(slot)).unwrap().as_deref(), value.as_deref());
        }
        assert_eq!(scanned.contains_key(&3), scanned.contains_key(&4), "half a batch");
        let second = FILE + 3;
        assert_eq!(scanned.contains_key(&second), scanned.contains_key(&(second + 1)));
        assert!(!scanned.contains_key(&(3 * FILE + 3)));
    });
}

#[test]
fn a_follower_shows_every_slot_once() {
    explore(|| {
        let scratch = scratch();
        let mut writer = writer(scratch.path(), Steps::default());
        writer.put(Slot(5), b"first").unwrap();
        let reader = reader(scratch.path());
        let follower = thread::spawn(move || {
            let mut follower = reader.follow_backfill(Slot(0), Slot(0)).unwrap();
            let mut shown = Vec::new();
            while shown.len() < 6 {
                let slot = follower.next_slot(None).unwrap().unwrap();
                assert!(follower.view().contains(slot).unwrap());
                shown.push(slot.0);
            }
            shown
        });
        writer.put(Slot(FILE + 1), b"next file").unwrap();
        writer.put_batch(&[(Slot(2), "filled"), (Slot(3), "too")]).unwrap();
        writer.put(Slot(FILE), b"filled in the current file").unwrap();
        writer.put(Slot(3 * FILE), b"last").unwrap();
        let mut shown = follower.join().unwrap();
        let ascending: Vec<u64> =
            shown.iter().copied().filter(|slot| [5, FILE + 1, 3 * FILE].contains(slot)).collect();
        assert!(ascending.is_sorted(), "{shown:?}");
        shown.sort_unstable();
        assert_eq!(shown, [2, 3, 5, FILE, FILE + 1, 3 * FILE]);
    });
}

#[test]
fn wait_for_returns_when_the_slot_is_committed() {
    explore(|| {
        let scratch = scratch();
        let mut writer = writer(scratch.path(), Steps::default());
        let reader = reader(scratch.path());
        let waiting: Vec<_> = [3, 4]
            .into_iter()
            .map(|slot| {
                let reader = reader.clone();
                thread::spawn(move || {
                    let view = reader.wait_for(Slot(slot), None).unwrap().unwrap();
                    (view.contains(Slot(slot)).unwrap(), highest(&reader.view()))
                })
            })
            .collect();
        writer.put(Slot(2), b"2").unwrap();
        writer.put(Slot(4), b"4").unwrap();
        writer.put(Slot(6), b"6").unwrap();
        let [skipped, record]: [_; 2] = waiting
            .into_iter()
            .map(|waiting| waiting.join().unwrap())
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        assert_eq!((skipped.0, record.0), (false, true));
        assert!(skipped.1 >= 4 && record.1 >= 4);
    });
}
