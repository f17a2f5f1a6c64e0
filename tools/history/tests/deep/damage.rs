//! One damage at a time.

use std::fs;

use coldstore::verify::{VerifyOptions, verify_column};
use coldstore::{Column, Slot, Writer, WriterOptions};
use coldstore_consensus::Preset;
use coldstore_history::deep::NotProved;
use coldstore_history::import::{Anchor, TrustedRoot};

use crate::archive::Held;
use test_support::chain_content::truth;

const MINIMAL: &str = "chain-minimal";
const DATA: &str = "data_00000";

fn minimal() -> Held {
    Held::imported(MINIMAL, Preset::Minimal)
}

fn trusted(slot: u64) -> TrustedRoot {
    TrustedRoot { slot: Slot(slot), root: truth("STATES.tsv")[&slot].root }
}

#[test]
fn an_undamaged_archive_is_proved_by_its_own_state() {
    let proved = minimal().proved();
    assert!(proved.damages.is_empty() && proved.notes.is_empty(), "{proved:?}");
    let report = proved.report;
    assert_eq!((report.blocks, report.skipped_slots, report.states), (516, 60, 9));
    assert_eq!((report.agreeing_eras, report.trusted_eras), (9, 0));
    assert_eq!((report.unproved_states, report.last_unproved_state), (1, Some(Slot(576))));
    assert_eq!((report.unproved_blocks, report.unknown_slots, report.lost_blocks), (0, 0, 0));
    assert_eq!(report.anchor, Anchor::Itself);

    let proved = Held::imported("chain-mainnet-preset", Preset::Mainnet).proved();
    assert!(proved.damages.is_empty() && proved.notes.is_empty(), "{:?}", proved.damages);
    assert_eq!((proved.report.blocks, proved.report.skipped_slots), (23871, 705));
}

#[test]
fn a_trusted_root_anchors_the_proof() {
    let report = minimal().proved_with(None, &[trusted(576)]).report;
    assert_eq!((report.trusted_eras, report.states, report.unproved_states), (9, 10, 0));
    let report = minimal().proved_with(None, &[trusted(128)]).report;
    assert_eq!((report.trusted_eras, report.agreeing_eras), (2, 7));
}

#[test]
fn every_changed_block_root_is_found() {
    let held = minimal();
    let path = held.file(Column::BlockRoots, DATA);
    for slot in (0..576).step_by(5) {
        let at = held.place_of(Column::BlockRoots, slot) + usize::try_from(slot % 32).unwrap();
        let proved = held.flipped(&path, at, Held::proved);
        let era_first = slot / 64 * 64;
        proved.names(Column::BlockRoots, era_first);
        // If the slot or the next one has a block, the slot itself is named.
        let has_block = held.open().column(Column::Blocks).unwrap().view().contains(Slot(slot));
        if has_block.unwrap() {
            proved.names(Column::BlockRoots, slot);
        }
    }
}

#[test]
fn every_changed_state_root_is_found() {
    let held = minimal();
    let path = held.file(Column::StateRoots, DATA);
    for slot in (0..576).step_by(5) {
        let at = held.place_of(Column::StateRoots, slot) + usize::try_from(slot % 32).unwrap();
        let proved = held.flipped(&path, at, Held::proved);
        proved.names(Column::BlockRoots, slot / 64 * 64);
        let has_block = held.open().column(Column::Blocks).unwrap().view().contains(Slot(slot));
        if has_block.unwrap() {
            proved.names(Column::StateRoots, slot);
        }
    }
}

/// Both records are intact and both slots have one. In a column without backfill the unordered entries
/// show it; with backfill only the proof does.
#[test]
fn two_swapped_offset_entries_of_roots_are_found_at_both_slots() {
    const ENTRY_BYTES: usize = 8;
    let held = minimal();
    let blocks = held.open().column(Column::Blocks).unwrap().view();
    let cases =
        [Column::BlockRoots, Column::StateRoots].map(|column| [(column, false), (column, true)]);
    for (column, backfill) in cases.into_iter().flatten() {
        let directory = held.path().join(column.dir_name());
        let options = WriterOptions::create(column.spec()).allow_backfill(backfill);
        drop(Writer::open(&directory, options).unwrap());
        let _ = fs::remove_file(held.file(column, "data_00000.sum"));
        let path = held.file(column, "data_00000.off");
        let whole = fs::read(&path).unwrap();
        // Neighbours, of one era, and of two eras.
        for (one, other) in [(100, 101), (65, 127), (150, 500)] {
            assert!([one, other].iter().all(|slot| blocks.contains(Slot(*slot)).unwrap()));
            let place = |slot: u64| usize::try_from(slot).unwrap() * ENTRY_BYTES;
            let mut swapped = whole.clone();
            for byte in 0..ENTRY_BYTES {
                swapped.swap(place(one) + byte, place(other) + byte);
            }
            assert_ne!(swapped, whole);
            fs::write(&path, &swapped).unwrap();
            let options = VerifyOptions::default().deep(true).column(Some(column));
            let plain = verify_column(&directory, None, &options, &mut |_| {}).unwrap();
            assert_eq!((plain.with_checksum, plain.damages == 0), (0, backfill), "{column} {one}");
            let proved = held.proved();
            for slot in [one, other] {
                proved.names(column, slot);
                proved.names(Column::BlockRoots, slot / 64 * 64);
            }
        }
        fs::write(&path, &whole).unwrap();
        assert!(held.proved().damages.is_empty());
    }
}

