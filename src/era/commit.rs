//! The second pass over a group: what was verified goes into the columns.

use std::hash::BuildHasher;
use std::io::{self, Read};

use super::e2store::{RecordAt, record_type};
use super::error::ImportError;
use super::group::Group;
use super::import::ImportColumns;
use super::reader::{EraFile, Limits};
use super::report::{Phase, StateOutcome};
use super::ssz::Root;
use super::ticker::Ticker;
use super::verify::Verified;
use crate::column::Column;
use crate::error::Error;
use crate::slot::Slot;

/// Blocks that are held in memory for one commit, in bytes and in number.
const BATCH_BYTES: usize = 32 << 20;
const BATCH_BLOCKS: usize = 8192;

/// Commits an era:
///
/// 1. its blocks to `blk`, in batches,
/// 2. its state roots to `bsr`,
/// 3. its state to `bss`, if it was selected,
/// 4. its block roots to `bbr`: now the era is done.
///
/// After a crash between any two of these the same call does the rest: what is there already is
/// identical, and putting it again changes nothing.
pub(super) fn commit(
    file: &mut EraFile,
    era: &Verified,
    columns: &mut ImportColumns<'_>,
    limits: Limits,
    with_state: bool,
    ticker: &mut Ticker<'_>,
) -> Result<StateOutcome, ImportError> {
    let group = era.group;
    let state = file.state_head(&group)?;
    let roots = group.slots.zip(state.roots.as_ref());
    if roots.and_then(|(_, roots)| roots.block_roots.last()) != era.last_root.as_ref() {
        return Err(changed(file, group.state_offset).into());
    }
    // 1.
    commit_blocks(file, era, columns, limits, ticker)?;
    // 2.
    ticker.tick(Phase::StateRoots, group.state_offset)?;
    if let Some((slots, roots)) = roots {
        let put = columns.state_roots.put_batch(&by_slot(slots.first, &roots.state_roots));
        put.map_err(|source| refused(file, &group, Column::StateRoots, source))?;
    }
    // 3.
    let outcome = if with_state {
        commit_state(file, era, &state.record, columns, ticker)?
    } else {
        StateOutcome::NotSelected
    };
    // 4.
    ticker.tick(Phase::BlockRoots, group.end)?;
    if let Some((slots, roots)) = roots {
        let put = columns.block_roots.put_batch(&by_slot(slots.first, &roots.block_roots));
        put.map_err(|source| refused(file, &group, Column::BlockRoots, source))?;
    }
    Ok(outcome)
}

fn by_slot(first: Slot, roots: &[Root]) -> Vec<(Slot, Root)> {
    (first.0..).map(Slot).zip(roots.iter().copied()).collect()
}

fn commit_blocks(
    file: &mut EraFile,
    era: &Verified,
    columns: &mut ImportColumns<'_>,
    limits: Limits,
    ticker: &mut Ticker<'_>,
) -> Result<(), ImportError> {
    let group = era.group;
    let mut batch: Vec<(Slot, Vec<u8>)> = Vec::new();
    let mut batch_bytes = 0_usize;
    let mut offset = group.offset;
    for block in &era.blocks {
        let place = usize::from(block.place);
        let slot = group.slots.map_or(group.state_slot, |slots| slots.slot_at(place));
        let record = next_block(file, &group, &mut offset)?;
        let stored = file.stored_block(&record, limits)?;
        if era.hasher.hash_one(stored.as_slice()) != block.sum {
            return Err(changed(file, record.offset).into());
        }
        let full =
            batch.len() == BATCH_BLOCKS || batch_bytes.saturating_add(stored.len()) > BATCH_BYTES;
        if full && !batch.is_empty() {
            put_blocks(file, &group, columns, &batch)?;
            batch.clear();
            batch_bytes = 0;
            ticker.tick(Phase::Blocks, record.offset)?;
        }
        batch_bytes = batch_bytes.saturating_add(stored.len());
        batch.push((slot, stored));
    }
    put_blocks(file, &group, columns, &batch)?;
    ticker.tick(Phase::Blocks, offset)
}

fn put_blocks(
    file: &EraFile,
    group: &Group,
    columns: &mut ImportColumns<'_>,
    batch: &[(Slot, Vec<u8>)],
) -> Result<(), ImportError> {
    if batch.is_empty() {
        return Ok(());
    }
    match columns.blocks.put_checked_batch(batch) {
        Ok(_) => Ok(()),
        Err(source) => Err(refused(file, group, Column::Blocks, source)),
    }
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
    columns: &mut ImportColumns<'_>,
    ticker: &mut Ticker<'_>,
) -> Result<StateOutcome, ImportError> {
    let group = era.group;
    ticker.tick(Phase::State, record.offset)?;
    let Some(snapshots) = columns.state_snapshots.as_deref_mut() else {
        return Err(ImportError::NoSnapshotColumn);
    };
    let stream = file.state_stream(record)?;
    let mut source =
        Watched { stream, decoded: 0, ticker, record: *record, byte_len: era.state_len };
    let committed = snapshots.put_from(group.state_slot, era.state_len, &mut source);
    drop(source);
    match committed {
        Ok(committed) if committed.written == 0 => Ok(StateOutcome::Present),
        Ok(_) => Ok(StateOutcome::Stored),
        Err(source) => Err(refused(file, &group, Column::StateSnapshots, source)),
    }
}

/// A stream of a state that tells the observer how far it is.
struct Watched<'t, 'a, R> {
    stream: R,
    decoded: u64,
    ticker: &'t mut Ticker<'a>,
    record: RecordAt,
    byte_len: u64,
}

impl<R: Read> Read for Watched<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.decoded = self.decoded.saturating_add(read as u64);
        let part = u128::from(self.decoded)
            .saturating_mul(u128::from(self.record.payload_len))
            .checked_div(u128::from(self.byte_len));
        let part = u64::try_from(part.unwrap_or_default()).unwrap_or(u64::MAX);
        self.ticker.note(Phase::State, self.record.offset.saturating_add(part));
        Ok(read)
    }
}

/// The file on disk is not the one that was verified any more.
fn changed(file: &EraFile, offset: u64) -> Error {
    let wanted = "the bytes that were verified before";
    Error::corrupt(file.path(), offset, "file", wanted, "other bytes: it changed meanwhile")
}

fn refused(file: &EraFile, group: &Group, column: Column, source: Error) -> ImportError {
    ImportError::Column { file: file.path().to_path_buf(), era: group.era, column, source }
}
