//! The numbers of a chunk that are not as predicted: listed, or as byte planes of all differences.

use zstd::zstd_safe::DCtx;

use super::chunk::Place;
use super::fault::Decoded;
use super::packed::{Cursor, put_count, put_varint, unzigzag, zigzag};
use super::section::{
    Packed, Packer, each_position, max_gap_bytes, put_gap, put_signed, rank_of, read_signed, wrong,
};

/// Forms of a chunk.
const LIST: u8 = 0;
const PLANES: u8 = 1;

/// Symbols whose number follows among the escapes.
const ESCAPED_CHANGE: u8 = 254;
const ESCAPED_VALUE: u8 = 255;

/// Numbers that have a symbol of their own.
const MAX_SYMBOLS: usize = ESCAPED_CHANGE as usize;

/// Exceptions from which the symbols are chosen.
const SAMPLED: usize = 1 << 16;

/// Times that a number has to occur to get a symbol: the symbol's entry is as long as two or three escapes.
const MIN_OCCURRENCES: u32 = 3;

/// Most bytes of an escape, or of a symbol's number.
const MAX_NUMBER_BYTES: usize = 10;

/// Buffers and contexts for reading sections, of one thread. Making one costs more than reading a chunk.
pub(crate) struct Unpacker {
    pub(crate) context: DCtx<'static>,
    pub(crate) gaps: Vec<u8>,
    pub(crate) symbols: Vec<u8>,
    pub(crate) escapes: Vec<u8>,
    /// One byte for each validator of a chunk.
    pub(crate) keys: Vec<u8>,
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl Unpacker {
    pub(crate) fn new() -> Self {
        Self {
            context: DCtx::create(),
            gaps: Vec::new(),
            symbols: Vec::new(),
            escapes: Vec::new(),
            keys: Vec::new(),
        }
    }
}

/// What an exception says about a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exception {
    /// Differs from the prediction by this.
    Change(u64),
    /// Differs from the column's origin by this.
    Value(u64),
}

impl Exception {
    #[inline]
    fn apply(self, predicted: u64, origin: u64) -> u64 {
        match self {
            Self::Change(change) => predicted.wrapping_add(change),
            Self::Value(value) => origin.wrapping_add(value),
        }
    }
}

/// The commonest exceptions of a column; each has one byte as symbol.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    meanings: Vec<Exception>,
    /// What a value is counted from: 32 ETH for balances.
    origin: u64,
}

impl Symbols {
    /// Number of changes, number of values, packed numbers: changes first.
    pub(crate) fn read(
        input: &mut Cursor<'_>,
        origin: u64,
        unpacker: &mut Unpacker,
    ) -> Decoded<Self> {
        let [changes, values] = input.array()?.map(|count: u8| usize::from(count));
        let count = changes + values;
        if count > MAX_SYMBOLS {
            return wrong(format_args!("at most {MAX_SYMBOLS} symbols"), count);
        }
        let limit = count * MAX_NUMBER_BYTES;
        let packed = Packed::read_with_len(input, "bytes of symbols", limit)?;
        packed.unpack(&mut unpacker.context, &mut unpacker.symbols)?;
        let mut numbers = Cursor::new(&unpacker.symbols);
        let mut meanings = Vec::with_capacity(count);
        for symbol in 0..count {
            let number = read_signed(&mut numbers)?.cast_unsigned();
            meanings.push(match symbol < changes {
                true => Exception::Change(number),
                false => Exception::Value(number),
            });
        }
        numbers.end()?;
        Ok(Self { meanings, origin })
    }

    /// Passes over what [`Self::read`] reads.
    pub(crate) fn skip(input: &mut Cursor<'_>) -> Decoded<()> {
        let _: [u8; 2] = input.array()?;
        let limit = 2 * MAX_SYMBOLS * MAX_NUMBER_BYTES;
        Packed::read_with_len(input, "bytes of symbols", limit).map(drop)
    }

