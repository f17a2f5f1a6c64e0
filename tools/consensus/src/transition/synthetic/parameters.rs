//! What a made-up chain looks like.

/// The size of a made-up chain's registry, and how often its validators do what.
///
/// The defaults are those of mainnet: a registry of two million entries, of which half are active. Rates are
/// means; shares are from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntheticParameters {
    /// Two chains with one seed and the same parameters are equal.
    pub seed: u64,
    /// Validators in the registry at the start.
    pub registry: usize,
    /// Of them active; the others exited and were withdrawn long ago.
    pub active: usize,
    /// Mean number of neighbours in the registry that belong together: they share an address, and are active or
    /// exited as one.
    pub neighbours: usize,
    /// Share of neighbours with BLS credentials, which are not swept.
    pub bls_credentials: f64,
    /// Share of active validators with compounding credentials; they have 32 to 2048 ETH.
    pub compounding: f64,
    /// Share of validators that hardly ever attest.
    pub offline: f64,
    /// Share of validators that mostly vote for a wrong head.
    pub tardy: f64,
    /// Share of the other validators' votes of an epoch that are missing.
    pub absent: f64,
    /// Share of the other validators' votes that name a wrong head.
    pub wrong_head: f64,
    /// Share of the other validators' votes included after 3 slots: right source and target.
    pub late: f64,
    /// Share of the other validators' votes included after 10 slots: right target.
    pub very_late: f64,
    /// Share of slots without a block.
    pub missed_slots: f64,
    /// Share of the sync committee's messages that are missing, besides those of validators that are offline.
    pub absent_from_sync: f64,
    /// Deposit requests per epoch.
    pub deposits: f64,
    /// Share of deposits for new validators; the others are for compounding ones.
    pub new_validators: f64,
    /// Voluntary exits per epoch.
    pub voluntary_exits: f64,
    /// Requests of full exits per epoch.
    pub exit_requests: f64,
    /// Requests of partial withdrawals per epoch.
    pub partial_withdrawals: f64,
    /// Consolidations per epoch.
    pub consolidations: f64,
    /// Changes of execution credentials to compounding ones, per epoch.
    pub new_compounding: f64,
    /// Changes of BLS credentials per epoch.
    pub bls_changes: f64,
    /// Deposits in the queue at the start.
    pub pending_deposits: usize,
    /// Length of the exit queue at the start, in epochs.
    pub exit_queue: u64,
    /// Bytes of transactions of a block.
    pub payload_bytes: usize,
    /// Whether state roots are computed; otherwise they are made up, which saves half of the time.
    pub true_roots: bool,
}

impl Default for SyntheticParameters {
    fn default() -> Self {
        Self {
            seed: 1,
            registry: 2_000_000,
            active: 1_040_000,
            neighbours: 64,
            bls_credentials: 0.015,
            compounding: 0.012,
            offline: 0.006,
            tardy: 0.009,
            absent: 0.003,
            wrong_head: 0.004,
            late: 0.0015,
            very_late: 0.0005,
            missed_slots: 0.01,
            absent_from_sync: 0.025,
            deposits: 8.4,
            new_validators: 0.6,
            voluntary_exits: 5.0,
            exit_requests: 1.0,
            partial_withdrawals: 2.0,
            consolidations: 3.0,
            new_compounding: 1.0,
            bls_changes: 0.5,
            pending_deposits: 8000,
            exit_queue: 400,
            payload_bytes: 1000,
            true_roots: true,
        }
    }
}

impl SyntheticParameters {
    /// A chain for tests: a thousand validators, of whom everything that happens on a large chain happens to
    /// somebody within a few epochs.
    #[must_use]
    pub fn small() -> Self {
        Self {
            registry: 1000,
            active: 700,
            neighbours: 8,
            compounding: 0.1,
            bls_credentials: 0.1,
            offline: 0.02,
            tardy: 0.02,
            absent: 0.02,
            wrong_head: 0.02,
            late: 0.02,
            very_late: 0.02,
            missed_slots: 0.05,
            deposits: 2.0,
            voluntary_exits: 0.3,
            exit_requests: 0.2,
            pending_deposits: 20,
            exit_queue: 4,
            ..Self::default()
        }
    }
}
