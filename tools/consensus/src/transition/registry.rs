//! The validators of a state: one array per column that the transition reads or changes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::constants::{
    BLS_WITHDRAWAL_PREFIX, COMPOUNDING_WITHDRAWAL_PREFIX, ETH1_ADDRESS_WITHDRAWAL_PREFIX,
    FAR_FUTURE_EPOCH, MAX_EFFECTIVE_BALANCE_ELECTRA, MIN_ACTIVATION_BALANCE,
};
use crate::hash::Malformed;

pub(crate) type Pubkey = [u8; 48];
pub(crate) type Credentials = [u8; 32];

/// Length of an encoded `Validator`.
pub(crate) const VALIDATOR_BYTES: usize = 121;
const CREDENTIALS_AT: usize = 48;
const EFFECTIVE_BALANCE_AT: usize = 80;
const SLASHED_AT: usize = 88;
const EPOCHS_AT: usize = 89;
/// Validators decoded at a time: 31 kB.
const READ_VALIDATORS: usize = 256;

/// `state.validators`.
///
/// Public keys and credentials rarely change, so they are read from the encoded list; the columns that rules
/// scan are arrays of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry<'s> {
    /// The encoded list of which the registry was made. Only keys and credentials are read from it.
    encoded: Cow<'s, [u8]>,
    /// Keys and credentials of validators added since.
    added: Vec<(Pubkey, Credentials)>,
    /// Credentials changed since.
    changed_credentials: HashMap<usize, Credentials>,
    /// The first byte of each validator's credentials.
    credential_prefix: Vec<u8>,
    pub(crate) effective_balance: Vec<u64>,
    pub(crate) slashed: Vec<bool>,
    pub(crate) activation_eligibility_epoch: Vec<u64>,
    pub(crate) activation_epoch: Vec<u64>,
    pub(crate) exit_epoch: Vec<u64>,
    pub(crate) withdrawable_epoch: Vec<u64>,
    by_pubkey: PubkeyIndex,
}

/// Finds validators by their keys; filled on first use. The hash is keyed, since keys are chosen by others.
#[derive(Clone, Debug, Default)]
struct PubkeyIndex {
    table: HashTable<u32>,
    state: RandomState,
    /// Number of validators in the table.
    filled: usize,
}

impl<'s> Registry<'s> {
    /// Reads an encoded list, which has whole elements.
    ///
    /// Refuses a flag `slashed` that is not a boolean.
    pub(crate) fn read(encoded: Cow<'s, [u8]>) -> Result<Self, Malformed> {
        let (validators, _) = encoded.as_chunks::<VALIDATOR_BYTES>();
        let count = validators.len();
        let mut registry = Self {
            credential_prefix: Vec::with_capacity(count),
            effective_balance: Vec::with_capacity(count),
            slashed: Vec::with_capacity(count),
            activation_eligibility_epoch: Vec::with_capacity(count),
            activation_epoch: Vec::with_capacity(count),
            exit_epoch: Vec::with_capacity(count),
            withdrawable_epoch: Vec::with_capacity(count),
            ..Self::default()
        };
        let mut all_flags = 0;
        // Column by column, of as many validators as the fastest cache has room for.
        for validators in validators.chunks(READ_VALIDATORS) {
            let epochs = |index: usize| {
                validators.iter().map(move |validator| number(validator, EPOCHS_AT + 8 * index))
            };
            let flags = validators.iter().map(|validator| validator[SLASHED_AT]);
            all_flags |= flags.clone().fold(0, |all, flag| all | flag);
            registry.slashed.extend(flags.map(|flag| flag != 0));
            let prefixes = validators.iter().map(|validator| validator[CREDENTIALS_AT]);
            registry.credential_prefix.extend(prefixes);
            let balances =
                validators.iter().map(|validator| number(validator, EFFECTIVE_BALANCE_AT));
            registry.effective_balance.extend(balances);
            registry.activation_eligibility_epoch.extend(epochs(0));
            registry.activation_epoch.extend(epochs(1));
            registry.exit_epoch.extend(epochs(2));
            registry.withdrawable_epoch.extend(epochs(3));
        }
        if all_flags > 1 {
            return Err(not_boolean(validators));
        }
        registry.encoded = encoded;
        Ok(registry)
    }

