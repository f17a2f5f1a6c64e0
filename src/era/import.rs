//! Brings `.era` files into the columns of an archive.
//!
//! Era by era, in the order of their slots; each is durable before the next is written, and of a
//! file that does not pass every check nothing is committed. While one file is committed, the next
//! one is verified. Block records are copied as they are,
//! block roots and state roots come out of the era's state, and the state itself is the snapshot
//! of its slot. An era is done when `bbr` holds its last slot (era 0, which is the genesis state
//! alone: when `bss` holds slot 0).

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

pub use super::error::{AnotherChain, ImportError, ImportFailure};
pub use super::plan::Plan;
pub use super::prove::Prover;
pub use super::report::{ImportReport, Observer, Phase, Progress};

use super::commit::{self, Writing, commit};
use super::group::{EraSlots, Group};
use super::plan::PlannedFile;
use super::reader::{EraFile, EraState, Limits};
use super::report::{EraOutcome, EraReport, StateOutcome};
use super::ssz::Root;
use super::standing::{self, Standing};
use super::ticker::{Telling, Ticker};
use super::verify::{Verified, verify};
use crate::column::Column;
use crate::error::Error;
use crate::slot::Slot;
use crate::write::Writer;

/// Of the blocks that were verified so much stays in memory until they are committed, and a state
/// that has no more: they need not be read and decoded again.
const KEPT_BYTES: usize = 16 << 20;

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
    observer: &mut (dyn Observer + Send),
) -> Result<ImportReport, Box<ImportFailure>> {
    import_with(plan, columns, states, None, observer)
}

/// [`import`], with every era that the archive does not have proved before it is committed.
///
/// # Errors
/// As [`import`], and for what the prover refuses: nothing of that file is committed then.
pub fn import_proved(
    plan: &Plan,
    columns: ImportColumns<'_>,
    states: States,
    prover: &mut dyn Prover,
    observer: &mut (dyn Observer + Send),
) -> Result<ImportReport, Box<ImportFailure>> {
    import_with(plan, columns, states, Some(prover), observer)
}

fn import_with(
    plan: &Plan,
    columns: ImportColumns<'_>,
    states: States,
    prover: Option<&mut dyn Prover>,
    observer: &mut (dyn Observer + Send),
) -> Result<ImportReport, Box<ImportFailure>> {
    let limits = Limits {
        block_bytes: columns.blocks.conf().spec.max_value_bytes,
        state_bytes: columns
            .state_snapshots
            .as_ref()
            .map_or(Column::StateSnapshots.spec(), |writer| writer.conf().spec)
            .max_value_bytes,
    };
    let telling = Telling::new(plan, observer);
    let ticker = Ticker::new(&telling);
    let mut verifier = Verifier { limits, prover, ticker: ticker.clone(), chain: None };
    let report = ImportReport::default();
    let mut committer = Committer { columns, states, limits, ticker, report };
    let imported = import_all(plan, &mut verifier, &mut committer);
    let mut done = committer.report;
    done.genesis_validators_root = verifier.chain.map(|(root, _)| root);
    match imported {
        Ok(()) => Ok(done),
        Err(error) => Err(Box::new(ImportFailure { done, error })),
    }
}

/// While the eras of one file are committed, those of the next one are verified.
fn import_all(
    plan: &Plan,
    verifier: &mut Verifier<'_, '_, '_>,
    committer: &mut Committer<'_, '_>,
) -> Result<(), ImportError> {
    if committer.states != States::None && committer.columns.state_snapshots.is_none() {
        return Err(ImportError::NoSnapshotColumn);
    }
    let mut ready: Option<Ready> = None;
    for planned in plan.files() {
        let next = match look_at(planned, &mut committer.columns, ready.as_ref()) {
            Err(_) if ready.is_some() => {
                // The file before it is in order, and this one may fit when that is committed.
                committer.commit_file(ready.take())?;
                look_at(planned, &mut committer.columns, None)?
            }
            looked => looked?,
        };
        if next.has_present_eras() {
            // They are compared with the archive, which has to be at rest.
            committer.commit_file(ready.take())?;
        }
        ready = Some(import_file(next, ready, verifier, committer)?);
    }
    committer.commit_file(ready)
}

/// A file, and where each of its eras stands to the archive.
struct Next {
    file: EraFile,
    eras: Vec<(Group, Standing)>,
}

impl Next {
    fn has_present_eras(&self) -> bool {
        self.eras.iter().any(|(_, standing)| matches!(standing, Standing::Present(_)))
    }
}

/// A file whose eras may be committed.
struct Ready {
    file: EraFile,
    eras: Vec<Verified>,
}

fn look_at(
    planned: &PlannedFile,
    columns: &mut ImportColumns<'_>,
    ready: Option<&Ready>,
) -> Result<Next, ImportError> {
    let file = EraFile::open(&planned.path)?;
    check_planned(&file, planned)?;
    let mut before = ready.and_then(|ready| ready.eras.last()?.group.slots);
    let mut eras = Vec::new();
    for group in file.groups() {
        let standing = standing::of(columns, file.path(), group, before)?;
        if matches!(standing, Standing::Next) {
            before = group.slots.or(before);
        }
        eras.push((*group, standing));
    }
    Ok(Next { file, eras })
}

