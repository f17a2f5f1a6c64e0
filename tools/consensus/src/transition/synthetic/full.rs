//! A state whose validators all attest in full, and its blocks.

use std::sync::Arc;

use super::block::BlockParts;
use super::population::Keys;
use super::{Numbers, length};
use crate::transition::TransitionError;
use crate::transition::config::ChainRules;
use crate::transition::constants::{FAR_FUTURE_EPOCH, MAX_EFFECTIVE_BALANCE};
use crate::transition::registry::VALIDATOR_BYTES;
use crate::transition::state::BeaconState;

impl BeaconState<'static> {
    /// A state of fulu with active validators that attested in full, at the start of an era.
    #[must_use]
    pub fn synthetic(rules: &Arc<ChainRules>, validators: usize, seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let registry = registry(validators, &mut numbers);
        let excess = |_| MAX_EFFECTIVE_BALANCE + numbers.below(10_000_000);
        let balances = (0..validators).map(excess).collect();
        let flags = vec![0b111; validators];
        // Far enough from the fork for all to be old.
        Self::at_start(rules, 4, registry, balances, flags, &mut numbers)
    }
}

impl BeaconState<'_> {
    /// A block that the state accepts at its slot: three aggregates of all attesters of the slot before, a
    /// full sync aggregate, and transactions of `payload_bytes` bytes.
    ///
    /// # Errors
    /// Those of the state's rules.
    pub fn synthetic_block(
        &mut self,
        payload_bytes: usize,
    ) -> Result<Vec<u8>, Box<TransitionError>> {
        let slot = self.slot - 1;
        let head = self.block_root_at(slot, "synthetic_block")?;
        let aggregate = self.synthetic_attestation(slot, head, |_| true)?.unwrap_or_default();
        let parts = BlockParts {
            attestations: vec![aggregate; 3],
            sync_committee_bits: vec![0xff; length(self.preset().sync_committee_size / 8)],
            payload_bytes,
            ..BlockParts::default()
        };
        self.synthetic_block_of(parts, &mut Numbers(self.slot))
    }
}

/// Encoded validators: active from the start, credentials of an execution address for three of four.
fn registry(count: usize, numbers: &mut Numbers) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(count * VALIDATOR_BYTES);
    for (index, key) in Keys::new(numbers).take(count).enumerate() {
        encoded.extend(key);
        encoded.push(u8::from(index % 4 != 0));
        encoded.extend([0; 11]);
        encoded.extend(numbers.bytes(20));
        encoded.extend(MAX_EFFECTIVE_BALANCE.to_le_bytes());
        encoded.push(0);
        for epoch in [0, 0, FAR_FUTURE_EPOCH, FAR_FUTURE_EPOCH] {
            encoded.extend(epoch.to_le_bytes());
        }
    }
    encoded
}
