//! Brings `.era` files into the columns of an archive.
//!
//! Era by era, in the order of their slots; each is durable before the next is written, and of a
//! file that does not pass every check nothing is committed. While one file is committed, the next
//! one is verified. Block records are copied as they are,
//! block roots and state roots come out of the era's state, and the state itself is the snapshot
//! of its slot.
//!
//! What is there already is decided by column and slot, before anything is written: each column gets
//! what it lacks, at its end or, where backfill is on, behind it. An era that is there as a whole is
//! compared: its last roots, its state where that is stored, and that its blocks are there. Importing the
//! same files again therefore decodes every state that the archive has.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

pub use super::error::{AnotherChain, ImportError, ImportFailure};
pub use super::plan::Plan;
pub use super::prove::Prover;
pub use super::report::{ImportReport, Observer, Phase, Progress};

use super::commit::{self, Writing, commit};
use super::e2store::RecordAt;
use super::group::Group;
use super::plan::PlannedFile;
use super::reader::{self, EraFile, EraState, Limits};
use super::report::{EraOutcome, EraReport, StateOutcome};
use super::ssz::Root;
use super::standing::{self, LackingState, Standing, Survey};
use super::ticker::{Telling, Ticker};
use super::verify::{Verified, verify};
use crate::column::Column;
use crate::error::Error;
use crate::manifest::StatesPolicy;
use crate::slot::Slot;
use crate::write::{Writer, settle};

/// Of the blocks that were verified so much stays in memory until they are committed, and a state
/// that has no more: they need not be read and decoded again.
const KEPT_BYTES: usize = 16 << 20;

/// Which eras' states go to `bss`. The last era of an import always leaves its state there, where it
/// is the archive's newest: what comes next is proved by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum States {
    /// All of them.
    #[default]
    All,
    /// None of them.
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

impl From<States> for StatesPolicy {
    fn from(states: States) -> Self {
        match states {
            States::All => StatesPolicy::All,
            States::None => StatesPolicy::None,
            States::Every(eras) => StatesPolicy::Every(eras),
        }
    }
}

impl StatesPolicy {
    /// What an import is told by it; `None` where it is not known.
    #[must_use]
    pub fn states(self) -> Option<States> {
        match self {
            StatesPolicy::All => Some(States::All),
            StatesPolicy::None => Some(States::None),
            StatesPolicy::Every(eras) => Some(States::Every(eras)),
            StatesPolicy::Unknown => None,
        }
    }
}

/// What an import is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// Which states are kept.
    pub states: States,
    /// Whether a column that lacks slots at or below its highest may be opened for backfill.
    pub backfill: bool,
    /// By [`Column::index`]: slots below this one were removed on purpose and are not brought back.
    pub pruned_before: [Option<Slot>; Column::ALL.len()],
    /// The slot with which the archive began, when what it holds now begins later because the rest was
    /// pruned and is to be brought back.
    pub first_slot: Option<Slot>,
}

impl From<States> for ImportOptions {
    fn from(states: States) -> Self {
        Self { states, ..Self::default() }
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
    /// `bss`; needed unless no state is selected. (Without it the newest state is not kept either.)
    pub state_snapshots: Option<&'a mut Writer>,
}

impl ImportColumns<'_> {
    /// Makes columns and replaces confs where that was [deferred](crate::ArchiveWriter::deferred).
    fn settle(&mut self) -> Result<(), Error> {
        let Self { blocks, block_roots, state_roots, state_snapshots } = self;
        let mut columns = vec![&mut **blocks, block_roots, state_roots];
        columns.extend(state_snapshots.as_deref_mut());
        settle(&mut columns, || Ok(()))
    }
}

/// Imports the files of a plan.
///
/// # Errors
/// [`ImportFailure`] with what was done before. A repeated import goes on from there.
pub fn import(
    plan: &Plan,
    columns: ImportColumns<'_>,
    options: impl Into<ImportOptions>,
    observer: &mut (dyn Observer + Send),
) -> Result<ImportReport, Box<ImportFailure>> {
    import_with(plan, columns, options.into(), None, observer)
}

/// [`import`], with every era of which the archive lacks anything proved before it is committed.
///
/// # Errors
/// As [`import`], and for what the prover refuses: nothing of that file is committed then.
pub fn import_proved(
    plan: &Plan,
    columns: ImportColumns<'_>,
    options: impl Into<ImportOptions>,
    prover: &mut dyn Prover,
    observer: &mut (dyn Observer + Send),
) -> Result<ImportReport, Box<ImportFailure>> {
    import_with(plan, columns, options.into(), Some(prover), observer)
}

