//! `hash_tree_root` of a state that changes slot by slot: only what changed is hashed.

use super::changes::Marks;
use super::registry::VALIDATOR_BYTES;
use super::state::BeaconState;
use crate::containers::Layouts;
use crate::fork::Fork;
use crate::hash::{Hasher, Neighbour};
use crate::root::Root;
use crate::sha256::{Node, hash_block, hash_pair, mix_in_length, zero_root};
use crate::ssz::{Field, Kind, depth_for};

/// `VALIDATOR_REGISTRY_LIMIT`
pub(crate) const REGISTRY_DEPTH: usize = 40;

/// The trees of a state's large fields, and the roots of the others.
///
/// Belongs to one state: [`StateTree::root`] hashes what that state changed since the last call.
#[derive(Clone, Debug, Default)]
pub struct StateTree {
    /// By field of the state's layout.
    fields: Vec<CachedField>,
    fork: Option<Fork>,
    hasher: Hasher,
}

#[derive(Clone, Debug, Default)]
struct CachedField {
    /// Of a field that is hashed as a whole when its bytes change.
    encoded: Vec<u8>,
    root: Node,
    tree: Tree,
}

impl StateTree {
    /// `hash_tree_root` of the state.
    pub fn root(&mut self, state: &mut BeaconState<'_>) -> Root {
        let layout = &Layouts::of(state.rules.preset()).states[state.fork() as usize];
        if self.fork != Some(state.fork()) {
            // The new fork has other fields.
            self.fields = vec![CachedField::default(); layout.fields.len()];
            self.fork = Some(state.fork());
            state.changes.mark_everything_for_tree();
        }
        let roots: Vec<Node> = layout
            .fields
            .iter()
            .zip(&mut self.fields)
            .map(|(field, cached)| cached.update(field, state, &mut self.hasher))
            .collect();
        Root(self.hasher.of_fields(&roots))
    }
}

impl CachedField {
    fn update(&mut self, field: &Field, state: &mut BeaconState<'_>, hasher: &mut Hasher) -> Node {
        let (tree, changes) = (&mut self.tree, &mut state.changes);
        match field.name {
            "validators" => {
                let (count, validators) = (state.validators.len(), &state.validators);
                let changed = changes.validators.take(count);
                let Kind::List { element, .. } = field.of.kind else { return [0; 32] };
                let (mut encoded, mut neighbour) = ([0; VALIDATOR_BYTES], Neighbour::default());
                let root = tree.update(0, REGISTRY_DEPTH, count, &changed, |index| {
                    validators.write(index, &mut encoded);
                    // An encoded validator is one.
                    hasher.element(element, &encoded, &mut neighbour).unwrap_or_default()
                });
                mix_in_length(&root, count as u64)
            }
            "balances" => numbers_root(tree, &state.balances, &mut changes.balances),
            "inactivity_scores" => {
                numbers_root(tree, &state.inactivity_scores, &mut changes.inactivity_scores)
            }
            "previous_epoch_participation" => {
                let marks = &mut changes.previous_epoch_participation;
                flags_root(tree, &state.previous_epoch_participation, marks)
            }
            "current_epoch_participation" => {
                let marks = &mut changes.current_epoch_participation;
                flags_root(tree, &state.current_epoch_participation, marks)
            }
            "block_roots" => roots_root(tree, &state.block_roots, &mut changes.block_roots),
            "state_roots" => roots_root(tree, &state.state_roots, &mut changes.state_roots),
            "randao_mixes" => roots_root(tree, &state.randao_mixes, &mut changes.randao_mixes),
            "slashings" => {
                let depth = depth_for(state.slashings.len() as u64 / 4);
                packed_root(
                    tree,
                    depth,
                    state.slashings.len(),
                    8,
                    &mut changes.slashings,
                    |index| numbers_block(&state.slashings, index),
                )
            }
            _ => self.whole(field, state, hasher),
        }
    }

    /// The root of a small field, hashed when its bytes are others than before.
    fn whole(&mut self, field: &Field, state: &BeaconState<'_>, hasher: &mut Hasher) -> Node {
        let (mut encoded, mut piece) = (Vec::with_capacity(self.encoded.len()), Vec::new());
        let written = state.encode(field, &mut piece, &mut encoded);
        debug_assert!(written.is_ok());
        encoded.append(&mut piece);
        if encoded != self.encoded || self.root == [0; 32] {
            // A field of a state in memory is a value of its type.
            self.root = hasher.root(field.of, &encoded).unwrap_or_default();
            self.encoded = encoded;
        }
        self.root
    }
}

