//! `Follower`.

use super::*;

#[test]
fn a_follower_sees_old_records_then_new_ones_in_order() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    put(&mut writer, &[1, 5, 8191]);
    put(&mut writer, &[8192, 30_000]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow(Slot(0)).unwrap();
    assert_eq!(take(&mut follower, 5), [1, 5, 8191, 8192, 30_000]);
    assert_nothing_more(&mut follower);
    put(&mut writer, &[30_001, 40_960]);
    assert_eq!(take(&mut follower, 2), [30_001, 40_960]);
    put(&mut writer, &[40_961]);
    put(&mut writer, &[40_970, 40_971]);
    assert_eq!(take(&mut follower, 3), [40_961, 40_970, 40_971]);
    assert_nothing_more(&mut follower);
}

#[test]
fn a_follower_starts_at_the_requested_slot() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    put(&mut writer, &[1, 5, 8191, 8192, 8195]);
    let reader = reader(scratch.path());
    let follow = |from| reader.follow(Slot(from)).unwrap();
    assert_eq!(take(&mut follow(5), 4), [5, 8191, 8192, 8195]);
    assert_eq!(take(&mut follow(8193), 1), [8195]);
    let mut later = follow(9_000);
    assert_nothing_more(&mut later);
    put(&mut writer, &[8_999, 9_000, 9_010]);
    assert_eq!(take(&mut later, 2), [9_000, 9_010]);
}

#[test]
fn a_follower_of_an_empty_column_sees_its_first_record() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    let reader = reader(scratch.path());
    for follower in [reader.follow(Slot(0)), reader.follow_backfill(Slot(0), Slot(0))] {
        let mut follower = follower.unwrap();
        assert_nothing_more(&mut follower);
    }
    let mut follower = reader.follow(Slot(0)).unwrap();
    put(&mut writer, &[100_000]);
    assert_eq!(take(&mut follower, 1), [100_000]);
}

#[test]
fn a_follower_does_not_see_backfilled_slots_unasked() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[1, 8191, 20_000]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow(Slot(0)).unwrap();
    assert_eq!(take(&mut follower, 3), [1, 8191, 20_000]);
    put(&mut writer, &[0, 5]);
    put(&mut writer, &[8_192]);
    put(&mut writer, &[19_999]);
    assert_nothing_more(&mut follower);
    put(&mut writer, &[20_001]);
    assert_eq!(take(&mut follower, 1), [20_001]);
}

#[test]
fn a_follower_sees_backfilled_slots_in_commit_order_when_asked() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[1, 8191, 20_000, 20_010]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow_backfill(Slot(0), Slot(0)).unwrap();
    assert_eq!(take(&mut follower, 4), [1, 8191, 20_000, 20_010]);
    // The current file, two sealed ones, one that was skipped, and the front again.
    for batch in [&[20_005][..], &[10, 12], &[9_000], &[20_003, 20_007], &[5], &[20_011], &[6]] {
        put(&mut writer, batch);
        assert_eq!(take(&mut follower, batch.len()), batch);
    }
    assert_nothing_more(&mut follower);
}

#[test]
fn accumulated_commits_in_one_file_are_followed_in_commit_order() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[0, 9_000, 9_100]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow_backfill(Slot(0), Slot(0)).unwrap();
    assert_eq!(take(&mut follower, 3), [0, 9_000, 9_100]);
    let order = [9_050, 9_010, 9_101, 9_090, 9_020, 9_102, 9_001];
    for slot in order {
        put(&mut writer, &[slot]);
    }
    let came = take(&mut follower, order.len());
    let (sequential, backfilled): (Vec<u64>, Vec<u64>) =
        came.into_iter().partition(|slot| *slot > 9_100);
    assert_eq!(sequential, [9_101, 9_102]);
    assert_eq!(backfilled, [9_050, 9_010, 9_090, 9_020, 9_001]);
    assert_nothing_more(&mut follower);
}

/// A follower that is busy elsewhere misses confs: the writer goes from one sealed file to the next
/// and back while nobody looks. Every slot still comes, once.
#[test]
fn backfill_of_many_files_while_the_follower_is_busy_is_seen_completely() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    let first: Vec<u64> = (0..6).map(|file| file * 8192 + 4_000).collect();
    put(&mut writer, &first);
    let reader = reader(scratch.path());
    let mut follower = reader.follow_backfill(Slot(0), Slot(0)).unwrap();
    assert_eq!(take(&mut follower, first.len()), first);
    let mut choices = Choices::new(1);
    for _ in 0..4 {
        let mut expected = BTreeSet::new();
        let mut sequential = Vec::new();
        for _ in 0..12 {
            let slot = choices.below(6) * 8192 + choices.below(4_000);
            if reader.refresh().unwrap().contains(Slot(slot)).unwrap() {
                continue;
            }
            put(&mut writer, &[slot]);
            expected.insert(slot);
            if choices.below(3) == 0 {
                let above = writer.highest_written_slot().unwrap().0 + 1;
                put(&mut writer, &[above]);
                expected.insert(above);
                sequential.push(above);
            }
        }
        let came = take(&mut follower, expected.len());
        assert_eq!(came.iter().copied().collect::<BTreeSet<u64>>(), expected, "{came:?}");
        let in_order: Vec<u64> =
            came.into_iter().filter(|slot| sequential.contains(slot)).collect();
        assert_eq!(in_order, sequential);
        assert_nothing_more(&mut follower);
    }
}

