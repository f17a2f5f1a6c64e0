//! Makes the diffs of a stretch, and holds them back until the replay is proved.

use std::collections::BTreeMap;

use coldstore::{Slot, View};

use super::Reconstruction;
use super::endpoint::Endpoint;
use super::keep::Diffs;
use super::plan::Stretch;
use crate::replay::{Replay, ReplayError};
use crate::states::mirror::{Mirror, is_equal};
use crate::states::value::{DiffValue, apply_path, encode_slot};
use crate::states::{Columns, StateRef, States};

/// Makes the diffs of a stretch.
///
/// In memory are the columns of the last two slots with a diff, those of the last slot of each chained layer,
/// and the diffs of an era. A base that is none of these is read back.
pub(super) struct Encoder<'a> {
    states: &'a States<View>,
    diffs: &'a Diffs,
    stretch: &'a Stretch,
    mirror: Mirror<'a>,
    /// By exponent of a chained layer, other than 0.
    chains: Vec<(u8, Columns)>,
    /// What no state has proved yet.
    held: BTreeMap<Slot, Vec<u8>>,
    /// The last of each flat layer of what was handed out: bases of what follows, which the source does not have.
    handed_out: BTreeMap<Slot, Vec<u8>>,
}

/// Diffs in the order in which they are stored: of each, the base comes before it. Those between two slots of
/// the finest flat layer are together.
pub(super) type Batches = Vec<Vec<(Slot, Vec<u8>)>>;

impl<'a> Encoder<'a> {
    /// Starts with the replay of a stretch, from this stored state.
    pub(super) fn new(
        of: &'a Reconstruction,
        diffs: &'a Diffs,
        stretch: &'a Stretch,
        start: &'a Endpoint<'_>,
        replay: &mut Replay<'_>,
    ) -> Result<Self, ReplayError> {
        let columns = start.columns(&of.rules)?;
        let chained = diffs.hierarchy.shape().chained().iter().copied();
        let chains = chained.filter(|exponent| *exponent > 0);
        Ok(Self {
            states: &of.states,
            diffs,
            stretch,
            chains: chains.map(|exponent| (exponent, columns.clone())).collect(),
            mirror: Mirror::new(start.base(), columns, replay.state_mut()),
            held: BTreeMap::new(),
            handed_out: BTreeMap::new(),
        })
    }

    /// Makes the diff of the replay's slot, if one belongs there and is missing.
    pub(super) fn visit(&mut self, replay: &mut Replay<'_>) -> Result<(), ReplayError> {
        let slot = replay.slot();
        if !self.diffs.contains(slot, self.stretch.end) {
            return Ok(());
        }
        let updated = self.mirror.update(replay.state_mut());
        updated.map_err(|fault| ReplayError::start(slot, &fault))?;
        if !self.states.source().stored().contains(slot)? {
            let diff = self.diff(slot)?;
            self.held.insert(slot, diff);
        }
        for (exponent, columns) in &mut self.chains {
            if slot.0.is_multiple_of(1 << *exponent) {
                columns.clone_from(self.mirror.latest().columns);
            }
        }
        Ok(())
    }

    /// The diff of the latest state.
    fn diff(&self, slot: Slot) -> Result<Vec<u8>, ReplayError> {
        let hierarchy = &self.diffs.hierarchy;
        let is_there =
            |base| Ok(self.made(base).is_some() || self.states.source().stored().contains(base)?);
        let base = self.diffs.base(slot, is_there)?;
        let base =
            base.ok_or_else(|| ReplayError::NoBase { slot, bases: hierarchy.bases(slot) })?;
        let (next, context) = (self.mirror.latest(), self.states.diff_context());
        if let Some((older, _)) = self.mirror.older().filter(|(older, _)| older.slot() == base) {
            return Ok(encode_slot(older, next, context)?);
        }
        let mut chains = self.chains.iter().map(|(_, columns)| columns);
        match chains.find(|columns| columns.slot() == base) {
            Some(columns) => Ok(encode_slot(StateRef { columns, ..next }, next, context)?),
            None => self.on_read_back(base, next),
        }
    }

    /// The diff to a state that is read back: by the diffs that were made, on one that is stored.
    fn on_read_back(&self, base: Slot, next: StateRef<'_>) -> Result<Vec<u8>, ReplayError> {
        let context = self.states.diff_context();
        let (mut path, mut at) = (Vec::new(), base);
        while let Some(made) = self.made(at) {
            let made = DiffValue::parse(at, made)?;
            at = made.base_slot();
            path.push(made);
        }
        path.reverse();
        let stored = self.states.stored_at(at)?;
        let stored = stored.ok_or_else(|| ReplayError::NoBase { slot: base, bases: vec![at] })?;
        let StateRef { base, columns } = stored.state();
        let columns = apply_path(columns.preset(), base, columns, &path, context)?;
        Ok(encode_slot(StateRef { base, columns: &columns }, next, context)?)
    }

    /// A diff that was made before.
    fn made(&self, slot: Slot) -> Option<&[u8]> {
        self.held.get(&slot).or_else(|| self.handed_out.get(&slot)).map(Vec::as_slice)
    }

    /// Hands out what is held, once it is proved that the replay's state is right.
    pub(super) fn hand_out(&mut self, replay: &Replay<'_>) -> Result<Batches, ReplayError> {
        let slot = replay.slot();
        let latest = self.mirror.latest();
        if latest.slot() == slot && !is_equal(replay.state(), latest) {
            return Err(ReplayError::WrongColumns { slot });
        }
        let exponents = self.diffs.hierarchy.shape().flat();
        let finest = exponents.last().copied().unwrap_or_default();
        let is_last = |slot: &Slot, exponent: &u8| {
            slot.0.is_multiple_of(1 << exponent)
                && latest.slot().0 >> exponent == slot.0 >> exponent
        };
        let is_base = |made: &Slot| exponents.iter().any(|exponent| is_last(made, exponent));
        self.handed_out.retain(|slot, _| is_base(slot));
        let bases = self.held.iter().filter(|(slot, _)| is_base(slot));
        self.handed_out.extend(bases.map(|(slot, value)| (*slot, value.clone())));
        let mut batches = Batches::new();
        for (slot, value) in std::mem::take(&mut self.held) {
            match batches.last_mut() {
                Some(batch) if batch[0].0.0 >> finest == slot.0 >> finest => {
                    batch.push((slot, value));
                }
                _ => batches.push(vec![(slot, value)]),
            }
        }
        Ok(batches)
    }
}