/// A Merkle tree that keeps its nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    /// From the lowest level up; each level has half as many nodes as the one below, rounded up.
    levels: Vec<Vec<Node>>,
}

impl Tree {
    /// Updates the lowest nodes, which are at height `below` and `count` in number, and returns the root of
    /// their tree of this depth. `changed` ascends and has every node that is new.
    pub(crate) fn update(
        &mut self,
        below: usize,
        depth: usize,
        count: usize,
        changed: &[u32],
        mut node: impl FnMut(usize) -> Node,
    ) -> Node {
        if count == 0 {
            self.levels.clear();
            return *zero_root(depth);
        }
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
        }
        self.levels[0].resize(count, [0; 32]);
        for index in changed {
            self.levels[0][*index as usize] = node(*index as usize);
        }
        let (mut height, mut changed) = (0, changed.to_vec());
        while self.levels[height].len() > 1 {
            changed = self.update_parents(height, below, changed);
            height += 1;
        }
        self.levels.truncate(height + 1);
        let top = self.levels[height][0];
        (below + height..depth).fold(top, |root, level| hash_pair(&root, zero_root(level)))
    }

    /// Hashes the parents of nodes that changed, and returns them.
    fn update_parents(&mut self, height: usize, below: usize, mut changed: Vec<u32>) -> Vec<u32> {
        if self.levels.len() == height + 1 {
            self.levels.push(Vec::new());
        }
        let (lower, upper) = self.levels.split_at_mut(height + 1);
        let (lower, upper) = (&lower[height], &mut upper[0]);
        upper.resize(lower.len().div_ceil(2), [0; 32]);
        changed.iter_mut().for_each(|index| *index /= 2);
        changed.dedup();
        for parent in &changed {
            let left = *parent as usize * 2;
            let right = lower.get(left + 1).unwrap_or_else(|| zero_root(below + height));
            upper[*parent as usize] = hash_pair(&lower[left], right);
        }
        changed
    }
}

/// The root of packed elements; `block` gives the 64 bytes of a node.
fn packed_root(
    tree: &mut Tree,
    depth: usize,
    elements: usize,
    per_block: usize,
    marks: &mut Marks,
    block: impl Fn(usize) -> [u8; 64],
) -> Node {
    let count = elements.div_ceil(per_block);
    let changed = marks.take(count);
    tree.update(1, depth, count, &changed, |index| hash_block(&block(index)))
}

/// The root of a list of numbers with one for each validator.
fn numbers_root(tree: &mut Tree, numbers: &[u64], marks: &mut Marks) -> Node {
    let depth = REGISTRY_DEPTH - 2;
    let root =
        packed_root(tree, depth, numbers.len(), 8, marks, |index| numbers_block(numbers, index));
    mix_in_length(&root, numbers.len() as u64)
}

fn numbers_block(numbers: &[u64], index: usize) -> [u8; 64] {
    let mut block = [0; 64];
    let numbers = &numbers[index * 8..numbers.len().min(index * 8 + 8)];
    for (bytes, number) in block.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
        *bytes = number.to_le_bytes();
    }
    block
}

/// The root of a list of flags with one byte for each validator.
fn flags_root(tree: &mut Tree, flags: &[u8], marks: &mut Marks) -> Node {
    let root = packed_root(tree, REGISTRY_DEPTH - 5, flags.len(), 64, marks, |index| {
        let mut block = [0; 64];
        let flags = &flags[index * 64..flags.len().min(index * 64 + 64)];
        block[..flags.len()].copy_from_slice(flags);
        block
    });
    mix_in_length(&root, flags.len() as u64)
}

/// The root of a vector of roots.
fn roots_root(tree: &mut Tree, roots: &[Root], marks: &mut Marks) -> Node {
    packed_root(tree, depth_for(roots.len() as u64), roots.len(), 2, marks, |index| {
        let mut block = [0; 64];
        block[..32].copy_from_slice(&roots[2 * index].0);
        block[32..].copy_from_slice(&roots[2 * index + 1].0);
        block
    })
}
