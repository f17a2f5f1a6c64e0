//! Deposits: of the deposit contract, of requests, and in the queue of the state.

use std::collections::VecDeque;

use blst::BLST_ERROR;
use blst::min_pk::{AggregatePublicKey, PublicKey, Signature};

use super::block::Value;
use super::config::ChainRules;
use super::constants::{
    DOMAIN_DEPOSIT, EFFECTIVE_BALANCE_INCREMENT, FAR_FUTURE_EPOCH, G2_POINT_AT_INFINITY,
    GENESIS_SLOT, MAX_EFFECTIVE_BALANCE, MAX_PENDING_DEPOSITS_PER_EPOCH, MIN_ACTIVATION_BALANCE,
    UNSET_DEPOSIT_REQUESTS_START_INDEX,
};
use super::containers::{Fields, PendingDeposit};
use super::error::{Result, add, refused};
use super::registry::{Credentials, Pubkey, max_effective_balance};
use super::state::BeaconState;
use crate::fork::Fork;
use crate::root::Root;
use crate::sha256::{Node, hash_pair};

/// The ciphersuite of the consensus specification (phase0, "BLS signatures").
pub(crate) const DST: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

impl BeaconState<'_> {
    /// `apply_deposit` (phase0, electra)
    pub(crate) fn apply_deposit(
        &mut self,
        pubkey: Pubkey,
        withdrawal_credentials: Credentials,
        amount: u64,
        signature: [u8; 96],
    ) -> Result<()> {
        let known = self.validators.index_of(&pubkey);
        let is_valid = || {
            self.is_valid_deposit_signature(&pubkey, &withdrawal_credentials, amount, &signature)
        };
        if self.fork_name < Fork::Electra {
            match known {
                Some(index) => self.increase_balance(index, amount, "apply_deposit")?,
                None if is_valid() => {
                    self.add_validator_to_registry(pubkey, withdrawal_credentials, amount);
                }
                None => {}
            }
            return Ok(());
        }
        if known.is_none() {
            if !is_valid() {
                return Ok(());
            }
            self.add_validator_to_registry(pubkey, withdrawal_credentials, 0);
        }
        let slot = GENESIS_SLOT;
        self.pending_deposits.push_back(PendingDeposit {
            pubkey,
            withdrawal_credentials,
            amount,
            signature,
            slot,
        });
        Ok(())
    }

    /// `add_validator_to_registry` (phase0, altair, electra)
    fn add_validator_to_registry(&mut self, pubkey: Pubkey, credentials: Credentials, amount: u64) {
        let largest = match self.fork_name >= Fork::Electra {
            true => max_effective_balance(credentials[0]),
            false => MAX_EFFECTIVE_BALANCE,
        };
        let effective = (amount - amount % EFFECTIVE_BALANCE_INCREMENT).min(largest);
        self.validators.push(pubkey, credentials, effective);
        let index = self.balances.len();
        self.balances.push(amount);
        self.changes.mark_validator(index);
        if self.fork_name >= Fork::Altair {
            self.previous_epoch_participation.push(0);
            self.current_epoch_participation.push(0);
            self.inactivity_scores.push(0);
        }
    }

    /// What a deposit's signature signs. The domain is that of genesis in every fork.
    pub(crate) fn deposit_signing_root(
        &self,
        pubkey: &Pubkey,
        credentials: &Credentials,
        amount: u64,
    ) -> Node {
        let version = self.rules.version(Fork::Phase0);
        let fork_data_root = ChainRules::fork_data_root(version, Root::default());
        let mut domain = [0; 32];
        domain[..4].copy_from_slice(&DOMAIN_DEPOSIT);
        domain[4..].copy_from_slice(&fork_data_root[..28]);
        hash_pair(&deposit_message_root(pubkey, credentials, amount), &domain)
    }

    /// `is_valid_deposit_signature` (electra; inline in `apply_deposit` before)
    fn is_valid_deposit_signature(
        &self,
        pubkey: &Pubkey,
        credentials: &Credentials,
        amount: u64,
        signature: &[u8; 96],
    ) -> bool {
        let signing_root = self.deposit_signing_root(pubkey, credentials, amount);
        let (Ok(pubkey), Ok(signature)) =
            (PublicKey::key_validate(pubkey), Signature::sig_validate(signature, true))
        else {
            return false;
        };
        signature.verify(true, &signing_root, DST, &[], &pubkey, false) == BLST_ERROR::BLST_SUCCESS
    }

    /// `process_deposit_request` (electra, fulu)
    pub(crate) fn process_deposit_request(&mut self, request: Value<'_>) -> Result<()> {
        let mut fields = Fields(request.bytes);
        let deposit = PendingDeposit {
            pubkey: fields.bytes(),
            withdrawal_credentials: fields.bytes(),
            amount: fields.number(),
            signature: fields.bytes(),
            slot: self.slot,
        };
        let start = &mut self.deposit_requests_start_index;
        if self.fork_name == Fork::Electra && *start == UNSET_DEPOSIT_REQUESTS_START_INDEX {
            *start = fields.number();
        }
        self.pending_deposits.push_back(deposit);
        Ok(())
    }

    /// `process_pending_deposits` (electra, fulu)
    pub(crate) fn process_pending_deposits(&mut self) -> Result<()> {
        let step = "process_pending_deposits";
        let next_epoch = self.current_epoch() + 1;
        let churn = self.activation_exit_churn_limit();
        let available = add(step, self.deposit_balance_to_consume, churn)?;
        let finalized_slot =
            self.finalized_checkpoint.epoch.saturating_mul(self.preset().slots_per_epoch);
        let is_bridge_behind = self.fork_name == Fork::Electra
            && self.eth1_deposit_index < self.deposit_requests_start_index;
        let (mut processed_amount, mut processed) = (0, 0);
        let (mut postponed, mut is_churn_limit_reached) = (VecDeque::new(), false);
        while let Some(deposit) = self.pending_deposits.front().copied() {
            let must_wait = deposit.slot > GENESIS_SLOT && is_bridge_behind;
            if must_wait
                || deposit.slot > finalized_slot
                || processed >= MAX_PENDING_DEPOSITS_PER_EPOCH
            {
                break;
            }
            let known = self.validators.index_of(&deposit.pubkey);
            let epoch_of = |epochs: &[u64]| known.map_or(FAR_FUTURE_EPOCH, |index| epochs[index]);
            if epoch_of(&self.validators.withdrawable_epoch) < next_epoch {
                self.apply_pending_deposit(known, &deposit)?;
            } else if epoch_of(&self.validators.exit_epoch) < FAR_FUTURE_EPOCH {
                postponed.push_back(deposit);
            } else {
                let sum = add(step, processed_amount, deposit.amount)?;
                is_churn_limit_reached = sum > available;
                if is_churn_limit_reached {
                    break;
                }
                processed_amount = sum;
                self.apply_pending_deposit(known, &deposit)?;
            }
            self.pending_deposits.pop_front();
            processed += 1;
        }
        self.pending_deposits.append(&mut postponed);
        self.deposit_balance_to_consume =
            if is_churn_limit_reached { available - processed_amount } else { 0 };
        Ok(())
    }

    /// `apply_pending_deposit` (electra)
    fn apply_pending_deposit(
        &mut self,
        known: Option<usize>,
        deposit: &PendingDeposit,
    ) -> Result<()> {
        let PendingDeposit { pubkey, withdrawal_credentials, amount, signature, .. } = deposit;
        if let Some(index) = known {
            return self.increase_balance(index, *amount, "apply_pending_deposit");
        }
        if self.is_valid_deposit_signature(pubkey, withdrawal_credentials, *amount, signature) {
            self.add_validator_to_registry(*pubkey, *withdrawal_credentials, *amount);
        }
        Ok(())
    }

    /// `queue_excess_active_balance` (electra)
    pub(crate) fn queue_excess_active_balance(&mut self, index: usize) {
        let excess = self.balances[index].saturating_sub(MIN_ACTIVATION_BALANCE);
        if excess > 0 {
            self.set_balance(index, MIN_ACTIVATION_BALANCE);
            self.queue_balance(index, excess);
        }
    }

    /// Queues an amount that a validator owns already.
    pub(crate) fn queue_balance(&mut self, index: usize, amount: u64) {
        self.pending_deposits.push_back(PendingDeposit {
            pubkey: *self.validators.pubkey(index),
            withdrawal_credentials: *self.validators.withdrawal_credentials(index),
            amount,
            signature: G2_POINT_AT_INFINITY,
            slot: GENESIS_SLOT,
        });
    }
}

