//! Which parts of a state changed: since it was last hashed, and since its changes were last taken.

use std::ops::Range;

use super::state::BeaconState;

/// Elements of a list that changed, in groups that share a node of the list's tree.
///
/// Two consumers take them: the tree of the state, and whoever calls [`BeaconState::take_changes`]. A mark is
/// one OR all the same: what one consumer takes is added to what waits for the other.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    /// Elements per group, as a power of 2.
    shift: u32,
    /// Marked since either consumer took the marks.
    fresh: Groups,
    of_tree: Groups,
    /// `None` until the changes are taken for the first time.
    of_follower: Option<Groups>,
}

/// A set of groups.
#[derive(Clone, Debug, Default)]
struct Groups {
    words: Vec<u64>,
    all: bool,
}

impl Groups {
    const ALL: Self = Self { words: Vec::new(), all: true };

    fn add(&mut self, other: &Self) {
        self.all |= other.all;
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    fn clear(&mut self) {
        self.words.fill(0);
        self.all = false;
    }

    /// Ascending, without regard to `all`.
    fn listed(&self) -> impl Iterator<Item = u32> {
        let words = (0u32..).zip(&self.words).filter(|(_, word)| **word != 0);
        words.flat_map(|(place, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place * 64 + bit)
        })
    }
}

impl Marks {
    /// No tree has been made yet, so all elements have to be hashed.
    const fn all(elements_per_group: u32) -> Self {
        let fresh = Groups { words: Vec::new(), all: false };
        let shift = elements_per_group.trailing_zeros();
        Self { shift, fresh, of_tree: Groups::ALL, of_follower: None }
    }

    pub(crate) fn mark(&mut self, index: usize) {
        let group = index >> self.shift;
        let word = group / 64;
        if word >= self.fresh.words.len() {
            self.fresh.words.resize(word + 1, 0);
        }
        self.fresh.words[word] |= 1 << (group % 64);
    }

    /// As [`Self::mark`], at a place of a vector.
    pub(crate) fn mark_at(&mut self, place: u64) {
        self.mark(usize::try_from(place).unwrap_or(usize::MAX));
    }

    pub(crate) fn mark_all(&mut self) {
        self.fresh.all = true;
    }

    /// The groups that changed since the tree took them, of `count`, ascending; then none are.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u32> {
        self.hand_out();
        let end = u32::try_from(count).unwrap_or(u32::MAX);
        let groups = match self.of_tree.all {
            true => (0..end).collect(),
            false => self.of_tree.listed().take_while(|group| *group < end).collect(),
        };
        self.of_tree.clear();
        groups
    }

    /// The groups that changed since the follower took them; then none are.
    fn take_for_follower(&mut self) -> ChangedElements {
        self.hand_out();
        let groups = self.of_follower.get_or_insert(Groups::ALL);
        let changed = match groups.all {
            true => ChangedElements::All,
            false => ChangedElements::Groups {
                per_group: 1 << self.shift,
                groups: groups.listed().collect(),
            },
        };
        groups.clear();
        changed
    }

    fn hand_out(&mut self) {
        if let Some(groups) = &mut self.of_follower {
            groups.add(&self.fresh);
        }
        self.of_tree.add(&self.fresh);
        self.fresh.clear();
    }
}

/// The changes of the fields whose trees are kept.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    pub(crate) validators: Marks,
    pub(crate) balances: Marks,
    pub(crate) previous_epoch_participation: Marks,
    pub(crate) current_epoch_participation: Marks,
    pub(crate) inactivity_scores: Marks,
    pub(crate) block_roots: Marks,
    pub(crate) state_roots: Marks,
    pub(crate) randao_mixes: Marks,
    pub(crate) slashings: Marks,
}

impl Changes {
    /// The roots of a slot, at this place of both vectors.
    pub(crate) fn mark_slot(&mut self, place: u64) {
        self.block_roots.mark_at(place);
        self.state_roots.mark_at(place);
    }

    /// A validator that was added.
    pub(crate) fn mark_validator(&mut self, index: usize) {
        for marks in [
            &mut self.validators,
            &mut self.balances,
            &mut self.previous_epoch_participation,
            &mut self.current_epoch_participation,
            &mut self.inactivity_scores,
        ] {
            marks.mark(index);
        }
    }

    /// The fork changes: nothing is as it was.
    pub(crate) fn mark_everything(&mut self) {
        for (_, marks) in self.by_name() {
            marks.mark_all();
        }
    }

    /// A tree is made from nothing.
    pub(crate) fn mark_everything_for_tree(&mut self) {
        for (_, marks) in self.by_name() {
            marks.of_tree = Groups::ALL;
        }
    }

