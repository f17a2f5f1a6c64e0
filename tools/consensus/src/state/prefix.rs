//! The leading fields of a state, at the same offsets in every fork.

use std::io::{self, Read};

use crate::accumulators::era_root;
use crate::hash::Malformed;
use crate::header::BlockHeader;
use crate::preset::Preset;
use crate::root::Root;

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

/// Offset of the end of the two vectors of roots.
pub(crate) fn roots_end(preset: Preset) -> usize {
    let slots = usize::try_from(preset.slots_per_era()).unwrap_or(0);
    slots.saturating_mul(2 * ROOT_BYTES).saturating_add(BLOCK_ROOTS_AT)
}

/// Splits bytes into roots.
pub(super) fn roots_in(bytes: &[u8]) -> Vec<Root> {
    bytes.as_chunks().0.iter().copied().map(Root).collect()
}

/// The bytes at an offset known to be in range.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
