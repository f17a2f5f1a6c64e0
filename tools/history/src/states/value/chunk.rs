//! The columns with an element per validator, chunk by chunk: balances, scores and flags of all records of a path are
//! applied to one chunk after the other, so that a chunk stays in the processor's cache.

use std::ops::Range;

use super::balances::{BalanceSection, BalanceTables};
use super::exceptions::{self, Differing, Unpacker, differing};
use super::fault::{Decoded, Wrong};
use super::participation::{self, FlagSection, Modes, fill_keys, key_of};
use super::scores::{ScoreSection, ScoreTables};
use super::section::{Packer, put_chunks};

/// Encodings of these columns.
const BALANCES: u8 = 5;
const SCORES: u8 = 6;
const FLAGS: u8 = 7;

const BALANCES_FIELD: &str = "balances";
const SCORES_FIELD: &str = "inactivity_scores";
const PREVIOUS_FIELD: &str = "previous_epoch_participation";
const CURRENT_FIELD: &str = "current_epoch_participation";

/// The columns of a whole state, as in SSZ. Those that a fork lacks are empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ColumnSlices<'a> {
    /// See [`increments`](super::balances::increments).
    pub(crate) increments: &'a [u16],
    pub(crate) balances: &'a [[u8; 8]],
    pub(crate) scores: &'a [[u8; 8]],
    pub(crate) previous: &'a [u8],
    pub(crate) current: &'a [u8],
}

/// The columns of a chunk. A column that nobody needs is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChunkColumns {
    /// Of the base.
    pub(crate) increments: Vec<u16>,
    pub(crate) balances: Vec<u64>,
    pub(crate) scores: Vec<u64>,
    pub(crate) previous: Vec<u8>,
    pub(crate) current: Vec<u8>,
}

/// The elements of one validator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct One {
    /// Of the base.
    pub(crate) increments: u16,
    pub(crate) balance: u64,
    pub(crate) score: u64,
    pub(crate) previous: u8,
    pub(crate) current: u8,
}

/// What a record says of these columns. Without a section a column is that of the base.
#[derive(Debug, Default)]
pub(crate) struct ColumnSections<'v> {
    pub(crate) balances: Option<BalanceSection<'v>>,
    pub(crate) scores: Option<ScoreSection<'v>>,
    pub(crate) previous: Option<FlagSection<'v>>,
    pub(crate) current: Option<FlagSection<'v>>,
}

/// The tables of a record, unpacked once for all chunks.
#[derive(Debug, Default)]
pub(crate) struct ColumnTables {
    balances: Option<BalanceTables>,
    scores: Option<ScoreTables>,
}

