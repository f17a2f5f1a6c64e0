//! What a late state says of all eras below it.

use crate::Root;
use crate::hash::Hasher;
use crate::sha256::hash_pair;
use crate::ssz::depth_for;

/// `historical_roots` and `historical_summaries` of a state: the roots of all eras up to it.
///
/// Capella froze the former; each era behind the last of them has a summary. Both have the same
/// root for the same era: a `HistoricalBatch` is two vectors, a `HistoricalSummary` their roots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accumulators {
    /// One root for each era before capella, era 1 first.
    pub historical_roots: Vec<Root>,
    /// The root of the block roots and that of the state roots of each era since.
    pub historical_summaries: Vec<[Root; 2]>,
}

impl Accumulators {
    /// Eras that are covered, from era 1 on.
    #[must_use]
    pub fn eras(&self) -> u64 {
        (self.historical_roots.len() + self.historical_summaries.len()) as u64
    }

    /// The root of an era's block roots and state roots. Era 0 has none.
    #[must_use]
    pub fn era_root(&self, era: u64) -> Option<Root> {
        let index = usize::try_from(era.checked_sub(1)?).ok()?;
        if let Some(root) = self.historical_roots.get(index) {
            return Some(*root);
        }
        let summary = self.historical_summaries.get(index - self.historical_roots.len())?;
        Some(hash_pair(&summary[0], &summary[1]))
    }

    /// The first four bytes of an era's root: they are in the name of its file.
    #[must_use]
    pub fn short_root(&self, era: u64) -> Option<[u8; 4]> {
        let [a, b, c, d, ..] = self.era_root(era)?;
        Some([a, b, c, d])
    }
}

/// The root of an era's block roots and state roots.
#[must_use]
pub fn era_root(block_roots: &[Root], state_roots: &[Root]) -> Root {
    hash_pair(&vector_root(block_roots), &vector_root(state_roots))
}

/// The root of a vector of roots.
#[must_use]
pub fn vector_root(roots: &[Root]) -> Root {
    let mut hasher = Hasher::default();
    let depth = depth_for(roots.len() as u64);
    hasher.of_nodes(roots, 0, depth)
}
