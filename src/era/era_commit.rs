//! The second pass over a group: commits a verified era to the columns.

use std::hash::BuildHasher;
use std::io::{self, Read};

use super::e2store::{RecordAt, record_type};
use super::era_file::EraFile;
use super::era_position::{Lack, LackingState};
use super::group::EraGroup;
use super::import_error::{ImportError, refused};
use super::import_options::ImportColumns;
use super::import_progress::PassProgress;
use super::import_report::{Phase, StateOutcome};
use super::state_store::StateStore;
use super::value_reader::ValueReader;
use super::verified_era::VerifiedEra;
use crate::column::Column;
use crate::error::Result;
use crate::slot::Slot;
use crate::sync::thread::{self, ScopedJoinHandle};
use crate::write::{Form, Writer};

/// Maximum bytes and number of blocks that are held in memory for one commit.
const BATCH_BYTES: usize = 32 << 20;
const BATCH_BLOCKS: usize = 8192;

/// Commits an era:
///
/// 1. concurrently, commits its blocks to `blk`, in batches, and then its state roots to `bsr`, so that no
///    root is ever ahead of its block; and its state to `bss`, or to where the store keeps it, if selected,
/// 2. commits its block roots to `bbr`, which completes the era.
///
/// A column that lacks nothing of the era is not touched. A column that lacks slots below its highest is
/// opened for backfill.
///
/// After a crash at any point, repeating the call completes the era: records that are already present are
/// identical, and putting them again changes nothing.
pub(super) fn commit(
    file: &mut EraFile,
    era: &VerifiedEra,
    columns: &mut ImportColumns<'_>,
    store: Option<&mut dyn StateStore>,
    progress: &mut PassProgress<'_, '_>,
) -> Result<StateOutcome, ImportError> {
    let (group, lacks) = (era.group, era.lacks);
    let state = file.state_head(&group)?;
    if era.hasher.hash_one(&state.roots) != era.roots_sum {
        return Err(file.records.changed(group.state_offset).into());
    }
    let roots = group.slots.zip(state.roots.as_ref());
    let ImportColumns { blocks, block_roots, state_roots, state_snapshots, state_diffs } = columns;
    let path = file.path().to_path_buf();
    // 1.
    let mut of_state = progress.beside(state.record.offset);
    let outcome = thread::scope(|scope| {
        let state = if let LackingState::Lacking(lack) = lacks.state {
            let snapshots = state_snapshots.as_deref_mut().ok_or(ImportError::NoSnapshotColumn)?;
            let to = (snapshots, state_diffs.as_deref_mut());
            let (mut file, record, progress) = (file.clone(), state.record, &mut of_state);
            Some(
                scope
                    .spawn(move || commit_state(&mut file, era, record, to, store, lack, progress)),
            )
        } else {
            None
        };
        let committed = match lacks.blocks {
            Lack::Nothing => Ok(()),
            _ => commit_blocks(file, era, blocks, progress),
        };
        let committed = committed.and_then(|()| {
            let Some((slots, roots)) = roots else { return Ok(()) };
            put_roots(state_roots, lacks.state_roots, slots.first, &roots.state_roots)
                .map_err(refused(&path, &group, Column::StateRoots))
        });
        let state = state.map(joined);
        committed?;
        state.unwrap_or(Ok(match lacks.state {
            LackingState::Held => StateOutcome::Present,
            _ => StateOutcome::NotSelected,
        }))
    })?;
    progress.skip(&of_state);
    // 2.
    progress.report(Phase::BlockRoots, group.end)?;
    if let Some((slots, roots)) = roots {
        put_roots(block_roots, lacks.block_roots, slots.first, &roots.block_roots)
            .map_err(refused(&path, &group, Column::BlockRoots))?;
    }
    Ok(outcome)
}

/// Stores items of which the column lacks some. Gaps get a separate commit, since a batch either fills
/// gaps or appends. Without gaps, the column already has the items at or below its highest slot.
fn put_lacking(
    column: &mut Writer,
    lack: Lack,
    items: &[(Slot, impl AsRef<[u8]>)],
    form: Form,
) -> Result<()> {
    if lack == Lack::Nothing {
        return Ok(());
    }
    let highest = column.highest_written_slot().filter(|_| lack == Lack::Behind);
    let (behind, above) = items.split_at(items.partition_point(|(slot, _)| Some(*slot) <= highest));
    if !behind.is_empty() {
        column.allow_backfill()?;
        column.write(behind, form)?.commit()?;
    }
    column.write(above, form)?.commit().map(drop)
}

