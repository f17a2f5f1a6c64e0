//! Exports `.era` files from the columns of an archive.
//!
//! Block records are copied from `blk` byte for byte; the state in `bss` is compressed again. The block
//! index is encoded as in the files published for mainnet
//! ([`IndexEncoding::Nimbus`](super::IndexEncoding)), because deployed readers reject or misread the 0
//! that e2store-format-specs uses for an empty slot. So a published file is reproduced byte for byte,
//! unless its state was compressed by another encoder.
//!
//! An era is written completely or not at all: before the first byte is written, `bbr` proves that each
//! slot of the era is present or was skipped. Nothing is hashed here.

use std::borrow::Cow;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::ControlFlow;

use snap::write::FrameEncoder;

use super::blinding::ExecutionPayload;
use super::e2store::record_type;
use super::export_error::ExportError;
use super::group::EraSlots;
use crate::column::{Column, Compression};
use crate::format::hex::Hex;
use crate::format::record::{HEADER_BYTES, RecordHeader, VERSION_RECORD};
use crate::format::ssz::{BlockHead, EraRoots, StateHead};
use crate::occupancy::first_slot_was_skipped;
use crate::read::View;
use crate::slot::Slot;

/// Bytes of a state that are passed to the encoder at a time: a whole number of its chunks.
const PIECE_BYTES: usize = 1 << 20;

/// The columns that an export reads.
#[derive(Clone, Copy, Debug)]
pub struct ExportColumns<'a> {
    /// `blk`
    pub blocks: &'a View,
    /// `bbr`
    pub block_roots: &'a View,
    /// `bss`
    pub state_snapshots: &'a View,
}

/// An era that is ready for export: all its values are present.
#[derive(Debug)]
pub struct EraExport<'a> {
    columns: ExportColumns<'a>,
    era: u64,
    slots: Option<EraSlots>,
    state_slot: Slot,
    state: Cow<'a, [u8]>,
    head: StateHead,
    roots: Option<EraRoots>,
    /// The root of the slot before the era, if `bbr` has it.
    before: Option<[u8; 32]>,
    /// The slots that have a block, ascending.
    blocks: Vec<Slot>,
}

