//! Reuse of an earlier proof.

use std::fs;

use coldstore::{Column, Slot};
use coldstore_consensus::Preset;
use coldstore_history::deep::{ProvedEra, Resumed};

use crate::archive::Held;
use test_support::era_files;

fn minimal() -> Held {
    Held::imported("chain-minimal", Preset::Minimal)
}

#[test]
fn a_resumed_proof_skips_unchanged_eras_and_counts_the_same() {
    let held = minimal();
    let first = held.proved();
    let again = held.proved_after(&first.kept, None, &[]);
    assert_eq!(first.report.taken, Resumed::default());
    assert_eq!(again.report.taken, Resumed { eras: 9, blocks: 516, states: 9 });
    let counts = |of: &crate::archive::Proved| coldstore_history::deep::DeepReport {
        taken: Resumed::default(),
        ..of.report
    };
    assert_eq!(counts(&first), counts(&again));
    // An archive that has grown: the older eras are reused.
    let smaller = Held::of(&era_files("chain-minimal")[..=5], Preset::Minimal);
    let early = smaller.proved();
    assert_eq!(early.kept.len(), 5);
    let grown = held.proved_after(&early.kept, None, &[]);
    assert_eq!((grown.report.taken.eras, grown.report.blocks), (5, 516));
}

#[test]
fn changed_eras_are_proved_again() {
    let held = minimal();
    let kept = held.proved().kept;
    // Another block in era 5, with valid frames and a valid checksum.
    held.remake(Column::Blocks, |slot, mut block| {
        if slot == 300 {
            *block.last_mut().unwrap() ^= 1;
        }
        Some(block)
    });
    let proved = held.proved_after(&kept, None, &[]);
    proved.names(Column::Blocks, 300);
    // The column was rewritten: from there on the records have moved or changed.
    assert!(proved.report.taken.eras < 9, "{:?}", proved.report.taken);
    assert_eq!(proved.report.blocks, 515);

    // Another root: the state does not have it, whatever the earlier proof says.
    let held = minimal();
    let kept = held.proved().kept;
    held.remake(Column::BlockRoots, |slot, mut root| {
        root[5] ^= u8::from(slot == 300);
        Some(root)
    });
    let proved = held.proved_after(&kept, None, &[]);
    proved.names(Column::BlockRoots, 300);
    assert_eq!(proved.report.taken.eras, 8);
}

/// Guards against a file of an earlier proof that was edited: its numbers would be printed as proved, or
/// overflow.
#[test]
fn a_changed_count_in_the_checkpoint_is_rejected() {
    let held = minimal();
    let kept = held.proved().kept;
    let edits: [fn(&mut ProvedEra); 6] = [
        |era| era.blocks += 1,
        |era| era.blinded_blocks = 1,
        |era| era.skipped_slots = u64::MAX,
        |era| era.states = 0,
        |era| era.bytes = u64::MAX,
        |era| era.era = u64::MAX,
    ];
    for (edit, edited) in edits.iter().zip(0..) {
        let mut forged = kept.clone();
        edit(&mut forged[edited]);
        let proved = held.proved_after(&forged, None, &[]);
        assert_eq!(proved.report.taken.eras, 8, "number {edited}");
        assert_eq!((proved.report.blocks, proved.report.states), (516, 9), "number {edited}");
    }
}

#[test]
fn without_checksums_every_era_is_proved_again() {
    let held = minimal();
    let kept = held.proved().kept;
    for column in [Column::Blocks, Column::StateSnapshots] {
        let sums = held.file(column, "data_00000.sum");
        let bytes = fs::read(&sums).unwrap();
        fs::remove_file(&sums).unwrap();
        let proved = held.proved_after(&kept, None, &[]);
        assert_eq!((proved.report.taken, proved.report.blocks), (Resumed::default(), 516));
        assert!(proved.kept.is_empty(), "{column}: a proof that cannot be taken is not kept");
        fs::write(&sums, bytes).unwrap();
    }
    // Roots are always hashed again.
    fs::remove_file(held.file(Column::BlockRoots, "data_00000.sum")).unwrap();
    assert_eq!(held.proved_after(&kept, None, &[]).report.taken.eras, 9);
    // A proof of blocks alone does not cover states, nor the reverse.
    let blocks = held.proved_with(Some(Column::Blocks), &[]).kept;
    let states = held.proved_after(&blocks, Some(Column::StateSnapshots), &[]);
    assert_eq!((states.report.taken, blocks.len()), (Resumed::default(), 9));
    assert_eq!(held.proved_after(&blocks, None, &[]).report.taken, Resumed::default());
    assert_eq!(blocks[8].era, 9);
    assert_eq!(
        held.open().column(Column::Blocks).unwrap().view().highest_written_slot(),
        Some(Slot(575))
    );
}
