//! The four cases that the specification names.

use super::*;

/// Guards against leftovers of a crash that the next put adopts: bytes behind the committed length,
/// and entries that lead there.
#[test]
fn test_heal_truncates_data_and_zeros_dangling_offset_after_crash() {
    for backfill in [false, true] {
        let dir = scratch();
        column(dir.path(), backfill, [10, 20]);
        let committed = files_of(dir.path());
        let len = data_len(dir.path(), 0);
        let at = write_uncommitted(dir.path(), 30);
        assert_eq!(at, len);
        write_uncommitted(dir.path(), 31);
        append(dir.path(), "data_00000", &plain_record(32)[..9]);
        let torn = data_len(dir.path(), 0);

        let actions = heal(dir.path(), backfill, &content([10, 20]), "sequential");
        assert_files(dir.path(), &committed, "as before the crash");
        let path = |name: &str| dir.path().join(name);
        let truncated = HealAction {
            file: path("data_00000"),
            change: HealChange::Truncated { from: torn, to: len },
        };
        let cleared = HealAction {
            file: path("data_00000.off"),
            change: HealChange::ClearedEntries(vec![Slot(30), Slot(31)]),
        };
        assert_eq!(actions.len(), 2, "{actions:?}");
        assert!(actions.contains(&truncated), "{actions:?}");
        assert!(actions.contains(&cleared), "{actions:?}");

        let mut writer = writer(dir.path(), backfill);
        writer.put(Slot(40), &value(40)).unwrap();
        assert_eq!(entry(dir.path(), 40), len);
        assert_shows(&view(dir.path()), &content([10, 20, 40]), "another slot than the lost ones");
    }
}

/// Guards against healing by the rule for sequential data alone: what lies behind the record of the
/// highest slot, or in a sealed file, is committed too.
#[test]
fn test_heal_preserves_committed_backfill_data() {
    let dir = scratch();
    let wanted = base(dir.path());
    let committed = files_of(dir.path());
    let actions = heal(dir.path(), true, &wanted, "nothing to heal");
    assert_eq!(actions, []);
    // And with leftovers in both files, and behind them.
    write_uncommitted(dir.path(), 7);
    write_uncommitted(dir.path(), 17_006);
    write_uncommitted(dir.path(), 17_011);
    write_uncommitted(dir.path(), 30_000);
    let actions = heal(dir.path(), true, &wanted, "leftovers beside committed backfill");
    assert_eq!(actions.len(), 6, "two cut, two cleared, two removed: {actions:?}");
    assert_files(dir.path(), &committed, "as before the crash");
}

/// Guards against half a batch in a sealed file that readers see: its records are cut, and its slots
/// read as absent, before healing and after it.
#[test]
fn test_heal_truncates_uncommitted_backfill_in_sealed_file() {
    let dir = scratch();
    let wanted = base(dir.path());
    let committed = files_of(dir.path());
    let len = data_len(dir.path(), 0);
    // The conf names file 0: the crash came before the commit of two more records.
    write_uncommitted(dir.path(), 7);
    write_uncommitted(dir.path(), 0);
    for slot in [7, 0] {
        assert_absent(&view(dir.path()), slot, "before healing");
    }
    let actions = heal(dir.path(), true, &wanted, "sealed file");
    let cleared = HealAction {
        file: dir.path().join("data_00000.off"),
        change: HealChange::ClearedEntries(vec![Slot(0), Slot(7)]),
    };
    assert!(actions.contains(&cleared), "{actions:?}");
    assert_eq!(data_len(dir.path(), 0), len);
    assert_eq!((entry(dir.path(), 7), entry(dir.path(), 0)), (0, 0));
    for slot in [7, 0] {
        assert_absent(&view(dir.path()), slot, "after healing");
    }
    assert_files(dir.path(), &committed, "as before the crash");
    // The gaps can be filled, with whatever value the next attempt brings.
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&[(Slot(0), b"another"), (Slot(7), b"value!!")]).unwrap();
    assert_eq!(entry(dir.path(), 0), len);
    let mut wanted = wanted;
    wanted.insert(0, b"another".to_vec());
    wanted.insert(7, b"value!!".to_vec());
    assert_shows(&view(dir.path()), &wanted, "put again");
}

/// Guards against healing that stops after the first leftover: many records and entries, in the
/// sealed file, in the current one, in files that come after it, the last record torn.
#[test]
fn test_heal_truncates_multiple_uncommitted_backfills() {
    let dir = scratch();
    let wanted = base(dir.path());
    let committed = files_of(dir.path());
    for slot in [0, 100, 2, 8191, 4000] {
        write_uncommitted(dir.path(), slot);
    }
    for slot in [16_384, 17_009, 17_001] {
        write_uncommitted(dir.path(), slot);
    }
    append(dir.path(), "data_00000", &[4, 0, 200]);
    append(dir.path(), "data_00002", &plain_record(17_002)[..8]);
    let actions = heal(dir.path(), true, &wanted, "many");
    for (file, slots) in [(0, &[0, 2, 100, 4000, 8191][..]), (2, &[16_384, 17_001, 17_009])] {
        let cleared = HealAction {
            file: dir.path().join(offsets_name(file)),
            change: HealChange::ClearedEntries(slots.iter().map(|&slot| Slot(slot)).collect()),
        };
        assert!(actions.contains(&cleared), "{actions:?}");
    }
    assert_files(dir.path(), &committed, "as before the crash");
    for slot in [0, 100, 2, 8191, 4000, 16_384, 17_009, 17_001] {
        assert_absent(&view(dir.path()), slot, "after healing");
    }
}
