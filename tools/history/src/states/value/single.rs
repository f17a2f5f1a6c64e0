//! One validator after a diff, without its state.

use coldstore_consensus::Fork;

use super::super::columns::{StateRef, VALIDATOR_BYTES, ValidatorBytes, effective_balance_of};
use super::balances::increments;
use super::chunk::One;
use super::exceptions::Unpacker;
use super::fault::Decoded;
use super::packed::Cursor;
use super::stack::sections_of;
use super::{DiffFault, DiffValue, Kind, registry};

/// Encoding of the registry.
const REGISTRY: u8 = 4;

/// One validator in a state.
#[derive(Clone, Debug)]
pub(crate) struct Single {
    index: usize,
    fork: Fork,
    /// Number of validators in the state.
    count: usize,
    /// `None` above the registry's end.
    validator: Option<ValidatorBytes>,
    one: One,
}

impl Single {
    /// The validator in a state; `None` if the state's layout is not known.
    pub(crate) fn of(state: StateRef<'_>, index: usize) -> Option<Self> {
        let validator = state.validator(index);
        let number = |field: &str| {
            let (numbers, _) = state.bytes_of(field)?.as_chunks();
            numbers.get(index).copied().map(u64::from_le_bytes)
        };
        let byte = |field: &str| state.bytes_of(field)?.get(index).copied();
        let one = One {
            increments: validator.map_or(0, |one| increments(effective_balance_of(&one))),
            balance: number("balances").unwrap_or_default(),
            score: number("inactivity_scores").unwrap_or_default(),
            previous: byte("previous_epoch_participation").unwrap_or_default(),
            current: byte("current_epoch_participation").unwrap_or_default(),
        };
        let (fork, count) = (state.fork()?, state.validator_count());
        Some(Self { index, fork, count, validator, one })
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Its record; `None` above the registry's end.
    pub(crate) fn validator(&self) -> Option<&ValidatorBytes> {
        self.validator.as_ref()
    }

    /// In Gwei.
    pub(crate) fn balance(&self) -> u64 {
        self.one.balance
    }

    /// Its flags in the previous and in the current epoch; `None` before altair.
    pub(crate) fn participation(&self) -> Option<[u8; 2]> {
        (self.fork >= Fork::Altair).then_some([self.one.previous, self.one.current])
    }
}

impl DiffValue<'_> {
    /// Moves a validator from the base to the state. Returns whether that could be done: it cannot if lists with an
    /// element per validator are not in chunks; then nothing changed.
    ///
    /// Only the sections of these lists and of the registry are read, and of the lists the validator's chunk.
    pub(crate) fn apply_to(
        &self,
        single: &mut Single,
        unpacker: &mut Unpacker,
    ) -> Result<bool, DiffFault> {
        let (Kind::Columns, Some(fork)) = (self.kind(), self.header.fork) else { return Ok(false) };
        let Some(sections) = sections_of(self, unpacker)? else { return Ok(false) };
        if single.count != self.header.base_validators as usize {
            let wanted = format!("a base of {} validators", self.header.base_validators);
            return Err(self.fault(None, super::Wrong::new(wanted, single.count)));
        }
        let count = self.header.validators as usize;
        if single.index < count {
            let place = self.chunks().place(single.index);
            sections
                .apply_one(place, &mut single.one, unpacker)
                .map_err(|(field, wrong)| self.fault(Some(field), wrong))?;
        }
        single.validator = self
            .validator_of(single, count)
            .map_err(|wrong| self.fault(Some("validators"), wrong))?;
        single.one.increments =
            single.validator.map_or(0, |one| increments(effective_balance_of(&one)));
        (single.fork, single.count) = (fork, count);
        Ok(true)
    }

    fn validator_of(
        &self,
        single: &Single,
        count: usize,
    ) -> Decoded<Option<[u8; VALIDATOR_BYTES]>> {
        let section = self.sections.iter().find(|section| section.field == "validators");
        match section.filter(|section| section.encoding == REGISTRY) {
            None => Ok(single.validator),
            Some(section) => {
                let mut cursor = Cursor::new(section.bytes()?);
                let counts = (single.count, count);
                registry::read_one(&mut cursor, counts, single.index, single.validator)
            }
        }
    }
}
