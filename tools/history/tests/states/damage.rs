//! Records that are missing, cut, forged or of another chain: an error that names them, never another state.

use std::path::Path;

use coldstore::{Column, Error, Slot};
use coldstore_consensus::{BlockHasher, Preset};
use coldstore_history::replay::{Check, Replay, ReplayError};
use test_support::ImportedArchive;
use test_support::chain_content::{MINIMAL_CONFIG, all_states};

use crate::archive::{
    error_at, minimal_from, minimal_rules, minimal_states, ssz_at, ssz_of, states_of,
};

/// A slot with a block, in the middle of an era.
const SLOT: u64 = 90;
/// The last slot with the same stored state as `SLOT`.
const LAST: u64 = 127;
/// A slot without a block, in the same era.
const SKIPPED: u64 = 102;

/// A change of a record.
type Change<'c> = &'c dyn Fn(&mut Vec<u8>);

/// Changes the records of one slot of a column.
fn changed(column: Column, slot: u64, change: impl Fn(&mut Vec<u8>)) -> ImportedArchive {
    let archive = minimal_from(0);
    archive.remake(column, |at, mut value| {
        if at == slot {
            change(&mut value);
        }
        Some(value)
    });
    archive
}

fn without(column: Column, slot: u64) -> ImportedArchive {
    let archive = minimal_from(0);
    archive.remake(column, |at, value| (at != slot).then_some(value));
    archive
}

/// The error of every state from a slot to the end of the era; those before are right.
fn error_from(archive: &ImportedArchive, slot: u64) -> ReplayError {
    let (states, truth) = (minimal_states(archive), all_states());
    for before in [64, slot - 1] {
        assert!(ssz_at(&states, before).unwrap() == truth[&before], "slot {before}");
    }
    let of_end = error_at(&states, LAST).to_string();
    let error = error_at(&states, slot);
    assert_eq!(error.to_string(), of_end);
    // The next era has its own state to start from.
    assert!(ssz_at(&states, 150).unwrap() == truth[&150]);
    error
}

/// The errors of a proved state, at every slot from one to the end of the era.
fn errors_of_proofs(archive: &ImportedArchive, from: u64) -> Vec<ReplayError> {
    let states = minimal_states(archive);
    let proof = |slot| states.at(Slot(slot)).and_then(|mut state| state.prove()).unwrap_err();
    (from..=LAST).map(proof).collect()
}

#[test]
fn a_removed_block_is_missing_and_not_skipped() {
    let error = error_from(&without(Column::Blocks, SLOT), SLOT);
    assert!(matches!(error, ReplayError::MissingBlock { slot: Slot(SLOT), .. }), "{error}");
}

