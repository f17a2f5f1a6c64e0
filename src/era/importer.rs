//! Imports `.era` files into the columns of an archive.
//!
//! Eras are imported in the order of their slots, and each is durable before the next is written. Nothing
//! of a file is committed unless the whole file passes every check. While one file is committed, the next
//! one is verified. Block records are copied unchanged; block roots and state roots are taken from the
//! era's state; the state itself becomes the snapshot of its slot, or goes to the import's `StateStore`.
//!
//! Before anything is written, the import decides per column and slot what is missing. Each column gets
//! the records that it lacks, above its highest slot or, with backfill, below it. An era that is present
//! as a whole is compared: its last roots, its state if stored, and the presence of its blocks. So
//! importing the same files again decodes every state that the archive has.

use std::path::Path;

use super::archive_roots;
use super::e2store::RecordAt;
use super::era_commit::{commit, joined};
use super::era_file::{EraFile, Limits};
use super::era_position::{EraPosition, LackingState};
use super::group::{EraGroup, EraState};
use super::import_error::{ImportError, ImportFailure, refused};
use super::import_options::{ImportColumns, ImportOptions};
use super::import_plan::ImportPlan;
use super::import_progress::{PassProgress, SharedProgress};
use super::import_report::{EraOutcome, EraReport, ImportReport, Observer, Phase, StateOutcome};
use super::state_store::StateStore;
use super::survey::Survey;
use super::verified_era::{VerifiedEra, Verifier};
use crate::archive::ArchiveWriter;
use crate::column::Column;
use crate::error::Error;
use crate::manifest::StatesPolicy;
use crate::sync::thread;

/// Imports the files of a plan into an archive. Its options must name the [`COLUMNS`](super::COLUMNS); `bss` is
/// not needed if no state is selected.
///
/// `observer` is called at least a few times a second, and when an era is completed, from any thread but never
/// concurrently. After a `Break` the import stops as soon as it can.
///
/// # Errors
/// [`ImportFailure`] with the progress until then. A repeated import resumes from there.
pub fn import<'p>(
    plan: &ImportPlan,
    archive: &mut ArchiveWriter,
    options: impl Into<ImportOptions<'p>>,
    observer: &mut Observer<'_>,
) -> Result<ImportReport, Box<ImportFailure>> {
    let columns = ImportColumns::of(archive).map_err(ImportError::from)?;
    import_columns(plan, columns, options, observer)
}

/// [`import`] into columns that are open for writing.
///
/// # Errors
/// As [`import`].
#[doc(hidden)]
pub fn import_columns<'p>(
    plan: &ImportPlan,
    columns: ImportColumns<'_>,
    options: impl Into<ImportOptions<'p>>,
    observer: &mut Observer<'_>,
) -> Result<ImportReport, Box<ImportFailure>> {
    let mut options = options.into();
    let import_progress = SharedProgress::new(plan, observer);
    let progress = PassProgress::new(&import_progress);
    let prover = options.prover.take();
    let mut verifier = Verifier { prover, progress: progress.clone(), chain: None };
    let report = ImportReport::default();
    let mut committer = Committer { columns, store: None, begins: false, progress, report };
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
fn import_all<'p>(
    plan: &ImportPlan,
    options: ImportOptions<'p>,
    verifier: &mut Verifier<'_, '_, '_>,
    committer: &mut Committer<'_, '_, 'p>,
) -> Result<(), ImportError> {
    plan.check_presets()?;
    let columns = &committer.columns;
    if options.states != StatesPolicy::None && columns.state_snapshots.is_none() {
        return Err(ImportError::NoSnapshotColumn);
    }
    let snapshots = columns.state_snapshots.as_deref();
    let limits = Limits {
        block_bytes: columns.blocks.conf().spec.max_value_bytes,
        state_bytes: snapshots
            .map_or(Column::StateSnapshots.spec(), |writer| writer.conf().spec)
            .max_value_bytes,
    };
    // 1.
    // Pruned history can be restored, so a fully pruned archive still has a first slot.
    let is_pruned = options.pruned_before.iter().any(Option::is_some);
    let mut survey = Survey::new(plan, columns, options)?;
    committer.begins = survey.first_slot().is_none() && !is_pruned;
    let (mut files, mut gap) = (Vec::new(), None);
    for planned in plan.files() {
        match survey.file(&committer.columns, planned) {
            Ok(eras) => files.push((planned, eras)),
            Err(error @ (ImportError::NeedsBackfill { .. } | ImportError::AnotherChain { .. })) => {
                return Err(error);
            }
            // The genesis state alone fits any archive of its chain, so it is not imported
            // before the error.
            Err(error) if !files.iter().any(|(_, eras)| has_slots(eras)) => return Err(error),
            Err(error) => {
                gap = Some(error);
                break;
            }
        }
    }
    committer.report.first_slot = survey.first_slot();
    committer.store = survey.options.store;
    // 2.
    let mut ready: Option<Ready> = None;
    for (planned, eras) in files {
        let mut file = planned.open()?;
        file.limits = limits;
        ready = Some(import_file(file, &eras, ready, verifier, committer)?);
    }
    ready.map_or(Ok(()), |ready| committer.commit_eras(ready))?;
    gap.map_or(Ok(()), Err)
}

fn has_slots(eras: &[(EraGroup, EraPosition)]) -> bool {
    eras.iter().any(|(group, _)| group.slots.is_some())
}

