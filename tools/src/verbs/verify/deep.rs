//! `coldstore verify --deep`: the proof.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use coldstore::verify::{Finding, Severity};
use coldstore::{Archive, Column, Manifest, Slot};
use coldstore_proof::deep::{DeepOptions, DeepReport, DeepVerifier};
use coldstore_proof::import::{Anchor, Trust, TrustFault};
use coldstore_proof::{Hex, Preset};
use serde::Serialize;

use super::checkpoint::{Checkpoint, ProofOf};
use super::{FindingObject, Report, Verify};
use crate::chain::Chain;
use crate::failure::Usage;
use crate::open;
use crate::output::{self, Decimal};
use crate::progress::Progress;
use crate::signals;

/// What is to be proved, and with what.
pub(super) struct Deep {
    archive: Archive,
    options: DeepOptions,
    trust: Trust,
    from: Option<Slot>,
    to: Option<Slot>,
    checkpoint: Option<Checkpoint>,
    stop: Arc<AtomicBool>,
}

impl Deep {
    /// `None` where there is nothing that can be proved.
    pub(super) fn prepare(asked: &Verify, columns: &[Column]) -> Result<Option<Self>> {
        let proved =
            [Column::Blocks, Column::BlockRoots, Column::StateRoots, Column::StateSnapshots];
        if !columns.iter().any(|column| proved.contains(column)) {
            output::tell("nothing is proved: no root covers what is in this column");
            return Ok(None);
        }
        let archive = open::archive(&asked.archive)?;
        let kept = Manifest::read(&asked.archive)?.map(|manifest| Chain::recorded(&manifest));
        let Some(preset) = preset_of(kept.as_ref(), &archive) else {
            output::tell(
                "nothing is proved: the archive does not tell its preset, by archive.toml or by a \
                 state in bss",
            );
            return Ok(None);
        };
        let trusted = asked.trusted_state_root.clone();
        let trust = Trust::establish(trusted, preset, None, Some(&archive));
        let trust = trust.map_err(|fault| match fault {
            TrustFault::Nowhere(slot) => {
                let message =
                    format!("trusted state root of slot {slot}: it is not in the archive");
                anyhow::Error::from(Usage(message))
            }
            TrustFault::State(error) => error.into(),
        })?;
        let of = ProofOf {
            genesis_validators_root: kept
                .and_then(|kept| kept.genesis_validators_root)
                .map(|root| root.to_string()),
            column: asked.column.map(|column| column.dir_name().to_owned()),
            from: asked.from.map(|slot| slot.0),
            to: asked.to.map(|slot| slot.0),
            trusted: asked.trusted_state_root.iter().map(ToString::to_string).collect(),
        };
        let open = |path| Checkpoint::open(path, of, &asked.archive);
        Ok(Some(Self {
            archive,
            options: DeepOptions { preset, column: asked.column },
            trust,
            from: asked.from,
            to: asked.to,
            checkpoint: asked.resume.clone().map(open).transpose()?,
            stop: signals::stop_flag()?,
        }))
    }

    /// True when the proof decodes the values of a column, those of the slots that are asked for.
    pub(super) fn decodes(column: Column) -> bool {
        column == Column::Blocks
    }

    pub(super) fn run(mut self, report: &mut Report) -> Result<()> {
        let mut verifier = DeepVerifier::new(&self.archive, self.options, self.trust.clone());
        let slots = self.options.preset.slots_per_era();
        let era_of = |slot: Slot| slot.0 / slots + 1;
        let (mut first, last) = verifier.eras().map_or((1, 0), |eras| {
            let first = self.from.map_or(0, era_of).max(*eras.start());
            (first, self.to.map_or(u64::MAX, era_of).min(*eras.end()))
        });
        if let Some(earlier) = self.checkpoint.as_ref().and_then(Checkpoint::earlier) {
            first = first.max(earlier.next_era);
            output::tell(&format!("the proof goes on with era {first}"));
            verifier.go_on_from(earlier.counts.into());
        }
        let damages_before = verifier.report().damages;
        let mut findings = Vec::new();
        let progress = Progress::waiting("prove");
        for era in first..=last {
            if self.stop.load(Ordering::Relaxed) {
                let again = if self.checkpoint.is_some() { "--resume goes on there" } else { "" };
                bail!("stopped in front of era {era} {again}");
            }
            progress.set_message(format!("prove era {era} of {last}"));
            let mut printed = Ok(());
            verifier.verify_era(era, &mut |column, finding: Finding| {
                let place = (finding.file.clone(), finding.slot);
                if finding.severity == Severity::Damage && report.told.contains(&place) {
                    return false;
                }
                if report.json {
                    findings.push(FindingObject::of(&finding));
                } else if printed.is_ok() {
                    printed = progress.suspend(|| report.print(column, &finding));
                }
                true
            })?;
            printed?;
            // The last era may grow: it is proved again.
            if let Some(checkpoint) = self.checkpoint.as_mut().filter(|_| era < last) {
                checkpoint.keep(era + 1, verifier.report())?;
            }
        }
        drop(progress);
        let proved = verifier.report();
        report.verified.damages.0 += proved.damages;
        let proof = ProofObject::new(proved, findings);
        if !report.json {
            proof.tell(damages_before);
        }
        report.verified.proof = Some(proof);
        Ok(())
    }
}

