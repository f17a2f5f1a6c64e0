//! The values of a configuration that state transitions depend on.

use crate::config_fault::ConfigFault;
use crate::settings::Settings;

macro_rules! config_values {
    ($($field:ident $key:literal),+ $(,)?) => {
        /// The values of a configuration (consensus specification, `configs/`), by their names there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the specification defines the names; amounts are in Gwei")]
        pub struct ConfigValues {
            $(pub $field: u64),+
        }

        impl ConfigValues {
            const SLOT_DURATION_KEY: &str = "SLOT_DURATION_MS";
            const SECONDS_PER_SLOT_KEY: &str = "SECONDS_PER_SLOT";
            pub(crate) const KEYS: &[&str] = &[Self::SECONDS_PER_SLOT_KEY, $($key),+];

            /// Reads the values; those of `base` where the settings lack them.
            pub(crate) fn read(settings: &Settings, base: &Self) -> Result<Self, ConfigFault> {
                let mut values =
                    Self { $($field: settings.number($key)?.unwrap_or(base.$field)),+ };
                // Configs before fulu give whole seconds.
                if settings.get(Self::SLOT_DURATION_KEY).is_none()
                    && let Some(seconds) = settings.number(Self::SECONDS_PER_SLOT_KEY)?
                {
                    values.slot_duration_ms = seconds.saturating_mul(1000);
                }
                if values.churn_limit_quotient == 0 {
                    return Err(ConfigFault::value("CHURN_LIMIT_QUOTIENT", "a divisor", "0"));
                }
                Ok(values)
            }
        }
    };
}

config_values! {
    min_validator_withdrawability_delay "MIN_VALIDATOR_WITHDRAWABILITY_DELAY",
    shard_committee_period "SHARD_COMMITTEE_PERIOD",
    inactivity_score_bias "INACTIVITY_SCORE_BIAS",
    inactivity_score_recovery_rate "INACTIVITY_SCORE_RECOVERY_RATE",
    ejection_balance "EJECTION_BALANCE",
    min_per_epoch_churn_limit "MIN_PER_EPOCH_CHURN_LIMIT",
    churn_limit_quotient "CHURN_LIMIT_QUOTIENT",
    max_per_epoch_activation_churn_limit "MAX_PER_EPOCH_ACTIVATION_CHURN_LIMIT",
    min_per_epoch_churn_limit_electra "MIN_PER_EPOCH_CHURN_LIMIT_ELECTRA",
    max_per_epoch_activation_exit_churn_limit "MAX_PER_EPOCH_ACTIVATION_EXIT_CHURN_LIMIT",
    slot_duration_ms "SLOT_DURATION_MS",
    max_blobs_per_block "MAX_BLOBS_PER_BLOCK",
    max_blobs_per_block_electra "MAX_BLOBS_PER_BLOCK_ELECTRA",
}

impl ConfigValues {
    /// Mainnet's values.
    pub const MAINNET: Self = Self {
        min_validator_withdrawability_delay: 256,
        shard_committee_period: 256,
        inactivity_score_bias: 4,
        inactivity_score_recovery_rate: 16,
        ejection_balance: 16_000_000_000,
        min_per_epoch_churn_limit: 4,
        churn_limit_quotient: 65_536,
        max_per_epoch_activation_churn_limit: 8,
        min_per_epoch_churn_limit_electra: 128_000_000_000,
        max_per_epoch_activation_exit_churn_limit: 256_000_000_000,
        slot_duration_ms: 12_000,
        max_blobs_per_block: 6,
        max_blobs_per_block_electra: 9,
    };

    /// The values in the specification's `minimal.yaml`.
    pub const MINIMAL: Self = Self {
        shard_committee_period: 64,
        min_per_epoch_churn_limit: 2,
        churn_limit_quotient: 32,
        max_per_epoch_activation_churn_limit: 4,
        min_per_epoch_churn_limit_electra: 64_000_000_000,
        max_per_epoch_activation_exit_churn_limit: 128_000_000_000,
        slot_duration_ms: 6000,
        ..Self::MAINNET
    };

    /// The values of Gnosis Chain and Chiado.
    pub const GNOSIS: Self = Self {
        churn_limit_quotient: 4096,
        max_per_epoch_activation_churn_limit: 2,
        max_per_epoch_activation_exit_churn_limit: 64_000_000_000,
        slot_duration_ms: 5000,
        max_blobs_per_block: 2,
        max_blobs_per_block_electra: 2,
        ..Self::MAINNET
    };

    /// The values of the network after which a preset is named; mainnet's for an unknown preset.
    pub(crate) fn of_preset(preset: Option<&str>) -> Self {
        match preset {
            Some("minimal") => Self::MINIMAL,
            Some("gnosis") => Self::GNOSIS,
            _ => Self::MAINNET,
        }
    }
}

/// An entry of `BLOB_SCHEDULE` (fulu).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub struct BlobParameters {
    /// The first epoch.
    #[serde(alias = "epoch")]
    pub epoch: u64,
    /// The number of blobs that a block may have from then on.
    #[serde(alias = "max_blobs_per_block")]
    pub max_blobs_per_block: u64,
}

impl BlobParameters {
    /// An entry.
    #[must_use]
    pub const fn new(epoch: u64, max_blobs_per_block: u64) -> Self {
        Self { epoch, max_blobs_per_block }
    }
}