#[test]
fn a_changed_snapshot_is_reported_with_its_slot() {
    let held = minimal();
    let path = held.file(Column::StateSnapshots, DATA);
    for slot in (0..576).step_by(64) {
        let start = held.place_of(Column::StateSnapshots, slot);
        for byte in [0, 41, 200, 5000, 9000, 13_000] {
            let proved = held.flipped(&path, start + byte, Held::proved);
            proved.names(Column::StateSnapshots, slot);
            assert_eq!(proved.damages.len(), 1, "{:?}", proved.damages);
        }
    }
    // The last state is unproved unless its root is trusted.
    let start = held.place_of(Column::StateSnapshots, 576);
    let proved = held.flipped(&path, start + 9000, Held::proved);
    assert!(proved.damages.is_empty(), "{:?}", proved.damages);
}

#[test]
fn a_changed_block_is_reported_with_its_slot() {
    let held = minimal();
    let path = held.file(Column::Blocks, DATA);
    for slot in [0, 1, 100, 200, 300, 400, 500, 575] {
        let at = held.place_of(Column::Blocks, slot);
        let view = held.open().column(Column::Blocks).unwrap().view();
        let byte_len = view.get_stored(Slot(slot)).unwrap().unwrap().len();
        for byte in [10, 16, 60, 120].into_iter().filter(|byte| *byte < byte_len) {
            let proved = held.flipped(&path, at + byte, Held::proved);
            proved.names(Column::Blocks, slot);
        }
    }
}

/// A block with valid frames and checksums, and one changed byte in its body.
#[test]
fn a_valid_but_wrong_block_is_found_by_its_root() {
    let held = minimal();
    held.remake(Column::Blocks, |slot, mut block| {
        if slot == 300 {
            let last = block.len() - 1;
            block[last] ^= 1;
        }
        (slot != 200).then_some(block)
    });
    let proved = held.proved();
    let finding = proved.names(Column::Blocks, 300);
    assert!(finding.wanted.contains("a block with the root 0x"), "{finding:?}");
    let finding = proved.names(Column::Blocks, 200);
    assert!(finding.found.contains("never imported, or its offset is lost"), "{finding:?}");
    assert_eq!((proved.damages.len(), proved.report.lost_blocks), (2, 1), "{proved:?}");
}

#[test]
fn a_missing_file_differs_from_blocks_never_imported() {
    let held = Held::imported("chain-mainnet-preset", Preset::Mainnet);
    for name in ["data_00001", "data_00001.off"] {
        fs::remove_file(held.file(Column::Blocks, name)).unwrap();
    }
    let proved = held.proved_with(Some(Column::Blocks), &[]);
    let [(column, finding)] = &proved.damages[..] else { panic!("{:?}", proved.damages) };
    assert_eq!(*column, Column::Blocks);
    assert!(finding.file.ends_with("data_00001"), "{finding:?}");
    assert!(finding.found.contains("no file"), "{finding:?}");
    assert_eq!(finding.slot.unwrap().file_id().0, 1);
    assert_eq!(proved.report.skipped_slots, 705, "skipped slots are proved without the file");

    // The same with pruned blocks: the roots prove the eras, and no block is missing.
    held.pruned.set(Some(Slot(16384)));
    let pruned = held.proved();
    assert!(pruned.damages.is_empty(), "{:?}", pruned.damages);
    let of_file = proved.report.lost_blocks;
    assert_eq!((pruned.report.pruned_slots, pruned.report.blocks), (of_file, 23871 - of_file));
    assert_eq!((pruned.report.skipped_slots, pruned.report.lost_blocks), (705, 0));
    held.pruned.set(None);

    // Blocks up to the end of era 1, roots up to the end of era 3.
    let blocks = test_support::chain_content::blocks("chain-mainnet-preset");
    let directory = held.path().join("blk");
    fs::remove_dir_all(&directory).unwrap();
    let options = WriterOptions::create(Column::Blocks.spec());
    let mut writer = Writer::open(&directory, options).unwrap();
    let first: Vec<_> =
        blocks.range(..8192).map(|(slot, block)| (Slot(*slot), block.clone())).collect();
    writer.put_batch(&first).unwrap();
    drop(writer);
    let proved = held.proved_with(Some(Column::Blocks), &[]);
    assert!(proved.damages.is_empty(), "{:?}", proved.damages);
    assert_eq!(proved.report.never_imported, 23871 - first.len() as u64);
    assert!(proved.notes.iter().all(|(_, note)| note.found.contains("never imported")));
}

#[test]
fn missing_roots_are_reported_without_a_reason() {
    let held = minimal();
    fs::remove_dir_all(held.path().join("bbr")).unwrap();
    let proved = held.proved();
    assert!(proved.damages.is_empty(), "{:?}", proved.damages);
    assert_eq!((proved.report.unproved_blocks, proved.report.blocks), (516, 0));
    assert_eq!(
        (proved.report.states, proved.report.unproved_states),
        (0, 10),
        "bsr rests on nothing"
    );
    assert_eq!(proved.report.agreeing_eras, 0);
    assert_eq!(proved.why_not, Some(NotProved::NoEra { slot: Slot(576) }));
}
