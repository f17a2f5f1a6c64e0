//! An archive of a made-up chain with eras of 8192 slots.

use coldstore::Slot;
use coldstore_consensus::transition::SyntheticParameters;
use coldstore_history::states::States;

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
