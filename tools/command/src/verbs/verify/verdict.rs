//! The result of a proof: the verdict in one line, then the details.

use std::path::PathBuf;

use coldstore::Slot;
use coldstore_consensus::Preset;
use coldstore_history::deep::{DeepReport, NotProved};
use serde_json::{Value, json};

use crate::notes;
use crate::output::{self, count};

/// The outcome of a proof.
pub(super) struct ProofOutcome {
    /// "proved", "damaged", "not-proved", or "nothing-to-prove" for a range that holds nothing.
    verdict: &'static str,
    /// Why nothing is proved.
    reason: Option<String>,
    preset: Option<Preset>,
    report: DeepReport,
    findings: Vec<Value>,
    pub(super) taken_from: Option<PathBuf>,
}

impl ProofOutcome {
    pub(super) fn not_proved(why: String) -> Self {
        Self { reason: Some(why), ..Self::new(None, &DeepReport::default(), None, Vec::new()) }
    }

    pub(super) fn new(
        preset: Option<Preset>,
        report: &DeepReport,
        why_not: Option<NotProved>,
        findings: Vec<Value>,
    ) -> Self {
        let reason = why_not.map(|why| why.to_string());
        Self { verdict: "", reason, preset, report: *report, findings, taken_from: None }
    }

    pub(super) fn object(&self) -> Value {
        let report = &self.report;
        let trusted = report.anchor.trusted();
        let (loose, taken) = (&report.loose, &report.taken);
        json!({
            "verdict": self.verdict,
            "reason": self.reason,
            "preset": self.preset.map(Preset::name),
            // "itself" is a state of the archive.
            "rests_on": match (report.trusted_eras, report.agreeing_eras) {
                (0, 0) => "nothing",
                (0, _) => "itself",
                _ => "trusted-state-root",
            },
            "trusted_slot": trusted.map(|trusted| trusted.slot.0),
            "trusted_root": trusted.map(|trusted| trusted.root),
            "own_state": report.own_state.map(|slot| slot.0),
            "trusted_eras": report.trusted_eras,
            "agreeing_eras": report.agreeing_eras,
            "blocks": report.blocks,
            "blinded_blocks": report.blinded_blocks,
            "unproved_blocks": report.unproved_blocks,
            "skipped_slots": report.skipped_slots,
            "never_imported": report.never_imported,
            "lost_blocks": report.lost_blocks,
            "pruned_slots": report.pruned_slots,
            "unknown_slots": report.unknown_slots,
            "states": report.states,
            "rebuilt_states": report.rebuilt_states,
            "covered_states": report.covered_states,
            "unproved_states": report.unproved_states,
            "last_unproved_state": report.last_unproved_state.map(|slot| slot.0),
            "passed_over_states": report.passed_over.count(),
            "loose_eras": loose.eras,
            "loose_blocks": loose.blocks,
            "loose_roots": loose.roots,
            "loose_first_slot": loose.slots.map(|(first, _)| first.0),
            "loose_last_slot": loose.slots.map(|(_, last)| last.0),
            "taken_eras": taken.eras,
            "taken_blocks": taken.blocks,
            "taken_states": taken.states,
            "bytes": report.bytes,
            "damages": report.damages,
            "findings": self.findings,
        })
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
        let trusted = |slot: Slot| format!("the trusted state root of slot {slot}");
        let own = match report.own_state {
            Some(slot) => format!("the archive's own state of slot {slot}, which nothing proves"),
            None => "nothing".to_owned(),
        };
        match report.anchor.trusted() {
            Some(root) if report.agreeing_eras == 0 => trusted(root.slot),
            Some(root) if report.trusted_eras > 0 => {
                let by_root = count(report.trusted_eras, "era");
                let by_own = count(report.agreeing_eras, "era");
                format!("{} ({by_root}) and {own} ({by_own})", trusted(root.slot))
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
            (report.unproved_blocks, "block", "without a root in bbr, or of an unknown fork"),
            (
                report.unproved_states,
                "state",
                "without a proved root in bsr, or of an unknown fork",
            ),
            (report.never_imported, "block", "never imported"),
            (report.pruned_slots, "slot", "whose blocks were pruned"),
            (report.unknown_slots, "slot", "with neither block nor root"),
        ] {
            if number > 0 {
                output::tell(&format!("not proved: {} {what}", count(number, thing)));
            }
        }
        notes::tell_of_blinded(report.blinded_blocks);
        if let Some(preset) = self.preset {
            notes::tell_of_preset(preset);
        }
        if report.rebuilt_states + report.covered_states > 0 {
            output::tell(&format!(
                "of the states, {} rebuilt from diffs; {} not rebuilt themselves (--states all)",
                were(report.rebuilt_states),
                were(report.covered_states),
            ));
            output::tell("not proved: signatures of blocks, and which states are missing");
        } else {
            output::tell(
                "not proved: signatures of blocks, state diffs, and which states are missing",
            );
        }
    }
}

/// "1 was", "2 were"
fn were(number: u64) -> String {
    format!("{number} {}", if number == 1 { "was" } else { "were" })
}
