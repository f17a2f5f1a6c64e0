//! Proves states that are stored as diffs.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use coldstore::{Column, Error, Result, Slot, Snapshot};

use super::roots::EraColumns;
use super::{DeepVerifier, Findings, damage};
use crate::states::links::finding_of;
use crate::states::value::DiffValue;
use crate::states::{PathFault, StateView, States};

/// What findings of `bsd` are about.
const WHAT: &str = "state diff";

/// Which of the states in `bsd` are rebuilt and hashed. Those at the boundaries of eras always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateSample {
    /// Those on which no other builds: their proofs take in every diff, each on some path.
    #[default]
    Ends,
    /// Those of slots that are multiples of a number.
    Every(NonZeroU64),
    /// All.
    All,
}

impl fmt::Display for StateSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ends => f.write_str("ends"),
            Self::Every(slots) => write!(f, "every:{slots}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for StateSample {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("every:").map(str::parse)) {
            ("all", _) => Ok(Self::All),
            ("ends", _) => Ok(Self::Ends),
            (_, Some(Ok(slots))) => Ok(Self::Every(slots)),
            _ => Err("wanted all, ends, or every:N with N of at least 1".to_owned()),
        }
    }
}

impl DeepVerifier<'_> {
    /// Rebuilds states of the era that are stored as diffs, and compares their roots with `bsr`; they are
    /// proved if `roots_hold`.
    ///
    /// A state that cannot be rebuilt is reported where the fault is, once for all that build on it.
    pub(super) fn verify_diffs(
        &mut self,
        columns: &EraColumns,
        roots_hold: bool,
        findings: &mut Findings<'_>,
    ) -> Result<()> {
        let Some(states) = self.states.clone() else { return Ok(()) };
        let (stored, ends) = self.stored_diffs(&states, columns)?;
        for slot in stored {
            let is_boundary = slot.0.is_multiple_of(self.options.preset.slots_per_era());
            let is_chosen = match self.options.sample {
                StateSample::Ends => ends.contains(&slot),
                StateSample::Every(slots) => slot.0.is_multiple_of(slots.get()),
                StateSample::All => true,
            };
            if !is_boundary && !is_chosen {
                self.report.covered_states += 1;
                continue;
            }
            let view = match states.stored_at(slot) {
                Ok(Some(view)) => view,
                Ok(None) => continue,
                Err(PathFault::Storage { error: error @ Error::Io(_), .. }) => return Err(error),
                Err(fault) => {
                    let (column, finding) =
                        finding_of(self.archive.root(), states.layers(), &fault);
                    if self.broken.insert(finding.slot.unwrap_or(slot)) {
                        findings.push(column, finding);
                    }
                    continue;
                }
            };
            self.report.bytes += view.ssz_len();
            let before = self.report.states;
            let refused = match is_boundary {
                true => match self.known.hashed(slot).map_or_else(|| view.hashed(), Ok) {
                    Ok(state) => self.compare_snapshot(columns, roots_hold, slot, &state),
                    Err(fault) => Some(("a state".to_owned(), fault.to_string())),
                },
                false => self.compare_root(columns, roots_hold, &view),
            };
            self.report.rebuilt_states += self.report.states - before;
            if let Some((wanted, found)) = refused {
                let wanted = format!("{wanted}; rebuilt by: {}", view.how());
                let file = self.data_file(Column::StateDiffs, slot);
                findings.push(Column::StateDiffs, damage(file, slot, WHAT, wanted, found));
            }
        }
        Ok(())
    }

    /// The slots of the era in `bsd` that are not also whole in `bss`, and those of them on which no other builds.
    fn stored_diffs<S: Snapshot>(
        &self,
        states: &States<S>,
        columns: &EraColumns,
    ) -> Result<(Vec<Slot>, BTreeSet<Slot>)> {
        let (mut stored, mut bases) = (Vec::new(), BTreeSet::new());
        let source = states.source();
        let Some(view) = &source.diffs else { return Ok((stored, bases)) };
        for slot in columns.slots() {
            // The plain verification names what is damaged.
            match view.get(slot) {
                Ok(None) => {}
                Ok(Some(value)) => {
                    if let Ok(value) = DiffValue::parse(slot, &value) {
                        bases.insert(value.base_slot());
                    }
                    if !source.stored().is_whole(slot)? {
                        stored.push(slot);
                    }
                }
                Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let ends = stored.iter().copied().filter(|slot| !bases.contains(slot)).collect();
        Ok((stored, ends))
    }

    /// Describes the difference if a state within an era has another root than the one in `bsr`.
    fn compare_root<S: Snapshot>(
        &mut self,
        columns: &EraColumns,
        roots_hold: bool,
        view: &StateView<'_, S>,
    ) -> Option<(String, String)> {
        let wanted = columns.state_root(view.slot());
        match (wanted, view.root()) {
            (_, Err(fault)) => Some(("a state".to_owned(), fault.to_string())),
            (Some(wanted), Ok(found)) if wanted != found => {
                Some((format!("the state root {wanted}, in bsr"), found.to_string()))
            }
            (Some(_), Ok(_)) if roots_hold => {
                self.report.states += 1;
                None
            }
            _ => {
                self.report.unproved_states += 1;
                self.report.last_unproved_state = Some(view.slot());
                None
            }
        }
    }
}