    pub(crate) fn write(&self, packer: &mut Packer, out: &mut Vec<u8>) {
        let mut numbers = Vec::new();
        let mut counts = [0u8; 2];
        for meaning in &self.meanings {
            let (Exception::Change(number) | Exception::Value(number)) = *meaning;
            counts[usize::from(matches!(meaning, Exception::Value(_)))] += 1;
            put_signed(&mut numbers, number.cast_signed());
        }
        out.extend(counts);
        packer.pack_with_len(&numbers, out);
    }

    /// The symbols for these exceptions.
    pub(crate) fn choose(origin: u64, chunks: &[Vec<Differing>]) -> Self {
        let total: usize = chunks.iter().map(Vec::len).sum();
        let step = total.div_ceil(SAMPLED).max(1);
        let sampled = || chunks.iter().flatten().step_by(step);
        let changes = sampled().map(|at| Exception::Change(at.change()));
        let values = sampled().map(|at| Exception::Value(at.next.wrapping_sub(origin)));
        let mut found: Vec<Exception> = changes.chain(values).collect();
        found.sort_unstable();
        let mut counted: Vec<(u32, Exception)> = Vec::new();
        for exception in found {
            match counted.last_mut() {
                Some((count, last)) if *last == exception => *count += 1,
                _ => counted.push((1, exception)),
            }
        }
        counted.retain(|(count, _)| *count >= MIN_OCCURRENCES);
        counted.sort_unstable_by(|left, right| right.cmp(left));
        counted.truncate(MAX_SYMBOLS);
        let mut meanings: Vec<Exception> = counted.iter().map(|(_, found)| *found).collect();
        // Ascending: changes first, and found by bisection.
        meanings.sort_unstable();
        Self { meanings, origin }
    }

    #[expect(clippy::cast_possible_truncation, reason = "fewer than 256 symbols")]
    fn symbol_of(&self, exception: Exception) -> Option<u8> {
        self.meanings.binary_search(&exception).ok().map(|symbol| symbol as u8)
    }
}

/// A number that is not as predicted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Differing {
    /// Position in the chunk.
    pub(crate) position: u32,
    pub(crate) predicted: u64,
    pub(crate) next: u64,
}

impl Differing {
    fn change(&self) -> u64 {
        self.next.wrapping_sub(self.predicted)
    }
}

/// The numbers of a chunk that differ.
pub(crate) fn differing(predicted: &[u64], next: &[[u8; 8]]) -> Vec<Differing> {
    let mut found = Vec::new();
    for ((position, predicted), next) in (0u32..).zip(predicted).zip(next) {
        let (predicted, next) = (*predicted, u64::from_le_bytes(*next));
        if predicted != next {
            found.push(Differing { position, predicted, next });
        }
    }
    found
}

/// Encodes a chunk of `len` numbers, as a list or as planes, whichever is smaller.
pub(crate) fn encode_chunk(
    symbols: &Symbols,
    exceptions: &[Differing],
    len: usize,
    packer: &mut Packer,
) -> Vec<u8> {
    if exceptions.is_empty() {
        return Vec::new();
    }
    let list = encode_list(symbols, exceptions, packer);
    // Planes of a few differences are longer: each exception takes several bytes of them.
    if exceptions.len() < len / 8 {
        return list;
    }
    let planes = encode_planes(exceptions, len, packer);
    if planes.len() < list.len() { planes } else { list }
}

