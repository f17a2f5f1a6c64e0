//! Balances: predicted by class, with exceptions.
//!
//! A validator's class is its participation flags and its effective balance in the base. The encoder measures each
//! class's commonest change; no rule of the protocol is applied but that penalties of a leak grow with the score.

use super::chunk::{ChunkColumns, ColumnSlices, One, Place};
use super::exceptions::{self, Differing, Symbols, Unpacker};
use super::fault::Decoded;
use super::packed::{Cursor, put_count, put_varint};
use super::section::{Packed, Packer, put_signed, read_chunks, read_signed, wrong};

/// Values of the flags that count: three bits.
const FLAG_VALUES: usize = 8;
const FLAGS_MASK: u8 = 0b111;
/// The flag that saves a validator from the penalties of a leak.
const TIMELY_TARGET: u8 = 0b10;

const GWEI_PER_ETH: u64 = 1_000_000_000;
/// The commonest effective balance, in ETH.
const USUAL: u8 = 32;
/// The largest effective balance that has a class, in ETH.
pub(super) const MAX_INCREMENTS: u16 = 2048;
/// Stands for every other effective balance.
pub(super) const NO_CLASS: u16 = MAX_INCREMENTS + 1;
const INCREMENTS: usize = NO_CLASS as usize + 1;
const PAIRS: usize = FLAG_VALUES * INCREMENTS;

/// Bits of a rate behind the point.
const RATE_BITS: u32 = 16;

/// Balances are counted from this, where their value is given.
const ORIGIN: u64 = USUAL as u64 * GWEI_PER_ETH;

/// One of so many validators is looked at to find the common classes.
const SAMPLE_STEP: usize = 16;
/// A class with so many samples needs no others.
const ENOUGH_SAMPLES: u32 = 64;
/// Most validators of rare classes that are looked at.
const MAX_RARE: usize = 1 << 18;
/// Validators of a class that have to have the same change for a correction of their class.
const MIN_CORRECTED: u32 = 2;
/// Rates that are tried for the classes of one value of the flags.
const CANDIDATES: usize = 32;
/// Most bytes of a correction.
const MAX_CORRECTION_BYTES: usize = 13;

/// An effective balance as an index: whole ETH up to 2048, or else [`NO_CLASS`].
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "at most 2048")]
pub(crate) fn increments(effective_balance: u64) -> u16 {
    let whole = effective_balance / GWEI_PER_ETH;
    match whole <= u64::from(MAX_INCREMENTS) && whole * GWEI_PER_ETH == effective_balance {
        true => whole as u16,
        false => NO_CLASS,
    }
}

/// What is predicted for each class, without corrections.
#[derive(Clone, Debug, Default)]
struct Rates {
    /// Change of a validator with 32 ETH, by flags.
    usual: [i64; FLAG_VALUES],
    /// Change by ETH of effective balance, in 2^-16 Gwei, by flags.
    rates: [i64; FLAG_VALUES],
    /// Score times effective balance over this is taken from validators without timely target; 0: nothing is.
    leak_divisor: u64,
}

impl Rates {
    /// The change without a leak, of a validator with a class.
    fn change(&self, flags: usize, increments: u16) -> i64 {
        match increments {
            _ if increments == u16::from(USUAL) => self.usual[flags],
            _ if increments > MAX_INCREMENTS => 0,
            _ => self.rates[flags].wrapping_mul(i64::from(increments)) >> RATE_BITS,
        }
    }

    fn penalty(&self, flags: u8, increments: u16, score: u64) -> u64 {
        if score == 0 || flags & TIMELY_TARGET != 0 || increments > MAX_INCREMENTS {
            return 0;
        }
        let effective = u64::from(increments) * GWEI_PER_ETH;
        match effective.checked_mul(score) {
            Some(product) => product.checked_div(self.leak_divisor).unwrap_or(0),
            None => {
                let product = u128::from(effective) * u128::from(score);
                let penalty = product.checked_div(u128::from(self.leak_divisor)).unwrap_or(0);
                u64::try_from(penalty).unwrap_or(u64::MAX)
            }
        }
    }

    fn read(input: &mut Cursor<'_>) -> Decoded<Self> {
        let mut rates = Self::default();
        for change in &mut rates.usual {
            *change = read_signed(input)?;
        }
        for (rate, usual) in rates.rates.iter_mut().zip(rates.usual) {
            *rate = rate_of(usual).wrapping_add(read_signed(input)?);
        }
        rates.leak_divisor = input.varint()?;
        Ok(rates)
    }

