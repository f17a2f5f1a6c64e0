//! The roots of past eras in a state.

use crate::hash::Hasher;
use crate::root::Root;
use crate::sha256::hash_pair;
use crate::ssz::depth_for;

/// `historical_roots` and `historical_summaries` of a state: the roots of all eras up to it.
///
/// Capella froze the former; each later era has a summary. Both give the same root for an era: a
/// `HistoricalBatch` is two vectors, a `HistoricalSummary` their roots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accumulators {
    /// One root per era before capella, from era 1 on.
    pub historical_roots: Vec<Root>,
    /// The roots of the block roots and of the state roots of each era since.
    pub historical_summaries: Vec<[Root; 2]>,
}

impl Accumulators {
    /// Number of eras covered, from era 1 on.
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
        Some(Root(hash_pair(&summary[0].0, &summary[1].0)))
    }
}

/// The root of an era's block roots and state roots: its entry in `historical_roots`, and the root of its
/// historical summary.
#[must_use]
pub fn era_root<R: Copy + Into<Root>>(block_roots: &[R], state_roots: &[R]) -> Root {
    Root(hash_pair(&vector_root(block_roots).0, &vector_root(state_roots).0))
}

/// The root of a vector of roots.
#[must_use]
pub fn vector_root<R: Copy + Into<Root>>(roots: &[R]) -> Root {
    let nodes = roots.iter().map(|root| (*root).into().0);
    Root(Hasher::default().of_nodes(nodes, 0, depth_for(roots.len() as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_hashes_as_its_tree() {
        let [a, b, c, d] = [[1; 32], [2; 32], [3; 32], [4; 32]];
        let pair = |left: &[u8; 32], right: &[u8; 32]| hash_pair(left, right);
        assert_eq!(vector_root(&[a]), Root(a));
        assert_eq!(vector_root(&[a, b]), Root(pair(&a, &b)));
        assert_eq!(vector_root(&[a, b, c, d]), Root(pair(&pair(&a, &b), &pair(&c, &d))));
        assert_eq!(vector_root(&[a, b, c]), Root(pair(&pair(&a, &b), &pair(&c, &[0; 32]))));
    }
}
