//! Reads a state from a stream, and keeps what differs from a stored one.

use std::io::Read;
use std::sync::Arc;

use coldstore::Slot;
use coldstore_consensus::{Malformed, Preset, StateFault, StateFields, StatePrefix};

use super::columns::{
    Columns, FieldBytes, StateRef, UNKNOWN_PIECE_BYTES, VALIDATOR_BYTES, Validators, slot_of,
};

/// Validators compared at a time: 496 kB.
const COMPARED_VALIDATORS: usize = 4096;

/// The state of `byte_len` bytes in `source`, on the stored state `base`.
pub(super) fn read(
    preset: Preset,
    base: &[u8],
    byte_len: u64,
    source: &mut dyn Read,
) -> Result<Columns, StateFault> {
    let base_columns = Columns::of_raw(preset, base)?;
    let base = StateRef { base, columns: &base_columns };
    let mut start = Vec::new();
    read_exactly(source, &mut start, StatePrefix::byte_len(preset) as u64)?;
    let slot = slot_of(preset, &start)?;
    let columns = match StateFields::candidates(preset, &start) {
        Ok(candidates) => Known { base, slot, byte_len }.read(&candidates, start, source)?,
        Err(StateFault::UnknownLayout(_)) => {
            Columns::of_pieces(preset, slot, pieces(base, byte_len, start, source)?)
        }
        Err(fault) => return Err(fault),
    };
    let mut behind = Vec::new();
    source.take(1).read_to_end(&mut behind)?;
    match behind.is_empty() {
        true => Ok(columns),
        false => Err(Malformed::new(format!("{byte_len} bytes"), "more").into()),
    }
}

/// A state of a known layout, which is being read.
struct Known<'a> {
    base: StateRef<'a>,
    slot: Slot,
    byte_len: u64,
}

impl Known<'_> {
    fn read(
        &self,
        candidates: &[StateFields],
        mut fixed: Vec<u8>,
        source: &mut dyn Read,
    ) -> Result<Columns, StateFault> {
        let first = candidates[0];
        read_exactly(source, &mut fixed, first.fixed_part_len() as u64)?;
        let spans = first.spans_in(&fixed, self.byte_len)?;
        let (mut fields, mut validators) = (Vec::with_capacity(first.len()), None);
        let mut header = None;
        for (place, (field, span)) in first.iter().zip(spans).enumerate() {
            fields.push(if field.fixed_len().is_some() {
                self.kept(field.name, fixed[span].to_vec())
            } else if field.name == "validators" {
                validators = Some(self.validators(span.len() as u64, source)?);
                FieldBytes::Base(0..0)
            } else {
                let mut bytes = Vec::new();
                read_exactly(source, &mut bytes, span.len() as u64)?;
                if field.name == "latest_execution_payload_header" {
                    header = Some((place, bytes.clone()));
                }
                self.kept(field.name, bytes)
            });
        }
        let header_bytes = header.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        let layout = StateFields::settle(candidates, |_| Ok(header_bytes))?;
        if let Some((place, bytes)) = &header {
            layout.check_content(*place, bytes)?;
        }
        Ok(Columns::new(layout, self.slot, fields, validators.unwrap_or_default())?)
    }

    /// The field of the stored state, if it has the same bytes.
    fn kept(&self, name: &str, bytes: Vec<u8>) -> FieldBytes {
        match self.base.columns.place_of(name) {
            Some(place) if place.bytes(self.base.base) == bytes => place.clone(),
            _ => FieldBytes::Own(Arc::new(bytes)),
        }
    }

    fn validators(&self, byte_len: u64, source: &mut dyn Read) -> Result<Validators, StateFault> {
        let base = self.base.base_validators();
        let (mut changed, mut appended) = (Vec::new(), Vec::new());
        let mut left = byte_len;
        let mut piece = Vec::new();
        let mut first = 0;
        while left > 0 {
            let piece_len = left.min((COMPARED_VALIDATORS * VALIDATOR_BYTES) as u64);
            piece.clear();
            read_exactly(source, &mut piece, piece_len)?;
            left -= piece_len;
            let (read, _) = piece.as_chunks::<VALIDATOR_BYTES>();
            let known = base.get(first..).unwrap_or_default();
            for (index, (validator, known)) in (first..).zip(read.iter().zip(known)) {
                if validator != known {
                    let index = u32::try_from(index);
                    let index =
                        index.map_err(|_| Malformed::new("fewer than 2^32 validators", "more"))?;
                    changed.push((index, *validator));
                }
            }
            appended.extend_from_slice(read.get(known.len()..).unwrap_or_default().as_flattened());
            first += read.len();
        }
        let start = self.base.columns.validators().base.start;
        let base = start..start + first.min(base.len()) * VALIDATOR_BYTES;
        Ok(Validators { base, changed: Arc::new(changed), appended: Arc::new(appended) })
    }
}

/// The pieces of a state of unknown layout.
fn pieces(
    base: StateRef<'_>,
    byte_len: u64,
    start: Vec<u8>,
    source: &mut dyn Read,
) -> Result<Vec<FieldBytes>, StateFault> {
    let (mut pieces, mut left, mut bytes) = (Vec::new(), byte_len, start);
    let mut at = 0;
    while left > 0 {
        let piece_len = left.min(UNKNOWN_PIECE_BYTES as u64);
        read_exactly(source, &mut bytes, piece_len)?;
        left -= piece_len;
        let span = at..at + bytes.len();
        at = span.end;
        let bytes = std::mem::take(&mut bytes);
        pieces.push(match base.base.get(span.clone()) {
            Some(known) if known == bytes => FieldBytes::Base(span),
            _ => FieldBytes::Own(Arc::new(bytes)),
        });
    }
    Ok(pieces)
}

/// Reads until `bytes` has `byte_len` bytes. Memory grows with what is read.
fn read_exactly(
    source: &mut dyn Read,
    bytes: &mut Vec<u8>,
    byte_len: u64,
) -> Result<(), StateFault> {
    let missing = byte_len.saturating_sub(bytes.len() as u64);
    source.take(missing).read_to_end(bytes)?;
    match bytes.len() as u64 {
        found if found == byte_len => Ok(()),
        found => Err(Malformed::new(format!("{byte_len} bytes"), format!("{found} bytes")).into()),
    }
}