fn put_roots(column: &mut Writer, lack: Lack, first: Slot, roots: &[[u8; 32]]) -> Result<()> {
    let roots: Vec<_> = (first.0..).map(Slot).zip(roots).collect();
    put_lacking(column, lack, &roots, Form::Values)
}

/// Joins a thread and resumes its panic.
pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn commit_blocks(
    file: &mut EraFile,
    era: &VerifiedEra,
    column: &mut Writer,
    progress: &mut PassProgress<'_, '_>,
) -> Result<(), ImportError> {
    let group = era.group;
    let path = file.path().to_path_buf();
    let mut put = |batch: &[(Slot, Vec<u8>)]| {
        put_lacking(column, era.lacks.blocks, batch, Form::Checked).map_err(refused(
            &path,
            &group,
            Column::Blocks,
        ))
    };
    let mut batch: Vec<(Slot, Vec<u8>)> = Vec::new();
    let mut batch_bytes = 0_usize;
    let mut offset = group.offset;
    for block in &era.blocks {
        let place = usize::from(block.place);
        let slot = group.slots.map_or(group.state_slot, |slots| slots.slot_at(place));
        let record = next_block(file, &group, &mut offset)?;
        let stored = file.stored_block(&record)?;
        if era.hasher.hash_one(&stored) != block.sum {
            return Err(file.records.changed(record.offset).into());
        }
        let full =
            batch.len() == BATCH_BLOCKS || batch_bytes.saturating_add(stored.len()) > BATCH_BYTES;
        if full && !batch.is_empty() {
            put(&batch)?;
            batch.clear();
            batch_bytes = 0;
            progress.report(Phase::Blocks, offset)?;
        }
        batch_bytes = batch_bytes.saturating_add(stored.len());
        batch.push((slot, stored));
    }
    if !batch.is_empty() {
        put(&batch)?;
    }
    progress.report(Phase::Blocks, group.state_offset)
}

/// Returns the next block record at or after `offset`, and advances `offset` past it.
fn next_block(file: &mut EraFile, group: &EraGroup, offset: &mut u64) -> Result<RecordAt> {
    while *offset < group.state_offset {
        let record = file.records.record_at(*offset)?;
        *offset = record.end();
        if record.record_type == record_type::BLOCK {
            return Ok(record);
        }
    }
    Err(file.records.changed(*offset))
}

fn commit_state(
    file: &mut EraFile,
    era: &VerifiedEra,
    record: RecordAt,
    (snapshots, diffs): (&mut Writer, Option<&mut Writer>),
    store: Option<&mut dyn StateStore>,
    lack: Lack,
    progress: &mut PassProgress<'_, '_>,
) -> Result<StateOutcome, ImportError> {
    let group = era.group;
    progress.report(Phase::State, record.offset)?;
    let path = file.path().to_path_buf();
    let allowed = if lack == Lack::Behind { snapshots.allow_backfill() } else { Ok(()) };
    let state = file.state_reader(&group, record).expect(era.state, &era.hasher);
    let mut source = Reported { state, progress };
    let (slot, byte_len) = (group.state_slot, era.state.byte_len);
    let stored = allowed
        .and_then(|()| match store {
            Some(store) => store.store(slot, byte_len, &mut source, snapshots, diffs),
            None => Ok(snapshots.put_from(slot, byte_len, &mut source)?.written > 0),
        })
        .map_err(|error| match source.state.into_fault() {
            Some(fault) => ImportError::File(fault),
            None => refused(&path, &group, Column::StateSnapshots)(error),
        })?;
    Ok(if stored { StateOutcome::Stored } else { StateOutcome::Present })
}

/// The value of a state, read with its progress.
struct Reported<'w, 'f, 't, 'a> {
    state: ValueReader<'f>,
    progress: &'w mut PassProgress<'t, 'a>,
}

impl Read for Reported<'_, '_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.state.read(buffer)?;
        self.progress.note(Phase::State, self.state.position());
        Ok(read)
    }
}