fn preset_of(kept: Option<&Chain>, archive: &Archive) -> Option<Preset> {
    let view = archive.column(Column::StateSnapshots).ok().map(coldstore::Reader::view);
    let latest = view.as_ref().and_then(|view| view.at_or_before(Slot::MAX).ok()?);
    let mut state = latest.as_ref().map_or(&[][..], coldstore::Record::stored);
    let root = kept.and_then(|kept| kept.genesis_validators_root).map(|root| root.0);
    let slots = kept.and_then(|kept| kept.slots_per_era);
    Preset::of_chain(root.as_ref(), slots, &mut state).ok()?
}

#[derive(Serialize)]
pub(super) struct ProofObject {
    /// "trusted-state-root" or "itself".
    rests_on: &'static str,
    trusted_slot: Option<Decimal>,
    trusted_root: Option<String>,
    trusted_eras: Decimal,
    agreeing_eras: Decimal,
    blocks: Decimal,
    blinded_blocks: Decimal,
    unproved_blocks: Decimal,
    skipped_slots: Decimal,
    never_imported: Decimal,
    lost_blocks: Decimal,
    unknown_slots: Decimal,
    states: Decimal,
    unproved_states: Decimal,
    last_unproved_state: Option<Decimal>,
    bytes: Decimal,
    damages: Decimal,
    findings: Vec<FindingObject>,
}

impl ProofObject {
    fn new(report: &DeepReport, findings: Vec<FindingObject>) -> Self {
        let trusted = match report.anchor {
            Anchor::Trusted { root, .. } => Some(root),
            Anchor::Itself => None,
        };
        Self {
            rests_on: if trusted.is_some() { "trusted-state-root" } else { "itself" },
            trusted_slot: trusted.map(|root| Decimal(root.slot.0)),
            trusted_root: trusted.map(|root| Hex(&root.root).to_string()),
            trusted_eras: Decimal(report.trusted_eras),
            agreeing_eras: Decimal(report.agreeing_eras),
            blocks: Decimal(report.blocks),
            blinded_blocks: Decimal(report.blinded_blocks),
            unproved_blocks: Decimal(report.unproved_blocks),
            skipped_slots: Decimal(report.skipped_slots),
            never_imported: Decimal(report.never_imported),
            lost_blocks: Decimal(report.lost_blocks),
            unknown_slots: Decimal(report.unknown_slots),
            states: Decimal(report.states),
            unproved_states: Decimal(report.unproved_states),
            last_unproved_state: report.last_unproved_state.map(|slot| Decimal(slot.0)),
            bytes: Decimal(report.bytes),
            damages: Decimal(report.damages),
            findings,
        }
    }

    fn tell(&self, damages_before: u64) {
        let rests_on = match &self.trusted_slot {
            Some(slot) => format!("the trusted state root of slot {}", slot.0),
            None => "the archive's own latest state: a trusted state root would prove it".into(),
        };
        output::tell(&format!(
            "proof: {} blocks, {} skipped slots and {} states fit the roots of {} eras; that rests \
             on {rests_on}",
            self.blocks.0,
            self.skipped_slots.0,
            self.states.0,
            self.trusted_eras.0 + self.agreeing_eras.0,
        ));
        if self.trusted_slot.is_some() && self.agreeing_eras.0 > 0 {
            let eras = self.agreeing_eras.0;
            output::tell(&format!("proof: {eras} eras behind it rest on the archive's own state"));
        }
        for (count, what) in [
            (self.unproved_blocks.0, "blocks without a root in bbr, or of a fork not known here"),
            (self.unproved_states.0, "states without a root in bsr, or of a fork not known here"),
            (self.never_imported.0, "blocks that were never imported"),
            (self.unknown_slots.0, "slots without block and root, of which nothing can be told"),
        ] {
            if count > 0 {
                output::tell(&format!("not proved: {count} {what}"));
            }
        }
        if self.blinded_blocks.0 > 0 {
            output::tell(&format!(
                "{} blocks have the header of their payload in place of the payload",
                self.blinded_blocks.0
            ));
        }
        output::tell(
            "not proved: signatures of blocks, state differences, and which states are missing",
        );
        if damages_before > 0 {
            output::tell(&format!("{damages_before} damages were told before the proof went on"));
        }
    }
}
