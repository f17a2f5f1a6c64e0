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
            pub(crate) const KEYS: &[&str] = &[$($key),+];

            /// Reads the values; those of `base` where the settings lack them.
            pub(crate) fn read(settings: &Settings, base: &Self) -> Result<Self, ConfigFault> {
                Ok(Self { $($field: settings.number($key)?.unwrap_or(base.$field)),+ })
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
    };

    /// The values in the specification's `minimal.yaml`.
    pub const MINIMAL: Self = Self {
        shard_committee_period: 64,
        min_per_epoch_churn_limit: 2,
        churn_limit_quotient: 32,
        max_per_epoch_activation_churn_limit: 4,
        min_per_epoch_churn_limit_electra: 64_000_000_000,
        max_per_epoch_activation_exit_churn_limit: 128_000_000_000,
        ..Self::MAINNET
    };

    /// The values of Gnosis Chain and Chiado.
    pub const GNOSIS: Self = Self {
        churn_limit_quotient: 4096,
        max_per_epoch_activation_churn_limit: 2,
        max_per_epoch_activation_exit_churn_limit: 64_000_000_000,
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