impl<'v> ColumnSections<'v> {
    /// Reads the section of a column; `None` if the encoding is another one.
    pub(crate) fn read(
        &mut self,
        field: &str,
        encoding: u8,
        section: &'v [u8],
        chunks: Chunks,
        unpacker: &mut Unpacker,
    ) -> Decoded<Option<()>> {
        let count = chunks.count();
        match (field, encoding) {
            (BALANCES_FIELD, BALANCES) => {
                self.balances = Some(BalanceSection::parse(section, count)?);
            }
            (SCORES_FIELD, SCORES) => {
                self.scores = Some(ScoreSection::parse(section, count)?);
            }
            (PREVIOUS_FIELD, FLAGS) => {
                self.previous = Some(FlagSection::parse(section, count, unpacker)?);
            }
            (CURRENT_FIELD, FLAGS) => {
                self.current = Some(FlagSection::parse(section, count, unpacker)?);
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    pub(crate) fn tables(&self, unpacker: &mut Unpacker) -> Decoded<ColumnTables> {
        let balances =
            self.balances.as_ref().map(|section| section.tables(unpacker)).transpose()?;
        let scores = self.scores.as_ref().map(|section| section.tables(unpacker)).transpose()?;
        Ok(ColumnTables { balances, scores })
    }

    /// Applies a chunk to the columns of the base, which have the length of the result. An error is that of a field.
    pub(crate) fn apply(
        &self,
        tables: &ColumnTables,
        chunk: usize,
        columns: &mut ChunkColumns,
        unpacker: &mut Unpacker,
    ) -> Result<(), (&'static str, Wrong)> {
        // 1. Keys, while flags and balances are those of the base.
        if self.previous.is_some() || self.current.is_some() {
            fill_keys(&columns.previous, &columns.current, &mut unpacker.keys);
        }
        // 2. Scores, by the flags of the base.
        if let (Some(section), Some(tables)) = (&self.scores, &tables.scores) {
            let applied = section.apply(tables, chunk, columns, unpacker);
            applied.map_err(|wrong| (SCORES_FIELD, wrong))?;
        }
        // 3. Balances, by the flags of the base and the scores of the result.
        if let (Some(section), Some(tables)) = (&self.balances, &tables.balances) {
            let applied = section.apply(tables, chunk, columns, unpacker);
            applied.map_err(|wrong| (BALANCES_FIELD, wrong))?;
        }
        // 4. Flags, by the keys.
        if let Some(section) = &self.previous {
            let applied = section.apply(chunk, &mut columns.previous, unpacker);
            applied.map_err(|wrong| (PREVIOUS_FIELD, wrong))?;
        }
        if let Some(section) = &self.current {
            let applied = section.apply(chunk, &mut columns.current, unpacker);
            applied.map_err(|wrong| (CURRENT_FIELD, wrong))?;
        }
        Ok(())
    }

    /// As [`Self::apply`], of one validator of the result.
    pub(crate) fn apply_one(
        &self,
        place: Place,
        one: &mut One,
        unpacker: &mut Unpacker,
    ) -> Result<(), (&'static str, Wrong)> {
        let key = key_of(one.previous, one.current);
        if let Some(section) = &self.scores {
            let score = section.apply_one(place, one, unpacker);
            one.score = score.map_err(|wrong| (SCORES_FIELD, wrong))?;
        }
        if let Some(section) = &self.balances {
            let balance = section.apply_one(place, one, unpacker);
            one.balance = balance.map_err(|wrong| (BALANCES_FIELD, wrong))?;
        }
        if let Some(section) = &self.previous {
            let flags = section.apply_one(place, key, unpacker);
            one.previous = flags.map_err(|wrong| (PREVIOUS_FIELD, wrong))?;
        }
        if let Some(section) = &self.current {
            let flags = section.apply_one(place, key, unpacker);
            one.current = flags.map_err(|wrong| (CURRENT_FIELD, wrong))?;
        }
        Ok(())
    }
}

/// How the validators of a state are divided into chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    /// Validators of a chunk, as a power of 2.
    pub(crate) log2: u8,
    pub(crate) validators: usize,
}

/// Where a validator is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) chunk: usize,
    /// In the chunk.
    pub(crate) position: usize,
    /// Validators of the chunk.
    pub(crate) len: usize,
}

impl Chunks {
    /// Number of chunks.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.validators.div_ceil(1 << self.log2)
    }

    /// The validators of a chunk.
    #[must_use]
    pub(crate) fn range(&self, chunk: usize) -> Range<usize> {
        let start = chunk << self.log2;
        start.min(self.validators)..(start + (1 << self.log2)).min(self.validators)
    }

    /// Where a validator is.
    #[must_use]
    pub(crate) fn place(&self, index: usize) -> Place {
        let chunk = index >> self.log2;
        Place { chunk, position: index - (chunk << self.log2), len: self.range(chunk).len() }
    }
}

impl ColumnTables {
    /// Whether a chunk's scores are read or changed.
    pub(crate) fn needs_scores(&self) -> bool {
        self.scores.is_some() || self.balances.as_ref().is_some_and(BalanceTables::needs_scores)
    }
}

impl ChunkColumns {
    /// Sets the number of validators; added ones are zeros.
    pub(crate) fn resize(&mut self, len: usize, with_scores: bool) {
        self.increments.resize(len, 0);
        self.balances.resize(len, 0);
        self.scores.resize(if with_scores { len } else { 0 }, 0);
        self.previous.resize(len, 0);
        self.current.resize(len, 0);
    }

    /// Writes one of the columns as SSZ.
    pub(crate) fn write(&self, field: &str, out: &mut [u8]) {
        let numbers = match field {
            BALANCES_FIELD => &self.balances,
            SCORES_FIELD => &self.scores,
            PREVIOUS_FIELD => return out.copy_from_slice(&self.previous),
            _ => return out.copy_from_slice(&self.current),
        };
        for (out, number) in out.as_chunks_mut().0.iter_mut().zip(numbers) {
            *out = number.to_le_bytes();
        }
    }