#[test]
fn a_block_that_bbr_does_not_name_is_refused() {
    let archive = minimal_from(0);
    let view = archive.open().column(Column::Blocks).unwrap().view();
    let other = view.get(Slot(SLOT + 1)).unwrap().unwrap().into_owned();
    let (half, exchanged) = (other.len() / 2, other.clone());
    let changes: &[(Change<'_>, &str)] = &[
        (&|block| block.clone_from(&exchanged), "found the block 0x"),
        // A byte of the proposer's signature over the randao, which only the root covers.
        (&|block| block[200] ^= 1, "found the block 0x"),
        (&|block| block.truncate(half), "found"),
        (&|block| block[184 + 200] ^= 0xff, "found"),
    ];
    for (change, told) in changes {
        let error = error_from(&changed(Column::Blocks, SLOT, change), SLOT);
        assert!(matches!(error, ReplayError::WrongBlock { slot: Slot(SLOT), .. }), "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
    // A block where bbr says that there is none.
    let archive = minimal_from(0);
    let mut blocks: Vec<(u64, Vec<u8>)> = Vec::new();
    archive.remake(Column::Blocks, |at, value| {
        blocks.push((at, value));
        None
    });
    let place = blocks.partition_point(|(at, _)| *at < SKIPPED);
    blocks.insert(place, (SKIPPED, other));
    put(archive.path(), Column::Blocks, &blocks);
    let error = error_from(&archive, SKIPPED);
    assert!(matches!(error, ReplayError::WrongBlock { slot: Slot(SKIPPED), .. }), "{error}");
}

fn put(archive: &Path, column: Column, values: &[(u64, Vec<u8>)]) {
    let options = coldstore::WriterOptions::create(column.spec());
    let mut writer = coldstore::Writer::open(archive.join(column.dir_name()), options).unwrap();
    for (slot, value) in values {
        writer.put(Slot(*slot), value).unwrap();
    }
}

#[test]
fn a_cut_or_foreign_state_is_refused_before_the_replay() {
    let slot_at = 40;
    let changes: &[(Change<'_>, &str)] = &[
        (&|state| state.truncate(state.len() / 2), "found"),
        (&|state| state.truncate(10), "10 bytes"),
        (&|state| state[slot_at] ^= 1, "wanted slot 64, found slot 65"),
        (&|state| state[8] ^= 1, "genesis_validators_root"),
        (&|state| state[52] ^= 0x40, "version of the chain's config"),
    ];
    for (change, told) in changes {
        let archive = changed(Column::StateSnapshots, 64, change);
        let states = minimal_states(&archive);
        for slot in [64, SLOT, LAST] {
            let error = error_at(&states, slot);
            assert!(matches!(error, ReplayError::Start { slot: Slot(64), .. }), "{error}");
            assert!(error.to_string().contains(told), "{error}");
        }
        assert!(ssz_at(&states, 150).is_ok());
    }
}

#[test]
fn a_forged_state_is_found_by_a_proof_and_by_the_next_stored_one() {
    let truth = all_states();
    // The balance of validator 3, by the offset of the list in a state of this preset.
    let offset = *truth[&64][4364..].first_chunk().unwrap();
    let place = u32::from_le_bytes(offset) as usize + 3 * 8;
    let archive = changed(Column::StateSnapshots, 64, |state| state[place] ^= 1);
    for error in errors_of_proofs(&archive, 64) {
        let is_it =
            matches!(error, ReplayError::WrongStateRoot { slot: Slot(64), hashed: true, .. });
        assert!(is_it, "{error}");
    }
    let states = minimal_states(&archive);
    let source = states.source();
    let stored = source.snapshots.get(Slot(64)).unwrap().unwrap();
    let mut replay =
        Replay::start(minimal_rules(source), Slot(64), stored, Check::Boundary).unwrap();
    let wrong = replay.compare_with(&truth[&64]).unwrap_err();
    let ReplayError::WrongState { slot: Slot(64), difference } = wrong else { panic!("{wrong}") };
    assert_eq!(difference.field, "balances[3]");
    let balance = u64::from_le_bytes(*truth[&64][place..].first_chunk().unwrap());
    let wanted = (balance.to_string(), (balance ^ 1).to_string());
    assert_eq!((difference.wanted, difference.found), wanted);
    while replay.slot() < Slot(128) {
        replay.step(source).unwrap();
    }
    let next = source.snapshots.get(Slot(128)).unwrap().unwrap();
    let wrong = replay.compare_with(&next).unwrap_err();
    assert!(matches!(wrong, ReplayError::WrongState { slot: Slot(128), .. }), "{wrong}");
    // A replay that is checked does not even take its first slot's root.
    let stored = source.snapshots.get(Slot(64)).unwrap().unwrap();
    let mut checked = Replay::start(minimal_rules(source), Slot(64), stored, Check::Slot).unwrap();
    let wrong = checked.step(source).unwrap_err();
    assert!(matches!(wrong, ReplayError::WrongStateRoot { slot: Slot(65), .. }), "{wrong}");
}

#[test]
fn a_wrong_state_inside_an_era_is_passed_over() {
    let truth = all_states();
    let offset = *truth[&80][4364..].first_chunk().unwrap();
    let balance = u32::from_le_bytes(offset) as usize + 3 * 8;
    let changes: [Change<'_>; 2] = [&|state| state.truncate(3000), &|state| state[balance] ^= 1];
    for (change, needs_proof) in changes.into_iter().zip([false, true]) {
        let archive = minimal_from(0);
        let mut stored: Vec<(u64, Vec<u8>)> = Vec::new();
        archive.remake(Column::StateSnapshots, |at, value| {
            stored.push((at, value));
            None
        });
        let mut wrong = truth[&80].clone();
        change(&mut wrong);
        stored.insert(stored.partition_point(|(at, _)| *at < 80), (80, wrong));
        put(archive.path(), Column::StateSnapshots, &stored);
        let states = minimal_states(&archive);
        for slot in [80, SLOT, LAST] {
            let mut state = states.at(Slot(slot)).unwrap();
            assert_eq!(state.wrong_base().is_none(), needs_proof);
            state.prove().unwrap();
            assert_eq!((state.base(), state.wrong_base()), (Slot(64), Some(Slot(80))));
            assert!(ssz_of(&state) == truth[&slot], "slot {slot}");
        }
    }
}

#[test]
fn a_config_with_another_fork_schedule_is_refused() {
    let (archive, truth) = (minimal_from(0), all_states());
    // Electra begins with slot 336, in the era of slot 320; fulu with slot 448, the first of an era.
    for (right, wrong, good, bad) in [
        ("ELECTRA_FORK_EPOCH: 42", "ELECTRA_FORK_EPOCH: 41", 327, 335),
        ("ELECTRA_FORK_EPOCH: 42", "ELECTRA_FORK_EPOCH: 43", 335, 343),
        ("FULU_FORK_EPOCH: 56", "FULU_FORK_EPOCH: 57", 447, 448),
    ] {
        let states = states_of(&archive, &MINIMAL_CONFIG.replace(right, wrong));
        assert!(ssz_at(&states, good).unwrap() == truth[&good], "{wrong}: slot {good}");
        let error = error_at(&states, bad);
        let refused = matches!(&error, ReplayError::Refused(_) | ReplayError::Start { .. });
        assert!(refused, "{wrong}: {error}");
        assert!(error.to_string().contains("network"), "{wrong}: {error}");
    }
    // The blocks of fulu have the layout of electra's: only the root shows that the fork began too early.
    let early = MINIMAL_CONFIG.replace("FULU_FORK_EPOCH: 56", "FULU_FORK_EPOCH: 55");
    let states = states_of(&archive, &early);
    assert!(states.at(Slot(439)).unwrap().prove().is_ok());
    let error = states.at(Slot(440)).unwrap().prove().unwrap_err();
    let is_it = matches!(error, ReplayError::WrongStateRoot { slot: Slot(440), hashed: true, .. });
    assert!(is_it, "{error}");
}

#[test]
fn roots_that_do_not_fit_are_refused() {
    let flip = |value: &mut Vec<u8>| value[7] ^= 1;
    // A block root that names no block of the archive.
    let error = error_from(&changed(Column::BlockRoots, SLOT, flip), SLOT);
    assert!(matches!(error, ReplayError::WrongBlock { slot: Slot(SLOT), .. }), "{error}");
    // A new block root for a skipped slot names a block that is not there.
    let error = error_from(&changed(Column::BlockRoots, SKIPPED, flip), SKIPPED);
    assert!(matches!(error, ReplayError::MissingBlock { slot: Slot(SKIPPED), .. }), "{error}");
    // The root of the stored state's own block.
    let archive = changed(Column::BlockRoots, 64, flip);
    let states = minimal_states(&archive);
    let error = error_at(&states, 65);
    assert!(matches!(error, ReplayError::WrongBlockRoot { slot: Slot(64), .. }), "{error}");
    // A state root that the block does not name.
    let error = error_from(&changed(Column::StateRoots, SLOT, flip), SLOT);
    let is_it =
        matches!(error, ReplayError::WrongStateRoot { slot: Slot(SLOT), hashed: false, .. });
    assert!(is_it, "{error}");
    // No block names the state root of a skipped slot: a proof finds it.
    for error in errors_of_proofs(&changed(Column::StateRoots, SKIPPED, flip), SKIPPED) {
        assert!(matches!(error, ReplayError::WrongStateRoot { hashed: true, .. }), "{error}");
    }
    let short = changed(Column::StateRoots, SLOT, |value| value.truncate(31));
    let error = error_from(&short, SLOT);
    let column = Column::StateRoots;
    assert!(
        matches!(error, ReplayError::NotARoot { column: of, byte_len: 31, .. } if of == column),
        "{error}"
    );
}

#[test]
fn a_missing_block_root_ends_the_replay_and_a_missing_state_root_costs_a_hash() {
    let error = error_from(&without(Column::BlockRoots, SLOT), SLOT);
    assert!(matches!(error, ReplayError::NoBlockRoot { slot: Slot(SLOT) }), "{error}");
    let truth = all_states();
    for slot in [64, SLOT, SKIPPED] {
        let archive = without(Column::StateRoots, slot);
        let states = minimal_states(&archive);
        for rebuilt in [slot, slot + 1, LAST] {
            assert!(ssz_at(&states, rebuilt).unwrap() == truth[&rebuilt], "slot {rebuilt}");
        }
        let unproved = states.at(Slot(slot)).unwrap().prove().unwrap_err();
        assert!(matches!(unproved, ReplayError::NoStateRoot { .. }), "{unproved}");
    }
}

#[test]
fn damage_on_disk_is_the_error_of_its_column() {
    let archive = minimal_from(0);
    let path = archive.file(Column::Blocks, "data_00000");
    let mut bytes = std::fs::read(&path).unwrap();
    let place = archive.place_of(Column::Blocks, SLOT);
    bytes[place + 20] ^= 0xff;
    std::fs::write(&path, &bytes).unwrap();
    let error = error_at(&minimal_states(&archive), SLOT);
    assert!(matches!(error, ReplayError::Storage(Error::Corrupt(_))), "{error}");
}

#[test]
fn a_block_of_the_chain_that_breaks_a_rule_is_refused_with_its_step() {
    let mut root = None;
    let archive = changed(Column::Blocks, SLOT, |_| {});
    archive.remake(Column::Blocks, |at, mut block| {
        if at == SLOT {
            // The proposer's index: offset, signature and slot lie before it.
            block[4 + 96 + 8] ^= 1;
            root = Some(BlockHasher::new(Preset::Minimal).hash(&block).unwrap().root);
        }
        Some(block)
    });
    archive.remake(Column::BlockRoots, |at, value| match root {
        Some(root) if at == SLOT => Some(root.0.to_vec()),
        _ => Some(value),
    });
    let error = error_from(&archive, SLOT);
    let ReplayError::Refused(refused) = error else { panic!("{error}") };
    assert_eq!((refused.slot, refused.step), (SLOT, "process_block_header"));
}
