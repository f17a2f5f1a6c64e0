//! The SSZ fields at fixed offsets that identify blocks and states.

use coldstore::format::ssz::{BLOCK_HEAD_BYTES, BlockHead, EraRoots, state_roots_end};

fn block() -> Vec<u8> {
    let mut value = vec![0; BLOCK_HEAD_BYTES];
    value[0] = 100;
    value[100] = 7;
    value[116] = 1;
    value[148] = 2;
    value[180] = 84;
    value
}

#[test]
fn a_short_block_and_other_values_are_mismatches() {
    let block = block();
    for len in 0..block.len() {
        assert!(BlockHead::parse(&block[..len]).is_err(), "{len}");
    }
    for at in [0, 180] {
        let mut other = block.clone();
        other[at] ^= 1;
        assert!(BlockHead::parse(&other).unwrap_err().found.contains("offsets"));
    }
}

#[test]
fn the_roots_of_a_state_are_followed_by_the_offset_of_the_historical_roots() {
    assert_eq!(state_roots_end(8192), 524_464 + 4);
    let mut state = vec![0; 176];
    for root in 1..=4 {
        state.extend([root; 32]);
    }
    state.extend(308u32.to_le_bytes());
    let roots = EraRoots::parse(&state, 308, 2).unwrap();
    assert_eq!(roots.block_roots, [[1; 32], [2; 32]]);
    assert_eq!(roots.state_roots, [[3; 32], [4; 32]]);
    assert!(EraRoots::parse(&state, 307, 2).is_err());
    assert!(EraRoots::parse(&state[..307], 307, 2).is_err());
    assert!(EraRoots::parse(&state, u64::MAX, usize::MAX).is_err());
    assert!(EraRoots::parse(&state, 308, 1).is_err());
    assert!(EraRoots::parse(&state, 308, 3).is_err());
}