/// Takes a file as far as it can be committed:
///
/// 1. what it has new is verified, while the file before it is committed,
/// 2. every era that the archive has is compared with it,
/// 3. the new ones are compared with what comes before them.
fn import_file(
    next: Next,
    mut ready: Option<Ready>,
    verifier: &mut Verifier<'_, '_, '_>,
    committer: &mut Committer<'_, '_>,
) -> Result<Ready, ImportError> {
    let Next { mut file, eras: standings } = next;
    let held = committer.columns.block_roots.highest_written_slot();
    // 1.
    let (committed, verified) = std::thread::scope(|scope| {
        let (writing, written) = crossbeam_channel::bounded(0);
        let before =
            ready.as_mut().map(|ready| scope.spawn(|| committer.commit_eras(ready, Some(writing))));
        // Until it waits for the disk it needs the cores more. Nothing comes but the end.
        let Err(_) = written.recv();
        let verified = verifier.verify_file(&mut file, &standings, held);
        (before.map_or(Ok(()), commit::joined), verified)
    });
    committed?;
    let eras = verified?;
    // 2.
    let path = file.path().to_path_buf();
    for (group, standing) in &standings {
        if let Standing::Present(slots) = standing {
            let state = file.state_head(group)?;
            verifier.check_chain(&file, group, &state)?;
            committer.compare(&file, group, *slots, &state)?;
        }
    }
    // 3.
    let mut before = ready.as_ref().and_then(|ready| ready.eras.last());
    for era in &eras {
        let columns = &mut committer.columns;
        standing::check_link(columns, &path, era, before)?;
        if let Some((slot, root)) = &era.held {
            standing::check_root(columns, &path, era.group.era, *slot, root)?;
        }
        before = Some(era);
    }
    Ok(Ready { file, eras })
}

/// The first pass: nothing is written.
struct Verifier<'t, 'a, 'p> {
    limits: Limits,
    prover: Option<&'p mut dyn Prover>,
    ticker: Ticker<'t, 'a>,
    /// The genesis validators root, and the file that it was first seen in.
    chain: Option<(Root, PathBuf)>,
}

impl Verifier<'_, '_, '_> {
    /// Verifies the eras of a file that the archive does not have. Its highest slot in `bbr` is
    /// `held`.
    fn verify_file(
        &mut self,
        file: &mut EraFile,
        eras: &[(Group, Standing)],
        held: Option<Slot>,
    ) -> Result<Vec<Verified>, ImportError> {
        self.ticker.begin_file(file.path(), file.byte_len());
        // A file may have many eras, and is committed when all of them are verified.
        let keep = if eras.len() == 1 { KEPT_BYTES } else { 0 };
        let mut verified = Vec::new();
        for (group, standing) in eras {
            if matches!(standing, Standing::Next) {
                self.ticker.begin_era(group.era);
                let prover = self.prover.as_deref_mut();
                let (mut era, state) =
                    verify(file, group, self.limits, keep, prover, &mut self.ticker)?;
                self.check_chain(file, group, &state)?;
                era.held = standing::overlap(group, &state, held);
                verified.push(era);
            }
        }
        // An import of nothing but what is there already can be stopped too.
        self.ticker.tick(Phase::Verify, file.byte_len())?;
        Ok(verified)
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
                Ok(())
            }
        }
    }
}

/// The second pass: what was verified goes into the columns.
struct Committer<'t, 'a> {
    columns: ImportColumns<'a>,
    states: States,
    limits: Limits,
    ticker: Ticker<'t, 'a>,
    report: ImportReport,
}

impl Committer<'_, '_> {
    fn commit_file(&mut self, ready: Option<Ready>) -> Result<(), ImportError> {
        ready.map_or(Ok(()), |mut ready| self.commit_eras(&mut ready, None))
    }

    /// `writing` goes to the first of them.
    fn commit_eras(
        &mut self,
        ready: &mut Ready,
        mut writing: Option<Writing>,
    ) -> Result<(), ImportError> {
        self.ticker.begin_file(ready.file.path(), ready.file.byte_len());
        for era in &ready.eras {
            self.commit(&mut ready.file, era, writing.take())?;
        }
        self.ticker.end_file();
        Ok(())
    }

    fn commit(
        &mut self,
        file: &mut EraFile,
        era: &Verified,
        writing: Option<Writing>,
    ) -> Result<(), ImportError> {
        let group = era.group;
        self.ticker.begin_era(group.era);
        let begins = self.columns.block_roots.highest_written_slot().is_none();
        let selected = self.states.selects(group.era);
        let (columns, ticker) = (&mut self.columns, &mut self.ticker);
        let state = commit(file, era, columns, self.limits, selected, ticker, writing)?;
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
        file: &EraFile,
        group: &Group,
        slots: EraSlots,
        state: &EraState,
    ) -> Result<(), ImportError> {
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
        self.ticker.telling().end_era(&report);
        self.report.eras.push(report);
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
