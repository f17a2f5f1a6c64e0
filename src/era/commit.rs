//! The second pass over a group: commits a verified era to the columns.

use std::borrow::Cow;
use std::convert::Infallible;
use std::hash::BuildHasher;
use std::io::{self, Read};

use super::columns::ImportColumns;
use super::e2store::{RecordAt, record_type};
use super::error::{ImportError, refused};
use super::group::Group;
use super::group_records::Limits;
use super::lacks::{Lack, LackingState};
use super::progress::PassProgress;
use super::reader::EraFile;
use super::report::{Phase, StateOutcome};
use super::ssz::Root;
use super::verify::Verified;
use crate::column::Column;
use crate::error::Error;
use crate::slot::Slot;
use crate::sync::channel;
use crate::sync::thread::{self, ScopedJoinHandle};
use crate::write::{Committed, Form, Prepared, Writer};

/// Maximum bytes and number of blocks that are held in memory for one commit.
const BATCH_BYTES: usize = 32 << 20;
const BATCH_BLOCKS: usize = 8192;

/// A token that a task holds until it has written its data and starts to wait for the disk. Other CPU
/// work starts when the last token is dropped: the sooner the disk is busy, the sooner the import ends.
pub(super) type Writing = channel::Sender<Infallible>;

/// Commits an era:
///
/// 1. concurrently, commits its blocks to `blk`, in batches, and its state to `bss`, if selected; writes
///    and flushes its roots, which stay invisible,
/// 2. commits its state roots to `bsr` once its blocks are committed, so that no root is ever ahead of its
///    block; the state may still be in progress,
/// 3. commits its block roots to `bbr`, which completes the era. Both commits of roots are only renames by
///    then.
///
/// A column that lacks nothing of the era is not touched. A column that lacks slots below its highest is
/// opened for backfill; its roots are then written only when it is their turn to be committed.
///
/// After a crash at any point, repeating the call completes the era: records that are already present are
/// identical, and putting them again changes nothing.
pub(super) fn commit(
    file: &mut EraFile,
    era: &Verified,
    columns: &mut ImportColumns<'_>,
    limits: Limits,
    progress: &mut PassProgress<'_, '_>,
    writing: Option<Writing>,
) -> Result<StateOutcome, ImportError> {
    let group = era.group;
    let state = match &era.kept.state {
        Some(value) => file.state_in(&group, value)?,
        None => file.state_head(&group)?,
    };
    let roots = group.slots.zip(state.roots.as_ref());
    if roots.and_then(|(_, roots)| roots.block_roots.last()) != era.last_root.as_ref() {
        return Err(changed(file, group.state_offset).into());
    }
    // 1.
    let ImportColumns { blocks, block_roots, state_roots, state_snapshots } = columns;
    let path = file.path().to_path_buf();
    let mut of_state = progress.beside(state.record.offset);
    let refused_roots = |source| refused(&path, &group, Column::BlockRoots, source);
    let lacks = era.lacks;
    let (outcome, block_roots) = thread::scope(|scope| {
        let state = if let LackingState::Lacking(_) = lacks.state {
            let snapshots = state_snapshots.as_deref_mut().ok_or(ImportError::NoSnapshotColumn)?;
            let (mut file, record, progress) = (file.again()?, state.record, &mut of_state);
            let writing = writing.clone();
            Some(
                scope.spawn(move || {
                    commit_state(&mut file, era, &record, snapshots, progress, writing)
                }),
            )
        } else {
            None
        };
        let state_roots = roots.map(|(slots, roots)| {
            let roots = by_slot(slots.first, &roots.state_roots);
            let writing = writing.clone();
            scope.spawn(move || flush_roots(state_roots, lacks.state_roots, roots, writing))
        });
        let block_roots = roots.map(|(slots, roots)| {
            let roots = by_slot(slots.first, &roots.block_roots);
            let writing = writing.clone();
            scope.spawn(move || flush_roots(block_roots, lacks.block_roots, roots, writing))
        });
        let blocks = match lacks.blocks {
            Lack::Nothing => Ok(()),
            _ => commit_blocks(file, era, blocks, limits, progress, writing),
        };
        let outcome = match lacks.state {
            LackingState::Held => StateOutcome::Present,
            _ => StateOutcome::NotSelected,
        };
        // 2.
        let committed = blocks.and_then(|()| {
            let written = state_roots.map(joined).transpose();
            let committed =
                written.and_then(|written| written.map_or(Ok(()), RootsWritten::commit));
            committed.map_err(|source| refused(&path, &group, Column::StateRoots, source))
        });
        let state = state.map_or(Ok(outcome), joined);
        let block_roots = block_roots.map(joined).transpose();
        committed?;
        Ok::<_, ImportError>((state?, block_roots.map_err(refused_roots)?))
    })?;
    progress.skip(&of_state);
    // 3.
    progress.report(Phase::BlockRoots, group.end)?;
    block_roots.map_or(Ok(()), RootsWritten::commit).map_err(refused_roots)?;
    Ok(outcome)
}