/// The result of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Checks that an era is complete. For blocks, only the offset tables are read.
    ///
    /// # Errors
    /// [`ExportError`] with the first slot whose values are missing or contradict the era's state.
    pub fn prepare(
        columns: ExportColumns<'a>,
        slots_per_era: u64,
        era: u64,
    ) -> Result<Self, ExportError> {
        let state_slot = era.checked_mul(slots_per_era).filter(|slot| *slot <= Slot::MAX.0);
        let Some(state_slot) = state_slot.map(Slot) else {
            return Err(ExportError::NoSuchEra { era });
        };
        let first = state_slot.0.checked_sub(slots_per_era).filter(|_| era > 0).map(Slot);
        let last = state_slot.previous();
        let slots = first.zip(last).map(|(first, last)| EraSlots { first, last });
        let state = state_of(columns.state_snapshots, era, state_slot)?;
        let (head, roots) = parse_state(&state, era, state_slot, slots)?;
        let (before, blocks) = (None, Vec::new());
        let mut export =
            Self { columns, era, slots, state_slot, state, head, roots, before, blocks };
        export.find_blocks()?;
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
    fn find_blocks(&mut self) -> Result<(), ExportError> {
        let (Some(slots), Some(roots)) = (self.slots, self.roots.take()) else { return Ok(()) };
        let era = self.era;
        let blocks = self.columns.blocks;
        let spec = blocks.conf().spec;
        if (spec.record_type, spec.compression) != (record_type::BLOCK, Compression::Snappy) {
            let found = format!("{:02x?}, {}", spec.record_type, spec.compression);
            return Err(self.unfit(Column::Blocks, slots.first, "snappy frames", found));
        }
        self.before = match slots.first.previous() {
            Some(before) => self.root_of(before)?,
            None => None,
        };
        let mut previous: Option<[u8; 32]> = self.before;
        for (index, wanted) in roots.block_roots.iter().enumerate() {
            let slot = slots.slot_at(index);
            let Some(root) = self.root_of(slot)? else {
                let why = "bbr has no root of it";
                return Err(ExportError::Unproved { era, slot, why });
            };
            if root != *wanted {
                let wanted = format!("the root {} of the era's state", Hex(wanted));
                return Err(self.unfit(Column::BlockRoots, slot, wanted, Hex(&root).to_string()));
            }
            let refused = |source| ExportError::Column { era, column: Column::Blocks, source };
            let is_there = blocks.contains(slot).map_err(refused)?;
            match (is_there, previous == Some(root)) {
                (true, false) => self.blocks.push(slot),
                (false, true) => {}
                (true, true) => {
                    let wanted = "no block, for bbr repeats the root of the slot before";
                    return Err(self.unfit(Column::Blocks, slot, wanted, "one"));
                }
                (false, false) if previous.is_none() && slot.0 > 0 => {
                    let roots = self.columns.block_roots;
                    if !first_slot_was_skipped(blocks, roots, slot).map_err(refused)? {
                        let why = "blk has no block, bbr has no root of the slot before, and the next \
                                   block has another parent";
                        return Err(ExportError::Unproved { era, slot, why });
                    }
                }
                (false, false) => return Err(ExportError::NoBlock { era, slot }),
            }
            previous = Some(root);
        }
        self.roots = Some(roots);
        Ok(())
    }

    /// The root of a slot in `bbr`.
    fn root_of(&self, slot: Slot) -> Result<Option<[u8; 32]>, ExportError> {
        let (era, column) = (self.era, Column::BlockRoots);
        let refused = |source| ExportError::Column { era, column, source };
        let Some(stored) = self.columns.block_roots.get_stored(slot).map_err(refused)? else {
            return Ok(None);
        };
        let root = <[u8; 32]>::try_from(stored);
        root.map(Some).map_err(|_| {
            self.unfit(column, slot, "a root of 32 bytes", format!("{} bytes", stored.len()))
        })
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
        let mut out = Out { sink, position: 0, era, watch };
        let mut done = Exported { blocks: self.blocks.len() as u64, ..Exported::default() };
        out.write(&VERSION_RECORD)?;
        let offsets = self.write_blocks(&mut out, &mut done)?;
        let state_offset = out.position;
        out.write_state(&self.state)?;
        if let (Some(slots), Some(roots)) = (self.slots, &self.roots) {
            let mut offsets = offsets.into_iter().peekable();
            let places = (0..roots.block_roots.len()).map(|index| {
                let slot = slots.slot_at(index);
                offsets.next_if(|(of, _)| *of == slot).map(|(_, offset)| offset)
            });
            out.write_index(slots.first, places.collect())?;
            done.skipped_slots = slots.count().saturating_sub(done.blocks);
        }
        out.write_index(self.state_slot, vec![Some(state_offset)])?;
        out.sink.flush().map_err(|source| ExportError::Sink { era, source })?;
        done.byte_len = out.position;
        Ok(done)
    }

    /// Copies the block records and returns their slots and offsets.
    fn write_blocks<S: Write + Seek>(
        &self,
        out: &mut Out<'_, S>,
        done: &mut Exported,
    ) -> Result<Vec<(Slot, u64)>, ExportError> {
        let era = self.era;
        let refused = |source| ExportError::Column { era, column: Column::Blocks, source };
        let mut offsets = Vec::with_capacity(self.blocks.len());
        let mut value = Vec::new();
        for slot in self.blocks.iter().copied() {
            let Some(record) = self.columns.blocks.record(slot).map_err(refused)? else {
                return Err(ExportError::NoBlock { era, slot });
            };
            record.value_into(&mut value).map_err(refused)?;
            self.check_block(slot, &value)?;
            match ExecutionPayload::of_block(&value) {
                ExecutionPayload::None | ExecutionPayload::Whole => {}
                ExecutionPayload::Header => return Err(ExportError::Blinded { era, slot }),
                ExecutionPayload::Unknown => {
                    done.unknown_layouts = done.unknown_layouts.saturating_add(1);
                }
            }
            offsets.push((slot, out.position));
            out.write_record(record_type::BLOCK, record.stored())?;
            out.tell()?;
        }
        Ok(offsets)
    }

    /// Checks a block's slot, state root and parent root against the era's state.
    fn check_block(&self, slot: Slot, value: &[u8]) -> Result<(), ExportError> {
        let head = BlockHead::parse(value).map_err(|mismatch| {
            self.unfit(Column::Blocks, slot, mismatch.wanted, mismatch.found)
        })?;
        if head.slot != slot {
            let found = format!("that of slot {}", head.slot);
            return Err(self.unfit(Column::Blocks, slot, "its block", found));
        }
        let (Some(slots), Some(roots)) = (self.slots, &self.roots) else { return Ok(()) };
        let index = slots.index_of(slot).unwrap_or_default();
        let parent = match index.checked_sub(1) {
            Some(before) => roots.block_roots.get(before),
            None => self.before.as_ref(),
        };
        let state_root = roots.state_roots.get(index);
        for (what, wanted, found) in [
            ("state root", state_root, &head.state_root),
            ("parent root", parent, &head.parent_root),
        ] {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                let wanted = format!("the {what} {}, by the era's state", Hex(wanted));
                return Err(self.unfit(Column::Blocks, slot, wanted, Hex(found).to_string()));
            }
        }
        Ok(())
    }
}