fn encode_list(symbols: &Symbols, exceptions: &[Differing], packer: &mut Packer) -> Vec<u8> {
    let (mut gaps, mut symbol_bytes, mut escapes) = (Vec::new(), Vec::new(), Vec::new());
    let mut end = 0;
    for at in exceptions {
        put_gap(&mut gaps, at.position as usize - end);
        end = at.position as usize + 1;
        let change = Exception::Change(at.change());
        let value = Exception::Value(at.next.wrapping_sub(symbols.origin));
        let known = symbols.symbol_of(change).or_else(|| symbols.symbol_of(value));
        symbol_bytes.push(known.unwrap_or_else(|| {
            let numbers = [at.change(), at.next.wrapping_sub(symbols.origin)];
            let [change, value] = numbers.map(|number| zigzag(number.cast_signed()));
            put_varint(&mut escapes, change.min(value));
            if change <= value { ESCAPED_CHANGE } else { ESCAPED_VALUE }
        }));
    }
    let mut chunk = vec![LIST];
    put_count(&mut chunk, exceptions.len());
    packer.pack_with_len(&gaps, &mut chunk);
    packer.pack(&symbol_bytes, &mut chunk);
    if !escapes.is_empty() {
        packer.pack_with_len(&escapes, &mut chunk);
    }
    chunk
}

fn encode_planes(exceptions: &[Differing], len: usize, packer: &mut Packer) -> Vec<u8> {
    let mut differences = vec![0u64; len];
    let mut all = 0;
    for at in exceptions {
        let difference = zigzag(at.change().cast_signed());
        differences[at.position as usize] = difference;
        all |= difference;
    }
    let (mut chunk, mut mask) = (vec![PLANES, 0], 0);
    for (place, bits) in all.to_le_bytes().into_iter().enumerate() {
        if bits != 0 {
            mask |= 1 << place;
            let plane: Vec<u8> =
                differences.iter().map(|number| number.to_le_bytes()[place]).collect();
            packer.pack(&plane, &mut chunk);
        }
    }
    chunk[1] = mask;
    chunk
}

/// Applies a chunk's exceptions to the predicted numbers.
pub(crate) fn apply_chunk(
    symbols: &Symbols,
    chunk: &[u8],
    numbers: &mut [u64],
    unpacker: &mut Unpacker,
) -> Decoded<()> {
    if chunk.is_empty() {
        return Ok(());
    }
    let mut input = Cursor::new(chunk);
    match input.array()? {
        [LIST] => apply_list(symbols, input, numbers, unpacker),
        [PLANES] => apply_planes(input, numbers, unpacker),
        [form] => wrong("a chunk of form 0 or 1", form),
    }
}

fn apply_list(
    symbols: &Symbols,
    mut input: Cursor<'_>,
    numbers: &mut [u64],
    unpacker: &mut Unpacker,
) -> Decoded<()> {
    let count = read_list(&mut input, numbers.len(), unpacker)?;
    read_escapes(&mut input, unpacker)?;
    let Unpacker { gaps, symbols: symbol_bytes, escapes, .. } = unpacker;
    let (mut symbol_bytes, mut escapes) = (symbol_bytes.iter(), Cursor::new(escapes));
    each_position(gaps, count, numbers.len(), |position| {
        let symbol = *symbol_bytes.next().unwrap_or(&ESCAPED_VALUE);
        let exception = exception_of(symbols, symbol, || read_signed(&mut escapes))?;
        numbers[position] = exception.apply(numbers[position], symbols.origin);
        Ok(())
    })?;
    escapes.end()
}

/// Reads gaps and symbols, and returns their number.
fn read_list(input: &mut Cursor<'_>, len: usize, unpacker: &mut Unpacker) -> Decoded<usize> {
    let count = input.count("exceptions", len)?;
    let Unpacker { context, gaps, symbols, .. } = unpacker;
    let limit = max_gap_bytes(count, len);
    Packed::read_with_len(input, "bytes of gaps", limit)?.unpack(context, gaps)?;
    Packed::read(input, count)?.unpack(context, symbols)?;
    Ok(count)
}

/// Reads the escapes of the symbols, and the chunk ends.
fn read_escapes(input: &mut Cursor<'_>, unpacker: &mut Unpacker) -> Decoded<()> {
    let Unpacker { context, symbols, escapes, .. } = unpacker;
    let count = symbols.iter().filter(|symbol| **symbol >= ESCAPED_CHANGE).count();
    escapes.clear();
    if count > 0 {
        let limit = count * MAX_NUMBER_BYTES;
        Packed::read_with_len(input, "bytes of escapes", limit)?.unpack(context, escapes)?;
    }
    input.end()
}

