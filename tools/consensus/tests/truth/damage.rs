//! Changed bytes never have the chain's roots, and never cause a panic.

use std::collections::BTreeMap;

use coldstore_consensus::{BlockHasher, Preset, Root, hash_state};

use test_support::chain_content::{all_states, blocks, truth};

const SIGNATURE: std::ops::Range<usize> = 4..100;

/// The slot with the longest value of each fork.
fn longest_of_each_fork(name: &str) -> BTreeMap<String, u64> {
    let mut longest: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    for (slot, truth) in truth(name) {
        let of_fork = longest.entry(truth.fork).or_default();
        *of_fork = (*of_fork).max((truth.byte_len, slot));
    }
    longest.into_iter().map(|(fork, (_, slot))| (fork, slot)).collect()
}

fn block_root(hasher: &mut BlockHasher, bytes: &[u8]) -> Option<Root> {
    hasher.hash(bytes).ok().map(|hashed| hashed.root)
}

fn state_root(bytes: &[u8]) -> Option<Root> {
    hash_state(Preset::Minimal, &mut &bytes[..]).ok()?.body.map(|body| body.root)
}

/// Reproducible random numbers (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound as u64).unwrap()
    }
}

/// Truncates or extends bytes, or removes, doubles or overwrites a run of them.
fn mangled(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let at = numbers.below(bytes.len());
    let end = (at + 1 + numbers.below(64)).min(bytes.len());
    let (head, run, tail) = (&bytes[..at], &bytes[at..end], &bytes[end..]);
    match numbers.below(6) {
        0 => head.to_vec(),
        1 => [bytes, run].concat(),
        2 => [head, tail].concat(),
        3 => [head, run, run, tail].concat(),
        4 => [head, &vec![0xff; run.len()], tail].concat(),
        _ => [head, &vec![0; run.len()], tail].concat(),
    }
}

#[test]
fn a_flipped_bit_outside_the_signature_changes_the_root_of_a_block() {
    let blocks = blocks("chain-minimal");
    let mut hasher = BlockHasher::new(Preset::Minimal);
    for (fork, slot) in longest_of_each_fork("BLOCKS.tsv") {
        let mut block = blocks[&slot].clone();
        let wanted = block_root(&mut hasher, &block).unwrap();
        for at in 0..block.len() {
            for bit in 0..8 {
                block[at] ^= 1 << bit;
                let found = block_root(&mut hasher, &block);
                let is_same = found == Some(wanted);
                assert_eq!(is_same, SIGNATURE.contains(&at), "{fork}: byte {at}, bit {bit}");
                block[at] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn a_changed_byte_changes_the_root_of_a_state() {
    let states = all_states();
    for (fork, slot) in longest_of_each_fork("STATES.tsv") {
        let mut state = states[&slot].clone();
        let wanted = state_root(&state).unwrap();
        // A prime step, so that every offset in small elements is covered.
        for at in (0..state.len()).step_by(29) {
            let bit = 1 << (at % 8);
            state[at] ^= bit;
            assert_ne!(state_root(&state), Some(wanted), "{fork}: byte {at}");
            state[at] ^= bit;
        }
    }
}

#[test]
fn mangled_blocks_and_states_never_have_the_original_root() {
    let (blocks, states) = (blocks("chain-minimal"), all_states());
    let mut hasher = BlockHasher::new(Preset::Minimal);
    let mut numbers = Numbers(0x5eed);
    for (fork, slot) in longest_of_each_fork("BLOCKS.tsv") {
        let block = &blocks[&slot];
        let wanted = block_root(&mut hasher, block);
        for round in 0..2000 {
            let other = mangled(block, &mut numbers);
            let found = block_root(&mut hasher, &other);
            let is_same = found == wanted;
            let differs_in_signature_alone = other.len() == block.len()
                && other[SIGNATURE.end..] == block[SIGNATURE.end..]
                && other[..SIGNATURE.start] == block[..SIGNATURE.start];
            assert_eq!(is_same, differs_in_signature_alone, "{fork}, round {round}");
        }
    }
    for (fork, slot) in longest_of_each_fork("STATES.tsv") {
        let state = &states[&slot];
        let wanted = state_root(state);
        for round in 0..100 {
            let other = mangled(state, &mut numbers);
            assert_eq!(state_root(&other) == wanted, other == *state, "{fork}, round {round}");
        }
    }
}
