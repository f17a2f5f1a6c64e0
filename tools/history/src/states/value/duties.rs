//! Who attests, and who is in the sync committee: computed from a state, and kept.

use std::sync::{Arc, Mutex, PoisonError};

use coldstore_consensus::Root;
use coldstore_consensus::transition::Committees;

use super::super::columns::StateRef;
use super::fault::{Decoded, Wrong};
use super::slot_balances::sync_members;

/// Committees that are kept: 4 MB each on mainnet.
const KEPT_COMMITTEES: usize = 4;
/// Sync committees that are kept.
const KEPT_SYNC_COMMITTEES: usize = 4;

/// In a validator, the epochs of its activation and its exit.
const ACTIVATION_AT: usize = 97;
const EXIT_AT: usize = 105;

/// The committees and sync committees of the states of one chain. Diffs of slots are made and applied with them;
/// computing one takes some ten milliseconds on mainnet, so several calls should share a cache. May be shared by
/// threads.
#[derive(Debug, Default)]
pub struct DutyCache {
    committees: Kept<CommitteesKey, Committees>,
    /// By the public keys.
    sync_members: Kept<Vec<u8>, [u32]>,
}

/// The oldest comes first.
type Kept<K, V> = Mutex<Vec<(K, Arc<V>)>>;

/// Epoch, mix of randao that seeds it, and number of validators.
type CommitteesKey = (u64, Root, usize);

impl DutyCache {
    /// The committees of the state's epoch, or of the one before.
    pub(crate) fn committees(&self, state: StateRef<'_>, epoch: u64) -> Decoded<Arc<Committees>> {
        let preset = state.columns.preset();
        let mixes = state.bytes_of("randao_mixes").unwrap_or_default();
        let mix = mixes.as_chunks().0.get(Committees::mix_place(preset, epoch)).copied().map(Root);
        let mix = mix.ok_or_else(|| Wrong::new("randao_mixes", "none"))?;
        let key = (epoch, mix, state.validator_count());
        if let Some(known) = find(&self.committees, &key) {
            return Ok(known);
        }
        let active = active_in(state, epoch);
        let committees = Arc::new(Committees::new(preset, epoch, active, &mix));
        keep(&self.committees, key, &committees, KEPT_COMMITTEES);
        Ok(committees)
    }

    /// The validators of `current_sync_committee` in its order; none before altair.
    pub(crate) fn sync_members(&self, state: StateRef<'_>) -> Decoded<Arc<[u32]>> {
        let committee = state.bytes_of("current_sync_committee").unwrap_or_default();
        // The aggregate key comes last.
        let pubkeys = &committee[..committee.len().saturating_sub(48)];
        if let Some(known) = find(&self.sync_members, pubkeys) {
            return Ok(known);
        }
        let base = state.base_validators().as_flattened();
        let members = sync_members(pubkeys, [base, &state.columns.validators().appended]);
        let wanted = "validators with the keys of current_sync_committee";
        let members: Arc<[u32]> = members.ok_or_else(|| Wrong::new(wanted, "one without"))?.into();
        keep(&self.sync_members, pubkeys.to_vec(), &members, KEPT_SYNC_COMMITTEES);
        Ok(members)
    }
}

/// `get_active_validator_indices`
fn active_in(state: StateRef<'_>, epoch: u64) -> Vec<u32> {
    let validators = (0u32..).zip(state.validators(0..state.validator_count()));
    let active = validators.filter(|(_, validator)| {
        let epoch_at =
            |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| validator[at + byte]));
        epoch_at(ACTIVATION_AT) <= epoch && epoch < epoch_at(EXIT_AT)
    });
    active.map(|(index, _)| index).collect()
}

fn find<K, Q, V>(kept: &Kept<K, V>, key: &Q) -> Option<Arc<V>>
where
    K: std::borrow::Borrow<Q>,
    Q: PartialEq + ?Sized,
    V: ?Sized,
{
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.iter().find(|(other, _)| other.borrow() == key).map(|(_, value)| Arc::clone(value))
}

/// Keeps a value in place of the oldest one.
fn keep<K, V: ?Sized>(kept: &Kept<K, V>, key: K, value: &Arc<V>, most: usize) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= most {
        kept.remove(0);
    }
    kept.push((key, Arc::clone(value)));
}