    fn write(&self, out: &mut Vec<u8>) {
        for change in self.usual {
            put_signed(out, change);
        }
        for (rate, usual) in self.rates.iter().zip(self.usual) {
            put_signed(out, rate.wrapping_sub(rate_of(usual)));
        }
        put_varint(out, self.leak_divisor);
    }
}

/// The rate that gives a change to a validator with the usual effective balance.
fn rate_of(usual: i64) -> i64 {
    usual.wrapping_shl(RATE_BITS) / i64::from(USUAL)
}

/// The section of `balances` in a record.
#[derive(Debug)]
pub(crate) struct BalanceSection<'v> {
    rates: Rates,
    corrections: Packed<'v>,
    /// Symbols of exceptions, and then the chunks.
    symbols: Cursor<'v>,
    chunks: Vec<&'v [u8]>,
}

/// The tables of a record's balances, unpacked.
#[derive(Debug)]
pub(crate) struct BalanceTables {
    /// Changes by flags and effective balance.
    changes: Vec<i64>,
    rates: Rates,
    symbols: Symbols,
}

impl<'v> BalanceSection<'v> {
    pub(crate) fn parse(section: &'v [u8], chunk_count: usize) -> Decoded<Self> {
        let mut input = Cursor::new(section);
        let rates = Rates::read(&mut input)?;
        let limit = PAIRS * MAX_CORRECTION_BYTES;
        let corrections = Packed::read_with_len(&mut input, "bytes of corrections", limit)?;
        let symbols = input.clone();
        Symbols::skip(&mut input)?;
        let chunks = read_chunks(&mut input, chunk_count)?;
        Ok(Self { rates, corrections, symbols, chunks })
    }

    pub(crate) fn tables(&self, unpacker: &mut Unpacker) -> Decoded<BalanceTables> {
        let mut changes = Vec::with_capacity(PAIRS);
        for flags in 0..FLAG_VALUES {
            changes.extend((0..=NO_CLASS).map(|increments| self.rates.change(flags, increments)));
        }
        self.each_correction(unpacker, |pair, correction| {
            changes[pair] = changes[pair].wrapping_add(correction);
        })?;
        let symbols = Symbols::read(&mut self.symbols.clone(), ORIGIN, unpacker)?;
        Ok(BalanceTables { changes, rates: self.rates.clone(), symbols })
    }

    fn each_correction(
        &self,
        unpacker: &mut Unpacker,
        mut visit: impl FnMut(usize, i64),
    ) -> Decoded<()> {
        let corrections = &mut unpacker.escapes;
        self.corrections.unpack(&mut unpacker.context, corrections)?;
        let (mut input, mut pair) = (Cursor::new(corrections), 0);
        while !input.is_at_end() {
            pair += input.count("classes", PAIRS)?;
            // The usual classes are exact, so that looking up one of them takes no correction.
            let increments = pair % INCREMENTS;
            if pair >= PAIRS
                || increments == usize::from(USUAL)
                || increments == usize::from(NO_CLASS)
            {
                return wrong("a class that can have a correction", pair);
            }
            visit(pair, read_signed(&mut input)?);
            pair += 1;
        }
        Ok(())
    }

    /// Applies a chunk. The flags are still the base's, and the scores the result's.
    pub(crate) fn apply(
        &self,
        tables: &BalanceTables,
        chunk: usize,
        columns: &mut ChunkColumns,
        unpacker: &mut Unpacker,
    ) -> Decoded<()> {
        tables.predict(columns);
        exceptions::apply_chunk(
            &tables.symbols,
            self.chunks[chunk],
            &mut columns.balances,
            unpacker,
        )
    }

    /// The balance of one validator, whose flags are still the base's and whose score is the result's.
    pub(crate) fn apply_one(
        &self,
        place: Place,
        of: &One,
        unpacker: &mut Unpacker,
    ) -> Decoded<u64> {
        let flags = usize::from(of.previous & FLAGS_MASK);
        let mut change = self.rates.change(flags, of.increments);
        if of.increments != u16::from(USUAL) {
            let wanted = pair_of(of.previous, of.increments);
            self.each_correction(unpacker, |pair, correction| {
                if pair == wanted {
                    change = change.wrapping_add(correction);
                }
            })?;
        }
        let penalty = self.rates.penalty(of.previous, of.increments, of.score);
        let predicted = of.balance.wrapping_add_signed(change).wrapping_sub(penalty);
        let symbols =
            |unpacker: &mut Unpacker| Symbols::read(&mut self.symbols.clone(), ORIGIN, unpacker);
        exceptions::apply_one(symbols, self.chunks[place.chunk], place, predicted, unpacker)
    }
}

