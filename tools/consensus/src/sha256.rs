//! SHA-256 of two nodes of a Merkle tree, and the roots of zero trees.

use std::sync::LazyLock;

use sha2::block_api::compress256;

/// A node of a Merkle tree.
pub(crate) type Node = [u8; 32];

/// Upper bound on the depth of a container's tree; `MAX_BYTES_PER_TRANSACTION` and the registry of
/// validators stay well below.
pub(crate) const MAX_DEPTH: usize = 64;

/// Initial state of SHA-256 (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Padding of a 64-byte message: the end mark, and the length in bits (5.1.1).
const PADDING: [u8; 64] = {
    let mut padding = [0; 64];
    padding[0] = 0x80;
    padding[62] = 2;
    padding
};

/// The hash of exactly one block: two adjacent nodes.
///
/// Every message has this length, so nothing is buffered or padded at run time.
pub(crate) fn hash_block(block: &[u8; 64]) -> Node {
    let mut state = INITIAL;
    compress256(&mut state, &[*block, PADDING]);
    let mut root = [0; 32];
    for (bytes, word) in root.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    root
}

/// The parent of two nodes.
pub(crate) fn hash_pair(left: &Node, right: &Node) -> Node {
    let mut block = [0; 64];
    block[..32].copy_from_slice(left);
    block[32..].copy_from_slice(right);
    hash_block(&block)
}

/// The root of a list, from the root of its elements and their number.
pub(crate) fn mix_in_length(root: &Node, length: u64) -> Node {
    let mut chunk = [0; 32];
    chunk[..8].copy_from_slice(&length.to_le_bytes());
    hash_pair(root, &chunk)
}

/// The root of a tree of this depth whose leaves are all zero.
pub(crate) fn zero_root(depth: usize) -> &'static Node {
    static ROOTS: LazyLock<[Node; MAX_DEPTH + 1]> = LazyLock::new(|| {
        let mut roots = [[0; 32]; MAX_DEPTH + 1];
        for depth in 1..=MAX_DEPTH {
            roots[depth] = hash_pair(&roots[depth - 1], &roots[depth - 1]);
        }
        roots
    });
    &ROOTS[depth]
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn a_block_has_the_hash_that_sha256_gives_it() {
        let block = std::array::from_fn(|index| u8::try_from(index * 3).unwrap());
        assert_eq!(hash_block(&block)[..], Sha256::digest(block)[..]);
        assert_eq!(zero_root(1)[..], Sha256::digest([0; 64])[..]);
    }
}
