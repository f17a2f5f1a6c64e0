//! An archive of a made-up chain with eras of 8192 slots.

use coldstore::Slot;
use coldstore_consensus::transition::SyntheticParameters;
use coldstore_history::states::{How, States};

use crate::archive::ssz_at;
use crate::made::{ChainArchive, config};

#[test]
fn states_of_a_made_up_chain_are_rebuilt_from_its_archive() {
    let directory = tempfile::tempdir().unwrap();
    let mut made = ChainArchive::new(directory.path(), SyntheticParameters::small());
    let first = made.chain.state().to_ssz();
    let kept_at = Slot(made.first.0 + 64);
    made.advance_to(kept_at);
    let kept = made.chain.state().to_ssz();
    made.keep_state();
    made.advance_to(Slot(kept_at.0 + 40));
    let states = States::open(&made.open(), Some(&config())).unwrap();
    assert!(ssz_at(&states, made.first.0).unwrap() == first);
    assert!(ssz_at(&states, kept_at.0).unwrap() == kept);
    let mut last = states.at(Slot(kept_at.0 + 40)).unwrap();
    assert_eq!(last.prove().unwrap(), made.chain.slot().state_root);
    assert!(ssz_at(&states, kept_at.0 + 40).unwrap() == made.chain.state().to_ssz());
}

#[test]
fn states_of_a_made_up_chain_are_kept_in_layers() {
    let directory = tempfile::tempdir().unwrap();
    let parameters = SyntheticParameters { true_roots: false, ..SyntheticParameters::small() };
    let mut made = ChainArchive::new(directory.path(), parameters);
    let first = made.first.0;
    // Two keyframes, the epochs after them, and the slots of the last epoch.
    let last = first + 512 + 3 * 32 + 9;
    made.advance_keeping(Slot(last), |slot| {
        slot.0.is_multiple_of(512)
            || slot.0 > first + 512 && slot.0.is_multiple_of(32)
            || slot.0 > first + 512 + 3 * 32
    });
    let states = States::open(&made.open(), Some(&config())).unwrap();
    let state = states.at(Slot(last)).unwrap();
    let epochs = [1, 2, 3].map(|epoch| Slot(first + 512 + epoch * 32));
    let slots = (1..=9).map(|slot| Slot(epochs[2].0 + slot));
    let records: Vec<Slot> = [Slot(first + 512)].into_iter().chain(epochs).chain(slots).collect();
    let How::Diffs { base, records: found } = state.how() else { panic!("{:?}", state.how()) };
    assert_eq!((*base, found), (made.first, &records));
    assert!(ssz_at(&states, last).unwrap() == made.chain.state().to_ssz());
}
