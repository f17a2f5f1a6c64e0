//! Deposits, exits, consolidations and changes of credentials.

use blst::min_pk::SecretKey;

use super::Numbers;
use super::block::BlockParts;
use super::chain::SyntheticChain;
use crate::transition::constants::{
    COMPOUNDING_WITHDRAWAL_PREFIX, EFFECTIVE_BALANCE_INCREMENT, ETH1_ADDRESS_WITHDRAWAL_PREFIX,
    FAR_FUTURE_EPOCH, FULL_EXIT_REQUEST_AMOUNT, MIN_ACTIVATION_BALANCE,
};
use crate::transition::containers::PendingDeposit;
use crate::transition::deposits::DST;
use crate::transition::state::BeaconState;

/// Validators drawn until one fits.
const DRAWS: usize = 64;
/// `MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD`
const MAX_CONSOLIDATIONS: usize = 2;
/// `MAX_VOLUNTARY_EXITS`, `MAX_BLS_TO_EXECUTION_CHANGES`, `MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD`
const MAX_OPERATIONS: usize = 16;

impl SyntheticChain {
    /// Adds the operations of a block.
    pub(super) fn operate(&mut self, parts: &mut BlockParts, numbers: &mut Numbers) {
        let exits = self.voluntary_exits(numbers);
        let changes = self.bls_changes(numbers);
        parts.operations = vec![("voluntary_exits", exits), ("bls_to_execution_changes", changes)];
        parts.requests = vec![
            ("deposits", self.deposit_requests(numbers)),
            ("withdrawals", self.withdrawal_requests(numbers)),
            ("consolidations", self.consolidation_requests(numbers)),
        ];
    }

    /// How many of a block, with a mean per epoch.
    fn count(&self, per_epoch: f64, numbers: &mut Numbers) -> usize {
        let slots = u32::try_from(self.state.preset().slots_per_epoch).unwrap_or(u32::MAX);
        numbers.count(per_epoch / f64::from(slots))
    }

    /// A random validator that fits.
    fn draw(
        state: &BeaconState<'_>,
        numbers: &mut Numbers,
        fits: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let count = state.validators.len();
        (0..DRAWS).map(|_| super::length(numbers.below(count as u64))).find(|index| fits(*index))
    }

    /// A random compounding validator that fits.
    fn draw_compounding(
        &self,
        numbers: &mut Numbers,
        fits: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let count = self.compounding.len().max(1) as u64;
        let drawn = (0..DRAWS).filter_map(|_| {
            self.compounding.get(super::length(numbers.below(count))).map(|index| *index as usize)
        });
        drawn.into_iter().find(|index| fits(*index))
    }

    /// Active, not exiting, and old enough for an exit.
    fn may_exit(&self, index: usize) -> bool {
        let (validators, epoch) = (&self.state.validators, self.state.current_epoch());
        let served = self.state.config().shard_committee_period;
        validators.is_active(index, epoch)
            && validators.exit_epoch[index] == FAR_FUTURE_EPOCH
            && validators.activation_epoch[index].saturating_add(served) <= epoch
            && self.state.pending_balance_to_withdraw(index) == 0
    }

