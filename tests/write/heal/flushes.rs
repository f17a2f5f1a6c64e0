//! What healing flushes, and when.

use super::*;

/// Guards against trusting what a process before us wrote and never flushed: the files, the
/// directory and its parent are flushed before anything is changed, and again after it was.
#[test]
fn opening_flushes_trusted_files_before_the_first_change() {
    for dirty in [false, true] {
        let root = scratch();
        let dir = root.path().join("column");
        base(&dir);
        if dirty {
            for slot in [7, 17_006, 17_011, 30_000] {
                write_uncommitted(&dir, slot);
            }
            fs::write(dir.join("column.conf.tmp"), b"torn").unwrap();
        }
        let disk = TestDisk::new();
        let writer = open_on(&disk, &dir, true);
        assert_eq!(writer.heal_report().is_clean(), !dirty);
        let calls = disk.take_calls();
        let first_change = calls.iter().position(Call::changes).unwrap_or(calls.len());
        assert_eq!(first_change == calls.len(), !dirty, "{calls:?}");
        for file in ["data_00000", "data_00000.off", "data_00002", "data_00002.off"] {
            let flush = Call::Sync(file.to_owned());
            assert!(calls[..first_change].contains(&flush), "{file} first: {calls:?}");
        }
        for path in [&dir, root.path()] {
            let flush = Call::SyncDir(path.to_owned());
            assert!(calls[..first_change].contains(&flush), "{} first: {calls:?}", path.display());
        }
        assert_flushed(&calls, &dir);
        drop(writer);

        // The current file alone, where no other is named.
        let calls = {
            RawConf::edit(&dir, |conf| conf.backfill = Some((2, 8)));
            let disk = TestDisk::new();
            open_on(&disk, &dir, true);
            disk.take_calls()
        };
        for file in ["data_00002", "data_00002.off"] {
            assert!(calls.contains(&Call::Sync(file.to_owned())), "{file}: {calls:?}");
        }
        assert!(!calls.iter().any(Call::changes), "{calls:?}");
    }
}

/// Guards against every start of a node rewriting and flushing tables for nothing.
#[test]
fn opening_a_clean_column_touches_no_file() {
    for backfill in [false, true] {
        for slots in [&[][..], &[5], &[1, 9000, 17_000]] {
            let dir = scratch();
            column(dir.path(), backfill, slots.iter().copied());
            if backfill && slots.len() == 3 {
                column(dir.path(), true, [6, 9001, 16_999]);
            }
            let before = stamps(dir.path());
            let disk = TestDisk::new();
            let writer = open_on(&disk, dir.path(), backfill);
            assert!(writer.heal_report().is_clean());
            drop(writer);
            let changes: Vec<Call> = disk.take_calls().into_iter().filter(Call::changes).collect();
            assert_eq!(changes, [], "{backfill} {slots:?}");
            let without_lock = |mut stamps: std::collections::BTreeMap<PathBuf, Stamp>| {
                stamps.remove(Path::new("lock"));
                stamps
            };
            assert_eq!(without_lock(stamps(dir.path())), without_lock(before));
        }
    }
}
