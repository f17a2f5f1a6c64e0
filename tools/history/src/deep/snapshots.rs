//! Proves snapshots of states.

use coldstore::{Column, Error, Result, Slot};
use coldstore_consensus::{HashedState, StateFault, hash_state};

use super::roots::EraColumns;
use super::{DeepVerifier, Findings, damage};

const WHAT: &str = "state snapshot";

impl DeepVerifier<'_> {
    /// Compares each snapshot of the era with the state root of its slot; it is proved if `roots_hold`.
    pub(super) fn verify_snapshots(
        &mut self,
        columns: &EraColumns,
        roots_hold: bool,
        findings: &mut Findings<'_>,
    ) -> Result<()> {
        let Some(view) = self.views.snapshots.clone() else { return Ok(()) };
        let (Some(first), Some(last)) = (columns.slots().next(), columns.slots().last()) else {
            return Ok(());
        };
        for record in view.range(first..=last) {
            let record = match record {
                Ok(record) => record,
                // The plain verification names the slot.
                Err(Error::Corrupt(_)) => continue,
                Err(error) => return Err(error),
            };
            let slot = record.slot();
            self.report.bytes += record.stored().len() as u64;
            let hashed = match self.known.hashed(slot) {
                Some(state) => Ok(state),
                None => hash_state(self.options.preset, &mut record.stored()),
            };
            let refused = match hashed {
                Ok(state) => self.compare_snapshot(columns, roots_hold, slot, &state),
                // The archive may be of another preset.
                Err(StateFault::UnknownLayout(_)) if self.known.own_slot().is_none() => {
                    self.report.unproved_states += 1;
                    self.report.last_unproved_state = Some(slot);
                    None
                }
                Err(fault) => Some(("a state".to_owned(), fault.to_string())),
            };
            if let Some((wanted, found)) = refused {
                let column = Column::StateSnapshots;
                let file = self.data_file(column, slot);
                // Diffs on it do not report it again.
                self.broken.insert(slot);
                findings.push(column, damage(file, slot, WHAT, wanted, found));
            }
        }
        Ok(())
    }

    /// Describes the difference if a snapshot is the wrong state.
    pub(super) fn compare_snapshot(
        &mut self,
        columns: &EraColumns,
        roots_hold: bool,
        slot: Slot,
        state: &HashedState,
    ) -> Option<(String, String)> {
        if state.prefix.slot != slot.0 {
            return Some((
                "the state of that slot".to_owned(),
                format!("slot {}", state.prefix.slot),
            ));
        }
        // The state at the first slot of an era has the roots of the previous era.
        let (era, found) = (columns.era.saturating_sub(1), state.prefix.era_root());
        if let Some((_, wanted)) =
            self.last_era.filter(|(of, _)| *of == era && slot == columns.first)
            && wanted != found
        {
            let wanted = format!("the roots of era {era} that are in bbr and bsr: {}", wanted);
            return Some((wanted, found.to_string()));
        }
        if let Some(contradiction) = state.contradiction(self.options.preset) {
            return Some(contradiction);
        }
        let trusted = self.known.trusted_state_root(slot).copied();
        let Some((body, wanted)) =
            state.body.as_ref().zip(trusted.or_else(|| columns.state_root(slot)))
        else {
            self.report.unproved_states += 1;
            self.report.last_unproved_state = Some(slot);
            return None;
        };
        if body.root == wanted {
            if roots_hold || trusted.is_some() {
                self.report.states += 1;
            } else {
                self.report.unproved_states += 1;
                self.report.last_unproved_state = Some(slot);
            }
            return None;
        }
        let of_whom = if trusted.is_some() { "trusted" } else { "in bsr" };
        Some((format!("the state root {}, {of_whom}", wanted), body.root.to_string()))
    }
}