/// The roots of an era, before their commit to a column.
enum RootsWritten<'w> {
    /// The column already has all of them.
    Nothing,
    /// They are written and flushed, but not visible.
    Prepared(Prepared<'w>),
    /// Some of them are at or below the column's highest slot; nothing is written yet.
    Behind(&'w mut Writer, Vec<(Slot, Root)>),
}

/// Writes and flushes roots above the column's highest slot. Gaps are left to the commit.
fn flush_roots(
    column: &mut Writer,
    lack: Lack,
    roots: Vec<(Slot, Root)>,
    writing: Option<Writing>,
) -> Result<RootsWritten<'_>, Error> {
    match lack {
        Lack::Nothing => Ok(RootsWritten::Nothing),
        Lack::Behind => Ok(RootsWritten::Behind(column, roots)),
        Lack::Next => {
            let mut prepared = column.write(&roots, Form::Values)?;
            drop(writing);
            prepared.flush()?;
            Ok(RootsWritten::Prepared(prepared))
        }
    }
}

impl RootsWritten<'_> {
    fn commit(self) -> Result<(), Error> {
        match self {
            RootsWritten::Nothing => Ok(()),
            RootsWritten::Prepared(prepared) => prepared.commit().map(drop),
            RootsWritten::Behind(column, roots) => {
                put_lacking(column, Lack::Behind, &roots, Form::Values, None)
            }
        }
    }
}

/// Stores items in one commit. Drops `writing` before it waits for the disk.
fn put(
    column: &mut Writer,
    items: &[(Slot, impl AsRef<[u8]>)],
    form: Form,
    writing: Option<Writing>,
) -> Result<Committed, Error> {
    let written = column.write(items, form)?;
    drop(writing);
    written.commit()
}

/// Stores items of which the column lacks some. Gaps get a separate commit, since a batch either fills
/// gaps or appends. Without gaps, the column already has the items at or below its highest slot.
fn put_lacking(
    column: &mut Writer,
    lack: Lack,
    items: &[(Slot, impl AsRef<[u8]>)],
    form: Form,
    writing: Option<Writing>,
) -> Result<(), Error> {
    let highest = column.highest_written_slot().filter(|_| lack == Lack::Behind);
    let (behind, above) = items.split_at(items.partition_point(|(slot, _)| Some(*slot) <= highest));
    if !behind.is_empty() {
        column.allow_backfill()?;
        put(column, behind, form, None)?;
    }
    put(column, above, form, writing).map(drop)
}

/// Joins a thread and resumes its panic.
pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn by_slot(first: Slot, roots: &[Root]) -> Vec<(Slot, Root)> {
    (first.0..).map(Slot).zip(roots.iter().copied()).collect()
}

