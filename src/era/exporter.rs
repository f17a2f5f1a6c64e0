//! Exports `.era` files from the columns of an archive.
//!
//! Block records are copied from `blk` byte for byte; the state in `bss` is compressed again. The block
//! index is encoded as in the files published for mainnet (`IndexEncoding::Nimbus`), because deployed readers
//! reject or misread the 0 that e2store-format-specs uses for an empty slot. So a published file is reproduced
//! byte for byte, unless its state was compressed by another encoder.
//!
//! An era is written completely or not at all: before the first byte is written, `bbr` proves that each
//! slot of the era is present or was skipped. Nothing is hashed here.

use std::borrow::Cow;
use std::io::{self, Read, Seek, Write};
use std::ops::ControlFlow;

use snap::write::FrameEncoder;

use super::blinding::ExecutionPayload;
use super::consistency::check_head;
use super::e2store::record_type;
use super::export_error::ExportError;
use super::group::EraSlots;
use super::record_sink::RecordSink;
use super::state_store::StateStore;
use crate::column::{Column, Compression};
use crate::error::Error;
use crate::format::hex::Hex;
use crate::format::record::{HEADER_BYTES, VERSION_RECORD};
use crate::format::ssz::{
    BlockHead, EraRoots, Mismatch, STATE_HEAD_BYTES, StateHead, state_roots_end,
};
use crate::occupancy::first_slot_was_skipped;
use crate::read::View;
use crate::slot::Slot;

const STATES: Column = Column::StateSnapshots;

/// Bytes of a state that are passed to the encoder at a time: a whole number of its chunks.
const PIECE_BYTES: usize = 1 << 20;

/// An era that is ready for export: all its values are present.
#[derive(Debug)]
pub struct EraExport<'a> {
    blocks: &'a View,
    block_roots: &'a View,
    era: u64,
    slots: Option<EraSlots>,
    /// The state if it is whole in `bss`, else its start; `kept` has all of it.
    state: Cow<'a, [u8]>,
    kept: Option<&'a dyn StateStore>,
    head: StateHead,
    roots: Option<EraRoots>,
    /// The root of the slot before the era, if `bbr` has it.
    before: Option<[u8; 32]>,
    /// The slots that have a block, ascending.
    full_slots: Vec<Slot>,
}

/// The result of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Blocks in the era.
    pub blocks: u64,
    /// Slots without a block.
    pub skipped_slots: u64,
    /// Bytes of the file.
    pub byte_len: u64,
    /// Blocks of unknown layout (a fork later than fulu, or a custom preset), which may be blinded.
    pub unknown_layouts: u64,
}

impl<'a> EraExport<'a> {
    /// The columns that an export reads, in the order of [`EraExport::prepare`].
    pub const COLUMNS: [Column; 3] = [Column::Blocks, Column::BlockRoots, Column::StateSnapshots];

    /// Checks that an era is complete, in views of its [`COLUMNS`](Self::COLUMNS) (see
    /// [`Archive::views`](crate::Archive::views)). For blocks, only the offset tables are read.
    ///
    /// # Errors
    /// [`ExportError`] with the first slot whose values are missing or contradict the era's state.
    pub fn prepare(
        columns: &'a [View; 3],
        slots_per_era: u64,
        era: u64,
    ) -> Result<Self, ExportError> {
        Self::prepare_kept(columns, slots_per_era, era, None)
    }

