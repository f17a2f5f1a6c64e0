//! The containers of every fork (consensus specification, `specs/<fork>/beacon-chain.md`).

mod block;
mod operations;
mod payload;
mod state;

pub(crate) use self::payload::EXTRA_DATA_OFFSET_AT;
pub(crate) use self::state::{
    HISTORICAL_ROOTS_FIELD, HISTORICAL_SUMMARIES_FIELD, MIN_SEED_LOOKAHEAD, PAYLOAD_HEADER_FIELD,
    VALIDATORS_FIELD,
};

use std::marker::PhantomData;

use crate::fork::Fork;
use crate::preset::{Gnosis, Mainnet, Minimal, Preset, ValuesOf};
use crate::ssz::{Field, Type, fixed_part_len};

/// The containers of a preset, as constants.
struct Containers<P>(PhantomData<P>);

/// The layout of signed blocks of one or more forks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockLayout {
    /// Type of the block's body.
    pub(crate) body: &'static Type,
    /// The first fork with this layout.
    pub(crate) fork: Fork,
    /// Whether the payload's header replaces the payload.
    pub(crate) is_blinded: bool,
}

/// The layout of a fork's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateLayout {
    pub(crate) fields: &'static [Field],
    pub(crate) fork: Fork,
    /// Length of the fixed part in bytes, which identifies the fork.
    pub(crate) fixed_len: usize,
}

/// The layouts of a preset.
#[derive(Debug)]
pub(crate) struct Layouts {
    pub(crate) blocks: &'static [BlockLayout],
    pub(crate) states: &'static [StateLayout],
}

impl Layouts {
    pub(crate) const fn of(preset: Preset) -> &'static Self {
        match preset {
            Preset::Mainnet => &Containers::<Mainnet>::LAYOUTS,
            Preset::Minimal => &Containers::<Minimal>::LAYOUTS,
            Preset::Gnosis => &Containers::<Gnosis>::LAYOUTS,
        }
    }
}

impl<P: ValuesOf> Containers<P> {
    const LAYOUTS: Layouts = Layouts { blocks: Self::BLOCKS, states: Self::STATES };

    // Electra and fulu have the same blocks.
    const BLOCKS: &'static [BlockLayout] = &[
        BlockLayout { body: &Self::BODY_PHASE0, fork: Fork::Phase0, is_blinded: false },
        BlockLayout { body: &Self::BODY_ALTAIR, fork: Fork::Altair, is_blinded: false },
        BlockLayout { body: &Self::BODY_BELLATRIX, fork: Fork::Bellatrix, is_blinded: false },
        BlockLayout { body: &Self::BODY_CAPELLA, fork: Fork::Capella, is_blinded: false },
        BlockLayout { body: &Self::BODY_DENEB, fork: Fork::Deneb, is_blinded: false },
        BlockLayout { body: &Self::BODY_ELECTRA, fork: Fork::Electra, is_blinded: false },
        BlockLayout { body: &Self::BLINDED_BELLATRIX, fork: Fork::Bellatrix, is_blinded: true },
        BlockLayout { body: &Self::BLINDED_CAPELLA, fork: Fork::Capella, is_blinded: true },
        BlockLayout { body: &Self::BLINDED_DENEB, fork: Fork::Deneb, is_blinded: true },
        BlockLayout { body: &Self::BLINDED_ELECTRA, fork: Fork::Electra, is_blinded: true },
    ];

    const STATES: &'static [StateLayout] = &[
        state_layout(Fork::Phase0, Self::STATE_PHASE0),
        state_layout(Fork::Altair, Self::STATE_ALTAIR),
        state_layout(Fork::Bellatrix, Self::STATE_BELLATRIX),
        state_layout(Fork::Capella, Self::STATE_CAPELLA),
        state_layout(Fork::Deneb, Self::STATE_DENEB),
        state_layout(Fork::Electra, Self::STATE_ELECTRA),
        state_layout(Fork::Fulu, Self::STATE_FULU),
    ];
}

const fn state_layout(fork: Fork, fields: &'static [Field]) -> StateLayout {
    StateLayout { fields, fork, fixed_len: fixed_part_len(fields) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed_lens(preset: Preset) -> Vec<usize> {
        Layouts::of(preset).states.iter().map(|state| state.fixed_len).collect()
    }

    // The sizes of real mainnet states, up to deneb.
    #[test]
    fn the_fixed_parts_of_states_are_as_long_as_those_of_mainnet() {
        let lens = fixed_lens(Preset::Mainnet);
        assert_eq!(lens[..5], [2_687_377, 2_736_629, 2_736_633, 2_736_653, 2_736_653]);
    }

    // Up to electra no vector of a state depends on the length of an epoch; fulu's proposer lookahead
    // has an entry per slot of two epochs.
    #[test]
    fn the_fixed_parts_of_gnosis_states_are_as_long_as_those_of_mainnet_up_to_electra() {
        let (mut gnosis, mut mainnet) = (fixed_lens(Preset::Gnosis), fixed_lens(Preset::Mainnet));
        let (fulu, fulu_of_mainnet) = (gnosis.pop().unwrap(), mainnet.pop().unwrap());
        assert_eq!(gnosis, mainnet);
        assert_eq!(fulu_of_mainnet - fulu, 2 * (32 - 16) * 8);
    }

    #[test]
    fn only_capella_and_deneb_have_fixed_parts_of_the_same_length() {
        for preset in Preset::ALL {
            let mut lens = fixed_lens(preset);
            assert_eq!(lens.remove(3), lens[3], "{preset:?}");
            assert!(lens.windows(2).all(|pair| pair[0] < pair[1]), "{preset:?}: {lens:?}");
        }
    }
}
