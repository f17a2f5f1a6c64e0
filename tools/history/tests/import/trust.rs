//! The effect of a trusted state root, and what remains unproved without one.

use std::fs;
use std::path::Path;

use coldstore::Slot;
use coldstore_consensus::{BlockHasher, Preset, Root, era_root, vector_root};
use coldstore_history::import::{Anchor, TrustedRoot};

use crate::era_file::EraParts;
use crate::run::{ERA_SLOTS, Place};
use test_support::chain_content::truth;

fn true_root(slot: u64) -> TrustedRoot {
    TrustedRoot { slot: Slot(slot), root: truth("STATES.tsv")[&slot].root }
}

fn roots_at(state: &[u8], at: usize) -> Vec<[u8; 32]> {
    state[at..at + 64 * 32].as_chunks().0.to_vec()
}

const BLOCK_ROOTS_AT: usize = 176;
const STATE_ROOTS_AT: usize = BLOCK_ROOTS_AT + 64 * 32;

/// Forges a consistent era 4 (deneb): its last block has other graffiti.
fn forge(path: &Path) {
    let mut parts = EraParts::read(path);
    let graffiti_at = 100 + 84 + 96 + 72;
    let last = parts.blocks.last_mut().unwrap();
    last[graffiti_at] ^= 1;
    let root = BlockHasher::new(Preset::Minimal).hash(last).unwrap().root;
    let state = &mut parts.state;
    let last_root_at = STATE_ROOTS_AT - 32;
    state[last_root_at..STATE_ROOTS_AT].copy_from_slice(&root.0);
    // The state's latest block is that of slot 256, whose parent this is.
    let parent_at = 64 + 16;
    state[parent_at..parent_at + 32].copy_from_slice(&root.0);
    let (blocks, states) = (roots_at(state, BLOCK_ROOTS_AT), roots_at(state, STATE_ROOTS_AT));
    // The last field of a deneb state is its historical summaries.
    let summary_at = state.len() - 64;
    state[summary_at..summary_at + 32].copy_from_slice(&vector_root(&blocks).0);
    let short_root = format!("0x{}", era_root(&blocks, &states).short());
    let name = format!("minimal-00004-{}.era", &short_root[2..]);
    fs::remove_file(path).unwrap();
    fs::write(path.with_file_name(name), parts.to_bytes()).unwrap();
}

#[test]
fn a_trusted_root_proves_every_era_below_it() {
    let place = Place::with_eras(0..=9);
    let proved = place.import(&[true_root(576), true_root(100)]).succeeded();
    assert_eq!((proved.trusted_eras, proved.agreeing_eras, proved.states), (10, 0, 10));
    assert!(proved.lone_states.is_empty());
    assert_eq!(proved.anchor, Anchor::Trusted { root: true_root(576), last_era: 9 });
    let place = Place::with_eras(0..=9);
    let proved = place.import(&[true_root(320), true_root(64)]).succeeded();
    assert_eq!((proved.trusted_eras, proved.agreeing_eras), (6, 4));
    assert_eq!(proved.anchor, Anchor::Trusted { root: true_root(320), last_era: 5 });
    assert_eq!(proved.lone_states, [Slot(576)]);
}

#[test]
fn a_consistent_forged_era_passes_only_as_the_last_and_without_a_trusted_root() {
    let place = Place::with_eras(2..=4);
    forge(&place.file(4));
    assert_eq!(place.import(&[]).succeeded().lone_states, [Slot(256)]);
    place.clear();
    let error = place.import(&[true_root(256)]).error.unwrap();
    assert!(error.contains("era 4, slot 256: the trusted state root"), "{error}");
    assert!(!place.has_archive(), "what is trusted is read first");

    let place = Place::with_eras(2..=6);
    forge(&place.file(4));
    let error = place.import(&[]).error.unwrap();
    assert!(error.contains("era 4, slot 256: the state root"), "{error}");
    assert!(error.contains("as era 5 has it"), "{error}");
    place.assert_ends_with_era(3, "a state that the next era does not know");
    place.clear();
    let error = place.import(&[true_root(384)]).error.unwrap();
    let words = "the state of the trusted root has for this era";
    assert!(error.contains("era 4, slot 256") && error.contains(words), "{error}");
    place.assert_ends_with_era(3, "roots that the trusted state does not have");
}