    /// The columns of some validators. Those that the state does not have are zeros, and so is a column that is
    /// empty in the state.
    pub(crate) fn load(&mut self, of: &ColumnSlices<'_>, range: Range<usize>) {
        copy(&mut self.increments, of.increments, &range, |increments| *increments);
        copy(&mut self.balances, of.balances, &range, |balance| u64::from_le_bytes(*balance));
        copy(&mut self.scores, of.scores, &range, |score| u64::from_le_bytes(*score));
        copy(&mut self.previous, of.previous, &range, |flags| *flags);
        copy(&mut self.current, of.current, &range, |flags| *flags);
    }
}

fn copy<T, N: Copy + Default>(
    to: &mut Vec<N>,
    from: &[T],
    range: &Range<usize>,
    convert: impl Fn(&T) -> N,
) {
    let known = &from[range.start.min(from.len())..range.end.min(from.len())];
    to.clear();
    to.extend(known.iter().map(convert));
    to.resize(range.len(), N::default());
}

/// The encoded sections of these columns; `None` where a column is that of the base.
#[derive(Debug, Default)]
pub(crate) struct EncodedColumns {
    pub(crate) balances: Option<Vec<u8>>,
    pub(crate) scores: Option<Vec<u8>>,
    pub(crate) previous: Option<Vec<u8>>,
    pub(crate) current: Option<Vec<u8>>,
}

/// What is predicted for all columns.
struct Predictions {
    balances: Option<BalanceTables>,
    scores: Option<ScoreTables>,
    previous: Option<Modes>,
    current: Option<Modes>,
}

/// A chunk of all columns that is compared with the prediction.
#[derive(Default)]
struct Compared {
    balances: Vec<Differing>,
    scores: Vec<Differing>,
    previous: Vec<u8>,
    current: Vec<u8>,
}

/// Encodes what of `next` differs from `base`. A leak's penalties are the score times the effective balance over
/// `leak_divisor`, if that is not 0.
pub(crate) fn encode_columns(
    chunk_log2: u8,
    base: &ColumnSlices<'_>,
    next: &ColumnSlices<'_>,
    leak_divisor: u64,
) -> EncodedColumns {
    let has_score = next.scores.iter().any(|score| *score != [0; 8]);
    let leak_divisor = if has_score { leak_divisor } else { 0 };
    let mut predictions = Predictions::measure(base, next, leak_divisor);
    let chunks = Chunks { log2: chunk_log2, validators: next.balances.len() };
    let compared = each_chunk(chunks, |chunk, packer| {
        predictions.compare(base, next, chunks.range(chunk), packer)
    });
    let mut columns = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for chunk in compared {
        columns.0.push(chunk.balances);
        columns.1.push(chunk.scores);
        columns.2.push(chunk.previous);
        columns.3.push(chunk.current);
    }
    let (balances, scores, previous, current) = columns;
    if let Some(tables) = &mut predictions.balances {
        tables.choose_symbols(&balances);
    }
    if let Some(tables) = &mut predictions.scores {
        tables.choose_symbols(&scores);
    }
    let packed = each_chunk(chunks, |chunk, packer| {
        let len = chunks.range(chunk).len();
        let balances = predictions.balances.as_ref().map(|tables| {
            exceptions::encode_chunk(tables.symbols(), &balances[chunk], len, packer)
        });
        let scores = predictions
            .scores
            .as_ref()
            .map(|tables| exceptions::encode_chunk(tables.symbols(), &scores[chunk], len, packer));
        (balances.unwrap_or_default(), scores.unwrap_or_default())
    });
    let (balances, scores): (Vec<_>, Vec<_>) = packed.into_iter().unzip();
    predictions.sections(&balances, &scores, &previous, &current)
}

impl EncodedColumns {
    /// The section of a field, and its encoding.
    pub(crate) fn section(&self, field: &str) -> Option<(u8, &[u8])> {
        let (encoding, section) = match field {
            BALANCES_FIELD => (BALANCES, &self.balances),
            SCORES_FIELD => (SCORES, &self.scores),
            PREVIOUS_FIELD => (FLAGS, &self.previous),
            CURRENT_FIELD => (FLAGS, &self.current),
            _ => return None,
        };
        section.as_deref().map(|section| (encoding, section))
    }
}

