//! The result of a proof: the verdict in one line, then the details.

use std::path::PathBuf;

use coldstore_consensus::Preset;
use coldstore_history::deep::{DeepReport, NotProved};
use coldstore_history::import::Anchor;
use serde::Serialize;

use super::FindingObject;
use crate::output::{self, Decimal, count};
use crate::verbs::import::tell_of_preset;

#[derive(Serialize)]
pub(super) struct ProofObject {
    /// "proved", "damaged", "not-proved", or "nothing-to-prove" for a range that holds nothing.
    verdict: &'static str,
    /// Why nothing is proved.
    reason: Option<String>,
    preset: Option<&'static str>,
    /// "trusted-state-root", "itself" (a state of the archive) or "nothing".
    rests_on: &'static str,
    trusted_slot: Option<Decimal>,
    trusted_root: Option<String>,
    /// The slot of the state of the archive on which the proof rests.
    own_state: Option<Decimal>,
    trusted_eras: Decimal,
    agreeing_eras: Decimal,
    blocks: Decimal,
    blinded_blocks: Decimal,
    unproved_blocks: Decimal,
    skipped_slots: Decimal,
    never_imported: Decimal,
    lost_blocks: Decimal,
    pruned_slots: Decimal,
    unknown_slots: Decimal,
    states: Decimal,
    unproved_states: Decimal,
    last_unproved_state: Option<Decimal>,
    /// States newer than that one, which cannot be hashed.
    passed_over_states: Decimal,
    /// Eras without a state that has their roots.
    loose_eras: Decimal,
    loose_blocks: Decimal,
    loose_roots: Decimal,
    loose_first_slot: Option<Decimal>,
    loose_last_slot: Option<Decimal>,
    /// Eras skipped thanks to the file of `--resume`.
    taken_eras: Decimal,
    taken_blocks: Decimal,
    taken_states: Decimal,
    bytes: Decimal,
    damages: Decimal,
    findings: Vec<FindingObject>,
    #[serde(skip)]
    report: DeepReport,
    #[serde(skip)]
    pub(super) taken_from: Option<PathBuf>,
}

impl ProofObject {
    pub(super) fn not_proved(why: String) -> Self {
        Self { reason: Some(why), ..Self::new(None, &DeepReport::default(), None, Vec::new()) }
    }

    pub(super) fn new(
        preset: Option<Preset>,
        report: &DeepReport,
        why_not: Option<NotProved>,
        findings: Vec<FindingObject>,
    ) -> Self {
        let trusted = match report.anchor {
            Anchor::Trusted { root, .. } => Some(root),
            Anchor::Itself => None,
        };
        let loose = report.loose;
        Self {
            verdict: "",
            preset: preset.map(Preset::name),
            reason: why_not.map(|why| why.to_string()),
            rests_on: match (report.trusted_eras, report.agreeing_eras) {
                (0, 0) => "nothing",
                (0, _) => "itself",
                _ => "trusted-state-root",
            },
            trusted_slot: trusted.map(|root| Decimal(root.slot.0)),
            trusted_root: trusted.map(|root| root.root.to_string()),
            own_state: report.own_state.map(|slot| Decimal(slot.0)),
            trusted_eras: Decimal(report.trusted_eras),
            agreeing_eras: Decimal(report.agreeing_eras),
            blocks: Decimal(report.blocks),
            blinded_blocks: Decimal(report.blinded_blocks),
            unproved_blocks: Decimal(report.unproved_blocks),
            skipped_slots: Decimal(report.skipped_slots),
            never_imported: Decimal(report.never_imported),
            lost_blocks: Decimal(report.lost_blocks),
            pruned_slots: Decimal(report.pruned_slots),
            unknown_slots: Decimal(report.unknown_slots),
            states: Decimal(report.states),
            unproved_states: Decimal(report.unproved_states),
            last_unproved_state: report.last_unproved_state.map(|slot| Decimal(slot.0)),
            passed_over_states: Decimal(report.passed_over.count()),
            loose_eras: Decimal(loose.eras),
            loose_blocks: Decimal(loose.blocks),
            loose_roots: Decimal(loose.roots),
            loose_first_slot: loose.slots.map(|(first, _)| Decimal(first.0)),
            loose_last_slot: loose.slots.map(|(_, last)| Decimal(last.0)),
            taken_eras: Decimal(report.taken.eras),
            taken_blocks: Decimal(report.taken.blocks),
            taken_states: Decimal(report.taken.states),
            bytes: Decimal(report.bytes),
            damages: Decimal(report.damages),
            findings,
            report: *report,
            taken_from: None,
        }
    }