fn commit_blocks(
    file: &mut EraFile,
    era: &Verified,
    column: &mut Writer,
    limits: Limits,
    progress: &mut PassProgress<'_, '_>,
    mut writing: Option<Writing>,
) -> Result<(), ImportError> {
    let group = era.group;
    let mut kept = era.kept.blocks.as_slice();
    let mut batch: Vec<(Slot, Cow<'_, [u8]>)> = Vec::new();
    let mut batch_bytes = 0_usize;
    let mut offset = era.kept_end;
    for block in &era.blocks {
        let place = usize::from(block.place);
        let slot = group.slots.map_or(group.state_slot, |slots| slots.slot_at(place));
        let stored = if let Some((stored, rest)) = kept.split_at_checked(block.stored_len as usize)
        {
            kept = rest;
            Cow::Borrowed(stored)
        } else {
            let record = next_block(file, &group, &mut offset)?;
            let stored = file.stored_block(&record, limits)?;
            if Some(era.kept.hasher.hash_one(stored.as_slice())) != block.sum {
                return Err(changed(file, record.offset).into());
            }
            Cow::Owned(stored)
        };
        let full =
            batch.len() == BATCH_BLOCKS || batch_bytes.saturating_add(stored.len()) > BATCH_BYTES;
        if full && !batch.is_empty() {
            put_blocks(file, era, column, &batch, writing.take())?;
            batch.clear();
            batch_bytes = 0;
            progress.report(Phase::Blocks, offset)?;
        }
        batch_bytes = batch_bytes.saturating_add(stored.len());
        batch.push((slot, stored));
    }
    put_blocks(file, era, column, &batch, writing.take())?;
    progress.report(Phase::Blocks, group.state_offset)
}

fn put_blocks(
    file: &EraFile,
    era: &Verified,
    column: &mut Writer,
    batch: &[(Slot, Cow<'_, [u8]>)],
    writing: Option<Writing>,
) -> Result<(), ImportError> {
    if batch.is_empty() {
        return Ok(());
    }
    let put = put_lacking(column, era.lacks.blocks, batch, Form::Checked, writing);
    put.map_err(|source| refused(file.path(), &era.group, Column::Blocks, source))
}

/// Returns the next block record at or after `offset`, and advances `offset` past it.
fn next_block(file: &mut EraFile, group: &Group, offset: &mut u64) -> Result<RecordAt, Error> {
    while *offset < group.state_offset {
        let record = file.records().record_at(*offset)?;
        *offset = record.end();
        if record.record_type == record_type::BLOCK {
            return Ok(record);
        }
    }
    Err(changed(file, *offset))
}

fn commit_state(
    file: &mut EraFile,
    era: &Verified,
    record: &RecordAt,
    snapshots: &mut Writer,
    progress: &mut PassProgress<'_, '_>,
    writing: Option<Writing>,
) -> Result<StateOutcome, ImportError> {
    let group = era.group;
    progress.report(Phase::State, record.offset)?;
    if era.lacks.state == LackingState::Lacking(Lack::Behind) {
        let allowed = snapshots.allow_backfill();
        allowed.map_err(|source| refused(file.path(), &group, Column::StateSnapshots, source))?;
    }
    let committed = if let Some(value) = &era.kept.state {
        put(snapshots, &[(group.state_slot, value)], Form::Values, writing)
    } else {
        // The state is decoded while it is written, so other work need not wait for it.
        drop(writing);
        let stream = file.state_stream(record)?;
        let mut source =
            Reported { stream, decoded: 0, progress, record: *record, byte_len: era.state_len };
        snapshots.put_from(group.state_slot, era.state_len, &mut source)
    };
    match committed {
        Ok(committed) if committed.written == 0 => Ok(StateOutcome::Present),
        Ok(_) => Ok(StateOutcome::Stored),
        Err(source) => Err(refused(file.path(), &group, Column::StateSnapshots, source)),
    }
}

/// A stream of a state that reports its progress.
struct Reported<'w, 't, 'a, R> {
    stream: R,
    decoded: u64,
    progress: &'w mut PassProgress<'t, 'a>,
    record: RecordAt,
    byte_len: u64,
}

impl<R: Read> Read for Reported<'_, '_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.decoded = self.decoded.saturating_add(read as u64);
        let part = u128::from(self.decoded)
            .saturating_mul(u128::from(self.record.payload_len))
            .checked_div(u128::from(self.byte_len));
        let part = u64::try_from(part.unwrap_or_default()).unwrap_or(u64::MAX);
        self.progress.note(Phase::State, self.record.offset.saturating_add(part));
        Ok(read)
    }
}

/// The error for a file that has changed since it was verified.
fn changed(file: &EraFile, offset: u64) -> Error {
    let wanted = "the bytes that were verified before";
    Error::corrupt(file.path(), offset, "file", wanted, "other bytes: it changed meanwhile")
}
