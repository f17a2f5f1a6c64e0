//! Progress and results of an import.

use std::ops::ControlFlow;
use std::path::Path;

use super::group::EraSlots;
use super::slot_index::IndexEncoding;
use crate::column::Column;
use crate::slot::Slot;

/// A phase of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The file is decoded and checked; nothing is written.
    Verify,
    /// Blocks are copied to `blk`, and then state roots are written to `bsr`.
    Blocks,
    /// Concurrently with [`Phase::Blocks`], the era's state is written to `bss`.
    State,
    /// Block roots are written to `bbr`, which completes the era.
    BlockRoots,
}

/// Progress of an import.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ImportProgress<'a> {
    #[doc(hidden)]
    pub phase: Phase,
    /// The file that is being read. While one is copied to the columns, the next one is verified.
    pub file: &'a Path,
    /// The era in that file.
    pub era: u64,
    /// Bytes of files processed. Each file counts twice, since it is read twice.
    pub bytes_done: u64,
    /// Bytes of all files, each counted twice.
    pub bytes_total: u64,
    /// Eras completed.
    pub eras_done: u64,
    /// Eras in all files.
    pub eras_total: u64,
}

pub(super) type Observer<'a> = dyn FnMut(&ImportProgress<'_>) -> ControlFlow<()> + Send + 'a;

/// The outcome for the state of an era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateOutcome {
    /// It was written to `bss`.
    Stored,
    /// `bss` already held it.
    Present,
    /// It was not selected, and is not stored.
    NotSelected,
}

/// The outcome for an era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EraOutcome {
    /// It was imported, at least in part.
    Imported {
        /// Blocks in the era.
        blocks: u64,
        /// Slots without a block.
        skipped_slots: u64,
        /// The encoding of the block index; era 0 has none.
        index_encoding: Option<IndexEncoding>,
    },
    /// The archive already has it: its blocks are present, and its last roots and its state, if stored, are
    /// the same.
    Present,
    /// It was pruned, at least in part, and is not restored; the rest is the same.
    Pruned,
    /// Era 0 consists of only a state, which was not selected.
    Nothing,
}

/// One era of an import.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EraReport {
    /// The number of the era.
    pub era: u64,
    /// Its slots; era 0 has none.
    pub slots: Option<EraSlots>,
    /// The slot of its state.
    pub state_slot: Slot,
    /// Bytes of the era in the file.
    pub byte_len: u64,
    /// Its outcome.
    pub outcome: EraOutcome,
    /// The outcome for its state.
    pub state: StateOutcome,
    /// If the era was partly present: the columns that lacked records of it.
    pub completed: Vec<Column>,
}

/// The result of an import, or its progress until it stopped.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ImportReport {
    /// The eras, in the order of completion.
    #[doc(hidden)]
    pub eras: Vec<EraReport>,
    /// Eras that were imported.
    pub imported: u64,
    /// Eras that were already present.
    pub present: u64,
    /// Eras that stay pruned.
    pub pruned: u64,
    /// Imported eras that were partly present before.
    pub completed: u64,
    /// Blocks of the imported eras.
    pub blocks: u64,
    /// Slots without a block of the imported eras.
    pub skipped_slots: u64,
    /// States that were stored.
    pub states: u64,
    /// Bytes of the imported eras in their files.
    pub byte_len: u64,
    /// The first and the last slot of the imported eras.
    pub slots: Option<EraSlots>,
    /// The first era of a new archive, unless it is era 0 or 1. Earlier history cannot be added later.
    pub began_at_era: Option<u64>,
    /// The archive's first slot.
    pub first_slot: Option<Slot>,
    /// Identifies the chain.
    pub genesis_validators_root: Option<[u8; 32]>,
}

impl ImportReport {
    /// Adds an era to the report.
    pub(super) fn add(&mut self, era: EraReport) {
        let add = |sum: &mut u64, count: u64| *sum = sum.saturating_add(count);
        add(&mut self.states, u64::from(era.state == StateOutcome::Stored));
        match era.outcome {
            EraOutcome::Imported { blocks, skipped_slots, .. } => {
                add(&mut self.imported, 1);
                add(&mut self.completed, u64::from(!era.completed.is_empty()));
                add(&mut self.blocks, blocks);
                add(&mut self.skipped_slots, skipped_slots);
                add(&mut self.byte_len, era.byte_len);
                let (first, last) = (self.slots.or(era.slots), era.slots.or(self.slots));
                self.slots = first.zip(last).map(|(a, b)| EraSlots {
                    first: a.first.min(b.first),
                    last: a.last.max(b.last),
                });
            }
            EraOutcome::Present => add(&mut self.present, 1),
            EraOutcome::Pruned => add(&mut self.pruned, 1),
            EraOutcome::Nothing => {}
        }
        self.eras.push(era);
    }
}
