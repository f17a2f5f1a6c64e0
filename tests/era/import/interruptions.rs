//! Interrupted imports, and their progress.

use super::*;

/// Stops an import at its n-th report of progress.
fn stop_at(mut left: usize) -> impl FnMut(&ImportProgress<'_>) -> ControlFlow<()> {
    move |_| {
        left = left.saturating_sub(1);
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn an_import_stopped_anywhere_is_completed_by_the_next() {
    let paths = &era_files(MINIMAL)[..=3];
    let whole = Archive::of(paths).files();
    let mut stops = 0;
    for left in 1.. {
        let archive = Archive::new();
        match archive.import_with(paths, StatesPolicy::All, &mut stop_at(left)) {
            Ok(_) => break,
            Err(failure) => {
                assert!(matches!(failure.error, ImportError::Stopped { .. }), "{failure}");
                stops += 1;
            }
        }
        archive.import(paths).unwrap();
        assert!(archive.files() == whole, "stopped at {left}");
    }
    assert!(stops > 150, "{stops}");
}

#[test]
fn an_era_of_which_some_columns_were_written_is_completed() {
    let paths = &era_files(MINIMAL)[..=2];
    let whole = Archive::of(paths).files();
    let before = Archive::of(&paths[..=1]);
    let almost = Archive::of(&paths[..=1]);
    let mut stop = |progress: &ImportProgress<'_>| {
        let here = progress.era == 2 && progress.phase == Phase::BlockRoots;
        if here { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    almost.import_with(paths, StatesPolicy::All, &mut stop).unwrap_err();
    let has = |column: Column| almost.view(column).highest_written_slot();
    assert_eq!(has(Column::BlockRoots), Some(Slot(63)), "bbr comes last");
    assert_eq!(has(Column::Blocks), Some(Slot(127)));
    assert_eq!(has(Column::StateRoots), Some(Slot(127)));
    assert_eq!(has(Column::StateSnapshots), Some(Slot(128)));
    // The other columns are written at the same time: a crash leaves any of them.
    let at_once = [Column::Blocks, Column::StateRoots, Column::StateSnapshots];
    for left in 0..1 << at_once.len() {
        let archive = Archive::new();
        for column in COLUMNS {
            let place = at_once.iter().position(|other| *other == column);
            let is_written = place.is_some_and(|place| left >> place & 1 == 1);
            archive.copy_column(if is_written { &almost } else { &before }, column);
        }
        archive.import(paths).unwrap();
        assert!(archive.files() == whole, "{left:03b}");
    }
}

#[test]
fn blocks_that_were_written_in_part_are_completed() {
    let paths = &era_files(MINIMAL)[..=2];
    let archive = Archive::of(&paths[..=1]);
    let blocks: Vec<(Slot, Vec<u8>)> = Parts::read(&paths[2])
        .records
        .into_iter()
        .filter(|record| record.kind == BLOCK)
        .take(20)
        .map(|record| (Slot(record.slot()), record.payload))
        .collect();
    archive.writer(Column::Blocks, false).put_stored_batch(&blocks).unwrap();
    archive.import(paths).unwrap();
    archive.assert_holds(MINIMAL, 0..=2);
}

#[test]
fn no_era_is_appended_after_an_unfinished_one() {
    let paths = era_files(MINIMAL);
    let archive = Archive::new();
    let mut stop = |progress: &ImportProgress<'_>| {
        let here = progress.phase == Phase::BlockRoots;
        if here { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    archive.import_with(&paths[2..=2], StatesPolicy::None, &mut stop).unwrap_err();
    let before = archive.files();
    for other in [&paths[5..=5], &paths[1..=1]] {
        let failure = archive.import(other).unwrap_err();
        assert!(matches!(failure.error, ImportError::NotConsecutive { .. }), "{failure}");
        assert!(failure.to_string().contains("unfinished"), "{failure}");
        assert!(archive.files() == before);
    }
    archive.import(&paths[2..=4]).unwrap();
    archive.assert_holds(MINIMAL, 2..=4);
}

#[test]
fn block_roots_that_somebody_else_wrote_first_are_completed() {
    let paths = &era_files(MINIMAL)[..=2];
    let whole = Archive::of(paths);
    let archive = Archive::of(&paths[..=1]);
    let roots: Vec<(Slot, Vec<u8>)> = (64..100)
        .map(|slot| (Slot(slot), slot_value(&whole, Column::BlockRoots, slot).unwrap()))
        .collect();
    archive.writer(Column::BlockRoots, false).put_batch(&roots).unwrap();
    archive.import(paths).unwrap();
    archive.assert_holds(MINIMAL, 0..=2);
}

#[derive(Default)]
struct Log {
    ticks: Vec<(Phase, u64, u64, u64)>,
    total: u64,
    eras: Vec<u64>,
}

impl Log {
    fn progress(&mut self, progress: &ImportProgress<'_>) -> ControlFlow<()> {
        let ImportProgress { phase, era, bytes_done, eras_done, .. } = *progress;
        if self.ticks.last().map_or(0, |tick| tick.3) < eras_done {
            self.eras.push(era);
        }
        self.ticks.push((phase, era, bytes_done, eras_done));
        self.total = progress.bytes_total;
        assert!(progress.file.exists());
        assert_eq!(progress.eras_total, 10);
        ControlFlow::Continue(())
    }
}

#[test]
fn progress_only_grows_and_ends_at_the_total() {
    let archive = Archive::new();
    let mut log = Log::default();
    for pass in 0..2 {
        log = Log::default();
        let mut observer = |progress: &ImportProgress<'_>| log.progress(progress);
        archive.import_with(&era_files(MINIMAL), StatesPolicy::All, &mut observer).unwrap();
        assert!(log.ticks.is_sorted_by_key(|tick| tick.2), "pass {pass}");
        assert!(log.ticks.last().unwrap().2 <= log.total);
        assert_eq!(log.eras, Vec::from_iter(0..=9));
    }
    let bytes: u64 = era_files(MINIMAL).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(log.total, 2 * bytes);
    assert!(log.ticks.is_sorted_by_key(|tick| tick.3));
}