    /// [`Self::prepare`] with states that may be kept in another form than whole in `bss`.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    #[doc(hidden)]
    pub fn prepare_kept(
        [blocks, block_roots, state_snapshots]: &'a [View; 3],
        slots_per_era: u64,
        era: u64,
        kept: Option<&'a dyn StateStore>,
    ) -> Result<Self, ExportError> {
        let slot = era.checked_mul(slots_per_era).filter(|slot| *slot <= Slot::MAX.0);
        let slot = slot.map(Slot).ok_or(ExportError::NoSuchEra { era })?;
        let first = slot.0.checked_sub(slots_per_era).filter(|_| era > 0).map(Slot);
        let slots = first.zip(slot.previous()).map(|(first, last)| EraSlots { first, last });
        let state = state_snapshots.get(slot).map_err(refused(era, STATES))?;
        let is_kept = |kept: &&dyn StateStore| kept.contains(slot);
        let (state, kept) = match (state, kept) {
            (Some(state), _) => (state, None),
            (None, Some(kept)) if is_kept(&kept).map_err(refused(era, STATES))? => {
                let count = slots.and_then(|slots| usize::try_from(slots.count()).ok());
                let mut start = vec![0; count.map_or(STATE_HEAD_BYTES, state_roots_end)];
                let mut state = kept.state(slot).map_err(refused(era, STATES))?;
                state.read_exact(&mut start).map_err(unread(era))?;
                (start.into(), Some(kept))
            }
            _ => {
                let what = format!("bss has no state of slot {slot}, which it ends with");
                return Err(ExportError::Missing { era, slot, what });
            }
        };
        // The length of a kept state is unknown here, so it does not bound its offsets.
        let byte_len = if kept.is_some() { u64::MAX } else { state.len() as u64 };
        let (head, roots) = parse_state(&state, byte_len, era, slot, slots)?;
        let (before, full_slots) = (None, Vec::new());
        let mut export =
            Self { blocks, block_roots, era, slots, state, kept, head, roots, before, full_slots };
        if let (Some(slots), Some(roots)) = (slots, &export.roots) {
            let before = match slots.first.previous() {
                Some(before) => export.root_of(before)?,
                None => None,
            };
            let full_slots = export.find_blocks(slots, roots, before)?;
            (export.before, export.full_slots) = (before, full_slots);
        }
        Ok(export)
    }

