//! `wait_for`.

use super::*;

#[test]
fn waiting_for_an_existing_record_returns_at_once() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    put(&mut writer, &[3, 8190, 8200]);
    let reader = reader(scratch.path());
    for slot in [3, 8190, 8200] {
        assert!(matches!(wait(&reader, slot, None), Arrival::Record));
        assert!(matches!(wait(&reader, slot, Some(Duration::ZERO)), Arrival::Record));
    }
}

#[test]
fn waiting_for_a_skipped_slot_returns_skipped_at_once() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    put(&mut writer, &[3, 20_000]);
    let reader = reader(scratch.path());
    for slot in [0, 4, 8192, 19_999] {
        assert!(matches!(wait(&reader, slot, None), Arrival::Skipped));
    }
}

#[test]
fn waiting_sees_commits_since_the_latest_view() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    let reader = reader(scratch.path());
    put(&mut writer, &[3]);
    assert!(matches!(wait(&reader, 3, Some(Duration::ZERO)), Arrival::Record));
    assert!(matches!(wait(&reader, 2, Some(Duration::ZERO)), Arrival::Skipped));
}

#[test]
fn waiting_for_a_slot_that_is_not_written_times_out() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    let reader = reader(scratch.path());
    let short = Some(Duration::from_millis(20));
    assert!(matches!(wait(&reader, 0, short), Arrival::TimedOut), "an empty column");
    put(&mut writer, &[3]);
    assert!(matches!(wait(&reader, 4, short), Arrival::TimedOut));
    assert!(matches!(wait(&reader, 4, Some(Duration::ZERO)), Arrival::TimedOut));
    assert!(matches!(wait(&reader, Slot::MAX.0, short), Arrival::TimedOut));
}

#[test]
fn a_slot_that_was_skipped_and_then_filled_is_a_record() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[3, 20_000]);
    let reader = reader(scratch.path());
    for slot in [1, 9_000, 19_999] {
        assert!(matches!(wait(&reader, slot, None), Arrival::Skipped));
        put(&mut writer, &[slot]);
        assert!(matches!(wait(&reader, slot, None), Arrival::Record));
    }
}

#[test]
fn a_waiter_is_woken_by_the_commit_that_reaches_its_slot() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    let reader = reader(scratch.path());
    let waiter = thread::spawn({
        let reader = reader.clone();
        move || {
            let record = wait_for(&reader, 5, Some(HANG));
            let shown = reader.view().get(Slot(5)).unwrap().map(std::borrow::Cow::into_owned);
            let skipped = wait_for(&reader, 9, Some(HANG));
            (record, shown, skipped)
        }
    });
    for slot in [0, 4, 5, 8, 10] {
        // Usually lets the reader wait before each commit; the result is the same if it does not.
        thread::sleep(Duration::from_millis(10));
        put(&mut writer, &[slot]);
    }
    let (record, shown, skipped) = waiter.join().unwrap();
    assert!(matches!(record, Arrival::Record));
    assert_eq!(shown, Some(value(5)), "the reader's latest view shows what was waited for");
    assert!(matches!(skipped, Arrival::Skipped));
}

#[test]
fn a_waiter_of_the_writers_own_reader_is_woken() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    let reader = test_support::reader_of(&writer);
    let waiter = thread::spawn(move || wait_for(&reader, 5, Some(HANG)));
    // Usually lets the wait begin; the result is the same if it has not.
    thread::sleep(Duration::from_millis(10));
    put(&mut writer, &[5]);
    assert!(matches!(waiter.join().unwrap(), Arrival::Record));
}

#[test]
fn many_waiters_are_all_woken() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    let shared = reader(scratch.path());
    let (arrived, arrivals) = mpsc::channel();
    let waiters: Vec<_> = (0..24_u64)
        .map(|slot| {
            // Half of them share a reader, the others have one of their own.
            let reader = if slot % 2 == 0 { shared.clone() } else { reader(scratch.path()) };
            let arrived = arrived.clone();
            thread::spawn(move || {
                let arrival = wait_for(&reader, slot, Some(HANG));
                arrived.send((slot, matches!(arrival, Arrival::Record))).unwrap();
                arrival
            })
        })
        .collect();
    // Usually lets all waits begin; the result is the same if they have not.
    thread::sleep(Duration::from_millis(10));
    // Slots divisible by three are skipped.
    for slot in (0..24).filter(|slot| slot % 3 != 0) {
        put(&mut writer, &[slot]);
    }
    for (slot, waiter) in waiters.into_iter().enumerate() {
        let arrival = waiter.join().unwrap();
        if slot % 3 == 0 {
            assert!(matches!(arrival, Arrival::Skipped), "slot {slot}");
        } else {
            assert!(matches!(arrival, Arrival::Record), "slot {slot}");
        }
    }
    assert_eq!(arrivals.try_iter().count(), 24);
}

#[test]
fn a_waiter_outlives_the_writer() {
    let scratch = scratch();
    drop(create(scratch.path(), false));
    let reader = reader(scratch.path());
    let waiter = thread::spawn(move || wait_for(&reader, 3, Some(HANG)));
    for slot in 0..4 {
        let mut writer = create(scratch.path(), false);
        put(&mut writer, &[slot]);
    }
    assert!(matches!(waiter.join().unwrap(), Arrival::Record));
}
