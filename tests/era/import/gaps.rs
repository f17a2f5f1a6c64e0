//! Columns that lack records.

use super::*;

fn backfill() -> ImportOptions<'static> {
    ImportOptions::default().backfill(true)
}

/// Guards against "it was there already" when a column's directory is gone.
#[test]
fn a_column_that_is_lost_is_filled_again_by_the_same_files() {
    let paths = era_files(MINIMAL);
    for column in COLUMNS {
        let archive = Archive::of(&paths);
        fs::remove_dir_all(archive.root.path().join(column.dir_name())).unwrap();
        let report = archive.import(&paths).unwrap();
        archive.assert_holds(MINIMAL, 0..=9);
        let completed = report.eras.iter().filter(|era| era.completed == [column]).count();
        assert_eq!(completed, 9, "{column}: era 0 has no slots");
    }
}

#[test]
fn a_column_from_an_older_copy_is_completed_by_the_same_files() {
    let paths = era_files(MINIMAL);
    let old = Archive::of(&paths[..=4]);
    for column in COLUMNS {
        let archive = Archive::of(&paths);
        fs::remove_dir_all(archive.root.path().join(column.dir_name())).unwrap();
        archive.copy_column(&old, column);
        archive.import(&paths).unwrap();
        archive.assert_holds(MINIMAL, 0..=9);
    }
}

/// Guards against eras that are put behind a hole, which nothing would ever fill.
#[test]
fn later_eras_are_not_appended_after_a_gap() {
    let paths = era_files(MINIMAL);
    for column in [Column::Blocks, Column::BlockRoots, Column::StateRoots] {
        let archive = Archive::of(&paths[..=4]);
        fs::remove_dir_all(archive.root.path().join(column.dir_name())).unwrap();
        let failure = archive.import(&paths[5..]).unwrap_err();
        assert!(
            matches!(&failure.error, ImportError::MissingEras { first: 1, last: 4, column: c, column_last: None, .. } if *c == column),
            "{failure}"
        );
        assert_eq!(archive.lines(column).lines().count(), 0);
        archive.import(&paths).unwrap();
        archive.assert_holds(MINIMAL, 0..=9);
    }
}

#[test]
fn gaps_below_the_highest_slot_need_backfill() {
    let paths = era_files(MINIMAL);
    let whole = Archive::of(&paths);
    for column in COLUMNS {
        let archive = Archive::of(&paths);
        // A hole of two eras, and the end of another; of the states those of three eras.
        archive.cut_column(&whole, column, |slot| !(100..=200).contains(&slot) && slot < 500);
        let before = archive.files();
        let failure = archive.import(&paths).unwrap_err();
        let text = failure.to_string();
        assert!(
            matches!(failure.error, ImportError::NeedsBackfill { column: c, .. } if c == column)
        );
        assert!(text.contains("--backfill") && text.contains(column.dir_name()), "{text}");
        assert!(archive.files() == before, "nothing has changed, no conf was upgraded");

        archive.import_with(&paths, backfill(), &mut go_on).unwrap();
        archive.assert_holds(MINIMAL, 0..=9);
        for other in COLUMNS {
            let writer = archive.writer(other, false);
            assert_eq!(writer.conf().allows_backfill(), other == column, "{other} for {column}");
        }
    }
}

/// A copy that was taken with `cp` while an import ran may have any column behind any other.
#[test]
fn columns_that_are_each_at_another_era_are_completed() {
    let paths = era_files(MINIMAL);
    let copies: Vec<Archive> = (1..=4).map(|last| Archive::of(&paths[..=last * 2])).collect();
    for turn in 0..4 {
        let archive = Archive::new();
        for (place, column) in COLUMNS.into_iter().enumerate() {
            archive.copy_column(&copies[(place + turn) % 4], column);
        }
        archive.import(&paths).unwrap();
        archive.assert_holds(MINIMAL, 0..=9);
    }
}

#[test]
fn one_block_that_is_lost_is_seen() {
    let paths = era_files(MINIMAL);
    let whole = Archive::of(&paths);
    let archive = Archive::of(&paths);
    archive.cut_column(&whole, Column::Blocks, |slot| slot != 300);
    let failure = archive.import(&paths).unwrap_err();
    assert!(
        matches!(failure.error, ImportError::NeedsBackfill { era: 5, slot: Slot(300), .. }),
        "{failure}"
    );
    let report = archive.import_with(&paths, backfill(), &mut go_on).unwrap();
    assert_eq!((report.completed, report.present), (1, 9));
    archive.assert_holds(MINIMAL, 0..=9);
}
