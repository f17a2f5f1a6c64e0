//! Brings `.era` files into the columns of an archive.
//!
//! Era by era, in the order of their slots; each is durable before the next is begun, and of a
//! file that does not pass every check nothing is committed. Block records are copied as they are,
//! block roots and state roots come out of the era's state, and the state itself is the snapshot
//! of its slot. An era is done when `bbr` holds its last slot (era 0, which is the genesis state
//! alone: when `bss` holds slot 0).

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

pub use super::error::{AnotherChain, ImportError, ImportFailure};
pub use super::plan::Plan;
pub use super::report::{ImportReport, Observer, Phase, Progress};

use super::commit::commit;
use super::group::{EraSlots, Group};
use super::plan::PlannedFile;
use super::reader::{EraFile, EraState, Limits};
use super::report::{EraOutcome, EraReport, StateOutcome};
use super::ssz::Root;
use super::standing::{self, Standing};
use super::ticker::Ticker;
use super::verify::{Verified, verify};
use crate::column::Column;
use crate::error::Error;
use crate::write::Writer;

/// Which eras' states go to `bss`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum States {
    /// All of them.
    #[default]
    All,
    /// None of them: era 0 then brings nothing.
    None,
    /// Those of eras that this number divides; era 0 is one of them.
    Every(NonZeroU64),
}

impl States {
    /// True when the state of this era is to be stored.
    #[must_use]
    pub fn selects(self, era: u64) -> bool {
        match self {
            States::All => true,
            States::None => false,
            States::Every(divisor) => era % divisor == 0,
        }
    }
}

/// The columns that an import writes to.
#[derive(Debug)]
pub struct ImportColumns<'a> {
    /// `blk`
    pub blocks: &'a mut Writer,
    /// `bbr`
    pub block_roots: &'a mut Writer,
    /// `bsr`
    pub state_roots: &'a mut Writer,
    /// `bss`; needed unless no state is selected.
    pub state_snapshots: Option<&'a mut Writer>,
}

/// Imports the files of a plan.
///
/// # Errors
/// [`ImportFailure`] with what was done before. A repeated import goes on from there.
pub fn import(
    plan: &Plan,
    columns: ImportColumns<'_>,
    states: States,
    observer: &mut dyn Observer,
) -> Result<ImportReport, Box<ImportFailure>> {
    let limits = Limits {
        block_bytes: columns.blocks.conf().spec.max_value_bytes,
        state_bytes: columns
            .state_snapshots
            .as_ref()
            .map_or(Column::StateSnapshots.spec(), |writer| writer.conf().spec)
            .max_value_bytes,
    };
    let ticker = Ticker::new(plan, observer);
    let report = ImportReport::default();
    let mut run = Run { columns, states, limits, ticker, report, chain: None };
    match run.import_all(plan) {
        Ok(()) => Ok(run.report),
        Err(error) => Err(Box::new(ImportFailure { done: run.report, error })),
    }
}

struct Run<'a> {
    columns: ImportColumns<'a>,
    states: States,
    limits: Limits,
    ticker: Ticker<'a>,
    report: ImportReport,
    /// The genesis validators root, and the file that it was first seen in.
    chain: Option<(Root, PathBuf)>,
}

