//! The proof of an import.

use std::path::Path;

use anyhow::{Result, bail};
use coldstore::archive::held::is_there;
use coldstore::era::ImportPlan;
use coldstore::{MappedArchive, Slot};
use coldstore_consensus::Preset;
use coldstore_history::import::{ImportProver, ProofReport, Trust, TrustFault, TrustedRoot};
use serde_json::{Value, json};

use crate::chain::Chain;
use crate::failure::Usage;
use crate::networks;
use crate::notes;
use crate::open;
use crate::output::{self, count};

/// The inputs borrowed by the prover.
pub(super) struct Proof {
    preset: Preset,
    trust: Trust,
    archive: Option<MappedArchive>,
}

impl Proof {
    /// Reads the trusted roots, and hashes the states of the archive for them.
    pub(super) fn prepare(
        plan: &ImportPlan,
        archive: &Path,
        preset: Preset,
        trusted: &[TrustedRoot],
    ) -> Result<Self> {
        // A new archive has nothing to compare with.
        let archive = if is_there(archive)? { Some(open::archive(archive)?) } else { None };
        let trust = Trust::establish(trusted.to_vec(), preset, Some(plan), archive.as_ref());
        let trust = trust.map_err(|fault| match fault {
            TrustFault::Nowhere(_) => anyhow::Error::from(Usage(fault.to_string())),
            TrustFault::State(error) => error.into(),
        })?;
        Ok(Self { preset, trust, archive })
    }

    pub(super) fn preset(&self) -> Preset {
        self.preset
    }

    pub(super) fn prover<'a>(
        &'a self,
        plan: &'a ImportPlan,
        unproved_state: Option<Slot>,
    ) -> ImportProver<'a> {
        ImportProver::new(plan, self.preset, &self.trust, self.archive.as_ref())
            .unproved_state(unproved_state)
    }

    /// Whether a trusted root proves the state of a slot: it is the root of this state, or of a later
    /// one, and this import `stored` the state after comparing the two.
    pub(super) fn vouches_for(&self, slot: Slot, stored: bool) -> bool {
        self.trust.state_root(slot).is_some() || (stored && self.trust.proves_up_to() >= Some(slot))
    }
}

/// Refuses an era that is in two files: the proof cannot decide which one is right.
pub(super) fn check_once(plan: &ImportPlan) -> Result<()> {
    let mut last: Option<&coldstore::era::PlannedFile> = None;
    for file in plan.files() {
        if let Some(before) = last.filter(|before| file.first_era <= before.last_era) {
            bail!(
                "era {} is in {} and in {}: give one of them, or --trust-files",
                file.first_era,
                before.path.display(),
                file.path.display()
            );
        }
        last = Some(file);
    }
    Ok(())
}

/// What was proved of an import.
pub(super) struct Proved {
    report: ProofReport,
    /// The known network whose genesis validators were hashed.
    network: Option<&'static str>,
    preset: Preset,
}

impl Proved {
    pub(super) fn new(report: ProofReport, chain: &Chain, preset: Preset) -> Self {
        let network = chain
            .genesis_validators_root
            .and_then(networks::name_of)
            .filter(|_| report.genesis_validators);
        Self { report, network, preset }
    }

    pub(super) fn object(&self) -> Value {
        let report = &self.report;
        let trusted = report.anchor.trusted();
        let slots = |slots: &[Slot]| slots.iter().map(|slot| slot.0).collect::<Vec<_>>();
        json!({
            "rests_on": match (trusted, self.network) {
                (Some(_), _) => "trusted-state-root",
                (None, Some(_)) => "genesis-validators-root",
                (None, None) => "nothing",
            },
            "trusted_slot": trusted.map(|trusted| trusted.slot.0),
            "trusted_root": trusted.map(|trusted| trusted.root),
            "trusted_eras": report.trusted_eras,
            "agreeing_eras": report.agreeing_eras,
            "blocks": report.blocks,
            "blinded_blocks": report.blinded_blocks,
            "unknown_blocks": report.unknown_blocks,
            "states": report.states,
            "unknown_states": slots(&report.unknown_states),
            "lone_states": slots(&report.lone_states),
        })
    }

    /// One line: the proved range, and the root on which the proof rests.
    pub(super) fn verdict(&self) -> String {
        let ProofReport { trusted_eras, agreeing_eras, .. } = self.report;
        if trusted_eras + agreeing_eras == 0 {
            return "nothing was proved: no era was imported".to_owned();
        }
        let (blocks, states) =
            (count(self.report.blocks, "block"), count(self.report.states, "state"));
        match (self.report.anchor.trusted(), self.network) {
            (Some(trusted), _) => {
                let later = match agreeing_eras {
                    0 => String::new(),
                    eras => format!("; not proved by it: {}", count(eras, "later era")),
                };
                format!(
                    "proved by the trusted state root of slot {}: {}; {blocks} and {states} hash to \
                     the roots that they should have{later}",
                    trusted.slot,
                    count(trusted_eras, "era")
                )
            }
            (None, Some(network)) => format!(
                "proof: {blocks} and {states} hash to the roots that the eras around them have; that \
                 rests on the genesis validators of {network} alone: a trusted state root would \
                 prove it"
            ),
            (None, None) => format!(
                "proof: {blocks} and {states} hash to the roots that the eras around them have; that \
                 rests only on the files themselves: a trusted state root would prove it"
            ),
        }
    }

    /// Prints the details.
    pub(super) fn tell_details(&self) {
        let report = &self.report;
        if report.trusted_eras + report.agreeing_eras == 0 {
            return;
        }
        for slot in &report.lone_states {
            output::tell(&format!(
                "not proved: the state of slot {slot}, whose root is in no later era and no trusted \
                 root"
            ));
        }
        if let [first, ..] = report.unknown_states[..] {
            output::tell(&format!(
                "not proved: {} from slot {first} on and {}, of an unknown fork; their fixed fields \
                 were compared",
                count(report.unknown_states.len() as u64, "state"),
                count(report.unknown_blocks, "block"),
            ));
        }
        notes::tell_of_preset(self.preset);
        notes::tell_of_blinded(report.blinded_blocks);
        output::tell("the signatures of blocks have no part in any root: not proved");
    }
}
