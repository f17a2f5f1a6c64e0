//! Imports `.era` files into the columns of an archive.
//!
//! Eras are imported in the order of their slots, and each is durable before the next is written. Nothing
//! of a file is committed unless the whole file passes every check. While one file is committed, the next
//! one is verified. Block records are copied unchanged; block roots and state roots are taken from the
//! era's state; the state itself becomes the snapshot of its slot.
//!
//! Before anything is written, the import decides per column and slot what is missing. Each column gets
//! the records that it lacks, above its highest slot or, with backfill, below it. An era that is present
//! as a whole is compared: its last roots, its state if stored, and the presence of its blocks. So
//! importing the same files again decodes every state that the archive has.

use std::path::{Path, PathBuf};

pub use super::columns::{ImportColumns, ImportOptions, States};
pub use super::error::{AnotherChain, ImportError, ImportFailure};
pub use super::plan::Plan;
pub use super::prove::Prover;
pub use super::report::{ImportReport, Observer, Phase, Progress};

use super::archive_roots;
use super::commit::{self, Writing, commit};
use super::e2store::RecordAt;
use super::era_position::{EraPosition, Survey};
use super::error::refused;
use super::group::Group;
use super::group_records::{self, EraState, Limits};
use super::lacks::LackingState;
use super::progress::{ImportProgress, PassProgress};
use super::reader::EraFile;
use super::report::{EraOutcome, EraReport, StateOutcome};
use super::ssz::Root;
use super::verify::{Verified, verify};
use crate::column::Column;
use crate::error::Error;
use crate::slot::Slot;
use crate::sync::channel;
use crate::sync::thread;
use crate::write::Writer;

/// Maximum bytes of verified blocks that stay in memory until the commit; likewise for a state. They need
/// not be read and decoded again.
const KEPT_BYTES: usize = 16 << 20;

/// Imports the files of a plan.
///
/// # Errors
/// [`ImportFailure`] with the progress until then. A repeated import resumes from there.
pub fn import(
    plan: &Plan,
    columns: ImportColumns<'_>,
    options: impl Into<ImportOptions>,
    observer: &mut (dyn Observer + Send),
) -> Result<ImportReport, Box<ImportFailure>> {
    import_with(plan, columns, options.into(), None, observer)
}

/// [`import`] with a prover: every era that the archive lacks, even in part, is proved before it is
/// committed.
///
/// # Errors
/// As [`import`], and if the prover refuses an era: nothing of that file is committed then.
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
    let import_progress = ImportProgress::new(plan, observer);
    let progress = PassProgress::new(&import_progress);
    let mut verifier = Verifier { limits, prover, progress: progress.clone(), chain: None };
    let report = ImportReport::default();
    let mut committer = Committer { columns, begins: false, limits, progress, report };
    let imported = import_all(plan, options, &mut verifier, &mut committer);
    let mut done = committer.report;
    done.genesis_validators_root = verifier.chain.map(|(root, _)| root);
    match imported {
        Ok(()) => Ok(done),
        Err(error) => Err(Box::new(ImportFailure { done, error })),
    }
}

/// 1. Surveys all files and decides what the archive lacks of them. Files that need forbidden backfill, or
///    belong to another chain than the archive, stop the import here; other errors are reported in turn.
/// 2. Processes the files in order: while the eras of one are committed, those of the next are verified.
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
    // Pruned history can be restored, so a fully pruned archive still has a first slot.
    let is_pruned = options.pruned_before.iter().any(Option::is_some);
    committer.begins = survey.first_slot().is_none() && !is_pruned;
    let (mut files, mut refused) = (Vec::new(), None);
    for planned in plan.files() {
        match survey.file(&mut committer.columns, planned) {
            Ok(eras) => files.push((planned, eras)),
            Err(error @ (ImportError::NeedsBackfill { .. } | ImportError::AnotherChain(_))) => {
                return Err(error);
            }
            // The genesis state alone fits any archive of its chain, so it is not imported
            // before the error.
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
        let next = Next { file: planned.open()?, eras };
        if next.has_complete_eras() {
            // The eras are compared with the archive, so no commit may be in flight.
            committer.commit_file(ready.take())?;
        }
        ready = Some(import_file(next, ready, verifier, committer)?);
    }
    committer.commit_file(ready)?;
    refused.map_or(Ok(()), Err)
}

fn has_slots(eras: &[(Group, EraPosition)]) -> bool {
    eras.iter().any(|(group, _)| group.slots.is_some())
}

/// A file, with what the archive lacks of each era.
struct Next {
    file: EraFile,
    eras: Vec<(Group, EraPosition)>,
}

impl Next {
    fn has_complete_eras(&self) -> bool {
        self.eras.iter().any(|(_, position)| matches!(position, EraPosition::Complete { .. }))
    }
}

/// A file whose eras are verified and may be committed.
struct Ready {
    file: EraFile,
    eras: Vec<Verified>,
}