    fn voluntary_exits(&self, numbers: &mut Numbers) -> Vec<u8> {
        let count = self.count(self.parameters.voluntary_exits, numbers).min(MAX_OPERATIONS);
        let (mut chosen, mut encoded) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let fits = |index| self.may_exit(index) && !chosen.contains(&index);
            let Some(index) = Self::draw(&self.state, numbers, fits) else { continue };
            chosen.push(index);
            encoded.extend(self.state.current_epoch().to_le_bytes());
            encoded.extend((index as u64).to_le_bytes());
            encoded.extend([0; 96]);
        }
        encoded
    }

    /// From credentials that name the validator's own key.
    fn bls_changes(&self, numbers: &mut Numbers) -> Vec<u8> {
        let count = self.count(self.parameters.bls_changes, numbers).min(MAX_OPERATIONS);
        let (mut chosen, mut encoded) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let fits =
                |index| self.state.validators.has_bls_credential(index) && !chosen.contains(&index);
            let Some(index) = Self::draw(&self.state, numbers, fits) else { continue };
            chosen.push(index);
            encoded.extend((index as u64).to_le_bytes());
            encoded.extend(self.state.validators.pubkey(index));
            encoded.extend(numbers.bytes(20));
            encoded.extend([0; 96]);
        }
        encoded
    }

    fn deposit_requests(&mut self, numbers: &mut Numbers) -> Vec<u8> {
        let mut encoded = Vec::new();
        for _ in 0..self.count(self.parameters.deposits, numbers) {
            let deposit = self.deposit(numbers);
            encoded.extend(deposit.pubkey);
            encoded.extend(deposit.withdrawal_credentials);
            encoded.extend(deposit.amount.to_le_bytes());
            encoded.extend(deposit.signature);
            encoded.extend(self.next_deposit.to_le_bytes());
            self.next_deposit += 1;
        }
        encoded
    }

    /// A deposit for a new validator, which proves that it has its key, or for one that is compounding.
    pub(super) fn deposit(&self, numbers: &mut Numbers) -> PendingDeposit {
        let slot = self.state.slot;
        let is_new = numbers.unit() < self.parameters.new_validators;
        if !is_new && let Some(index) = self.draw_compounding(numbers, |_| true) {
            return PendingDeposit {
                pubkey: *self.state.validators.pubkey(index),
                withdrawal_credentials: *self.state.validators.withdrawal_credentials(index),
                amount: EFFECTIVE_BALANCE_INCREMENT / 1000 * (1000 + numbers.below(60_000)),
                signature: numbers.array(),
                slot,
            };
        }
        let secret = SecretKey::key_gen(&numbers.bytes(32), &[]).unwrap_or_default();
        let pubkey = secret.sk_to_pk().compress();
        let mut withdrawal_credentials = [0; 32];
        withdrawal_credentials[0] = match numbers.below(2) {
            0 => ETH1_ADDRESS_WITHDRAWAL_PREFIX,
            _ => COMPOUNDING_WITHDRAWAL_PREFIX,
        };
        withdrawal_credentials[12..].copy_from_slice(&numbers.bytes(20));
        let amount = MIN_ACTIVATION_BALANCE;
        let root = self.state.deposit_signing_root(&pubkey, &withdrawal_credentials, amount);
        let signature = secret.sign(&root, DST, &[]).compress();
        PendingDeposit { pubkey, withdrawal_credentials, amount, signature, slot }
    }

    fn withdrawal_requests(&self, numbers: &mut Numbers) -> Vec<u8> {
        let full = self.count(self.parameters.exit_requests, numbers);
        let partial = self.count(self.parameters.partial_withdrawals, numbers);
        let mut encoded = Vec::new();
        for place in 0..(full + partial).min(MAX_OPERATIONS) {
            let is_full = place < full;
            let validators = &self.state.validators;
            let index = match is_full {
                true => Self::draw(&self.state, numbers, |index| {
                    self.may_exit(index) && validators.has_execution_credential(index)
                }),
                false => self.draw_compounding(numbers, |index| self.may_exit(index)),
            };
            let Some(index) = index else { continue };
            let amount = match is_full {
                true => FULL_EXIT_REQUEST_AMOUNT,
                false => EFFECTIVE_BALANCE_INCREMENT / 1000 * (1 + numbers.below(20_000)),
            };
            encoded.extend(&validators.withdrawal_credentials(index)[12..]);
            encoded.extend(validators.pubkey(index));
            encoded.extend(amount.to_le_bytes());
        }
        encoded
    }

    /// Consolidations into compounding validators, and changes to compounding credentials, which name one
    /// validator twice.
    fn consolidation_requests(&mut self, numbers: &mut Numbers) -> Vec<u8> {
        let moved = self.count(self.parameters.consolidations, numbers);
        let changed = self.count(self.parameters.new_compounding, numbers);
        let mut encoded = Vec::new();
        for place in 0..(moved + changed).min(MAX_CONSOLIDATIONS) {
            let validators = &self.state.validators;
            let fits = |index| self.may_exit(index) && validators.has_eth1_credential(index);
            let source = Self::draw(&self.state, numbers, fits);
            let target = match place < moved {
                true => self.draw_compounding(numbers, |index| self.may_exit(index)),
                false => source,
            };
            let (Some(source), Some(target)) = (source, target) else { continue };
            encoded.extend(&validators.withdrawal_credentials(source)[12..]);
            encoded.extend(validators.pubkey(source));
            encoded.extend(validators.pubkey(target));
            if source == target {
                self.compounding.extend(u32::try_from(source));
            }
        }
        encoded
    }
}