impl Predictions {
    fn measure(base: &ColumnSlices<'_>, next: &ColumnSlices<'_>, leak_divisor: u64) -> Self {
        let measure_flags = || {
            let is_changed = [
                !is_continued(base.previous, next.previous, &0),
                !is_continued(base.current, next.current, &0),
            ];
            let measure = |next| participation::measure(base, next);
            let previous = is_changed[0].then(|| measure(next.previous));
            (previous, is_changed[1].then(|| measure(next.current)))
        };
        let measure_numbers = || {
            let is_changed = [
                !is_continued(base.balances, next.balances, &[0; 8]),
                !is_continued(base.scores, next.scores, &[0; 8]),
            ];
            let balances = is_changed[0].then(|| BalanceTables::measure(base, next, leak_divisor));
            (balances, is_changed[1].then(|| ScoreTables::measure(base, next)))
        };
        let ((balances, scores), (previous, current)) = both(measure_numbers, measure_flags);
        Self { balances, scores, previous, current }
    }

    fn compare(
        &self,
        base: &ColumnSlices<'_>,
        next: &ColumnSlices<'_>,
        range: Range<usize>,
        packer: &mut Packer,
    ) -> Compared {
        let (mut columns, mut keys) = (ChunkColumns::default(), Vec::new());
        let mut compared = Compared::default();
        columns.load(base, range.clone());
        if self.previous.is_some() || self.current.is_some() {
            fill_keys(&columns.previous, &columns.current, &mut keys);
        }
        if let Some(tables) = &self.scores {
            tables.predict(&mut columns);
            compared.scores = differing(&columns.scores, &next.scores[range.clone()]);
        }
        copy(&mut columns.scores, next.scores, &range, |score| u64::from_le_bytes(*score));
        if let Some(tables) = &self.balances {
            tables.predict(&mut columns);
            compared.balances = differing(&columns.balances, &next.balances[range.clone()]);
        }
        if let Some(modes) = &self.previous {
            participation::predict(modes, &keys, &mut columns.previous);
            let next = &next.previous[range.clone()];
            compared.previous = participation::encode_chunk(&columns.previous, next, packer);
        }
        if let Some(modes) = &self.current {
            participation::predict(modes, &keys, &mut columns.current);
            let next = &next.current[range];
            compared.current = participation::encode_chunk(&columns.current, next, packer);
        }
        compared
    }

    fn sections(
        &self,
        balances: &[Vec<u8>],
        scores: &[Vec<u8>],
        previous: &[Vec<u8>],
        current: &[Vec<u8>],
    ) -> EncodedColumns {
        let mut packer = Packer::new();
        let mut encoded = EncodedColumns::default();
        if let Some(tables) = &self.balances {
            let section = encoded.balances.insert(Vec::new());
            tables.write(&mut packer, section);
            put_chunks(section, balances);
        }
        if let Some(tables) = &self.scores {
            let section = encoded.scores.insert(Vec::new());
            tables.write(&mut packer, section);
            put_chunks(section, scores);
        }
        let mut section_of =
            |modes: &Modes, chunks| participation::section_of(modes, chunks, &mut packer);
        encoded.previous = self.previous.as_ref().map(|modes| section_of(modes, previous));
        encoded.current = self.current.as_ref().map(|modes| section_of(modes, current));
        encoded
    }
}

/// Whether a column is that of the base, and zeros after it.
fn is_continued<T: PartialEq>(base: &[T], next: &[T], zero: &T) -> bool {
    let (known, more) = next.split_at(base.len().min(next.len()));
    // A base that lacks the field has nothing that could go on.
    let is_there = !base.is_empty() || next.is_empty();
    is_there && base.get(..known.len()) == Some(known) && more.iter().all(|element| element == zero)
}

/// Calls `encode` for each chunk on two threads, and returns what it gives in order.
fn each_chunk<T: Send>(chunks: Chunks, encode: impl Fn(usize, &mut Packer) -> T + Sync) -> Vec<T> {
    let encode_from = |first: usize| {
        let mut packer = Packer::new();
        let chunks = (first..chunks.count()).step_by(2);
        chunks.map(|chunk| encode(chunk, &mut packer)).collect::<Vec<T>>()
    };
    if chunks.count() < 2 {
        return encode_from(0);
    }
    let (even, odd) = both(|| encode_from(0), || encode_from(1));
    let mut odd = odd.into_iter();
    even.into_iter().flat_map(|even| [Some(even), odd.next()]).flatten().collect()
}

/// Does both, the second on a thread of its own if there is one.
fn both<A, B: Send>(first: impl FnOnce() -> A, second: impl Fn() -> B + Sync) -> (A, B) {
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new().spawn_scoped(scope, &second);
        let first = first();
        let second = match spawned {
            Ok(spawned) => spawned.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => second(),
        };
        (first, second)
    })
}