impl Run<'_> {
    fn import_all(&mut self, plan: &Plan) -> Result<(), ImportError> {
        if self.states != States::None && self.columns.state_snapshots.is_none() {
            return Err(ImportError::NoSnapshotColumn);
        }
        for planned in plan.files() {
            self.ticker.begin_file(&planned.path, planned.byte_len);
            self.import_file(planned)?;
            self.ticker.end_file();
        }
        Ok(())
    }

    /// Imports a file:
    ///
    /// 1. every era that the archive has is compared with it, every other one is verified,
    /// 2. those are committed.
    fn import_file(&mut self, planned: &PlannedFile) -> Result<(), ImportError> {
        let mut file = EraFile::open(&planned.path)?;
        check_planned(&file, planned)?;
        let mut next: Vec<Verified> = Vec::new();
        for group in file.groups().to_vec() {
            self.ticker.begin_era(group.era);
            match standing::of(&mut self.columns, file.path(), &group, next.last())? {
                Standing::Present(slots) => self.compare(&mut file, &group, slots)?,
                Standing::Next => {
                    let (era, state) = verify(&mut file, &group, self.limits, &mut self.ticker)?;
                    self.check_chain(&file, &group, &state)?;
                    standing::check_link(&mut self.columns, file.path(), &era, next.last())?;
                    standing::check_overlap(&mut self.columns, file.path(), &group, &state)?;
                    next.push(era);
                }
            }
        }
        for era in next {
            self.commit(&mut file, &era)?;
        }
        Ok(())
    }

    fn commit(&mut self, file: &mut EraFile, era: &Verified) -> Result<(), ImportError> {
        let group = era.group;
        self.ticker.begin_era(group.era);
        let begins = self.columns.block_roots.highest_written_slot().is_none();
        let selected = self.states.selects(group.era);
        let state = commit(file, era, &mut self.columns, self.limits, selected, &mut self.ticker)?;
        if begins && group.era > 1 {
            self.report.began_at_era = Some(group.era);
        }
        let outcome = match (group.slots, state) {
            (None, StateOutcome::NotSelected) => EraOutcome::Nothing,
            (None, StateOutcome::Present) => EraOutcome::Present,
            (slots, _) => {
                let blocks = era.blocks.len() as u64;
                let skipped_slots = slots.map_or(0, |slots| slots.count().saturating_sub(blocks));
                EraOutcome::Imported { blocks, skipped_slots, index_encoding: era.index_encoding }
            }
        };
        self.era_done(file.path(), &group, outcome, state);
        Ok(())
    }

    /// Compares an era that the archive has with it, by its last block root.
    fn compare(
        &mut self,
        file: &mut EraFile,
        group: &Group,
        slots: EraSlots,
    ) -> Result<(), ImportError> {
        let state = file.state_head(group)?;
        self.check_chain(file, group, &state)?;
        let root = state.roots.as_ref().and_then(|roots| roots.block_roots.last());
        if let Some(root) = root {
            standing::check_root(&mut self.columns, file.path(), group.era, slots.last, root)?;
        }
        let stored = match self.columns.state_snapshots.as_deref_mut() {
            Some(snapshots) if self.states.selects(group.era) => {
                match snapshots.contains(group.state_slot) {
                    Ok(true) => StateOutcome::Present,
                    Ok(false) => StateOutcome::Absent,
                    Err(source) => {
                        let (file, column) = (file.path().to_path_buf(), Column::StateSnapshots);
                        return Err(ImportError::Column { file, era: group.era, column, source });
                    }
                }
            }
            _ => StateOutcome::NotSelected,
        };
        self.ticker.tick(Phase::Verify, group.end)?;
        self.era_done(file.path(), group, EraOutcome::Present, stored);
        Ok(())
    }

    fn era_done(&mut self, path: &Path, group: &Group, outcome: EraOutcome, state: StateOutcome) {
        let report = EraReport {
            era: group.era,
            file: path.to_path_buf(),
            slots: group.slots,
            state_slot: group.state_slot,
            byte_len: group.byte_len(),
            outcome,
            state,
        };
        self.ticker.end_era(&report);
        self.report.eras.push(report);
    }

    fn check_chain(
        &mut self,
        file: &EraFile,
        group: &Group,
        state: &EraState,
    ) -> Result<(), ImportError> {
        let found = state.head.genesis_validators_root;
        match &self.chain {
            Some((wanted, other)) if *wanted != found => Err(AnotherChain {
                file: file.path().to_path_buf(),
                era: group.era,
                slot: group.state_slot,
                what: "genesis validators root",
                found,
                other: other.display().to_string(),
                wanted: Some(*wanted),
            }
            .into()),
            Some(_) => Ok(()),
            None => {
                self.chain = Some((found, file.path().to_path_buf()));
                self.report.genesis_validators_root = Some(found);
                Ok(())
            }
        }
    }
}

fn check_planned(file: &EraFile, planned: &PlannedFile) -> Result<(), Error> {
    let eras = |groups: &[Group]| {
        groups.first().zip(groups.last()).map(|(first, last)| (first.era, last.era))
    };
    let wanted = (planned.byte_len, Some((planned.first_era, planned.last_era)));
    if (file.byte_len(), eras(file.groups())) == wanted {
        return Ok(());
    }
    let wanted = format!("{} bytes, as when it was looked at first", planned.byte_len);
    let found = format!("{} bytes: it changed meanwhile", file.byte_len());
    Err(Error::corrupt(&planned.path, None, "file", wanted, found))
}