/// The state of an era, borrowed from the mapping if it is stored uncompressed.
fn state_of(snapshots: &View, era: u64, slot: Slot) -> Result<Cow<'_, [u8]>, ExportError> {
    let column = Column::StateSnapshots;
    match snapshots.get(slot) {
        Ok(Some(state)) => Ok(state),
        Ok(None) => Err(ExportError::NoState { era, slot }),
        Err(source) => Err(ExportError::Column { era, column, source }),
    }
}

fn parse_state(
    state: &[u8],
    era: u64,
    slot: Slot,
    slots: Option<EraSlots>,
) -> Result<(StateHead, Option<EraRoots>), ExportError> {
    let column = Column::StateSnapshots;
    let unfit = |wanted, found| ExportError::Unfit { era, column, slot, wanted, found };
    let head = StateHead::parse(state).map_err(|found| unfit(found.wanted, found.found))?;
    if head.slot != slot {
        let wanted = "the state of the slot, as plain SSZ".to_owned();
        let found = match state {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => "a zstd frame: Lighthouse stores states like that",
            _ => "something else",
        };
        return Err(unfit(wanted, found.to_owned()));
    }
    let Some(slots) = slots else { return Ok((head, None)) };
    let count = usize::try_from(slots.count()).unwrap_or(usize::MAX);
    let roots = EraRoots::parse(state, state.len() as u64, count);
    Ok((head, Some(roots.map_err(|found| unfit(found.wanted, found.found))?)))
}

/// The output file.
struct Out<'s, S> {
    sink: &'s mut S,
    /// Bytes written so far.
    position: u64,
    era: u64,
    watch: &'s mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl<S: Write + Seek> Out<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        let era = self.era;
        self.sink.write_all(bytes).map_err(|source| ExportError::Sink { era, source })?;
        self.position = self.position.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn tell(&mut self) -> Result<(), ExportError> {
        match (self.watch)(self.position) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ExportError::Stopped { era: self.era }),
        }
    }

    fn write_record(&mut self, kind: [u8; 2], payload: &[u8]) -> Result<(), ExportError> {
        let length = self.length(payload.len() as u64)?;
        self.write(&RecordHeader::new(kind, length).to_bytes())?;
        self.write(payload)
    }

    /// The length of a payload as a record header stores it.
    fn length(&self, byte_len: u64) -> Result<u32, ExportError> {
        let era = self.era;
        u32::try_from(byte_len).map_err(|_| {
            let message = format!("a record of {byte_len} bytes, and the format ends at 4 GiB");
            ExportError::Sink { era, source: io::Error::new(io::ErrorKind::InvalidInput, message) }
        })
    }

    /// Compresses the state piece by piece, then writes its header with the compressed length.
    fn write_state(&mut self, state: &[u8]) -> Result<(), ExportError> {
        self.seek(HEADER_BYTES.cast_signed())?;
        self.position = self.position.saturating_add(HEADER_BYTES);
        let start = self.position;
        let mut encoder = FrameEncoder::new(Counted { sink: &mut *self.sink, written: 0 });
        for piece in state.chunks(PIECE_BYTES) {
            let written = encoder.write_all(piece).map(|()| encoder.get_ref().written);
            let era = self.era;
            let written = written.map_err(|source| ExportError::Sink { era, source })?;
            if (self.watch)(start.saturating_add(written)).is_break() {
                return Err(ExportError::Stopped { era });
            }
        }
        let era = self.era;
        let written = encoder.into_inner().map(|counted| counted.written);
        let written = written.map_err(|error| ExportError::Sink {
            era,
            source: io::Error::other(error.to_string()),
        })?;
        self.position = start.saturating_add(written);
        let header = RecordHeader::new(record_type::STATE, self.length(written)?).to_bytes();
        let back = written.saturating_add(HEADER_BYTES).cast_signed();
        self.seek(back.saturating_neg())?;
        self.sink.write_all(&header).map_err(|source| ExportError::Sink { era, source })?;
        self.seek(written.cast_signed())
    }

    fn seek(&mut self, distance: i64) -> Result<(), ExportError> {
        let era = self.era;
        let moved = self.sink.seek(SeekFrom::Current(distance));
        moved.map(drop).map_err(|source| ExportError::Sink { era, source })
    }

    /// Writes an index. Entries are distances from the index's header to the record's header; the entry of
    /// an empty slot points to byte 0 of the file.
    fn write_index(&mut self, first: Slot, places: Vec<Option<u64>>) -> Result<(), ExportError> {
        let mut payload = first.0.to_le_bytes().to_vec();
        let count = places.len() as u64;
        for place in places {
            let entry = place.unwrap_or(0).wrapping_sub(self.position);
            payload.extend(entry.to_le_bytes());
        }
        payload.extend(count.to_le_bytes());
        self.write_record(record_type::SLOT_INDEX, &payload)
    }
}

/// Counts the bytes that the encoder writes.
struct Counted<'s, S> {
    sink: &'s mut S,
    written: u64,
}

impl<S: Write> Write for Counted<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.written = self.written.saturating_add(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
