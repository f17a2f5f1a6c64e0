//! Which states are kept.

use super::*;

#[test]
fn states_are_stored_as_selected() {
    let slots = |archive: &Archive| -> Vec<u64> {
        let view = archive.view(Column::StateSnapshots);
        view.range(..).map(|record| record.unwrap().slot().0).collect()
    };
    for (states, stored) in [
        (StatesPolicy::None, vec![576]),
        (every(1), (0..=9).map(|era| era * 64).collect()),
        (every(3), vec![0, 192, 384, 576]),
        (every(100), vec![0, 576]),
    ] {
        let archive = Archive::new();
        let report = archive.import_with(&era_files(MINIMAL), states, &mut go_on).unwrap();
        assert_eq!(slots(&archive), stored, "{states:?}");
        assert_eq!(report.states, stored.len() as u64);
        assert_eq!(archive.lines(Column::BlockRoots).lines().count(), 576);
        let first = report.eras[0].outcome;
        assert_eq!(first == EraOutcome::Nothing, states == StatesPolicy::None, "{first:?}");
    }
}

#[test]
fn states_that_are_not_selected_need_no_column() {
    use coldstore::era::ImportColumns;
    let archive = Archive::new();
    let plan = ImportPlan::scan(&era_files(MINIMAL)).unwrap();
    let mut writers = archive.writers();
    let mut columns = |states| {
        let columns = ImportColumns { state_snapshots: None, ..writers.columns() };
        import_columns(&plan, columns, states, &mut go_on)
    };
    assert!(matches!(columns(every(5)).unwrap_err().error, ImportError::NoSnapshotColumn));
    assert_eq!(columns(StatesPolicy::None).unwrap().blocks, 516);
}

#[test]
fn a_state_below_later_ones_needs_backfill_and_the_error_says_so() {
    let paths = era_files(MINIMAL);
    let archive = Archive::new();
    archive.writer(Column::StateSnapshots, false).put(Slot(1000), b"a later state").unwrap();
    let before = archive.files();
    let failure = archive.import(&paths[..=1]).unwrap_err();
    let (era, column, slot) = (0, Column::StateSnapshots, Slot(0));
    assert!(matches!(
        &failure.error,
        ImportError::NeedsBackfill { era: e, column: c, slot: s, .. } if (*e, *c, *s) == (era, column, slot)
    ));
    let text = failure.to_string();
    assert!(text.contains("minimal-00000") && text.contains("--backfill"), "{text}");
    let made = |name: &PathBuf| !before.contains_key(name);
    assert!(archive.files().iter().all(|(name, bytes)| made(name) || before[name] == *bytes));
    assert_eq!(archive.lines(Column::StateSnapshots).lines().count(), 1, "nothing was written");

    let plan = ImportPlan::scan(&paths).unwrap();
    let mut writers = archive.writers();
    drop(writers.bss);
    writers.bss = archive.writer(Column::StateSnapshots, true);
    import_columns(&plan, writers.columns(), StatesPolicy::All, &mut go_on).unwrap();
    drop(writers);
    assert_eq!(archive.lines(Column::StateSnapshots).lines().count(), 11);
}

/// Guards against a re-import that takes an era for done because `bbr` has it, and leaves out the
/// states that were not wanted the first time.
#[test]
fn states_that_are_wanted_later_are_filled_in_where_backfill_is_allowed() {
    let paths = era_files(MINIMAL);
    let archive = Archive::new();
    archive.import_with(&paths, every(4), &mut go_on).unwrap();
    assert_eq!(archive.lines(Column::StateSnapshots).lines().count(), 4, "0, 4, 8 and the newest");
    let before = archive.files();
    let failure = archive.import(&paths).unwrap_err();
    assert!(matches!(failure.error, ImportError::NeedsBackfill { era: 1, .. }), "{failure}");
    assert!(archive.files() == before);

    let options = ImportOptions::default().backfill(true);
    let report = archive.import_with(&paths, options, &mut go_on).unwrap();
    archive.assert_holds(MINIMAL, 0..=9);
    let stored = report.eras.iter().filter(|era| era.state == StateOutcome::Stored);
    assert_eq!(stored.map(|era| era.era).collect::<Vec<_>>(), [1, 2, 3, 5, 6, 7]);
}

/// The next import is proved by it, whatever was selected.
#[test]
fn every_import_keeps_the_newest_state() {
    let paths = era_files(MINIMAL);
    let archive = Archive::new();
    let slots = || -> Vec<u64> {
        let view = archive.view(Column::StateSnapshots);
        view.range(..).map(|record| record.unwrap().slot().0).collect()
    };
    archive.import_with(&paths[..=2], StatesPolicy::None, &mut go_on).unwrap();
    assert_eq!(slots(), [128]);
    archive.import_with(&paths[..=5], StatesPolicy::None, &mut go_on).unwrap();
    assert_eq!(slots(), [128, 320]);
    // Not the archive's newest: a re-import of old files asks for nothing.
    archive.import_with(&paths[..=4], StatesPolicy::None, &mut go_on).unwrap();
    assert_eq!(slots(), [128, 320]);
}
