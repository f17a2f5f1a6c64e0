//! The proof of what is imported.

use std::path::Path;

use anyhow::{Context, Result, bail};
use coldstore::era::{EraFile, Plan};
use coldstore::{Archive, Slot};
use coldstore_proof::import::{Anchor, ImportProver, ProofReport, Trust, TrustFault, TrustedRoot};
use coldstore_proof::{Hex, Preset};
use serde::Serialize;

use crate::chain::Chain;
use crate::failure::Usage;
use crate::networks;
use crate::open;
use crate::output::{self, Decimal};

/// What the prover borrows.
pub(super) struct Proof {
    preset: Preset,
    trust: Trust,
    archive: Option<Archive>,
}

impl Proof {
    /// Reads what is trusted, and hashes its states.
    pub(super) fn prepare(
        plan: &Plan,
        archive: &Path,
        slots_per_era: Option<u64>,
        trusted: &[TrustedRoot],
    ) -> Result<Self> {
        let preset = preset_of(plan, slots_per_era)?;
        // What is not there yet has nothing that an import could be tied to.
        let archive = if archive.is_dir() { Some(open::archive(archive)?) } else { None };
        let trust = Trust::establish(trusted.to_vec(), preset, Some(plan), archive.as_ref());
        let trust = trust.map_err(|fault| match fault {
            TrustFault::Nowhere(_) => anyhow::Error::from(Usage(fault.to_string())),
            TrustFault::State(error) => error.into(),
        })?;
        Ok(Self { preset, trust, archive })
    }

    pub(super) fn prover<'a>(&'a self, plan: &'a Plan) -> ImportProver<'a> {
        ImportProver::new(plan, self.preset, &self.trust, self.archive.as_ref())
    }
}

/// The preset of the chain, by its genesis validators root and the first state.
fn preset_of(plan: &Plan, slots_per_era: Option<u64>) -> Result<Preset> {
    let nothing = "there is no era in these files";
    let mut file = EraFile::open(&plan.files().first().context(nothing)?.path)?;
    let group = *file.groups().first().context(nothing)?;
    let state = file.state_head(&group)?;
    let path = file.path().display().to_string();
    let root = state.head.genesis_validators_root;
    let mut bytes = file.state_stream(&state.record)?;
    let found = Preset::of_chain(Some(&root), slots_per_era, &mut bytes);
    found.with_context(|| path.clone())?.with_context(|| {
        let eras = match slots_per_era {
            Some(slots) => format!("eras of {slots} slots"),
            None => format!("the state at {}", state.record.offset),
        };
        format!(
            "{path}: the preset of {eras} is not known here (known are {}): nothing can be proved \
             of these files, --trust-files imports them as they are",
            Preset::names()
        )
    })
}

/// An era twice is not one history: which of the two files is right?
pub(super) fn check_once(plan: &Plan) -> Result<()> {
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

#[derive(Serialize)]
pub(super) struct ProofObject {
    /// "trusted-state-root", "genesis-validators-root" or "nothing".
    rests_on: &'static str,
    trusted_slot: Option<Decimal>,
    trusted_root: Option<String>,
    trusted_eras: Decimal,
    agreeing_eras: Decimal,
    blocks: Decimal,
    blinded_blocks: Decimal,
    unknown_blocks: Decimal,
    states: Decimal,
    unknown_states: Vec<Decimal>,
    lone_states: Vec<Decimal>,
    #[serde(skip)]
    network: Option<&'static str>,
}

impl ProofObject {
    pub(super) fn new(report: &ProofReport, chain: &Chain) -> Self {
        let trusted = match report.anchor {
            Anchor::Trusted { root, .. } => Some(root),
            Anchor::Itself => None,
        };
        let network = chain
            .genesis_validators_root
            .and_then(networks::name_of)
            .filter(|_| report.genesis_validators);
        let slots = |slots: &[Slot]| slots.iter().map(|slot| Decimal(slot.0)).collect();
        Self {
            rests_on: match (trusted, network) {
                (Some(_), _) => "trusted-state-root",
                (None, Some(_)) => "genesis-validators-root",
                (None, None) => "nothing",
            },
            trusted_slot: trusted.map(|root| Decimal(root.slot.0)),
            trusted_root: trusted.map(|root| Hex(&root.root).to_string()),
            trusted_eras: Decimal(report.trusted_eras),
            agreeing_eras: Decimal(report.agreeing_eras),
            blocks: Decimal(report.blocks),
            blinded_blocks: Decimal(report.blinded_blocks),
            unknown_blocks: Decimal(report.unknown_blocks),
            states: Decimal(report.states),
            unknown_states: slots(&report.unknown_states),
            lone_states: slots(&report.lone_states),
            network,
        }
    }

    /// What was proved, what that rests on, and what was not proved.
    pub(super) fn tell(&self) {
        let (trusted, agreeing) = (self.trusted_eras.0, self.agreeing_eras.0);
        if trusted + agreeing == 0 {
            return;
        }
        let hashed = format!("{} blocks and {} states", self.blocks.0, self.states.0);
        output::tell(&match (&self.trusted_slot, self.network) {
            (Some(slot), _) => format!(
                "proved by the trusted state root of slot {}: {trusted} eras; {hashed} hash to \
                 the roots that they should have",
                slot.0
            ),
            (None, Some(network)) => format!(
                "{hashed} hash to the roots that the eras around them have; that rests on the \
                 genesis validators of {network} alone: a trusted state root would prove it"
            ),
            (None, None) => format!(
                "{hashed} hash to the roots that the eras around them have; that rests on nothing \
                 but the files themselves: a trusted state root would prove it"
            ),
        });
        if trusted > 0 && agreeing > 0 {
            output::tell(&format!("{agreeing} eras behind that agree with themselves alone"));
        }
        for slot in &self.lone_states {
            output::tell(&format!(
                "not proved: the state of slot {}, whose root no later era and no trusted root \
                 tells",
                slot.0
            ));
        }
        if let [first, ..] = self.unknown_states[..] {
            output::tell(&format!(
                "not proved: {} states from slot {} on and {} blocks, of a fork that is not known \
                 here; their fixed fields were compared",
                self.unknown_states.len(),
                first.0,
                self.unknown_blocks.0
            ));
        }
        if self.blinded_blocks.0 > 0 {
            output::tell(&format!(
                "{} blocks have the header of their payload in place of the payload",
                self.blinded_blocks.0
            ));
        }
        output::tell("the signatures of blocks have no part in any root: not proved");
    }
}