    fn by_name(&mut self) -> [(&'static str, &mut Marks); FIELDS_WITH_MARKS] {
        [
            ("validators", &mut self.validators),
            ("balances", &mut self.balances),
            ("previous_epoch_participation", &mut self.previous_epoch_participation),
            ("current_epoch_participation", &mut self.current_epoch_participation),
            ("inactivity_scores", &mut self.inactivity_scores),
            ("block_roots", &mut self.block_roots),
            ("state_roots", &mut self.state_roots),
            ("randao_mixes", &mut self.randao_mixes),
            ("slashings", &mut self.slashings),
        ]
    }
}

impl Default for Changes {
    fn default() -> Self {
        // Elements in 64 bytes, which make a node.
        let [numbers, bytes, roots] = [8, 64, 2];
        Self {
            validators: Marks::all(1),
            balances: Marks::all(numbers),
            previous_epoch_participation: Marks::all(bytes),
            current_epoch_participation: Marks::all(bytes),
            inactivity_scores: Marks::all(numbers),
            block_roots: Marks::all(roots),
            state_roots: Marks::all(roots),
            randao_mixes: Marks::all(roots),
            slashings: Marks::all(numbers),
        }
    }
}

const FIELDS_WITH_MARKS: usize = 9;

/// What changed in a state's large fields. Elements may be among the changed ones and be equal all the same;
/// the others are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChanges {
    by_field: [(&'static str, ChangedElements); FIELDS_WITH_MARKS],
}

impl StateChanges {
    /// The changed elements of a field; `None` for a field whose changes are not followed.
    #[must_use]
    pub fn of(&self, field: &str) -> Option<&ChangedElements> {
        self.by_field.iter().find(|(name, _)| *name == field).map(|(_, changed)| changed)
    }
}

/// The elements of a list or a vector that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedElements {
    /// Any of them.
    All,
    /// Those of groups.
    Groups {
        /// Number of elements in a group.
        per_group: usize,
        /// The indices of the groups, ascending.
        groups: Vec<u32>,
    },
}

impl ChangedElements {
    /// The changed elements of a list with `count`, as ranges of indices, ascending.
    pub fn ranges(&self, count: usize) -> impl Iterator<Item = Range<usize>> {
        let (all, per_group, groups) = match self {
            Self::All => (true, 0, &[][..]),
            Self::Groups { per_group, groups } => (false, *per_group, &groups[..]),
        };
        let all = (all && count > 0).then_some(0..count);
        let groups = groups.iter().map(move |group| *group as usize * per_group);
        let groups = groups.take_while(move |start| *start < count);
        all.into_iter().chain(groups.map(move |start| start..(start + per_group).min(count)))
    }
}

impl BeaconState<'_> {
    /// What changed since the last call; on the first one, everything. Does not affect the hashing of the
    /// state.
    pub fn take_changes(&mut self) -> StateChanges {
        let by_field = self.changes.by_name();
        StateChanges { by_field: by_field.map(|(name, marks)| (name, marks.take_for_follower())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(per_group: usize, groups: &[u32]) -> ChangedElements {
        ChangedElements::Groups { per_group, groups: groups.to_vec() }
    }

    #[test]
    fn each_consumer_gets_every_mark_once() {
        let mut marks = Marks::all(8);
        assert_eq!(marks.take(2), [0, 1]);
        assert_eq!(marks.take_for_follower(), ChangedElements::All);
        marks.mark(9);
        assert_eq!(marks.take(1000), [1]);
        marks.mark(700);
        marks.mark(8);
        assert_eq!(marks.take_for_follower(), groups(8, &[1, 87]));
        assert_eq!(marks.take_for_follower(), groups(8, &[]));
        assert_eq!(marks.take(1000), [1, 87]);
        marks.mark_all();
        assert_eq!(marks.take(3), [0, 1, 2]);
        assert_eq!(marks.take(3), [0; 0]);
        assert_eq!(marks.take_for_follower(), ChangedElements::All);
        assert_eq!(marks.take_for_follower(), groups(8, &[]));
    }

    #[test]
    fn changed_elements_end_with_the_list() {
        let ranges = |changed: &ChangedElements, count| changed.ranges(count).collect::<Vec<_>>();
        assert_eq!(ranges(&groups(8, &[0, 2, 3]), 20), [0..8, 16..20]);
        assert_eq!(ranges(&ChangedElements::All, 20), [0..20; 1]);
        assert!(ranges(&ChangedElements::All, 0).is_empty());
    }
}
