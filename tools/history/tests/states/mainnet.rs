//! The bundled chain with eras of 8192 slots, as far as its synthetic blocks allow.

use coldstore::Slot;
use coldstore_consensus::{Preset, hash_state};
use coldstore_history::replay::ReplayError;
use test_support::chain_content::era_states;
use test_support::{ImportedArchive, MAINNET, PER_FILE, era_files};

use crate::archive::{error_at, ssz_at, states_of};

/// Every fork up to deneb from slot 0 on (`chain.json`).
const CONFIG: &str = "CONFIG_NAME: synthetic\nPRESET_BASE: mainnet\nGENESIS_FORK_VERSION: 0x00000000\n\
                      ALTAIR_FORK_VERSION: 0x01000000\nALTAIR_FORK_EPOCH: 0\n\
                      BELLATRIX_FORK_VERSION: 0x02000000\nBELLATRIX_FORK_EPOCH: 0\n\
                      CAPELLA_FORK_VERSION: 0x03000000\nCAPELLA_FORK_EPOCH: 0\n\
                      DENEB_FORK_VERSION: 0x04000000\nDENEB_FORK_EPOCH: 0\n";

#[test]
fn stored_states_are_proved_and_synthetic_blocks_refused() {
    let archive = ImportedArchive::of(&era_files(MAINNET));
    let states = states_of(&archive, CONFIG);
    let eras = era_states(MAINNET);
    assert_eq!(eras.len(), 4);
    for (era, state) in eras {
        let slot = era * PER_FILE;
        assert!(ssz_at(&states, slot).unwrap() == state, "era {era}");
        // The root of the last state would be in the next era, as its blocks would.
        if era == 3 {
            continue;
        }
        let root = hash_state(Preset::Mainnet, &mut &state[..]).unwrap().body.unwrap().root;
        assert_eq!(states.at(Slot(slot)).unwrap().prove().unwrap(), root, "era {era}");
        // The proposers of synthetic blocks are not those of the states.
        let error = error_at(&states, slot + 40);
        let ReplayError::Refused(refused) = error else { panic!("era {era}: {error}") };
        assert_eq!((refused.slot, refused.step), (slot + 1, "process_block_header"));
    }
}