fn pair_of(flags: u8, increments: u16) -> usize {
    usize::from(flags & FLAGS_MASK) * INCREMENTS + usize::from(increments.min(NO_CLASS))
}

impl BalanceTables {
    /// Adds the predicted changes of a chunk.
    pub(crate) fn predict(&self, columns: &mut ChunkColumns) {
        let ChunkColumns { increments, balances, scores, previous, .. } = columns;
        let change_of = |flags: u8, increments: u16| self.changes[pair_of(flags, increments)];
        // Most neighbours are of one class: eight at a time take a third of the time.
        let (of_increments, increments_left) = increments.as_chunks::<8>();
        let (of_previous, previous_left) = previous.as_chunks::<8>();
        let (of_balances, balances_left) = balances.as_chunks_mut::<8>();
        let groups = of_balances.iter_mut().zip(of_previous.iter().zip(of_increments));
        for (balances, (flags, increments)) in groups {
            if *flags == [flags[0]; 8] && *increments == [increments[0]; 8] {
                let change = change_of(flags[0], increments[0]);
                *balances = balances.map(|balance| balance.wrapping_add_signed(change));
                continue;
            }
            for (balance, (flags, increments)) in
                balances.iter_mut().zip(flags.iter().zip(increments))
            {
                *balance = balance.wrapping_add_signed(change_of(*flags, *increments));
            }
        }
        let left = balances_left.iter_mut().zip(previous_left.iter().zip(increments_left));
        for (balance, (flags, increments)) in left {
            *balance = balance.wrapping_add_signed(change_of(*flags, *increments));
        }
        if self.rates.leak_divisor == 0 {
            return;
        }
        let classes = previous.iter().zip(increments.iter()).zip(scores.iter());
        for (balance, ((flags, increments), score)) in balances.iter_mut().zip(classes) {
            *balance = balance.wrapping_sub(self.rates.penalty(*flags, *increments, *score));
        }
    }

    /// Whether a leak's penalties are predicted, for which the scores are needed.
    pub(crate) fn needs_scores(&self) -> bool {
        self.rates.leak_divisor != 0
    }
}

/// A class, and a change of one of its validators.
type Sample = (u32, i64);

/// The commonest change of a class, and how often it was seen.
#[derive(Clone, Copy, Debug)]
struct Mode {
    pair: usize,
    change: i64,
    count: u32,
}

impl BalanceTables {
    /// Measures what is predicted for each class.
    pub(crate) fn measure(
        base: &ColumnSlices<'_>,
        next: &ColumnSlices<'_>,
        leak_divisor: u64,
    ) -> Self {
        let mut rates = Rates { leak_divisor, ..Rates::default() };
        let modes = modes_of(samples(base, next, &rates));
        for flags in 0..FLAG_VALUES {
            let of_flags = flags * INCREMENTS..(flags + 1) * INCREMENTS;
            let modes: Vec<Mode> =
                modes.iter().filter(|mode| of_flags.contains(&mode.pair)).copied().collect();
            let usual = modes.iter().find(|mode| mode.increments() == i64::from(USUAL));
            rates.usual[flags] = usual.map_or(0, |mode| mode.change);
            rates.rates[flags] = fit(rates.usual[flags], &modes);
        }
        let mut changes = Vec::with_capacity(PAIRS);
        for flags in 0..FLAG_VALUES {
            changes.extend((0..=NO_CLASS).map(|increments| rates.change(flags, increments)));
        }
        for mode in modes.iter().filter(|mode| mode.count >= MIN_CORRECTED) {
            changes[mode.pair] = mode.change;
        }
        Self { changes, rates, symbols: Symbols::default() }
    }

    /// Chooses the symbols for the exceptions of all chunks.
    pub(crate) fn choose_symbols(&mut self, exceptions: &[Vec<Differing>]) {
        self.symbols = Symbols::choose(ORIGIN, exceptions);
    }