/// A file whose eras are verified and may be committed.
type Ready = (EraFile, Vec<VerifiedEra>);

/// Prepares a file for its commit:
///
/// 1. verifies its new eras, while the preceding file is committed,
/// 2. compares the eras that the archive already has,
/// 3. compares the new eras with their predecessors, and with a state that is already stored.
fn import_file(
    mut file: EraFile,
    positions: &[(EraGroup, EraPosition)],
    ready: Option<Ready>,
    verifier: &mut Verifier<'_, '_, '_>,
    committer: &mut Committer<'_, '_, '_>,
) -> Result<Ready, ImportError> {
    // 1.
    let (committed, verified) = thread::scope(|scope| {
        let before = ready.map(|ready| scope.spawn(|| committer.commit_eras(ready)));
        let verified = verifier.verify_file(&mut file, positions);
        (before.map_or(Ok(()), joined), verified)
    });
    committed?;
    let eras = verified?;
    // 2.
    for (group, position) in positions {
        if let EraPosition::Complete { pruned } = *position {
            let outcome = if pruned { EraOutcome::Pruned } else { EraOutcome::Present };
            let state = file.state_head(group)?;
            verifier.check_chain(&file, group, &state)?;
            committer.compare(&mut file, group, &state, outcome, verifier)?;
        }
    }
    // 3.
    let mut before = None;
    for era in &eras {
        if era.lacks.state == LackingState::Held {
            let record = file.state_record(&era.group)?;
            committer.compare_state(&mut file, &era.group, &record, verifier)?;
        }
        archive_roots::check_link(&committer.columns, file.path(), era, before)?;
        before = Some(era);
    }
    Ok((file, eras))
}

/// The second pass, which commits verified eras.
struct Committer<'t, 'a, 'p> {
    columns: ImportColumns<'a>,
    store: Option<&'p mut dyn StateStore>,
    /// Whether the archive is still empty.
    begins: bool,
    progress: PassProgress<'t, 'a>,
    report: ImportReport,
}

impl Committer<'_, '_, '_> {
    /// Commits the eras of a file.
    fn commit_eras(&mut self, (mut file, eras): Ready) -> Result<(), ImportError> {
        // The first change: deferred until a file was verified.
        self.columns.settle()?;
        self.progress.begin_file(file.path(), file.byte_len());
        for era in &eras {
            self.commit(&mut file, era)?;
        }
        self.progress.end_file();
        Ok(())
    }

    fn commit(&mut self, file: &mut EraFile, era: &VerifiedEra) -> Result<(), ImportError> {
        let group = era.group;
        self.progress.begin_era(group.era);
        let store = self.store.as_deref_mut().map(|store| store as &mut dyn StateStore);
        let state = commit(file, era, &mut self.columns, store, &mut self.progress)?;
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
        self.era_done(file.path(), &group, Phase::BlockRoots, outcome, state, completed);
        Ok(())
    }

    /// Compares an era that the archive has: the last roots, and the state byte by byte.
    fn compare(
        &mut self,
        file: &mut EraFile,
        group: &EraGroup,
        state: &EraState,
        outcome: EraOutcome,
        verifier: &mut Verifier<'_, '_, '_>,
    ) -> Result<(), ImportError> {
        let last = group.slots.map(|slots| slots.last);
        archive_roots::check_held(&self.columns, file.path(), group, state, [last; 2])?;
        let is_there = self.compare_state(file, group, &state.record, verifier)?;
        let of_state = if is_there { StateOutcome::Present } else { StateOutcome::NotSelected };
        self.era_done(file.path(), group, Phase::Verify, outcome, of_state, Vec::new());
        Ok(())
    }

    /// Compares the archive's state byte by byte. Returns `false` if the archive has none.
    fn compare_state(
        &self,
        file: &mut EraFile,
        group: &EraGroup,
        record: &RecordAt,
        verifier: &mut Verifier<'_, '_, '_>,
    ) -> Result<bool, ImportError> {
        let Some(snapshots) = self.columns.state_snapshots.as_deref() else { return Ok(false) };
        let mut held = snapshots.holds(group.state_slot, &mut file.state_stream(record));
        if let (Ok(false), Some(store)) = (&held, &self.store) {
            held = store.holds(group.state_slot, &mut file.state_stream(record));
        }
        let Err(Error::Conflict { slot }) = held else {
            return held.map_err(refused(file.path(), group, Column::StateSnapshots));
        };
        let view = archive_roots::view_of(snapshots)?;
        let held = view.and_then(|view| view.get(slot).ok().flatten());
        let kept = self.store.as_deref().filter(|_| held.is_none());
        let roots = match (held, kept.and_then(|store| store.state(slot).ok())) {
            (Some(held), _) => verifier.both_roots(&mut &held[..], file, record),
            (None, Some(mut held)) => verifier.both_roots(&mut *held, file, record),
            (None, None) => None,
        };
        let file = file.path().to_path_buf();
        Err(ImportError::AnotherState { file, era: group.era, slot, roots })
    }

    fn era_done(
        &mut self,
        path: &Path,
        group: &EraGroup,
        phase: Phase,
        outcome: EraOutcome,
        state: StateOutcome,
        completed: Vec<Column>,
    ) {
        let EraGroup { era, slots, state_slot, .. } = *group;
        let byte_len = group.byte_len();
        self.report.add(EraReport { era, slots, state_slot, byte_len, outcome, state, completed });
        self.progress.end_era(path, era, phase);
    }
}
