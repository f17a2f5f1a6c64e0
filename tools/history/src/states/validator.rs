//! A validator's record, and its status by the beacon API.

use std::fmt;
use std::str::FromStr;

use super::columns::ValidatorBytes;

/// `FAR_FUTURE_EPOCH`: not scheduled.
pub const FAR_FUTURE_EPOCH: u64 = u64::MAX;

/// A validator's record in a state. Epochs that are not scheduled are [`FAR_FUTURE_EPOCH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validator {
    /// The BLS public key.
    pub pubkey: [u8; 48],
    /// The withdrawal credentials.
    pub withdrawal_credentials: [u8; 32],
    /// In Gwei.
    pub effective_balance: u64,
    /// Whether it was slashed.
    pub slashed: bool,
    /// The epoch from which it waited for activation.
    pub activation_eligibility_epoch: u64,
    /// The first epoch in which it is active.
    pub activation_epoch: u64,
    /// The first epoch in which it is not active any more.
    pub exit_epoch: u64,
    /// The first epoch in which its balance may be withdrawn.
    pub withdrawable_epoch: u64,
}

impl Validator {
    /// Decodes a record. Every byte but 0 in the place of `slashed` reads as true; the root of such a state does not
    /// exist.
    #[must_use]
    pub fn decode(encoded: &ValidatorBytes) -> Self {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| encoded[at + byte]));
        Self {
            pubkey: std::array::from_fn(|byte| encoded[byte]),
            withdrawal_credentials: std::array::from_fn(|byte| encoded[48 + byte]),
            effective_balance: number(80),
            slashed: encoded[88] != 0,
            activation_eligibility_epoch: number(89),
            activation_epoch: number(97),
            exit_epoch: number(105),
            withdrawable_epoch: number(113),
        }
    }

    /// The status in an epoch, with this balance in Gwei.
    #[must_use]
    pub fn status(&self, epoch: u64, balance: u64) -> Status {
        if epoch < self.activation_epoch {
            return match self.activation_eligibility_epoch {
                FAR_FUTURE_EPOCH => Status::PendingInitialized,
                _ => Status::PendingQueued,
            };
        }
        if epoch < self.exit_epoch {
            return match (self.exit_epoch, self.slashed) {
                (FAR_FUTURE_EPOCH, _) => Status::ActiveOngoing,
                (_, false) => Status::ActiveExiting,
                (_, true) => Status::ActiveSlashed,
            };
        }
        match (epoch < self.withdrawable_epoch, self.slashed, balance) {
            (true, false, _) => Status::ExitedUnslashed,
            (true, true, _) => Status::ExitedSlashed,
            (false, _, 0) => Status::WithdrawalDone,
            (false, _, _) => Status::WithdrawalPossible,
        }
    }
}

/// A validator's status (beacon API, `ValidatorStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Deposited, not in the queue for activation yet.
    PendingInitialized,
    /// In the queue for activation.
    PendingQueued,
    /// Active, without a scheduled exit.
    ActiveOngoing,
    /// Active until a scheduled exit.
    ActiveExiting,
    /// Active until a scheduled exit after a slashing.
    ActiveSlashed,
    /// Exited; not withdrawable yet.
    ExitedUnslashed,
    /// Exited after a slashing; not withdrawable yet.
    ExitedSlashed,
    /// Withdrawable, with a balance.
    WithdrawalPossible,
    /// Withdrawable, without a balance.
    WithdrawalDone,
}

impl Status {
    /// All of them, in the order of the beacon API.
    pub const ALL: [Self; 9] = [
        Self::PendingInitialized,
        Self::PendingQueued,
        Self::ActiveOngoing,
        Self::ActiveExiting,
        Self::ActiveSlashed,
        Self::ExitedUnslashed,
        Self::ExitedSlashed,
        Self::WithdrawalPossible,
        Self::WithdrawalDone,
    ];

    /// The name in the beacon API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PendingInitialized => "pending_initialized",
            Self::PendingQueued => "pending_queued",
            Self::ActiveOngoing => "active_ongoing",
            Self::ActiveExiting => "active_exiting",
            Self::ActiveSlashed => "active_slashed",
            Self::ExitedUnslashed => "exited_unslashed",
            Self::ExitedSlashed => "exited_slashed",
            Self::WithdrawalPossible => "withdrawal_possible",
            Self::WithdrawalDone => "withdrawal_done",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|status| status.name() == name);
        found.ok_or_else(|| format!("'{name}' is none of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validator(epochs: [u64; 4], slashed: bool) -> Validator {
        let mut encoded = [7; 121];
        encoded[88] = u8::from(slashed);
        for (bytes, epoch) in encoded[89..].as_chunks_mut::<8>().0.iter_mut().zip(epochs) {
            *bytes = epoch.to_le_bytes();
        }
        Validator::decode(&encoded)
    }

    #[test]
    fn a_status_follows_from_epochs_slashing_and_balance() {
        const NEVER: u64 = FAR_FUTURE_EPOCH;
        use Status::*;
        for (epochs, slashed, balance, statuses) in [
            ([NEVER; 4], false, 1, [PendingInitialized; 5]),
            ([3, NEVER, NEVER, NEVER], false, 1, [PendingQueued; 5]),
            ([0, 2, NEVER, NEVER], false, 1, {
                [PendingQueued, ActiveOngoing, ActiveOngoing, ActiveOngoing, ActiveOngoing]
            }),
            ([0, 2, 5, 8], false, 1, {
                [
                    PendingQueued,
                    ActiveExiting,
                    ExitedUnslashed,
                    WithdrawalPossible,
                    WithdrawalPossible,
                ]
            }),
            ([0, 2, 5, 8], true, 0, {
                [PendingQueued, ActiveSlashed, ExitedSlashed, WithdrawalDone, WithdrawalDone]
            }),
        ] {
            let validator = validator(epochs, slashed);
            assert_eq!([1, 2, 5, 8, 9].map(|epoch| validator.status(epoch, balance)), statuses);
        }
    }

    #[test]
    fn a_status_goes_by_its_name() {
        for status in Status::ALL {
            assert_eq!(status.to_string().parse(), Ok(status));
        }
        assert!("active".parse::<Status>().unwrap_err().contains("active_ongoing, "));
    }

    #[test]
    fn a_record_is_decoded_by_its_offsets() {
        let encoded: ValidatorBytes = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let decoded = Validator::decode(&encoded);
        let number = |at: usize| u64::from_le_bytes(*encoded[at..].first_chunk().unwrap());
        assert_eq!((decoded.pubkey[..].to_vec(), decoded.slashed), (encoded[..48].to_vec(), true));
        assert_eq!(decoded.withdrawal_credentials[..], encoded[48..80]);
        assert_eq!(decoded.effective_balance, number(80));
        let epochs = [
            decoded.activation_eligibility_epoch,
            decoded.activation_epoch,
            decoded.exit_epoch,
            decoded.withdrawable_epoch,
        ];
        assert_eq!(epochs, [89, 97, 105, 113].map(number));
    }
}