#[test]
fn only_a_trusted_root_proves_the_last_state() {
    let place = Place::with_eras(7..=9);
    let path = place.file(9);
    let mut parts = EraParts::read(&path);
    // A balance or another field in the middle, which nothing else determines.
    let middle = parts.state.len() / 2;
    parts.state[middle] ^= 1;
    fs::write(&path, parts.to_bytes()).unwrap();
    assert_eq!(place.import(&[]).succeeded().lone_states, [Slot(576)]);
    place.clear();
    let error = place.import(&[true_root(576)]).error.unwrap();
    assert!(error.contains("era 9, slot 576: the trusted state root"), "{error}");
}

#[test]
fn a_trusted_root_within_an_era_is_compared() {
    let place = Place::with_eras(0..=3);
    place.import(&[true_root(70)]).succeeded();
    place.clear();
    let wrong = TrustedRoot { root: Root([7; 32]), ..true_root(70) };
    let error = place.import(&[wrong]).error.unwrap();
    assert!(error.contains("era 2, slot 70: the trusted state root 0x0707"), "{error}");
    place.assert_ends_with_era(1, "another root at slot 70");
    let nowhere = TrustedRoot { slot: Slot(10 * ERA_SLOTS + 1), root: Root([7; 32]) };
    let error = place.import(&[nowhere]).error.unwrap();
    assert!(error.contains("slot 641"), "{error}");
    // The archive's own records are compared too.
    let held = TrustedRoot { root: Root([7; 32]), ..true_root(10) };
    fs::remove_file(place.file(1)).unwrap();
    let error = place.import(&[held]).error.unwrap();
    assert!(error.contains("slot 10: the trusted state root 0x0707"), "{error}");
}

#[test]
fn a_resumed_import_is_tied_to_the_snapshot_before_it() {
    let place = Place::with_eras(0..=3);
    place.import(&[]).succeeded();
    let more = Place::with_eras(4..=6);
    for era in 4..=6 {
        let path = more.file(era);
        fs::copy(&path, place.files().join(path.file_name().unwrap())).unwrap();
    }
    let mut parts = EraParts::read(&place.file(4));
    let whole = fs::read(place.file(4)).unwrap();
    parts.state[STATE_ROOTS_AT] ^= 1;
    let (blocks, states) =
        (roots_at(&parts.state, BLOCK_ROOTS_AT), roots_at(&parts.state, STATE_ROOTS_AT));
    let summary_at = parts.state.len() - 32;
    parts.state[summary_at..].copy_from_slice(&vector_root(&states).0);
    let short_root = format!("0x{}", era_root(&blocks, &states).short());
    let name = format!("minimal-00004-{}.era", &short_root[2..]);
    let (path, forged) = (place.file(4), place.files().join(name));
    fs::remove_file(&path).unwrap();
    fs::write(&forged, parts.to_bytes()).unwrap();
    let error = place.import(&[]).error.unwrap();
    assert!(error.contains("era 4, slot 192: the state root"), "{error}");
    assert!(error.contains("the snapshot in bss"), "{error}");
    place.assert_ends_with_era(3, "another state root of slot 192");
    fs::remove_file(&forged).unwrap();
    fs::write(&path, whole).unwrap();
    let proved = place.import(&[]).succeeded();
    // Era 0 has no slots that would show that it is complete.
    assert_eq!(proved.agreeing_eras, 3 + 1);
    place.assert_ends_with_era(6, "all");
}
