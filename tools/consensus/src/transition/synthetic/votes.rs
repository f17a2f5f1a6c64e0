//! Who attests when, and to what.

use super::chain::SyntheticChain;
use super::parameters::SyntheticParameters;
use super::{Numbers, drawn};
use crate::transition::TransitionError;

type Result<T> = std::result::Result<T, Box<TransitionError>>;

/// `MAX_ATTESTATIONS_ELECTRA`
const MAX_ATTESTATIONS: usize = 8;
/// Slots after which late votes are included: too late for the head, and too late for the source.
const LATE_BY: u64 = 3;
const VERY_LATE_BY: u64 = 10;
/// Slots before a block whose votes it takes in, at most.
const MAX_MISSED: u64 = 3;

/// What a validator's vote of an epoch is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vote {
    Timely,
    WrongHead,
    Late,
    VeryLate,
    Absent,
}

impl Vote {
    /// The flags that it sets.
    pub(super) fn flags(self) -> u8 {
        match self {
            Self::Timely => 0b111,
            Self::WrongHead | Self::Late => 0b011,
            Self::VeryLate => 0b010,
            Self::Absent => 0,
        }
    }
}

/// The first slots whose votes are not included yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Included {
    pub(super) timely: u64,
    pub(super) late: u64,
    pub(super) very_late: u64,
}

impl SyntheticParameters {
    pub(super) fn is_offline(&self, validator: u32) -> bool {
        self.habit(validator) < self.offline
    }

    fn habit(&self, validator: u32) -> f64 {
        drawn(self.seed, u64::from(validator), 0).unit()
    }

    pub(super) fn vote(&self, epoch: u64, validator: u32) -> Vote {
        let (habit, chance) =
            (self.habit(validator), drawn(self.seed, u64::from(validator), epoch + 1).unit());
        if habit < self.offline {
            return if chance < 0.98 { Vote::Absent } else { Vote::Timely };
        }
        if habit < self.offline + self.tardy {
            return if chance < 0.97 { Vote::WrongHead } else { Vote::Timely };
        }
        let mut below = 0.0;
        let votes = [
            (self.absent, Vote::Absent),
            (self.wrong_head, Vote::WrongHead),
            (self.late, Vote::Late),
            (self.very_late, Vote::VeryLate),
        ];
        for (share, vote) in votes {
            below += share;
            if chance < below {
                return vote;
            }
        }
        Vote::Timely
    }
}

impl SyntheticChain {
    /// The attestations of the present slot's block.
    pub(super) fn attestations(&mut self) -> Result<Vec<Vec<u8>>> {
        let slot = self.state.slot;
        let mut attestations = Vec::new();
        for of in (self.included.timely.max(slot.saturating_sub(MAX_MISSED))..slot).rev() {
            self.attest(of, Vote::Timely, &mut attestations)?;
            self.attest(of, Vote::WrongHead, &mut attestations)?;
        }
        self.included.timely = slot;
        while self.included.late + LATE_BY <= slot && attestations.len() < MAX_ATTESTATIONS {
            self.attest(self.included.late, Vote::Late, &mut attestations)?;
            self.included.late += 1;
        }
        while self.included.very_late + VERY_LATE_BY <= slot
            && attestations.len() < MAX_ATTESTATIONS
        {
            self.attest(self.included.very_late, Vote::VeryLate, &mut attestations)?;
            self.included.very_late += 1;
        }
        Ok(attestations)
    }

    /// Adds the aggregate of those votes of a slot that are of one kind.
    fn attest(&mut self, slot: u64, vote: Vote, attestations: &mut Vec<Vec<u8>>) -> Result<()> {
        let step = "synthetic_attestation";
        // Without a block at the slot, the one before is the head that all see.
        let head = match vote {
            Vote::WrongHead => self.state.block_root_at(slot.saturating_sub(1), step)?,
            _ => self.state.block_root_at(slot, step)?,
        };
        let (parameters, epoch) = (&self.parameters, self.state.epoch_at(slot));
        let is_of = |validator| parameters.vote(epoch, validator) == vote;
        attestations.extend(self.state.synthetic_attestation(slot, head, is_of)?);
        Ok(())
    }

    /// `sync_committee_bits`
    pub(super) fn sync_committee_bits(&mut self, numbers: &mut Numbers) -> Result<Vec<u8>> {
        let members = self.state.sync_committee_indices("synthetic_block")?;
        let mut bits = vec![0; members.len() / 8];
        for (place, member) in members.iter().enumerate() {
            let chance = numbers.unit();
            let is_absent =
                self.parameters.is_offline(*member) || chance < self.parameters.absent_from_sync;
            bits[place / 8] |= u8::from(!is_absent) << (place % 8);
        }
        Ok(bits)
    }
}