    /// The number of the era.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.era
    }

    /// The slots of the era; era 0 has none.
    #[must_use]
    pub fn slots(&self) -> Option<EraSlots> {
        self.slots
    }

    /// The head of the era's state.
    #[must_use]
    pub fn state_head(&self) -> StateHead {
        self.head
    }

    /// The roots of the era's slots. The era's file is named after the root of these two vectors. Era 0 has
    /// none and is named after the genesis validators root.
    #[must_use]
    pub fn roots(&self) -> Option<&EraRoots> {
        self.roots.as_ref()
    }

    /// An error about a slot of this era.
    fn unfit(
        &self,
        column: Column,
        slot: Slot,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) -> ExportError {
        let (wanted, found) = (wanted.into(), found.into());
        ExportError::Unfit { era: self.era, column, slot, wanted, found }
    }

    /// Finds the blocks of the era, and checks that all other slots were skipped.
    fn find_blocks(
        &self,
        slots: EraSlots,
        roots: &EraRoots,
        before: Option<[u8; 32]>,
    ) -> Result<Vec<Slot>, ExportError> {
        let era = self.era;
        let blocks = self.blocks;
        let spec = blocks.conf().spec;
        if (spec.record_type, spec.compression) != (record_type::BLOCK, Compression::Snappy) {
            let found = format!("{:02x?}, {}", spec.record_type, spec.compression);
            return Err(self.unfit(Column::Blocks, slots.first, "snappy frames", found));
        }
        let missing = |slot, what| Err(ExportError::Missing { era, slot, what });
        let (mut found, mut previous) = (Vec::new(), before);
        for (index, wanted) in roots.block_roots.iter().enumerate() {
            let slot = slots.slot_at(index);
            let unproved = |why| {
                missing(slot, format!("it is unknown whether slot {slot} has a block: {why}"))
            };
            let Some(root) = self.root_of(slot)? else {
                return unproved("bbr lacks its root");
            };
            if root != *wanted {
                let wanted = format!("the root {} of the era's state", Hex(wanted));
                return Err(self.unfit(Column::BlockRoots, slot, wanted, Hex(&root).to_string()));
            }
            let is_there = blocks.contains(slot).map_err(refused(era, Column::Blocks))?;
            match (is_there, previous == Some(root)) {
                (true, false) => found.push(slot),
                (false, true) => {}
                (true, true) => {
                    let wanted = "no block, because bbr repeats the root of the slot before";
                    return Err(self.unfit(Column::Blocks, slot, wanted, "a block"));
                }
                (false, false) if previous.is_none() && slot.0 > 0 => {
                    let skipped = first_slot_was_skipped(blocks, self.block_roots, slot);
                    if !skipped.map_err(refused(era, Column::Blocks))? {
                        return unproved(
                            "blk has no block, bbr lacks the root of the slot before, and the next \
                             block has another parent",
                        );
                    }
                }
                (false, false) => return missing(slot, no_block(slot)),
            }
            previous = Some(root);
        }
        Ok(found)
    }

    /// The root of a slot in `bbr`.
    fn root_of(&self, slot: Slot) -> Result<Option<[u8; 32]>, ExportError> {
        let column = Column::BlockRoots;
        let stored = self.block_roots.get_stored(slot).map_err(refused(self.era, column))?;
        let root = stored.map(|stored| {
            <[u8; 32]>::try_from(stored).map_err(|_| {
                self.unfit(column, slot, "a root of 32 bytes", format!("{} bytes", stored.len()))
            })
        });
        root.transpose()
    }

    /// Writes the era's file to `sink`, at its current position. `watch` is called regularly with the
    /// number of bytes written, and may stop the export.
    ///
    /// The header of the state's record contains the compressed length, which is known only after the
    /// state is written. So the export seeks past those 8 bytes, and back to them once.
    ///
    /// # Errors
    /// [`ExportError`] with the slot of the first block that is blinded, damaged, or contradicts the era's
    /// state. The bytes written so far are not a valid file.
    pub fn write_to<S: Write + Seek>(
        &self,
        sink: &mut S,
        watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Exported, ExportError> {
        let era = self.era;
        let failed = |source| ExportError::Sink { era, source };
        let mut watch = |position| match watch(position) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ExportError::Stopped { era }),
        };
        let mut out = RecordSink { sink, position: 0 };
        let mut done = Exported { blocks: self.full_slots.len() as u64, ..Exported::default() };
        out.write_all(&VERSION_RECORD).map_err(failed)?;

        let offsets = self.copy_blocks(&mut out, &mut watch, &mut done)?;
        let state_offset = out.position;
        self.write_state(&mut out, &mut watch)?;
        if let (Some(slots), Some(roots)) = (self.slots, &self.roots) {
            let mut offsets = offsets.into_iter().peekable();
            let places = (0..roots.block_roots.len()).map(|index| {
                let slot = slots.slot_at(index);
                offsets.next_if(|(of, _)| *of == slot).map(|(_, offset)| offset)
            });
            out.index(slots.first, places).map_err(failed)?;
            done.skipped_slots = slots.count().saturating_sub(done.blocks);
        }
        out.index(self.head.slot, [Some(state_offset)]).map_err(failed)?;
        out.flush().map_err(failed)?;
        done.byte_len = out.position;
        Ok(done)
    }

    /// Copies the block records, and returns their slots and offsets.
    fn copy_blocks<S: Write + Seek>(
        &self,
        out: &mut RecordSink<'_, S>,
        watch: &mut Watch<'_>,
        done: &mut Exported,
    ) -> Result<Vec<(Slot, u64)>, ExportError> {
        let era = self.era;
        let mut offsets = Vec::with_capacity(self.full_slots.len());
        let mut value = Vec::new();
        for slot in self.full_slots.iter().copied() {
            let record = self.blocks.record(slot).map_err(refused(era, Column::Blocks))?;
            let Some(record) = record else {
                return Err(ExportError::Missing { era, slot, what: no_block(slot) });
            };
            record.value_into(&mut value).map_err(refused(era, Column::Blocks))?;
            self.check_block(slot, &value)?;
            match ExecutionPayload::of_block(&value) {
                ExecutionPayload::None | ExecutionPayload::Whole => {}
                ExecutionPayload::Header => {
                    return Err(ExportError::Missing { era, slot, what: blinded(slot) });
                }
                ExecutionPayload::Unknown => {
                    done.unknown_layouts = done.unknown_layouts.saturating_add(1);
                }
            }
            offsets.push((slot, out.position));
            out.record(record_type::BLOCK, record.stored())
                .map_err(|source| ExportError::Sink { era, source })?;
            watch(out.position)?;
        }
        Ok(offsets)
    }

    /// Compresses the state piece by piece, then writes its header with the compressed length.
    fn write_state<S: Write + Seek>(
        &self,
        out: &mut RecordSink<'_, S>,
        watch: &mut Watch<'_>,
    ) -> Result<(), ExportError> {
        let era = self.era;
        let failed = |source| ExportError::Sink { era, source };
        out.skip(HEADER_BYTES).map_err(failed)?;
        let start = out.position;
        let mut encoder = FrameEncoder::new(&mut *out);
        let mut state: Box<dyn Read> = match self.kept {
            Some(kept) => kept.state(self.head.slot).map_err(refused(era, STATES))?,
            None => Box::new(&self.state[..]),
        };
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        while {
            piece.clear();
            (&mut state).take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(unread(era))? > 0
        } {
            encoder.write_all(&piece).map_err(failed)?;
            watch(encoder.get_ref().position)?;
        }
        let flushed = encoder.into_inner().map(drop);
        flushed.map_err(|error| failed(io::Error::other(error.to_string())))?;
        let byte_len = out.position.saturating_sub(start);
        out.header_before(record_type::STATE, byte_len).map_err(failed)
    }

    /// Checks a block's slot, state root and parent root against the era's state.
    fn check_block(&self, slot: Slot, value: &[u8]) -> Result<(), ExportError> {
        let check = || {
            let head = BlockHead::parse(value)?;
            if head.slot != slot {
                let found = format!("that of slot {}", head.slot);
                return Err(Mismatch { wanted: "its block".to_owned(), found });
            }
            let (Some(slots), Some(roots)) = (self.slots, &self.roots) else { return Ok(()) };
            let index = slots.index_of(slot).unwrap_or_default();
            let previous = match index.checked_sub(1) {
                Some(before) => roots.block_roots.get(before),
                None => self.before.as_ref(),
            };
            check_head(&head, roots.state_roots.get(index), previous)
        };
        check().map_err(|fault| self.unfit(Column::Blocks, slot, fault.wanted, fault.found))
    }
}

