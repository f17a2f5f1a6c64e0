//! Single validators over time, without their states.

use std::ops::{Range, RangeInclusive};

use coldstore::{PreadView, Slot, Snapshot};

use super::columns::StateRef;
use super::path::{PathFault, Record};
use super::validator::{Status, Validator};
use super::value::{DiffValue, Single, Unpacker};
use super::{StateView, States};
use crate::replay::ReplayError;

/// Validators up to this number are followed one by one through the chains of diffs; of more, the whole states
/// are decoded.
const MAX_SINGLES: usize = 16;

/// A validator in the state of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidatorAt {
    /// Its index.
    pub index: usize,
    /// The epoch of the state.
    pub epoch: u64,
    /// Its record.
    pub validator: Validator,
    /// In Gwei.
    pub balance: u64,
    /// Its participation flags, in the previous and in the current epoch; `None` before altair. Bits 0 to 2 stand for
    /// a timely source, target and head.
    pub participation: Option<[u8; 2]>,
}

impl ValidatorAt {
    /// Its status in the state's epoch.
    #[must_use]
    pub fn status(&self) -> Status {
        self.validator.status(self.epoch, self.balance)
    }
}

/// Validators in the state of an epoch's first slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochOfValidators {
    /// The epoch.
    pub epoch: u64,
    /// By ascending index, those that the registry has.
    pub validators: Vec<ValidatorAt>,
}

/// Validators in the states of the first slots of epochs, by ascending epoch: [`States::history`]. Nothing follows
/// an error.
#[derive(Debug)]
pub struct History<'s, S = PreadView> {
    follower: Follower<'s, S>,
    epochs: RangeInclusive<u64>,
}

impl<S: Snapshot> States<S> {
    /// A validator in the state of a slot; `None` if the registry does not have it there. Of a state that is stored
    /// as diffs only the chunks with the validator are read.
    ///
    /// # Errors
    /// As [`States::at`].
    pub fn validator_at(
        &self,
        index: usize,
        slot: Slot,
    ) -> Result<Option<ValidatorAt>, ReplayError> {
        let mut follower = Follower::new(self, index..index.saturating_add(1));
        Ok(follower.at(slot)?.pop())
    }

    /// A range of validators in the states of the first slots of some epochs: balances, statuses and participation.
    /// Each chain of diffs is walked once, and of up to 16 validators only the chunks with them are read.
    ///
    /// # Errors
    /// The items are errors as [`States::at`] has them.
    #[must_use]
    pub fn history(&self, validators: Range<usize>, epochs: RangeInclusive<u64>) -> History<'_, S> {
        History { follower: Follower::new(self, validators), epochs }
    }

    /// The validators of a range in a state.
    fn validators_in(&self, state: StateRef<'_>, range: &Range<usize>) -> Vec<ValidatorAt> {
        let end = range.end.min(state.validator_count());
        let singles = (range.start.min(end)..end).filter_map(|index| Single::of(state, index));
        singles.filter_map(|single| self.told(&single, state.slot())).collect()
    }

    fn told(&self, single: &Single, slot: Slot) -> Option<ValidatorAt> {
        Some(ValidatorAt {
            index: single.index(),
            epoch: slot.0 / self.preset.slots_per_epoch(),
            validator: Validator::decode(single.validator()?),
            balance: single.balance(),
            participation: single.participation(),
        })
    }
}

impl<S: Snapshot> Iterator for History<'_, S> {
    type Item = Result<EpochOfValidators, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        let epoch = self.epochs.next()?;
        let slots_per_epoch = self.follower.states.preset.slots_per_epoch();
        let slot = Slot(epoch.saturating_mul(slots_per_epoch));
        let found = self.follower.at(slot);
        if found.is_err() {
            self.epochs = RangeInclusive::new(1, 0);
        }
        Some(found.map(|validators| EpochOfValidators { epoch, validators }))
    }
}

/// Follows some validators through the chains of diffs.
#[derive(Debug)]
struct Follower<'s, S> {
    states: &'s States<S>,
    range: Range<usize>,
    /// The validators in the states of the last path, from a whole state on.
    chain: Vec<(Slot, Vec<Single>)>,
    unpacker: Unpacker,
}

impl<'s, S: Snapshot> Follower<'s, S> {
    fn new(states: &'s States<S>, range: Range<usize>) -> Self {
        Self { states, range, chain: Vec::new(), unpacker: Unpacker::new() }
    }

    /// The validators in the state of a slot. A state that cannot be read for single validators is decoded.
    fn at(&mut self, slot: Slot) -> Result<Vec<ValidatorAt>, ReplayError> {
        if self.range.len() <= MAX_SINGLES && self.follow(slot).is_ok_and(|is_there| is_there) {
            let (_, singles) =
                self.chain.last().map_or((slot, &[][..]), |(slot, singles)| (*slot, &singles[..]));
            return Ok(singles
                .iter()
                .filter_map(|single| self.states.told(single, slot))
                .collect());
        }
        // The chain begins anew, and what is wrong with it is told by the state.
        self.chain.clear();
        let view: StateView<'_, S> = self.states.at(slot)?;
        Ok(self.states.validators_in(view.state(), &self.range))
    }

    /// Moves the chain to the state of a slot. Returns whether it is there: it is not if the state is not kept, or
    /// if one of its diffs does not tell validators apart.
    ///
    /// 1. Go from base to base, to a state of the chain, a decoded one, or a whole one.
    /// 2. Apply the diffs in between, in ascending order.
    fn follow(&mut self, slot: Slot) -> Result<bool, PathFault> {
        // 1.
        let (mut at, mut records) = (slot, Vec::new());
        loop {
            if let Some(place) = self.chain.iter().rposition(|(of, _)| *of == at) {
                self.chain.truncate(place + 1);
                break;
            }
            if let Some(singles) = self.decoded(at)? {
                self.chain = vec![(at, singles)];
                break;
            }
            let Some(value) = self.states.diff(at)? else { return Ok(false) };
            let base = self.states.base_of(at, &DiffValue::parse(at, &value)?)?;
            records.push(Record { slot: at, value });
            at = base;
        }
        // 2.
        while let Some(Record { slot, value }) = records.pop() {
            let value = DiffValue::parse(slot, &value)?;
            let Some((_, before)) = self.chain.last() else { return Ok(false) };
            let mut singles = before.clone();
            for single in &mut singles {
                if !value.apply_to(single, &mut self.unpacker)? {
                    return Ok(false);
                }
            }
            self.chain.push((slot, singles));
        }
        Ok(true)
    }

    /// The validators in the state of a slot, if that is decoded or stored whole. None of them are there if its layout
    /// is not known.
    fn decoded(&self, slot: Slot) -> Result<Option<Vec<Single>>, PathFault> {
        let (states, range) = (self.states, self.range.clone());
        let singles =
            |state: StateRef<'_>| range.filter_map(|index| Single::of(state, index)).collect();
        if let Some(cached) = states.decoded.state(slot) {
            let base = states.whole(cached.whole)?;
            let base = base.ok_or(PathFault::Missing { slot, base: cached.whole })?;
            return Ok(Some(singles(StateRef { base: &base, columns: &cached.columns })));
        }
        let Some(base) = states.whole(slot)? else { return Ok(None) };
        let columns = states.whole_columns(slot, &base)?;
        Ok(Some(singles(StateRef { base: &base, columns: &columns })))
    }
}