    /// Encodes a validator.
    pub(crate) fn write(&self, index: usize, out: &mut [u8; VALIDATOR_BYTES]) {
        let (pubkey, credentials) = (self.pubkey(index), self.withdrawal_credentials(index));
        out[..CREDENTIALS_AT].copy_from_slice(pubkey);
        out[CREDENTIALS_AT..EFFECTIVE_BALANCE_AT].copy_from_slice(credentials);
        let mut put = |at: usize, value: u64| out[at..at + 8].copy_from_slice(&value.to_le_bytes());
        put(EFFECTIVE_BALANCE_AT, self.effective_balance[index]);
        put(EPOCHS_AT, self.activation_eligibility_epoch[index]);
        put(EPOCHS_AT + 8, self.activation_epoch[index]);
        put(EPOCHS_AT + 16, self.exit_epoch[index]);
        put(EPOCHS_AT + 24, self.withdrawable_epoch[index]);
        out[SLASHED_AT] = u8::from(self.slashed[index]);
    }

    /// Replaces an encoded validator, or appends one.
    ///
    /// Refuses an index above the length, and a flag `slashed` that is not a boolean.
    pub(crate) fn set(
        &mut self,
        index: usize,
        validator: &[u8; VALIDATOR_BYTES],
    ) -> Result<(), Malformed> {
        if index > self.len() {
            let wanted = format!("a validator up to {}", self.len());
            return Err(Malformed::new(wanted, format!("validator {index}")));
        }
        if validator[SLASHED_AT] > 1 {
            return Err(not_boolean(std::slice::from_ref(validator)));
        }
        let (pubkey, credentials) = (*prefix(validator), *prefix(&validator[CREDENTIALS_AT..]));
        if index == self.len() {
            self.push(pubkey, credentials, 0);
        } else if self.pubkey(index) != &pubkey {
            // No fork gives an index to another key: then the whole list is copied.
            let keys = self.keys().len();
            match index.checked_sub(keys) {
                None => {
                    let encoded = self.encoded.to_mut();
                    encoded[index * VALIDATOR_BYTES..][..48].copy_from_slice(&pubkey);
                }
                Some(place) => self.added[place].0 = pubkey,
            }
        }
        if self.withdrawal_credentials(index) != &credentials {
            self.set_withdrawal_credentials(index, credentials);
        }
        self.effective_balance[index] = number(validator, EFFECTIVE_BALANCE_AT);
        self.slashed[index] = validator[SLASHED_AT] != 0;
        self.activation_eligibility_epoch[index] = number(validator, EPOCHS_AT);
        self.activation_epoch[index] = number(validator, EPOCHS_AT + 8);
        self.exit_epoch[index] = number(validator, EPOCHS_AT + 16);
        self.withdrawable_epoch[index] = number(validator, EPOCHS_AT + 24);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.effective_balance.len()
    }

    fn keys(&self) -> &[[u8; VALIDATOR_BYTES]] {
        self.encoded.as_chunks().0
    }

    pub(crate) fn pubkey(&self, index: usize) -> &Pubkey {
        match self.keys().get(index) {
            Some(validator) => prefix(validator),
            None => &self.added[index - self.keys().len()].0,
        }
    }

    pub(crate) fn withdrawal_credentials(&self, index: usize) -> &Credentials {
        if let Some(changed) = self.changed_credentials.get(&index) {
            return changed;
        }
        match self.keys().get(index) {
            Some(validator) => prefix(&validator[CREDENTIALS_AT..]),
            None => &self.added[index - self.keys().len()].1,
        }
    }

    pub(crate) fn set_withdrawal_credentials(&mut self, index: usize, credentials: Credentials) {
        self.credential_prefix[index] = credentials[0];
        self.changed_credentials.insert(index, credentials);
    }

    /// Adds a validator that is not active.
    pub(crate) fn push(&mut self, pubkey: Pubkey, credentials: Credentials, effective: u64) {
        self.added.push((pubkey, credentials));
        self.credential_prefix.push(credentials[0]);
        self.effective_balance.push(effective);
        self.slashed.push(false);
        for epochs in [
            &mut self.activation_eligibility_epoch,
            &mut self.activation_epoch,
            &mut self.exit_epoch,
            &mut self.withdrawable_epoch,
        ] {
            epochs.push(FAR_FUTURE_EPOCH);
        }
    }