    /// Sets the verdict once all damage of the archive is known. Returns true if nothing is proved.
    pub(super) fn settle(&mut self, damages: u64) -> bool {
        self.verdict = match (&self.reason, self.report.tied_eras()) {
            (Some(_), _) => "not-proved",
            (None, _) if damages > 0 => "damaged",
            (None, 0) => "nothing-to-prove",
            (None, _) => "proved",
        };
        self.reason.is_some()
    }

    /// One line: the proved range, and the root on which the proof rests.
    pub(super) fn verdict(&self, damages: u64) -> String {
        let damaged = match damages {
            0 => String::new(),
            damages => format!("{} found; ", count(damages, "damage")),
        };
        if let Some(why) = &self.reason {
            return format!("{damaged}not proved: {why}");
        }
        let report = &self.report;
        if report.tied_eras() == 0 {
            return format!("{damaged}nothing to prove: there is no era in this range");
        }
        let mut text = format!(
            "{damaged}proof: {}, {} and {} fit the roots of {}; they rest on {}",
            count(report.blocks, "block"),
            count(report.skipped_slots, "skipped slot"),
            count(report.states, "state"),
            count(report.tied_eras(), "era"),
            self.rests_on(),
        );
        let loose = report.loose;
        if loose.eras > 0 {
            let (blocks, eras) = (count(loose.blocks, "block"), count(loose.eras, "era"));
            text += &format!("; not proved: {blocks} of {eras}");
        }
        text
    }

    fn rests_on(&self) -> String {
        let report = &self.report;
        let trusted = |slot: u64| format!("the trusted state root of slot {slot}");
        let own = match report.own_state {
            Some(slot) => format!("the archive's own state of slot {slot}, which nothing proves"),
            None => "nothing".to_owned(),
        };
        match &self.trusted_slot {
            Some(slot) if report.agreeing_eras == 0 => trusted(slot.0),
            Some(slot) if report.trusted_eras > 0 => {
                let by_root = count(report.trusted_eras, "era");
                let by_own = count(report.agreeing_eras, "era");
                format!("{} ({by_root}) and {own} ({by_own})", trusted(slot.0))
            }
            _ => format!("{own}: a trusted state root would"),
        }
    }

    /// Prints the details.
    pub(super) fn tell_details(&self) {
        let report = &self.report;
        if let Some(path) = self.taken_from.as_ref().filter(|_| report.taken.eras > 0) {
            let taken = report.taken;
            output::tell(&format!(
                "taken from {}: {} with {} and {}; their roots were hashed again, and the checksums \
                 of their records are unchanged",
                path.display(),
                count(taken.eras, "era"),
                count(taken.blocks, "block"),
                count(taken.states, "state"),
            ));
        }
        if report.passed_over.count() > 0 {
            output::tell(&format!("not proved: newer states in bss: {}", report.passed_over));
        }
        if let Some((first, last)) = report.loose.slots {
            let loose = report.loose;
            output::tell(&format!(
                "not proved: {} and {} of {}, slots {first} to {last}: no state in bss has the roots \
                 of these slots",
                count(loose.blocks, "block"),
                count(loose.roots, "root"),
                count(loose.eras, "era"),
            ));
        }
        for (number, thing, what) in [
            (report.unproved_blocks, "block", "without a root in bbr, or of a fork not known here"),
            (
                report.unproved_states,
                "state",
                "without a proved root in bsr, or of a fork not known here",
            ),
            (report.never_imported, "block", "never imported"),
            (report.pruned_slots, "slot", "whose blocks were pruned"),
            (report.unknown_slots, "slot", "with neither block nor root"),
        ] {
            if number > 0 {
                output::tell(&format!("not proved: {} {what}", count(number, thing)));
            }
        }
        if report.blinded_blocks > 0 {
            let blocks = count(report.blinded_blocks, "block");
            output::tell(&format!(
                "{blocks} with the header of the payload in place of the payload"
            ));
        }
        if let Some(preset) = self.preset.and_then(|name| name.parse().ok()) {
            tell_of_preset(preset);
        }
        output::tell(
            "not proved: signatures of blocks, state differences, and which states are missing",
        );
    }
}