fn import_with(
    plan: &Plan,
    columns: ImportColumns<'_>,
    options: ImportOptions,
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
    let mut committer = Committer { columns, begins: false, limits, ticker, report };
    let imported = import_all(plan, options, &mut verifier, &mut committer);
    let mut done = committer.report;
    done.genesis_validators_root = verifier.chain.map(|(root, _)| root);
    match imported {
        Ok(()) => Ok(done),
        Err(error) => Err(Box::new(ImportFailure { done, error })),
    }
}

/// 1. looks at all files and at what the archive lacks of them: what needs backfill without leave, and
///    what is of another chain than the archive, ends the import here; anything else when its turn
///    comes,
/// 2. file by file: while the eras of one are committed, those of the next are verified.
fn import_all(
    plan: &Plan,
    options: ImportOptions,
    verifier: &mut Verifier<'_, '_, '_>,
    committer: &mut Committer<'_, '_>,
) -> Result<(), ImportError> {
    if options.states != States::None && committer.columns.state_snapshots.is_none() {
        return Err(ImportError::NoSnapshotColumn);
    }
    // 1.
    let mut survey = Survey::new(plan, &committer.columns, options)?;
    // Pruned history can be brought back: an archive of which no more is left has a beginning.
    let is_pruned = options.pruned_before.iter().any(Option::is_some);
    committer.begins = survey.first_slot().is_none() && !is_pruned;
    let (mut files, mut refused) = (Vec::new(), None);
    for planned in plan.files() {
        match survey.file(&mut committer.columns, planned) {
            Ok(eras) => files.push((planned, eras)),
            Err(error @ (ImportError::NeedsBackfill { .. } | ImportError::AnotherChain(_))) => {
                return Err(error);
            }
            // The genesis state alone fits any archive of its chain: nothing is done for its sake.
            Err(error) if !files.iter().any(|(_, eras)| has_slots(eras)) => return Err(error),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    committer.report.first_slot = survey.first_slot();
    // 2.
    let mut ready: Option<Ready> = None;
    for (planned, eras) in files {
        let file = EraFile::open(&planned.path)?;
        check_planned(&file, planned)?;
        let next = Next { file, eras };
        if next.has_complete_eras() {
            // They are compared with the archive, which has to be at rest.
            committer.commit_file(ready.take())?;
        }
        ready = Some(import_file(next, ready, verifier, committer)?);
    }
    committer.commit_file(ready)?;
    refused.map_or(Ok(()), Err)
}

fn has_slots(eras: &[(Group, Standing)]) -> bool {
    eras.iter().any(|(group, _)| group.slots.is_some())
}

/// A file, and what the archive lacks of each of its eras.
struct Next {
    file: EraFile,
    eras: Vec<(Group, Standing)>,
}

impl Next {
    fn has_complete_eras(&self) -> bool {
        self.eras.iter().any(|(_, standing)| matches!(standing, Standing::Complete { .. }))
    }
}

/// A file whose eras may be committed.
struct Ready {
    file: EraFile,
    eras: Vec<Verified>,
}

/// Takes a file as far as it can be committed:
///
/// 1. what it has new is verified, while the file before it is committed,
/// 2. every era that the archive has is compared with it,
/// 3. the others are compared with what comes before them, and with a state that is there.
fn import_file(
    next: Next,
    mut ready: Option<Ready>,
    verifier: &mut Verifier<'_, '_, '_>,
    committer: &mut Committer<'_, '_>,
) -> Result<Ready, ImportError> {
    let Next { mut file, eras: standings } = next;
    // 1.
    let (committed, verified) = std::thread::scope(|scope| {
        let (writing, written) = crossbeam_channel::bounded(0);
        let before =
            ready.as_mut().map(|ready| scope.spawn(|| committer.commit_eras(ready, Some(writing))));
        // Until it waits for the disk it needs the cores more. Nothing comes but the end.
        let Err(_) = written.recv();
        let verified = verifier.verify_file(&mut file, &standings);
        (before.map_or(Ok(()), commit::joined), verified)
    });
    committed?;
    let eras = verified?;
    // 2.
    for (group, standing) in &standings {
        if let Standing::Complete { pruned } = *standing {
            let outcome = if pruned { EraOutcome::Pruned } else { EraOutcome::Present };
            let state = file.state_head(group)?;
            verifier.check_chain(&file, group, &state)?;
            committer.compare(&mut file, group, &state, outcome, verifier)?;
        }
    }
    // 3.
    let mut before = ready.as_ref().and_then(|ready| ready.eras.last());
    for era in &eras {
        if era.lacks.state == LackingState::Held {
            let record = reader::state_record(file.records(), &era.group)?;
            committer.compare_state(&mut file, &era.group, &record, verifier)?;
        }
        standing::check_link(&committer.columns, file.path(), era, before)?;
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
    /// Verifies the eras of a file of which the archive lacks anything.
    fn verify_file(
        &mut self,
        file: &mut EraFile,
        eras: &[(Group, Standing)],
    ) -> Result<Vec<Verified>, ImportError> {
        self.ticker.begin_file(file.path(), file.byte_len());
        // A file may have many eras, and is committed when all of them are verified.
        let keep = if eras.len() == 1 { KEPT_BYTES } else { 0 };
        let mut verified = Vec::new();
        for (group, standing) in eras {
            if let Standing::Lacking(lacks) = standing {
                self.ticker.begin_era(group.era);
                let prover = self.prover.as_deref_mut();
                let (mut era, state) =
                    verify(file, group, self.limits, keep, prover, &mut self.ticker)?;
                self.check_chain(file, group, &state)?;
                era.lacks = *lacks;
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

impl Verifier<'_, '_, '_> {
    /// The roots of the state that the archive has and of that in the file, where a prover tells.
    fn both_roots(
        &mut self,
        snapshots: &Writer,
        file: &mut EraFile,
        record: &RecordAt,
        slot: Slot,
    ) -> Result<Option<Box<(Root, Root)>>, Error> {
        let Some(prover) = self.prover.as_deref_mut() else { return Ok(None) };
        let Some(view) = standing::view_of(snapshots)? else { return Ok(None) };
        let Some(held) = view.get_stored(slot)? else { return Ok(None) };
        let held = prover.state_root(&mut &held[..]);
        let found = prover.state_root(&mut file.state_stream(record)?);
        Ok(held.zip(found).map(Box::new))
    }
}

/// The second pass: what was verified goes into the columns.
struct Committer<'t, 'a> {
    columns: ImportColumns<'a>,
    /// The archive is empty so far.
    begins: bool,
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
        // A file has been verified: until now nothing has changed.
        self.columns.settle()?;
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
        let (columns, ticker) = (&mut self.columns, &mut self.ticker);
        let state = commit(file, era, columns, self.limits, ticker, writing)?;
        if self.begins && group.slots.is_some() {
            self.begins = false;
            self.report.began_at_era = Some(group.era).filter(|era| *era > 1);
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
        let completed = era.lacks.completed();
        self.era_done(file.path(), &group, outcome, state, completed);
        Ok(())
    }

    /// Compares an era that the archive has with it: the last roots, and the state byte by byte.
    fn compare(
        &mut self,
        file: &mut EraFile,
        group: &Group,
        state: &EraState,
        outcome: EraOutcome,
        verifier: &mut Verifier<'_, '_, '_>,
    ) -> Result<(), ImportError> {
        let last = group.slots.map(|slots| slots.last);
        standing::check_held(&self.columns, file.path(), group, state, [last; 2])?;
        let is_there = self.compare_state(file, group, &state.record, verifier)?;
        let of_state = if is_there { StateOutcome::Present } else { StateOutcome::NotSelected };
        self.era_done(file.path(), group, outcome, of_state, Vec::new());
        Ok(())
    }

    /// Compares the state that the archive has, byte by byte; false where it has none.
    fn compare_state(
        &mut self,
        file: &mut EraFile,
        group: &Group,
        record: &RecordAt,
        verifier: &mut Verifier<'_, '_, '_>,
    ) -> Result<bool, ImportError> {
        let Some(snapshots) = self.columns.state_snapshots.as_deref_mut() else {
            return Ok(false);
        };
        let path = file.path().to_path_buf();
        let held = snapshots.holds(group.state_slot, &mut file.state_stream(record)?);
        match held {
            Err(Error::Conflict { slot }) => {
                let roots = verifier.both_roots(snapshots, file, record, slot)?;
                Err(ImportError::AnotherState { file: path, era: group.era, slot, roots })
            }
            held => held
                .map_err(|source| standing::refused(&path, group, Column::StateSnapshots, source)),
        }
    }

    fn era_done(
        &mut self,
        path: &Path,
        group: &Group,
        outcome: EraOutcome,
        state: StateOutcome,
        completed: Vec<Column>,
    ) {
        let report = EraReport {
            era: group.era,
            file: path.to_path_buf(),
            slots: group.slots,
            state_slot: group.state_slot,
            byte_len: group.byte_len(),
            outcome,
            state,
            completed,
        };
        self.ticker.telling().end_era(&report);
        self.report.eras.push(report);
    }
}

pub(super) fn check_planned(file: &EraFile, planned: &PlannedFile) -> Result<(), Error> {
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