/// Called with the number of bytes written.
type Watch<'w> = dyn FnMut(u64) -> Result<(), ExportError> + 'w;

/// The error for a column that cannot be read.
fn refused(era: u64, column: Column) -> impl FnOnce(Error) -> ExportError {
    move |source| ExportError::Column { era, column, source }
}

fn blinded(slot: Slot) -> String {
    format!(
        "blk has a blinded block at slot {slot}: Lighthouse stores the header of the execution payload, and \
         an .era file needs the whole execution payload"
    )
}

fn no_block(slot: Slot) -> String {
    format!("blk lacks the block of slot {slot}, which exists according to bbr")
}

/// The error for a kept state that cannot be read.
fn unread(era: u64) -> impl FnOnce(io::Error) -> ExportError {
    move |error| match error.downcast::<Error>() {
        Ok(error) => refused(era, STATES)(error),
        Err(source) => ExportError::Sink { era, source },
    }
}

fn parse_state(
    state: &[u8],
    byte_len: u64,
    era: u64,
    slot: Slot,
    slots: Option<EraSlots>,
) -> Result<(StateHead, Option<EraRoots>), ExportError> {
    let unfit = |Mismatch { wanted, found }| ExportError::Unfit {
        era,
        column: STATES,
        slot,
        wanted,
        found,
    };
    let head = StateHead::parse(state).map_err(unfit)?;
    if head.slot != slot {
        let wanted = "the state of the slot, as plain SSZ".to_owned();
        let found = match state {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => "a zstd frame, as Lighthouse stores states",
            _ => "something else",
        };
        return Err(unfit(Mismatch { wanted, found: found.to_owned() }));
    }
    let count = slots.map(|slots| usize::try_from(slots.count()).unwrap_or(usize::MAX));
    let roots = count.map(|count| EraRoots::parse(state, byte_len, count));
    Ok((head, roots.transpose().map_err(unfit)?))
}
