//! The forks of the protocol.

use std::fmt;

/// A known fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fork {
    /// From genesis.
    Phase0,
    /// Sync committees.
    Altair,
    /// Execution payloads.
    Bellatrix,
    /// Withdrawals.
    Capella,
    /// Blobs.
    Deneb,
    /// Requests of the execution layer.
    Electra,
    /// The proposer lookahead.
    Fulu,
}

impl Fork {
    /// All forks in order.
    pub const ALL: [Self; 7] = [
        Self::Phase0,
        Self::Altair,
        Self::Bellatrix,
        Self::Capella,
        Self::Deneb,
        Self::Electra,
        Self::Fulu,
    ];

    /// The name in the specification.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Fork::Phase0 => "phase0",
            Fork::Altair => "altair",
            Fork::Bellatrix => "bellatrix",
            Fork::Capella => "capella",
            Fork::Deneb => "deneb",
            Fork::Electra => "electra",
            Fork::Fulu => "fulu",
        }
    }

    /// The name in the keys of a config: `ALTAIR` in `ALTAIR_FORK_EPOCH`, and `GENESIS` for phase0.
    #[must_use]
    pub fn config_key(self) -> String {
        match self {
            Fork::Phase0 => "GENESIS".to_owned(),
            fork => fork.name().to_ascii_uppercase(),
        }
    }
}

impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
