//! Participation flags between epochs: the commonest new flags for each key, with exceptions.
//!
//! A validator's key is its flags of both epochs in the base.

use super::chunk::{ColumnSlices, Place};
use super::exceptions::Unpacker;
use super::fault::Decoded;
use super::packed::{Cursor, put_count};
use super::section::{
    Packed, Packer, each_position, max_gap_bytes, put_chunks, put_gap, rank_of, read_chunks,
};

/// Number of keys: 3 bits each of the previous and the current flags.
pub(crate) const KEYS: usize = 64;

/// The key of a validator in the base.
#[inline]
pub(crate) fn key_of(previous: u8, current: u8) -> u8 {
    previous & 0b111 | (current & 0b111) << 3
}

/// The new flags by key.
pub(crate) type Modes = [u8; KEYS];

/// The section of one of the two columns in a record.
#[derive(Debug)]
pub(crate) struct FlagSection<'v> {
    modes: Modes,
    chunks: Vec<&'v [u8]>,
}

impl<'v> FlagSection<'v> {
    pub(crate) fn parse(
        section: &'v [u8],
        chunk_count: usize,
        unpacker: &mut Unpacker,
    ) -> Decoded<Self> {
        let mut input = Cursor::new(section);
        let unpacked = &mut unpacker.symbols;
        Packed::read(&mut input, KEYS)?.unpack(&mut unpacker.context, unpacked)?;
        let modes = std::array::from_fn(|key| unpacked[key]);
        Ok(Self { modes, chunks: read_chunks(&mut input, chunk_count)? })
    }

    /// The flags of a chunk, from its validators' keys.
    pub(crate) fn apply(
        &self,
        chunk: usize,
        flags: &mut [u8],
        unpacker: &mut Unpacker,
    ) -> Decoded<()> {
        predict(&self.modes, &unpacker.keys, flags);
        let Some((count, mut input)) = list_of(self.chunks[chunk], flags.len())? else {
            return Ok(());
        };
        let Unpacker { context, gaps, symbols, .. } = unpacker;
        let limit = max_gap_bytes(count, flags.len());
        Packed::read_with_len(&mut input, "bytes of gaps", limit)?.unpack(context, gaps)?;
        Packed::read(&mut input, count)?.unpack(context, symbols)?;
        input.end()?;
        let mut symbols = symbols.iter();
        each_position(gaps, count, flags.len(), |position| {
            flags[position] = *symbols.next().unwrap_or(&0);
            Ok(())
        })
    }

    /// The flags of one validator, from its key.
    pub(crate) fn apply_one(&self, place: Place, key: u8, unpacker: &mut Unpacker) -> Decoded<u8> {
        let predicted = self.modes[usize::from(key) % KEYS];
        let Some((count, mut input)) = list_of(self.chunks[place.chunk], place.len)? else {
            return Ok(predicted);
        };
        let Unpacker { context, gaps, symbols, .. } = unpacker;
        let limit = max_gap_bytes(count, place.len);
        Packed::read_with_len(&mut input, "bytes of gaps", limit)?.unpack(context, gaps)?;
        let Some(rank) = rank_of(gaps, place.position) else { return Ok(predicted) };
        Packed::read(&mut input, count)?.unpack(context, symbols)?;
        input.end()?;
        Ok(symbols.get(rank).copied().unwrap_or(predicted))
    }
}

/// Number of exceptions of a chunk, and what follows it; `None` if there are none.
fn list_of(chunk: &[u8], len: usize) -> Decoded<Option<(usize, Cursor<'_>)>> {
    let mut input = Cursor::new(chunk);
    match chunk {
        [] => Ok(None),
        _ => Ok(Some((input.count("exceptions", len)?, input))),
    }
}

/// The predicted flags, by key.
pub(crate) fn predict(modes: &Modes, keys: &[u8], flags: &mut [u8]) {
    if modes.iter().all(|mode| *mode == modes[0]) {
        flags.fill(modes[0]);
        return;
    }
    let mode_of = |key: u8| modes[usize::from(key) % KEYS];
    // Most neighbours have the same key.
    let (keys, keys_left) = keys.as_chunks::<8>();
    let (flags, flags_left) = flags.as_chunks_mut::<8>();
    for (flags, keys) in flags.iter_mut().zip(keys) {
        *flags = match *keys == [keys[0]; 8] {
            true => [mode_of(keys[0]); 8],
            false => keys.map(mode_of),
        };
    }
    for (flags, key) in flags_left.iter_mut().zip(keys_left) {
        *flags = mode_of(*key);
    }
}

/// The keys of a chunk.
pub(crate) fn fill_keys(previous: &[u8], current: &[u8], keys: &mut Vec<u8>) {
    keys.clear();
    keys.extend(
        previous.iter().zip(current).map(|(previous, current)| key_of(*previous, *current)),
    );
}

/// The commonest new flags of each key.
pub(crate) fn measure(base: &ColumnSlices<'_>, next: &[u8]) -> Modes {
    let mut counts = vec![[0u32; 256]; KEYS];
    let mut count = |key: u8, next: u8, more: u32| {
        counts[usize::from(key)][usize::from(next)] += more;
    };
    let known = base.previous.len().min(base.current.len()).min(next.len());
    let [(previous, previous_left), (current, current_left), (of_next, next_left)] =
        [base.previous, base.current, next].map(|column| column[..known].as_chunks::<8>());
    for ((previous, current), next) in previous.iter().zip(current).zip(of_next) {
        let is_uniform = |flags: &[u8; 8]| *flags == [flags[0]; 8];
        if is_uniform(previous) && is_uniform(current) && is_uniform(next) {
            count(key_of(previous[0], current[0]), next[0], 8);
            continue;
        }
        for ((previous, current), next) in previous.iter().zip(current).zip(next) {
            count(key_of(*previous, *current), *next, 1);
        }
    }
    for ((previous, current), next) in previous_left.iter().zip(current_left).zip(next_left) {
        count(key_of(*previous, *current), *next, 1);
    }
    for next in &next[known..] {
        count(key_of(0, 0), *next, 1);
    }
    std::array::from_fn(|key| {
        let of_key = |flags: &u8| (counts[key][usize::from(*flags)], std::cmp::Reverse(*flags));
        (0u8..=255).max_by_key(of_key).unwrap_or(0)
    })
}

/// Encodes a chunk: the flags that are not as predicted.
pub(crate) fn encode_chunk(predicted: &[u8], next: &[u8], packer: &mut Packer) -> Vec<u8> {
    let (mut gaps, mut symbols, mut end) = (Vec::new(), Vec::new(), 0);
    for (group, (predicted, next)) in predicted.chunks(64).zip(next.chunks(64)).enumerate() {
        if predicted == next {
            continue;
        }
        for (place, (predicted, next)) in predicted.iter().zip(next).enumerate() {
            if predicted != next {
                let position = group * 64 + place;
                put_gap(&mut gaps, position - end);
                symbols.push(*next);
                end = position + 1;
            }
        }
    }
    let mut chunk = Vec::new();
    if !symbols.is_empty() {
        put_count(&mut chunk, symbols.len());
        packer.pack_with_len(&gaps, &mut chunk);
        packer.pack(&symbols, &mut chunk);
    }
    chunk
}

/// The section of encoded chunks.
pub(crate) fn section_of(modes: &Modes, chunks: &[Vec<u8>], packer: &mut Packer) -> Vec<u8> {
    let mut section = Vec::new();
    packer.pack(modes, &mut section);
    put_chunks(&mut section, chunks);
    section
}
