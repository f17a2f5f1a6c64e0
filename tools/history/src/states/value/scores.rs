//! Inactivity scores: predicted by participation flags, with exceptions. In a leak most of them change.

use super::chunk::{ChunkColumns, ColumnSlices, One, Place};
use super::exceptions::{self, Differing, Symbols, Unpacker};
use super::fault::Decoded;
use super::packed::Cursor;
use super::section::{Packer, put_signed, read_chunks, read_signed};

const FLAG_VALUES: usize = 8;
const FLAGS_MASK: u8 = 0b111;
const ORIGIN: u64 = 0;

/// One of so many validators is looked at to find the common changes.
const SAMPLE_STEP: usize = 8;

/// The section of `inactivity_scores` in a record.
#[derive(Debug)]
pub(crate) struct ScoreSection<'v> {
    rates: ScoreRates,
    symbols: Cursor<'v>,
    chunks: Vec<&'v [u8]>,
}

/// The change of a score by flags; a score stops at 0. Validators without effective balance keep theirs.
#[derive(Clone, Debug, Default)]
struct ScoreRates([i64; FLAG_VALUES]);

impl ScoreRates {
    fn predict(&self, score: u64, flags: u8, increments: u16) -> u64 {
        match increments {
            0 => score,
            _ => score.saturating_add_signed(self.0[usize::from(flags & FLAGS_MASK)]),
        }
    }
}

/// The tables of a record's scores, unpacked.
#[derive(Debug, Default)]
pub(crate) struct ScoreTables {
    rates: ScoreRates,
    symbols: Symbols,
}

impl<'v> ScoreSection<'v> {
    pub(crate) fn parse(section: &'v [u8], chunk_count: usize) -> Decoded<Self> {
        let mut input = Cursor::new(section);
        let mut rates = ScoreRates::default();
        for rate in &mut rates.0 {
            *rate = read_signed(&mut input)?;
        }
        let symbols = input.clone();
        Symbols::skip(&mut input)?;
        Ok(Self { rates, symbols, chunks: read_chunks(&mut input, chunk_count)? })
    }

    pub(crate) fn tables(&self, unpacker: &mut Unpacker) -> Decoded<ScoreTables> {
        let symbols = Symbols::read(&mut self.symbols.clone(), ORIGIN, unpacker)?;
        Ok(ScoreTables { rates: self.rates.clone(), symbols })
    }

    /// Applies a chunk. The flags are still the base's.
    pub(crate) fn apply(
        &self,
        tables: &ScoreTables,
        chunk: usize,
        columns: &mut ChunkColumns,
        unpacker: &mut Unpacker,
    ) -> Decoded<()> {
        tables.predict(columns);
        exceptions::apply_chunk(&tables.symbols, self.chunks[chunk], &mut columns.scores, unpacker)
    }

    /// The score of one validator, whose flags are still the base's.
    pub(crate) fn apply_one(
        &self,
        place: Place,
        of: &One,
        unpacker: &mut Unpacker,
    ) -> Decoded<u64> {
        let predicted = self.rates.predict(of.score, of.previous, of.increments);
        let symbols =
            |unpacker: &mut Unpacker| Symbols::read(&mut self.symbols.clone(), ORIGIN, unpacker);
        exceptions::apply_one(symbols, self.chunks[place.chunk], place, predicted, unpacker)
    }
}

impl ScoreTables {
    /// Adds the predicted changes of a chunk.
    pub(crate) fn predict(&self, columns: &mut ChunkColumns) {
        let ChunkColumns { increments, scores, previous, .. } = columns;
        for ((score, flags), increments) in scores.iter_mut().zip(previous).zip(increments) {
            *score = self.rates.predict(*score, *flags, *increments);
        }
    }

    /// Measures the commonest changes.
    pub(crate) fn measure(base: &ColumnSlices<'_>, next: &ColumnSlices<'_>) -> Self {
        let mut changes: [Vec<i64>; FLAG_VALUES] = Default::default();
        let scores = base.scores.iter().zip(next.scores);
        let classes = base.previous.iter().zip(base.increments);
        for ((before, after), (flags, increments)) in scores.zip(classes).step_by(SAMPLE_STEP) {
            let [before, after] = [before, after].map(|score| u64::from_le_bytes(*score));
            // A score of 0 that stays so says nothing about how much would be taken from it.
            if *increments > 0 && (before, after) != (0, 0) {
                let change = after.wrapping_sub(before).cast_signed();
                changes[usize::from(flags & FLAGS_MASK)].push(change);
            }
        }
        let rates = changes.map(|mut changes| {
            changes.sort_unstable();
            let equal = changes.chunk_by(|left, right| left == right);
            equal.max_by_key(|equal| equal.len()).map_or(0, |equal| equal[0])
        });
        Self { rates: ScoreRates(rates), symbols: Symbols::default() }
    }

    /// Chooses the symbols for the exceptions of all chunks.
    pub(crate) fn choose_symbols(&mut self, exceptions: &[Vec<Differing>]) {
        self.symbols = Symbols::choose(ORIGIN, exceptions);
    }

    pub(crate) fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    pub(crate) fn write(&self, packer: &mut Packer, out: &mut Vec<u8>) {
        for rate in self.rates.0 {
            put_signed(out, rate);
        }
        self.symbols.write(packer, out);
    }
}