    /// The first validator with a key.
    pub(crate) fn index_of(&mut self, pubkey: &Pubkey) -> Option<usize> {
        let mut index = std::mem::take(&mut self.by_pubkey);
        index.fill(self);
        let hash = index.state.hash_one(pubkey);
        let found = index.table.find(hash, |found| self.pubkey(*found as usize) == pubkey);
        let found = found.map(|found| *found as usize);
        self.by_pubkey = index;
        found
    }

    /// `is_active_validator` (phase0)
    pub(crate) fn is_active(&self, index: usize, epoch: u64) -> bool {
        self.activation_epoch[index] <= epoch && epoch < self.exit_epoch[index]
    }

    /// `is_slashable_validator` (phase0)
    pub(crate) fn is_slashable(&self, index: usize, epoch: u64) -> bool {
        let span = self.activation_epoch[index]..self.withdrawable_epoch[index];
        !self.slashed[index] && span.contains(&epoch)
    }

    /// `has_bls_withdrawal_credential`
    pub(crate) fn has_bls_credential(&self, index: usize) -> bool {
        self.credential_prefix[index] == BLS_WITHDRAWAL_PREFIX
    }

    /// `has_eth1_withdrawal_credential` (capella)
    pub(crate) fn has_eth1_credential(&self, index: usize) -> bool {
        self.credential_prefix[index] == ETH1_ADDRESS_WITHDRAWAL_PREFIX
    }

    /// `has_compounding_withdrawal_credential` (electra)
    pub(crate) fn has_compounding_credential(&self, index: usize) -> bool {
        self.credential_prefix[index] == COMPOUNDING_WITHDRAWAL_PREFIX
    }

    /// `has_execution_withdrawal_credential` (electra)
    pub(crate) fn has_execution_credential(&self, index: usize) -> bool {
        self.has_eth1_credential(index) || self.has_compounding_credential(index)
    }

    /// `get_max_effective_balance` (electra)
    pub(crate) fn max_effective_balance(&self, index: usize) -> u64 {
        max_effective_balance(self.credential_prefix[index])
    }

    /// The indices of a validator list are `u32` in memory: four billion validators hold more than all ether.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> {
        0..u32::try_from(self.len()).unwrap_or(u32::MAX)
    }
}

/// `get_max_effective_balance` (electra)
pub(crate) fn max_effective_balance(credential_prefix: u8) -> u64 {
    if credential_prefix == COMPOUNDING_WITHDRAWAL_PREFIX {
        MAX_EFFECTIVE_BALANCE_ELECTRA
    } else {
        MIN_ACTIVATION_BALANCE
    }
}

impl PubkeyIndex {
    /// Adds the validators that are not in the table yet. Of validators with one key, which only a forged
    /// state has, the first is kept, as the specification finds it.
    fn fill(&mut self, registry: &Registry<'_>) {
        let missing = registry.len() - self.filled;
        if missing == 0 {
            return;
        }
        let Self { table, state, filled } = self;
        let hash_of = |index: &u32| state.hash_one(registry.pubkey(*index as usize));
        table.reserve(missing, hash_of);
        for index in registry.indices().skip(*filled) {
            let pubkey = registry.pubkey(index as usize);
            let hash = state.hash_one(pubkey);
            if table.find(hash, |other| registry.pubkey(*other as usize) == pubkey).is_none() {
                table.insert_unique(hash, index, hash_of);
            }
        }
        *filled = registry.len();
    }
}

/// The error for the first validator whose flag `slashed` is not a boolean.
fn not_boolean(validators: &[[u8; VALIDATOR_BYTES]]) -> Malformed {
    let wrong = validators.iter().position(|validator| validator[SLASHED_AT] > 1);
    let index = wrong.unwrap_or_default();
    let found = format!("{} for validator {index}", validators[index][SLASHED_AT]);
    Malformed::new("a boolean", found).inside("slashed")
}

/// The first `N` bytes of a longer slice.
fn prefix<const N: usize>(bytes: &[u8]) -> &[u8; N] {
    bytes.first_chunk().unwrap_or(&[0; N])
}

#[inline]
fn number(bytes: &[u8; VALIDATOR_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}