/// Prepares a file for its commit:
///
/// 1. verifies its new eras, while the preceding file is committed,
/// 2. compares the eras that the archive already has,
/// 3. compares the new eras with their predecessors, and with a state that is already stored.
fn import_file(
    next: Next,
    mut ready: Option<Ready>,
    verifier: &mut Verifier<'_, '_, '_>,
    committer: &mut Committer<'_, '_>,
) -> Result<Ready, ImportError> {
    let Next { mut file, eras: positions } = next;
    // 1.
    let (committed, verified) = thread::scope(|scope| {
        let (writing, written) = channel::bounded(0);
        let before =
            ready.as_mut().map(|ready| scope.spawn(|| committer.commit_eras(ready, Some(writing))));
        // Until the commit waits for the disk, it has priority on the cores. The channel
        // carries no messages; it only closes.
        let Err(_) = written.recv();
        let verified = verifier.verify_file(&mut file, &positions);
        (before.map_or(Ok(()), commit::joined), verified)
    });
    committed?;
    let eras = verified?;
    // 2.
    for (group, position) in &positions {
        if let EraPosition::Complete { pruned } = *position {
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
            let record = group_records::state_record(file.records(), &era.group)?;
            committer.compare_state(&mut file, &era.group, &record, verifier)?;
        }
        archive_roots::check_link(&committer.columns, file.path(), era, before)?;
        before = Some(era);
    }
    Ok(Ready { file, eras })
}

/// The first pass, which verifies and writes nothing.
struct Verifier<'t, 'a, 'p> {
    limits: Limits,
    prover: Option<&'p mut dyn Prover>,
    progress: PassProgress<'t, 'a>,
    /// The genesis validators root, and the file in which it was first found.
    chain: Option<(Root, PathBuf)>,
}

impl Verifier<'_, '_, '_> {
    /// Verifies the eras of a file that the archive lacks, even in part.
    fn verify_file(
        &mut self,
        file: &mut EraFile,
        eras: &[(Group, EraPosition)],
    ) -> Result<Vec<Verified>, ImportError> {
        self.progress.begin_file(file.path(), file.byte_len());
        // All eras of a file are verified before the first is committed. With many, keep nothing.
        let keep = if eras.len() == 1 { KEPT_BYTES } else { 0 };
        let mut verified = Vec::new();
        for (group, position) in eras {
            if let EraPosition::Lacking(lacks) = position {
                self.progress.begin_era(group.era);
                let prover = self.prover.as_deref_mut();
                let (mut era, state) =
                    verify(file, group, self.limits, keep, prover, &mut self.progress)?;
                self.check_chain(file, group, &state)?;
                era.lacks = *lacks;
                verified.push(era);
            }
        }
        // So that an import without new eras can be stopped too.
        self.progress.report(Phase::Verify, file.byte_len())?;
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
    /// The roots of the archive's state and of the file's, if a prover can compute them.
    fn both_roots(
        &mut self,
        snapshots: &Writer,
        file: &mut EraFile,
        record: &RecordAt,
        slot: Slot,
    ) -> Result<Option<Box<(Root, Root)>>, Error> {
        let Some(prover) = self.prover.as_deref_mut() else { return Ok(None) };
        let Some(view) = archive_roots::view_of(snapshots)? else { return Ok(None) };
        let Some(held) = view.get_stored(slot)? else { return Ok(None) };
        let held = prover.state_root(&mut &held[..]);
        let found = prover.state_root(&mut file.state_stream(record)?);
        Ok(held.zip(found).map(Box::new))
    }
}

/// The second pass, which commits verified eras.
struct Committer<'t, 'a> {
    columns: ImportColumns<'a>,
    /// Whether the archive is still empty.
    begins: bool,
    limits: Limits,
    progress: PassProgress<'t, 'a>,
    report: ImportReport,
}

impl Committer<'_, '_> {
    fn commit_file(&mut self, ready: Option<Ready>) -> Result<(), ImportError> {
        ready.map_or(Ok(()), |mut ready| self.commit_eras(&mut ready, None))
    }

    /// Commits the eras of a file. The first one gets `writing`.
    fn commit_eras(
        &mut self,
        ready: &mut Ready,
        mut writing: Option<Writing>,
    ) -> Result<(), ImportError> {
        // The first change: deferred until a file was verified.
        self.columns.settle()?;
        self.progress.begin_file(ready.file.path(), ready.file.byte_len());
        for era in &ready.eras {
            self.commit(&mut ready.file, era, writing.take())?;
        }
        self.progress.end_file();
        Ok(())
    }

    fn commit(
        &mut self,
        file: &mut EraFile,
        era: &Verified,
        writing: Option<Writing>,
    ) -> Result<(), ImportError> {
        let group = era.group;
        self.progress.begin_era(group.era);
        let (columns, progress) = (&mut self.columns, &mut self.progress);
        let state = commit(file, era, columns, self.limits, progress, writing)?;
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

    /// Compares an era that the archive has: the last roots, and the state byte by byte.
    fn compare(
        &mut self,
        file: &mut EraFile,
        group: &Group,
        state: &EraState,
        outcome: EraOutcome,
        verifier: &mut Verifier<'_, '_, '_>,
    ) -> Result<(), ImportError> {
        let last = group.slots.map(|slots| slots.last);
        archive_roots::check_held(&self.columns, file.path(), group, state, [last; 2])?;
        let is_there = self.compare_state(file, group, &state.record, verifier)?;
        let of_state = if is_there { StateOutcome::Present } else { StateOutcome::NotSelected };
        self.era_done(file.path(), group, outcome, of_state, Vec::new());
        Ok(())
    }

    /// Compares the archive's state byte by byte. Returns `false` if the archive has none.
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
            held => held.map_err(|source| refused(&path, group, Column::StateSnapshots, source)),
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
        self.progress.import().end_era(&report);
        self.report.eras.push(report);
    }
}