/// `hash_tree_root` of a `DepositMessage`.
fn deposit_message_root(pubkey: &Pubkey, credentials: &Credentials, amount: u64) -> Node {
    let (mut first, mut second, mut number) = ([0; 32], [0; 32], [0; 32]);
    first.copy_from_slice(&pubkey[..32]);
    second[..16].copy_from_slice(&pubkey[32..]);
    number[..8].copy_from_slice(&amount.to_le_bytes());
    let left = hash_pair(&hash_pair(&first, &second), credentials);
    hash_pair(&left, &hash_pair(&number, &[0; 32]))
}

/// `eth_aggregate_pubkeys` (altair)
pub(crate) fn eth_aggregate_pubkeys<'k>(
    pubkeys: impl Iterator<Item = &'k Pubkey>,
    step: &'static str,
) -> Result<Pubkey> {
    let refuse = |pubkey: &Pubkey| refused(step, "a valid key", const_hex::encode(pubkey));
    let mut sum: Option<AggregatePublicKey> = None;
    for pubkey in pubkeys {
        let point = PublicKey::key_validate(pubkey).map_err(|_| refuse(pubkey))?;
        match &mut sum {
            None => sum = Some(AggregatePublicKey::from_public_key(&point)),
            Some(sum) => sum.add_public_key(&point, false).map_err(|_| refuse(pubkey))?,
        }
    }
    let sum = sum.ok_or_else(|| refused(step, "keys to add", "none"))?;
    Ok(sum.to_public_key().compress())
}
