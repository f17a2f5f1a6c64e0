//! Which parts of a state changed since it was last hashed.

/// Elements of a list that changed, in groups that share a node of the list's tree.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    /// Elements per group, as a power of 2.
    shift: u32,
    words: Vec<u64>,
    all: bool,
}

impl Marks {
    /// No tree has been made yet, so all elements have to be hashed.
    const fn all(elements_per_group: u32) -> Self {
        Self { shift: elements_per_group.trailing_zeros(), words: Vec::new(), all: true }
    }

    pub(crate) fn mark(&mut self, index: usize) {
        let group = index >> self.shift;
        let word = group / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (group % 64);
    }

    /// As [`Self::mark`], at a place of a vector.
    pub(crate) fn mark_at(&mut self, place: u64) {
        self.mark(usize::try_from(place).unwrap_or(usize::MAX));
    }

    pub(crate) fn mark_all(&mut self) {
        self.all = true;
    }

    /// The groups that changed, of `count`, ascending; then none are.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u32> {
        let end = u32::try_from(count).unwrap_or(u32::MAX);
        let groups = if self.all {
            (0..end).collect()
        } else {
            let words = (0u32..).zip(&self.words).filter(|(_, word)| **word != 0);
            let groups = words.flat_map(|(place, word)| {
                (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place * 64 + bit)
            });
            groups.take_while(|group| *group < end).collect()
        };
        self.words.fill(0);
        self.all = false;
        groups
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
