//! Computes the root of a state from a stream of its bytes.
//!
//! A mainnet state has a few hundred megabytes. It is read once, in pieces that are hashed on all cores
//! while the next are read, and is never in memory as a whole.

mod feed;
mod fields;
mod parts;
mod piece;
mod prefix;
mod source;

use std::io::{self, Read};

use self::feed::hash_fields;
use self::source::read_up_to;
use crate::containers::{Layouts, StateLayout};
use crate::hash::{Malformed, offset_at};
use crate::network::KnownNetwork;
use crate::preset::Preset;
use crate::root::Root;

pub use self::feed::StateBody;
pub(crate) use self::feed::variable_lens;
pub(crate) use self::fields::settled;
pub use self::fields::{FieldKind, StateField, StateFields};
pub use self::parts::{ValidatorsTree, root_of_fields};
pub(crate) use self::prefix::roots_end;
pub use self::prefix::{StateFork, StatePrefix};
pub use self::source::StateFault;

/// A state read to its end.
#[derive(Clone, Debug)]
pub struct HashedState {
    /// The leading fields.
    pub prefix: StatePrefix,
    /// The fields that depend on the fork; `None` if no layout matches.
    pub body: Option<StateBody>,
}

impl HashedState {
    /// A contradiction within the state: the wanted and the found accumulators for the eras up to its
    /// slot. `None` for an unknown layout.
    #[must_use]
    pub fn contradiction(&self, preset: Preset) -> Option<(String, String)> {
        let accumulators = &self.body.as_ref()?.accumulators;
        let (slot, slots_per_era) = (self.prefix.slot, preset.slots_per_era());
        let era = slot / slots_per_era;
        if accumulators.eras() != era {
            let wanted = format!("historical roots and summaries of {era} eras");
            return Some((wanted, accumulators.eras().to_string()));
        }
        // Within an era, the root vectors have slots of two eras.
        let own = accumulators.era_root(era).filter(|_| slot.is_multiple_of(slots_per_era))?;
        let found = self.prefix.era_root();
        let wanted = || format!("roots of era {era} that hash to {own}, as its summaries say");
        (own != found).then(|| (wanted(), found.to_string()))
    }
}

/// Reads a state to its end and hashes it.
///
/// # Errors
/// [`StateFault`]. A state with a longer fixed part than any known fork's may be of a later fork:
/// then there is no error, and only the prefix is returned.
pub fn hash_state(preset: Preset, source: &mut dyn Read) -> Result<HashedState, StateFault> {
    let mut fixed = Vec::new();
    read_up_to(source, &mut fixed, StatePrefix::byte_len(preset))?;
    let prefix = StatePrefix::parse(preset, &fixed)?;
    let fixed_len = offset_at(&fixed, roots_end(preset))?;
    let states = Layouts::of(preset).states;
    let layouts: Vec<&StateLayout> =
        states.iter().filter(|layout| layout.fixed_len == fixed_len).collect();
    if layouts.is_empty() {
        let newest = states.last().map_or(0, |layout| layout.fixed_len);
        if fixed_len < newest {
            let wanted = format!("a fixed part as long as that of a fork in the {preset} preset");
            let found = format!("{fixed_len} bytes");
            return Err(StateFault::UnknownLayout(Malformed::new(wanted, found)));
        }
        io::copy(source, &mut io::sink())?;
        return Ok(HashedState { prefix, body: None });
    }
    read_up_to(source, &mut fixed, fixed_len)?;
    let body = hash_fields(&layouts, &fixed, source)?;
    Ok(HashedState { prefix, body: Some(body) })
}

impl Preset {
    /// The possible presets of a chain:
    ///
    /// 1. the preset of a known network,
    /// 2. the presets in which a state of the chain has the fixed part of a known fork,
    /// 3. the presets with eras of `slots_per_era` slots.
    ///
    /// The first one is the default. An unknown preset gives an empty list.
    ///
    /// # Errors
    /// Those of `state`.
    pub fn of_chain(
        genesis_validators_root: Option<&Root>,
        slots_per_era: Option<u64>,
        state: &mut dyn Read,
    ) -> io::Result<Vec<Self>> {
        let has_such_eras =
            |preset: &Self| slots_per_era.is_none_or(|slots| preset.slots_per_era() == slots);
        if let Some(known) = genesis_validators_root.and_then(KnownNetwork::by_root) {
            return Ok(Some(known.preset).into_iter().filter(has_such_eras).collect());
        }
        let mut bytes = Vec::new();
        read_up_to(state, &mut bytes, StatePrefix::byte_len(Self::Mainnet))?;
        let has_layout = |preset: &Self| {
            let fixed_len = offset_at(&bytes, roots_end(*preset)).ok();
            let states = Layouts::of(*preset).states;
            states.iter().any(|layout| Some(layout.fixed_len) == fixed_len)
        };
        let by_slots: Vec<Self> = Self::ALL.into_iter().filter(has_such_eras).collect();
        let by_layout: Vec<Self> = by_slots.iter().copied().filter(has_layout).collect();
        Ok(match (by_layout.is_empty(), slots_per_era) {
            (false, _) => by_layout,
            (true, Some(_)) => by_slots,
            (true, None) => Vec::new(),
        })
    }
}