/// The follower looks at any moment of a commit: between the conf that names the file and the records,
/// between the records and the conf that commits them. On a disk, where those moments are long.
#[test]
fn a_follower_polled_at_any_time_misses_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let mut writer = create(scratch.path(), true);
    let first: Vec<u64> = (0..4).map(|file| file * 8192 + 8_000).collect();
    put(&mut writer, &first);
    let plan: Vec<u64> = (0..160)
        .map(|n| test_support::mix(n) % 3 * 8192 + 7_900 - n * 40 - test_support::mix(n) % 40)
        .collect();
    let threads: Vec<_> = (0..3)
        .map(|number| {
            let reader = reader(scratch.path());
            let mut follower = reader.follow_backfill(Slot(0), Slot(0)).unwrap();
            // Before the writer goes on: a first look that comes late shows what was filled in by then.
            assert_eq!(take(&mut follower, first.len()), first);
            let plan = plan.clone();
            thread::spawn(move || {
                let mut choices = Choices::new(number << 32);
                let mut came = Vec::new();
                while came.len() < plan.len() {
                    came.extend(take(&mut follower, 1));
                    thread::sleep(Duration::from_micros(choices.below(4_000)));
                }
                assert_nothing_more(&mut follower);
                came
            })
        })
        .collect();
    for slot in &plan {
        put(&mut writer, &[*slot]);
    }
    for thread in threads {
        let came = thread.join().unwrap();
        let of_file = |slots: &[u64], file| -> Vec<u64> {
            slots.iter().copied().filter(|slot| slot / 8192 == file).collect()
        };
        for file in 0..3 {
            assert_eq!(of_file(&came, file), of_file(&plan, file));
        }
    }
}

#[test]
fn a_follower_keeps_its_place_when_backfill_is_turned_on() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    put(&mut writer, &[1, 9_000]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow_backfill(Slot(0), Slot(0)).unwrap();
    assert_eq!(take(&mut follower, 2), [1, 9_000]);
    drop(writer);
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[0]);
    assert_eq!(take(&mut follower, 1), [0]);
    put(&mut writer, &[8_999]);
    assert_eq!(take(&mut follower, 1), [8_999]);
    put(&mut writer, &[9_001]);
    assert_eq!(take(&mut follower, 1), [9_001]);
    assert_nothing_more(&mut follower);
}

/// Healing removes and truncates files; nothing of that is a commit.
#[test]
fn healing_is_not_followed() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[1, 9_000]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow_backfill(Slot(0), Slot(0)).unwrap();
    assert_eq!(take(&mut follower, 2), [1, 9_000]);
    drop(writer);
    test_support::append_to(&scratch.path().join("data_00001"), &[0xAB; 100]);
    fs::write(scratch.path().join("data_00002"), [0x65, 0x32, 0, 0, 0, 0, 0, 0]).unwrap();
    assert_nothing_more(&mut follower);
    let mut writer = create(scratch.path(), true);
    assert!(!writer.heal_report().is_clean());
    assert_nothing_more(&mut follower);
    put(&mut writer, &[9_001]);
    assert_eq!(take(&mut follower, 1), [9_001]);
}

/// An error about one file is told, and what happened in the others is not forgotten over it.
#[test]
fn an_unreadable_file_does_not_hide_records_of_the_others() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[1, 9_000, 20_000]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow_backfill(Slot(0), Slot(0)).unwrap();
    assert_eq!(take(&mut follower, 3), [1, 9_000, 20_000]);
    test_support::append_to(&scratch.path().join("data_00000"), &[1; 10]);
    test_support::append_to(&scratch.path().join("data_00000.off"), &[0; 8]);
    put(&mut writer, &[9_001]);
    let mut errors = 0;
    let slot = loop {
        match follower.next_slot(Some(HANG)) {
            Ok(slot) => break slot,
            Err(error) => errors += u64::from(error.is_corrupt()),
        }
        assert!(errors < 1_000, "the error comes again and again");
    };
    assert_eq!(slot, Some(Slot(9_001)), "after {errors} errors");
    put(&mut writer, &[20_001]);
    assert_eq!(take(&mut follower, 1), [20_001]);
}

/// Guards against a slot that is shown in its place and once more as a backfilled one: it came into
/// a file that the follower had not come to yet, or was in the middle of.
#[test]
fn a_slot_that_is_filled_ahead_of_the_follower_is_shown_once() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[1, 9, 9_000, 20_000]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow_backfill(Slot(0), Slot(0)).unwrap();
    put(&mut writer, &[9_005]);
    assert_eq!(take(&mut follower, 2), [1, 9]);
    put(&mut writer, &[9_007]);
    put(&mut writer, &[20_001, 20_002]);
    put(&mut writer, &[5]);
    let mut shown = take(&mut follower, 7);
    assert_eq!(follower.next_slot(Some(Duration::from_millis(300))).unwrap(), None, "{shown:?}");
    shown.sort_unstable();
    assert_eq!(shown, [5, 9_000, 9_005, 9_007, 20_000, 20_001, 20_002][..]);
}
