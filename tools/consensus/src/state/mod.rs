//! Computes the root of a state from a stream of its bytes.
//!
//! A mainnet state has a few hundred megabytes. It is read once, in pieces that are hashed on all cores
//! while the next are read, and is never in memory as a whole.

mod feed;
mod piece;

use std::io::{self, Read};

use crate::accumulators::Accumulators;
use crate::containers::{Layouts, StateLayout};
use crate::hash::Malformed;
use crate::header::BlockHeader;
use crate::network::KnownNetwork;
use crate::preset::{Fork, Preset};
use crate::{Root, era_root};

const ROOT_BYTES: usize = 32;
const GENESIS_VALIDATORS_ROOT_AT: usize = 8;
const SLOT_AT: usize = 40;
const FORK_AT: usize = 48;
const HEADER_AT: usize = 64;
const BLOCK_ROOTS_AT: usize = HEADER_AT + BlockHeader::BYTES;
const _: () = assert!(BLOCK_ROOTS_AT == 176);

/// The field `fork` of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateFork {
    /// `previous_version`; equal to `version` in the first fork of a chain.
    pub previous_version: [u8; 4],
    /// `current_version`
    pub version: [u8; 4],
    /// `epoch`: the first with that version.
    pub epoch: u64,
}

impl StateFork {
    /// Reads the start of a state.
    ///
    /// # Errors
    /// Those of the source, and [`io::ErrorKind::UnexpectedEof`].
    pub fn read(state: &mut dyn Read) -> io::Result<Self> {
        let mut bytes = [0; HEADER_AT];
        state.read_exact(&mut bytes)?;
        Ok(Self::at(&bytes))
    }

    fn at(state: &[u8]) -> Self {
        Self {
            previous_version: array_at(state, FORK_AT),
            version: array_at(state, FORK_AT + 4),
            epoch: u64_at(state, FORK_AT + 8),
        }
    }
}

/// The leading fields, at the same offsets in every fork: all up to the roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePrefix {
    /// Identifies the chain.
    pub genesis_validators_root: Root,
    /// The state's slot.
    pub slot: u64,
    /// `fork`
    pub fork: StateFork,
    /// `latest_block_header`, of the last block before or at the state.
    pub latest_block: BlockHeader,
    /// `block_roots`, of the era up to the state.
    pub block_roots: Vec<Root>,
    /// `state_roots`, of the same slots.
    pub state_roots: Vec<Root>,
}

/// A state read to its end.
#[derive(Clone, Debug)]
pub struct HashedState {
    /// The leading fields.
    pub prefix: StatePrefix,
    /// The fields that depend on the fork; `None` if no layout matches.
    pub body: Option<StateBody>,
}

/// The rest of a state.
#[derive(Clone, Debug)]
pub struct StateBody {
    /// `hash_tree_root` of the state.
    pub root: Root,
    /// The state's fork.
    pub fork: Fork,
    /// The root of the list of validators; in the genesis state it is the genesis validators root.
    pub validators_root: Root,
    /// The roots of the eras below it.
    pub accumulators: Accumulators,
}

/// Why a state cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] io::Error),
    /// The bytes are not a state.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The fixed part has the length of no known fork: the state is damaged, or of an unknown preset.
    #[error("{0}")]
    UnknownLayout(Malformed),
}

impl StatePrefix {
    /// Number of bytes that [`StatePrefix::parse`] needs, including the offset after the prefix.
    #[must_use]
    pub fn byte_len(preset: Preset) -> usize {
        roots_end(preset) + 4
    }

    /// Parses the start of a state: at least [`StatePrefix::byte_len`] bytes.
    ///
    /// # Errors
    /// [`Malformed`] when there are fewer.
    pub fn parse(preset: Preset, bytes: &[u8]) -> Result<Self, Malformed> {
        let end = roots_end(preset);
        let Some(bytes) = bytes.get(..end) else {
            let wanted = format!("a state of at least {end} bytes");
            return Err(Malformed::new(wanted, format!("{} bytes", bytes.len())));
        };
        let roots = &bytes[BLOCK_ROOTS_AT..];
        let (block_roots, state_roots) = roots.split_at(roots.len() / 2);
        Ok(Self {
            genesis_validators_root: Root(array_at(bytes, GENESIS_VALIDATORS_ROOT_AT)),
            slot: u64_at(bytes, SLOT_AT),
            fork: StateFork::at(bytes),
            latest_block: BlockHeader::read(&array_at(bytes, HEADER_AT)),
            block_roots: roots_in(block_roots),
            state_roots: roots_in(state_roots),
        })
    }

    /// The root of the era's block roots and state roots.
    #[must_use]
    pub fn era_root(&self) -> Root {
        era_root(&self.block_roots, &self.state_roots)
    }
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
    let fixed_len = crate::hash::offset_at(&fixed, roots_end(preset))?;
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
    let body = feed::hash_fields(&layouts, &fixed, source)?;
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
            let fixed_len = crate::hash::offset_at(&bytes, roots_end(*preset)).ok();
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

/// Reads until `bytes` has `byte_len` bytes, or the source ends.
fn read_up_to(source: &mut dyn Read, bytes: &mut Vec<u8>, byte_len: usize) -> io::Result<()> {
    let missing = byte_len.saturating_sub(bytes.len()) as u64;
    source.take(missing).read_to_end(bytes).map(drop)
}

fn roots_end(preset: Preset) -> usize {
    let slots = usize::try_from(preset.slots_per_era()).unwrap_or(0);
    slots.saturating_mul(2 * ROOT_BYTES).saturating_add(BLOCK_ROOTS_AT)
}

/// Splits bytes into roots.
fn roots_in(bytes: &[u8]) -> Vec<Root> {
    bytes.as_chunks().0.iter().copied().map(Root).collect()
}

/// The bytes at an offset known to be in range.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
