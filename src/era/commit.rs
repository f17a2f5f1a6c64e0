//! The second pass over a group: what was verified goes into the columns.

use std::borrow::Cow;
use std::convert::Infallible;
use std::hash::BuildHasher;
use std::io::{self, Read};
use std::thread::ScopedJoinHandle;

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
use crate::write::{Committed, Form, Prepared, Writer};

/// Blocks that are held in memory for one commit, in bytes and in number.
const BATCH_BYTES: usize = 32 << 20;
const BATCH_BLOCKS: usize = 8192;

/// Held by whoever writes and does not yet wait for the disk, and dropped by whoever does. Whatever
/// else is to be done waits for the last of them: the sooner the disk begins, the sooner all is done.
pub(super) type Writing = crossbeam_channel::Sender<Infallible>;

/// Commits an era:
///
/// 1. at the same time its blocks to `blk`, in batches, and its state to `bss`, if it was selected; its
///    roots are written and flushed meanwhile, and nobody sees them,
/// 2. beside the state, its state roots to `bsr`, once its blocks are committed: no root is ever ahead of
///    its block,
/// 3. its block roots to `bbr`: the era is done. Both commits of roots are no more than a rename by now.
///
/// A column that lacks nothing of the era is left as it is. One that lacks slots behind its highest is
/// opened for backfill; nothing of it is written ahead of its turn then.
///
/// After a crash within any of this the same call does the rest: what is there already is
/// identical, and putting it again changes nothing.
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
    let (outcome, block_roots) = std::thread::scope(|scope| {
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

/// Roots of an era on their way into their column.
enum RootsWritten<'w> {
    /// The column has them all.
    Nothing,
    /// They are written and flushed, and nobody sees them.
    Prepared(Prepared<'w>),
    /// Some of them belong behind its highest slot.
    Behind(&'w mut Writer, Vec<(Slot, Root)>),
}

/// Writes them and waits for the disk; what belongs behind the highest slot is written when it is committed.
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

/// Stores items in one commit. `writing` ends when it waits for the disk.
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

/// Stores items of which the column lacks some: gaps in a commit of their own, since a batch fills gaps
/// or adds to the end. Without gaps, it has the items at or below its highest slot.
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

/// What a thread came to; its panic goes on here.
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

/// The next block record at or behind `offset`, which moves behind it.
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
        // It is decoded piece by piece while it is written: others need not wait for that.
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

/// The file on disk is not the one that was verified any more.
fn changed(file: &EraFile, offset: u64) -> Error {
    let wanted = "the bytes that were verified before";
    Error::corrupt(file.path(), offset, "file", wanted, "other bytes: it changed meanwhile")
}
