//! Proves `.era` files during an import.
//!
//! An era is proved by its state: the blocks hash to its `block_roots`; these and its `state_roots`
//! hash to an entry of `historical_roots` or `historical_summaries`; the state itself hashes to the
//! first of the next era's `state_roots`. One trusted root therefore proves all older history. Without
//! one, the chain of eras is merely consistent.

mod blocks;
mod chain;
mod era;
mod name;
mod report;
mod trust;
mod trusted_root;

use std::io::Read;

use coldstore::era::{EraAt, EraGroup, EraProof, ImportPlan, Prover};
use coldstore::{Error, MappedArchive, Result, Slot};
use coldstore_consensus::{Preset, hash_state};

pub use self::report::{Anchor, ProofReport};
pub use self::trust::{Trust, TrustFault};
pub use self::trusted_root::TrustedRoot;

use self::blocks::BlocksProof;
use self::chain::Previous;
use self::era::{Era, PRESET, STATE, hashed};

/// Proves the eras of an import.
#[derive(Debug)]
pub struct ImportProver<'a> {
    plan: &'a ImportPlan,
    preset: Preset,
    trust: &'a Trust,
    /// The archive before the import.
    archive: Option<&'a MappedArchive>,
    /// The slot of the archive's newest state, if nothing proves it.
    unproved_state: Option<Slot>,
    /// The last proved era.
    previous: Option<Previous>,
    /// Fork versions of hashed states; their layouts are known.
    known_versions: Vec<[u8; 4]>,
    report: ProofReport,
}

impl<'a> ImportProver<'a> {
    /// Creates a prover for the files of a plan.
    #[must_use]
    pub fn new(
        plan: &'a ImportPlan,
        preset: Preset,
        trust: &'a Trust,
        archive: Option<&'a MappedArchive>,
    ) -> Self {
        let report = ProofReport { anchor: trust.anchor(), ..ProofReport::default() };
        Self {
            plan,
            preset,
            trust,
            archive,
            unproved_state: None,
            previous: None,
            known_versions: vec![],
            report,
        }
    }

    /// Sets the slot of the archive's newest state, if nothing proves it: an era that contradicts this
    /// state takes precedence.
    #[must_use]
    pub fn unproved_state(mut self, slot: Option<Slot>) -> Self {
        self.unproved_state = slot;
        self
    }

    /// The report of the proof.
    #[must_use]
    pub fn into_report(self) -> ProofReport {
        self.report
    }

    /// After one state of these files was hashed, the preset is known, and a state with an unknown
    /// layout is damaged.
    fn known_preset(&self, at: &EraAt<'_>, error: Error) -> Error {
        match error {
            Error::Unsupported { what: PRESET, found, .. } if !self.known_versions.is_empty() => {
                let wanted = format!("a state of the preset {}", self.preset);
                Error::corrupt(at.path, at.state.offset, STATE, wanted, found)
            }
            error => error,
        }
    }

    /// The state at the era's first slot, to which the era is tied.
    fn previous_of(&self, group: &EraGroup) -> Result<Option<Previous>> {
        let Some(slots) = group.slots else { return Ok(None) };
        if let Some(previous) = &self.previous
            && previous.slot == slots.first
        {
            return Ok(Some(previous.clone()));
        }
        match self.archive {
            Some(archive) => {
                let is_unproved = self.unproved_state == Some(slots.first);
                chain::in_archive(archive, self.preset, slots.first, is_unproved)
            }
            None => Ok(None),
        }
    }
}

impl Prover for ImportProver<'_> {
    /// Proves all of an era except its blocks:
    ///
    /// 1. hash its state,
    /// 2. check the file's name,
    /// 3. compare the roots of its slots with a trusted state, or else with its own,
    /// 4. tie it to the state before it,
    /// 5. tie its state to the next era.
    fn begin<'p>(
        &'p mut self,
        at: EraAt<'_>,
        state: &mut dyn Read,
    ) -> Result<Box<dyn EraProof + 'p>> {
        // 1.
        let hashed =
            hashed(&at, self.preset, state).map_err(|error| self.known_preset(&at, error))?;
        let era = Era::new(&at, hashed);
        era.check_slot()?;
        era.check_genesis()?;
        era.check_layout(&self.known_versions)?;
        // 2.
        name::check(&at, &era)?;
        // 3.
        self.trust.check_compared(&era)?;
        era.check_roots(self.trust.era_root(era.number))?;
        // 4.
        let previous = self.previous_of(at.group)?;
        if let Some(previous) = &previous {
            previous.check(&era)?;
        }
        // 5.
        let is_of_chain = previous.is_some_and(|previous| {
            previous.genesis_validators_root == era.state.prefix.genesis_validators_root
        });
        let vouched = self.vouched_by_next(&era, &at, is_of_chain)?;
        Ok(Box::new(BlocksProof::new(self, era, vouched)))
    }

    fn state_root(&mut self, state: &mut dyn Read) -> Option<[u8; 32]> {
        hash_state(self.preset, state).ok()?.body.map(|body| body.root.0)
    }
}