    pub(crate) fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    pub(crate) fn write(&self, packer: &mut Packer, out: &mut Vec<u8>) {
        self.rates.write(out);
        let (mut corrections, mut end) = (Vec::new(), 0);
        for (pair, change) in self.changes.iter().enumerate() {
            #[expect(clippy::cast_possible_truncation, reason = "at most 2049")]
            let increments = (pair % INCREMENTS) as u16;
            let correction = change.wrapping_sub(self.rates.change(pair / INCREMENTS, increments));
            if correction != 0 {
                put_count(&mut corrections, pair - end);
                put_signed(&mut corrections, correction);
                end = pair + 1;
            }
        }
        packer.pack_with_len(&corrections, out);
        self.symbols.write(packer, out);
    }
}

impl Mode {
    #[expect(clippy::cast_possible_wrap, reason = "at most 2049")]
    fn increments(&self) -> i64 {
        (self.pair % INCREMENTS) as i64
    }
}

/// Changes of validators: a sample of the common classes, and all of the rare ones.
fn samples(base: &ColumnSlices<'_>, next: &ColumnSlices<'_>, rates: &Rates) -> Vec<Sample> {
    let sample = |index: usize| {
        let increments = *base.increments.get(index)?;
        if increments == 0 || increments > MAX_INCREMENTS {
            return None;
        }
        let flags = base.previous.get(index).copied().unwrap_or(0);
        let [before, after] = [base, next].map(|columns| columns.balances.get(index));
        let change = u64::from_le_bytes(*after?).wrapping_sub(u64::from_le_bytes(*before?));
        let score = next.scores.get(index).map_or(0, |score| u64::from_le_bytes(*score));
        let penalty =
            if rates.leak_divisor == 0 { 0 } else { rates.penalty(flags, increments, score) };
        #[expect(clippy::cast_possible_truncation, reason = "below 2^15")]
        let pair = pair_of(flags, increments) as u32;
        Some((pair, change.wrapping_add(penalty).cast_signed()))
    };
    let count = base.balances.len();
    let mut samples: Vec<Sample> = (0..count).step_by(SAMPLE_STEP).filter_map(sample).collect();
    let mut counts = vec![0u32; PAIRS];
    for (pair, _) in &samples {
        counts[*pair as usize] += 1;
    }
    let is_rare = |index: &usize| {
        let flags = base.previous.get(*index).copied().unwrap_or(0);
        let increments = base.increments.get(*index).copied().unwrap_or(0);
        counts[pair_of(flags, increments)] < ENOUGH_SAMPLES && !index.is_multiple_of(SAMPLE_STEP)
    };
    samples.extend((0..count).filter(is_rare).filter_map(sample).take(MAX_RARE));
    samples
}

/// The commonest change of each class, by ascending class.
fn modes_of(mut samples: Vec<Sample>) -> Vec<Mode> {
    samples.sort_unstable();
    let mut modes: Vec<Mode> = Vec::new();
    for equal in samples.chunk_by(|left, right| left == right) {
        let (pair, change) = equal[0];
        let mode = Mode {
            pair: pair as usize,
            change,
            count: u32::try_from(equal.len()).unwrap_or(u32::MAX),
        };
        match modes.last_mut() {
            Some(last) if last.pair == mode.pair => {
                if mode.count > last.count {
                    *last = mode;
                }
            }
            _ => modes.push(mode),
        }
    }
    modes
}

/// The rate that comes nearest to the changes of most validators with other effective balances.
fn fit(usual: i64, modes: &[Mode]) -> i64 {
    let others = || modes.iter().filter(|mode| mode.increments() != i64::from(USUAL));
    // A change is a sum of three numbers without their fractions: 1.5 less than exact.
    let exact = |mode: &Mode| {
        let half = 3i64 << (RATE_BITS - 1);
        let increments = mode.increments();
        mode.change.wrapping_shl(RATE_BITS).wrapping_add(half * mode.change.signum())
            / increments.max(1)
    };
    let near = |rate: i64| {
        let is_near = |mode: &&Mode| {
            let increments = mode.increments();
            let change = rate.wrapping_mul(increments) >> RATE_BITS;
            change.wrapping_sub(mode.change).unsigned_abs() <= 2
        };
        others().filter(is_near).map(|mode| u64::from(mode.count)).sum::<u64>()
    };
    let mut best = (0, rate_of(usual));
    // The largest give the finest rates.
    for mode in others().collect::<Vec<_>>().into_iter().rev().take(CANDIDATES) {
        let rate = exact(mode);
        best = best.max((near(rate), rate));
    }
    best.1
}
