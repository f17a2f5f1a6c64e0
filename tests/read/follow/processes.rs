//! A writer and a follower in processes of their own.

use super::*;

const DIRECTORY: &str = "COLDSTORE_TEST_COLUMN";
const SIDE: &str = "COLDSTORE_TEST_SIDE";
const NOTICE: &str = "COLDSTORE_TEST_NOTICE";

/// The sequential commits of the writer process.
fn sequential_batches() -> Vec<Vec<u64>> {
    (0..60_u64)
        .map(|batch| (0..1 + batch % 4).map(|index| batch * 500 + index * 7).collect())
        .collect()
}

/// Its backfill commits, each in one file, sealed or current.
fn backfill_batches() -> Vec<Vec<u64>> {
    let sequential = sequential_batches().concat();
    let gap = |slot: &u64| !sequential.contains(slot);
    (0..30_u64)
        .map(|batch| {
            let first = test_support::mix(batch) % 4 * 8192 + 3 + batch * 8;
            (first..=first + batch % 3).filter(gap).collect()
        })
        .collect()
}

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_writes() {
    let (Some(directory), Some(side)) = (std::env::var_os(DIRECTORY), std::env::var_os(SIDE))
    else {
        return;
    };
    let mut writer = create(Path::new(&directory), true);
    await_file(&Path::new(&side).join("ready"));
    for batch in sequential_batches() {
        put(&mut writer, &batch);
        thread::sleep(Duration::from_millis(1));
    }
    await_file(&Path::new(&side).join("backfill"));
    for batch in backfill_batches() {
        put(&mut writer, &batch);
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_follows() {
    let (Some(directory), Some(side)) = (std::env::var_os(DIRECTORY), std::env::var_os(SIDE))
    else {
        return;
    };
    if std::env::var(NOTICE).unwrap() == "polled" {
        #[cfg(target_os = "linux")]
        forbid_inotify();
    }
    let side = PathBuf::from(side);
    let reader = reader(Path::new(&directory));
    let sequential: Vec<u64> = sequential_batches().concat();
    let last = *sequential.last().unwrap();

    let waiters: Vec<_> = sequential
        .iter()
        .step_by(10)
        .map(|&slot| {
            let reader = reader.clone();
            thread::spawn(move || {
                let written = wait_for(&reader, slot, Some(HANG));
                assert!(matches!(written, Arrival::Record), "slot {slot}: {written:?}");
                let skipped = wait_for(&reader, slot + 1, Some(HANG));
                if slot != last {
                    assert!(matches!(skipped, Arrival::Skipped), "slot {slot} + 1: {skipped:?}");
                }
            })
        })
        .collect();
    let mut plain = reader.follow(Slot(0)).unwrap();
    let mut everything = reader.follow_backfill(Slot(0), Slot(0)).unwrap();
    fs::write(side.join("ready"), "").unwrap();

    assert_eq!(take(&mut plain, sequential.len()), sequential);
    assert_eq!(take(&mut everything, sequential.len()), sequential);
    for waiter in waiters {
        waiter.join().unwrap();
    }

    fs::write(side.join("backfill"), "").unwrap();
    let backfilled: BTreeSet<u64> = backfill_batches().concat().into_iter().collect();
    let came = take(&mut everything, backfilled.len());
    assert_eq!(came.iter().copied().collect::<BTreeSet<u64>>(), backfilled);
    for file in 0..4 {
        let of_file = |slots: &[u64]| -> Vec<u64> {
            slots.iter().copied().filter(|slot| slot / 8192 == file).collect()
        };
        assert_eq!(
            of_file(&came),
            of_file(&backfill_batches().concat()),
            "within file {file} in commit order"
        );
    }
    assert_nothing_more(&mut everything);
    assert_nothing_more(&mut plain);
}

fn await_file(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < HANG, "{} never came", path.display());
        thread::sleep(Duration::from_millis(1));
    }
}

fn follow_a_writer_in_another_process(notice: Notice) {
    let scratch = scratch();
    let column = scratch.path().join("column");
    drop(create(&column, true));
    let text: OsString = match notice {
        Notice::Watched => "watched".into(),
        Notice::Polled => "polled".into(),
    };
    let environment: [(&str, &OsStr); 3] =
        [(DIRECTORY, column.as_os_str()), (SIDE, scratch.path().as_os_str()), (NOTICE, &text)];
    let output = |name: &str| scratch.path().join(name);
    let mut follower =
        Process::start("follow::processes::child_that_follows", output("follower"), &environment);
    let mut writer =
        Process::start("follow::processes::child_that_writes", output("writer"), &environment);
    follower.expect_success();
    writer.expect_success();
}

#[test]
fn a_writer_in_another_process_is_followed() {
    follow_a_writer_in_another_process(Notice::Watched);
}

#[cfg(target_os = "linux")]
#[test]
fn a_writer_in_another_process_is_followed_without_inotify() {
    follow_a_writer_in_another_process(Notice::Polled);
}