#[inline]
fn exception_of(
    symbols: &Symbols,
    symbol: u8,
    escape: impl FnOnce() -> Decoded<i64>,
) -> Decoded<Exception> {
    if let Some(known) = symbols.meanings.get(usize::from(symbol)) {
        return Ok(*known);
    }
    match symbol {
        ESCAPED_CHANGE => Ok(Exception::Change(escape()?.cast_unsigned())),
        ESCAPED_VALUE => Ok(Exception::Value(escape()?.cast_unsigned())),
        _ => wrong(format_args!("a symbol below {}", symbols.meanings.len()), symbol),
    }
}

fn apply_planes(
    mut input: Cursor<'_>,
    numbers: &mut [u64],
    unpacker: &mut Unpacker,
) -> Decoded<()> {
    let [mask] = input.array()?;
    let mut differences = vec![0u64; numbers.len()];
    for place in (0..8).filter(|place| mask >> place & 1 == 1) {
        let plane = &mut unpacker.symbols;
        Packed::read(&mut input, numbers.len())?.unpack(&mut unpacker.context, plane)?;
        for (difference, byte) in differences.iter_mut().zip(plane) {
            *difference |= u64::from(*byte) << (8 * place);
        }
    }
    for (number, difference) in numbers.iter_mut().zip(differences) {
        *number = number.wrapping_add(unzigzag(difference).cast_unsigned());
    }
    input.end()
}

/// The number at one place, from its prediction. `symbols` are read only if it is listed.
pub(crate) fn apply_one(
    symbols: impl FnOnce(&mut Unpacker) -> Decoded<Symbols>,
    chunk: &[u8],
    place: Place,
    predicted: u64,
    unpacker: &mut Unpacker,
) -> Decoded<u64> {
    if chunk.is_empty() {
        return Ok(predicted);
    }
    let mut input = Cursor::new(chunk);
    match input.array()? {
        [LIST] => {
            let count = input.count("exceptions", place.len)?;
            let limit = max_gap_bytes(count, place.len);
            let packed = Packed::read_with_len(&mut input, "bytes of gaps", limit)?;
            packed.unpack(&mut unpacker.context, &mut unpacker.gaps)?;
            let Some(rank) = rank_of(&unpacker.gaps, place.position) else { return Ok(predicted) };
            let symbols = symbols(unpacker)?;
            let symbol_bytes = &mut unpacker.symbols;
            Packed::read(&mut input, count)?.unpack(&mut unpacker.context, symbol_bytes)?;
            read_escapes(&mut input, unpacker)?;
            let Some(symbol) = unpacker.symbols.get(rank) else {
                return wrong(format_args!("{count} exceptions"), rank + 1);
            };
            let before = &unpacker.symbols[..rank];
            let escapes = before.iter().filter(|symbol| **symbol >= ESCAPED_CHANGE).count();
            let exception = exception_of(&symbols, *symbol, || {
                let mut numbers = Cursor::new(&unpacker.escapes);
                for _ in 0..escapes {
                    numbers.varint()?;
                }
                read_signed(&mut numbers)
            })?;
            Ok(exception.apply(predicted, symbols.origin))
        }
        [PLANES] => {
            let ([mask], mut difference) = (input.array()?, 0);
            for byte in (0..8).filter(|byte| mask >> byte & 1 == 1) {
                let plane = &mut unpacker.symbols;
                Packed::read(&mut input, place.len)?.unpack(&mut unpacker.context, plane)?;
                difference |= u64::from(plane[place.position]) << (8 * byte);
            }
            input.end()?;
            Ok(predicted.wrapping_add(unzigzag(difference).cast_unsigned()))
        }
        [form] => wrong("a chunk of form 0 or 1", form),
    }
}
