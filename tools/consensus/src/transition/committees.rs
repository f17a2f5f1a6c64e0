//! The committees of an epoch, without a state.

use super::constants::{DOMAIN_BEACON_ATTESTER, MIN_SEED_LOOKAHEAD};
use super::shuffling::{hash, shuffle_list};
use crate::preset::Preset;
use crate::root::Root;
use crate::sha256::Node;

/// The committees of an epoch: its active validators in shuffled order, divided evenly.
#[derive(Clone, Debug)]
pub struct Committees {
    epoch: u64,
    shuffled: Vec<u32>,
    slots_per_epoch: u64,
    /// `get_committee_count_per_slot`
    pub(crate) per_slot: u64,
}

impl Committees {
    /// The committees of `epoch`, from `get_active_validator_indices` and the element of `randao_mixes` at
    /// [`Self::mix_place`]. Both are the same in every state of the epoch and of the next one.
    ///
    /// Takes about 50 ns a validator.
    #[must_use]
    pub fn new(preset: Preset, epoch: u64, active: Vec<u32>, mix: &Root) -> Self {
        let values = preset.values();
        let wanted = active.len() as u64 / values.slots_per_epoch / values.target_committee_size;
        let seed = seed(epoch, DOMAIN_BEACON_ATTESTER, mix);
        let mut shuffled = active;
        shuffle_list(&mut shuffled, &seed, values.shuffle_round_count);
        Self {
            epoch,
            shuffled,
            slots_per_epoch: values.slots_per_epoch,
            per_slot: wanted.clamp(1, values.max_committees_per_slot),
        }
    }

    /// The place in `randao_mixes` of the mix that seeds an epoch: that of the second epoch before it.
    #[must_use]
    pub fn mix_place(preset: Preset, epoch: u64) -> usize {
        let vector = preset.values().epochs_per_historical_vector;
        let before = epoch.saturating_add(vector - MIN_SEED_LOOKAHEAD - 1);
        usize::try_from(before % vector).unwrap_or(usize::MAX)
    }

    /// Bytes that it has in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&self.shuffled[..])
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The validators of all committees of a slot of the epoch, one committee after the other.
    #[must_use]
    pub fn of_slot(&self, slot: u64) -> &[u32] {
        let place = slot % self.slots_per_epoch * self.per_slot;
        self.between(place, place + self.per_slot)
    }

    /// `get_beacon_committee`, for a slot of the epoch and an index below `per_slot`.
    pub(crate) fn of(&self, slot: u64, index: u64) -> &[u32] {
        let place = slot % self.slots_per_epoch * self.per_slot + index;
        self.between(place, place + 1)
    }

    /// The committees at these places in the epoch.
    fn between(&self, first: u64, end: u64) -> &[u32] {
        let (count, committees) =
            (self.shuffled.len() as u64, self.per_slot * self.slots_per_epoch);
        let bound = |place: u64| usize::try_from(count * place / committees).unwrap_or(usize::MAX);
        &self.shuffled[bound(first)..bound(end)]
    }
}

/// `get_seed`, from the mix at [`Committees::mix_place`].
pub(crate) fn seed(epoch: u64, domain_type: [u8; 4], mix: &Root) -> Node {
    hash(&[&domain_type, &epoch.to_le_bytes(), &mix.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committees_of_a_slot_are_all_of_its_committees_in_order() {
        for count in [1, 31, 32, 100, 5000] {
            let active = (0..count).collect();
            let committees = Committees::new(Preset::Minimal, 3, active, &Root([1; 32]));
            let mut all = Vec::new();
            for slot in 24..32 {
                let of_slot: Vec<u32> = (0..committees.per_slot)
                    .flat_map(|index| committees.of(slot, index))
                    .copied()
                    .collect();
                assert_eq!(committees.of_slot(slot), of_slot, "{count} validators, slot {slot}");
                all.extend(of_slot);
            }
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>(), "{count} validators");
        }
    }
}
