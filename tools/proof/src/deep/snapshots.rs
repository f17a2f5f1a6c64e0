//! Snapshots of states.

use coldstore::{Column, Result, Slot};

use super::roots::EraColumns;
use super::{DeepVerifier, Findings, damage, finding_of};
use crate::state::{HashedState, hash_state};
use crate::words::hex;

const WHAT: &str = "state snapshot";

impl DeepVerifier<'_> {
    /// Every snapshot of the era hashes to the state root of its slot.
    pub(super) fn verify_snapshots(
        &mut self,
        columns: &EraColumns,
        findings: &mut Findings<'_>,
    ) -> Result<()> {
        let Some(view) = self.views.snapshots.clone() else { return Ok(()) };
        let (Some(first), Some(last)) = (columns.slots().next(), columns.slots().last()) else {
            return Ok(());
        };
        let mut next = Some(first);
        while let Some(from) = next {
            let record = match view.range(from..=last).next().transpose() {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(()),
                // The plain verification names the slot; here the next one has its turn.
                Err(error) => {
                    finding_of(error, from)?;
                    next = from.next().filter(|next| *next <= last);
                    continue;
                }
            };
            let slot = record.slot();
            self.report.bytes += record.stored().len() as u64;
            let hashed = match self.known.hashed(slot) {
                Some(state) => Ok(state),
                None => hash_state(self.options.preset, &mut record.stored()),
            };
            let refused = match hashed {
                Ok(state) => self.compare_snapshot(columns, slot, &state),
                Err(fault) => Some(("a state".to_owned(), fault.to_string())),
            };
            if let Some((wanted, found)) = refused {
                let column = Column::StateSnapshots;
                let file = self.data_file(column, slot);
                findings.push(column, damage(file, slot, WHAT, wanted, found));
            }
            next = slot.next().filter(|next| *next <= last);
        }
        Ok(())
    }

    /// What should be there, and what is, when a snapshot is not the state that it should be.
    fn compare_snapshot(
        &mut self,
        columns: &EraColumns,
        slot: Slot,
        state: &HashedState,
    ) -> Option<(String, String)> {
        if state.head.slot != slot {
            return Some((
                "the state of that slot".to_owned(),
                format!("slot {}", state.head.slot),
            ));
        }
        // The state at the first slot of an era has the roots of the era before.
        let (era, found) = (columns.era.saturating_sub(1), state.head.era_root());
        if let Some((_, wanted)) =
            self.last_era.filter(|(of, _)| *of == era && slot == columns.first)
            && wanted != found
        {
            let wanted =
                format!("the roots of era {era} that are in bbr and bsr: {}", hex(&wanted));
            return Some((wanted, hex(&found)));
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
            self.report.states += 1;
            return None;
        }
        let of_whom = if trusted.is_some() { "trusted" } else { "in bsr" };
        Some((format!("the state root {}, {of_whom}", hex(&wanted)), hex(&body.root)))
    }
}
