//! The root of a state from its fields, with a tree of the validators that is kept between states.

use std::borrow::Cow;
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::containers::{Layouts, VALIDATORS_FIELD};
use crate::fork::Fork;
use crate::hash::{Hasher, Malformed};
use crate::preset::Preset;
use crate::root::Root;
use crate::sha256::{Node, mix_in_length};
use crate::ssz::{Kind, Type};
use crate::transition::tree::{REGISTRY_DEPTH, Tree};

/// Validators with one kept node: of 2,000,000 validators the tree has 16 MB, and a changed one costs its group's
/// 70 hashes or fewer. With every validator's node it would have 128 MB.
const GROUP_LOG2: usize = 3;
const GROUP: usize = 1 << GROUP_LOG2;
/// Groups that a thread hashes at a time.
const GROUPS_AT_ONCE: usize = 256;

/// The upper part of the tree of a registry.
#[derive(Clone, Debug, Default)]
pub struct ValidatorsTree {
    tree: Tree,
    count: usize,
}

impl ValidatorsTree {
    /// The number of validators.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes that a tree of this many validators has in memory.
    #[must_use]
    pub const fn bytes_for(count: usize) -> usize {
        count.div_ceil(GROUP) * 2 * size_of::<Node>()
    }

    /// Updates the tree to a registry of `count` validators, and returns `hash_tree_root` of the list. `changed`
    /// ascends and has each validator that is another than at the last call; those added are hashed anyway.
    /// `append` appends the encoded validators of a range. Hashes on all cores.
    ///
    /// # Errors
    /// [`Malformed`] if an encoded validator is none; the tree is then empty.
    pub fn update(
        &mut self,
        preset: Preset,
        count: usize,
        changed: impl IntoIterator<Item = u32>,
        append: &(dyn Fn(Range<usize>, &mut Vec<u8>) + Sync),
    ) -> Result<Root, Malformed> {
        let groups = count.div_ceil(GROUP);
        // Where the length changes, the shorter list's last group does, or its neighbour.
        let whole = match self.count == count {
            true => groups,
            false => (self.count.min(count) / GROUP).min(groups.saturating_sub(1)),
        };
        let mut dirty: Vec<u32> = changed.into_iter().map(|index| index >> GROUP_LOG2).collect();
        dirty.dedup();
        dirty.retain(|group| (*group as usize) < whole);
        dirty.extend((whole..groups).filter_map(|group| u32::try_from(group).ok()));
        let nodes = hash_groups(element_of(preset), &dirty, count, append);
        let nodes = nodes.inspect_err(|_| *self = Self::default())?;
        let mut nodes = nodes.into_iter();
        self.count = count;
        let root = self.tree.update(GROUP_LOG2, REGISTRY_DEPTH, groups, &dirty, |_| {
            nodes.next().unwrap_or_default()
        });
        Ok(Root(mix_in_length(&root, count as u64)))
    }
}

/// The type of a validator, which all forks share.
fn element_of(preset: Preset) -> &'static Type {
    let fields = Layouts::of(preset).states[0].fields;
    let of = fields.iter().find(|field| field.name == VALIDATORS_FIELD).map(|field| field.of.kind);
    match of {
        Some(Kind::List { element, .. }) => element,
        _ => unreachable!("validators are a list"),
    }
}

fn hash_groups(
    element: &Type,
    dirty: &[u32],
    count: usize,
    append: &(dyn Fn(Range<usize>, &mut Vec<u8>) + Sync),
) -> Result<Vec<Node>, Malformed> {
    let pieces: Vec<&[u32]> = dirty.chunks(GROUPS_AT_ONCE).collect();
    let done = on_all_cores(pieces.len(), |piece, hasher| {
        let mut encoded = Vec::new();
        let hashed = pieces[piece].iter().map(|group| {
            let start = *group as usize * GROUP;
            encoded.clear();
            append(start..count.min(start + GROUP), &mut encoded);
            hasher.subtree(element, &encoded, GROUP_LOG2)
        });
        hashed.collect::<Result<Vec<Node>, Malformed>>()
    });
    let nodes: Vec<Vec<Node>> = done.into_iter().collect::<Result<_, _>>()?;
    Ok(nodes.concat())
}

/// `hash_tree_root` of a state, from its encoded fields and the root of its validators. Hashes on all cores.
///
/// # Errors
/// [`Malformed`] if a field is not what the fork has.
pub fn root_of_fields<'f>(
    preset: Preset,
    fork: Fork,
    validators: Root,
    field: &(dyn Fn(&'static str) -> Cow<'f, [u8]> + Sync),
) -> Result<Root, Malformed> {
    let fields = Layouts::of(preset).states[fork as usize].fields;
    let roots = on_all_cores(fields.len(), |index, hasher| {
        let of = &fields[index];
        if of.name == VALIDATORS_FIELD {
            return Ok(validators.0);
        }
        hasher.root(of.of, &field(of.name)).map_err(|malformed| malformed.inside(of.name))
    });
    let roots: Vec<Node> = roots.into_iter().collect::<Result<_, _>>()?;
    Ok(Root(Hasher::default().of_fields(&roots)))
}

/// Runs numbered pieces of work on all cores, and returns their results in order.
fn on_all_cores<T: Send>(count: usize, run: impl Fn(usize, &mut Hasher) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut hasher, mut done) = (Hasher::default(), Vec::new());
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= count {
                return done;
            }
            done.push((piece, run(piece, &mut hasher)));
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get).min(count.max(1));
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(piece, _)| *piece);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transition::registry::VALIDATOR_BYTES;

    fn list_root(validators: &[[u8; VALIDATOR_BYTES]]) -> Root {
        let fields = Layouts::of(Preset::Minimal).states[0].fields;
        let field = fields.iter().find(|field| field.name == VALIDATORS_FIELD).unwrap();
        Root(Hasher::default().root(field.of, validators.as_flattened()).unwrap())
    }

    #[test]
    fn the_tree_follows_a_registry_that_grows_shrinks_and_changes() {
        let mut validators: Vec<[u8; VALIDATOR_BYTES]> = Vec::new();
        let mut tree = ValidatorsTree::default();
        for (step, count) in [0usize, 1, 7, 8, 9, 64, 65, 65, 40, 17, 16, 8, 3000, 2999, 0, 5]
            .into_iter()
            .enumerate()
        {
            let fill = u8::try_from(step).unwrap();
            validators.resize(count, [fill; VALIDATOR_BYTES]);
            let changed: Vec<u32> =
                [0, 3, 7, 12, 39, 2500].into_iter().filter(|at| (*at as usize) < count).collect();
            for index in &changed {
                validators[*index as usize][50] = fill;
            }
            validators.iter_mut().for_each(|validator| validator[88] = 1);
            let append = |range: Range<usize>, out: &mut Vec<u8>| {
                out.extend_from_slice(validators[range].as_flattened());
            };
            let root = tree.update(Preset::Minimal, count, changed, &append).unwrap();
            assert_eq!(root, list_root(&validators), "step {step}: {count} validators");
            assert_eq!(tree.count(), count);
        }
        let append = |range: Range<usize>, out: &mut Vec<u8>| {
            out.resize(range.len() * VALIDATOR_BYTES, 2);
        };
        assert!(tree.update(Preset::Minimal, 5, [1], &append).is_err(), "slashed is no boolean");
        assert_eq!(tree.count(), 0);
    }
}
