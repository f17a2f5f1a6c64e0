#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]

use super::balances::{BalanceSection, increments};
use super::chunk::{
    ChunkColumns, Chunks, ColumnSections, ColumnSlices, EncodedColumns, One, encode_columns,
};
use super::exceptions::Unpacker;
use super::fault::Decoded;
use super::participation::FlagSection;
use super::scores::ScoreSection;

const ETH: u64 = 1_000_000_000;
const LEAK_DIVISOR: u64 = 4 << 24;

/// Numbers with a fixed seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct State {
    increments: Vec<u16>,
    balances: Vec<[u8; 8]>,
    scores: Vec<[u8; 8]>,
    previous: Vec<u8>,
    current: Vec<u8>,
}

impl State {
    fn slices(&self) -> ColumnSlices<'_> {
        ColumnSlices {
            increments: &self.increments,
            balances: &self.balances,
            scores: &self.scores,
            previous: &self.previous,
            current: &self.current,
        }
    }

    fn push(&mut self, effective: u64, balance: u64, score: u64, [previous, current]: [u8; 2]) {
        self.increments.push(increments(effective));
        self.balances.push(balance.to_le_bytes());
        self.scores.push(score.to_le_bytes());
        self.previous.push(previous);
        self.current.push(current);
    }

    fn one(&self, index: usize) -> One {
        let number =
            |column: &[[u8; 8]]| column.get(index).map_or(0, |number| u64::from_le_bytes(*number));
        One {
            increments: self.increments.get(index).copied().unwrap_or(0),
            balance: number(&self.balances),
            score: number(&self.scores),
            previous: self.previous.get(index).copied().unwrap_or(0),
            current: self.current.get(index).copied().unwrap_or(0),
        }
    }
}

/// Validators as on a network: most have 32 ETH and all flags, some are gone.
fn realistic(count: usize, numbers: &mut Numbers) -> State {
    let mut state = State::default();
    for _ in 0..count {
        let effective = match numbers.below(20) {
            0 => 0,
            1 => numbers.below(2049) * ETH,
            2 => numbers.next(),
            _ => 32 * ETH,
        };
        let balance = if effective == 0 { 0 } else { effective.wrapping_add(numbers.below(ETH)) };
        let previous = if numbers.one_in(10) { numbers.below(8) as u8 } else { 7 };
        let score = if numbers.one_in(10) { numbers.below(1000) } else { 0 };
        let current = if numbers.one_in(100) { numbers.below(256) as u8 } else { 0 };
        state.push(effective, balance, score, [previous, current]);
    }
    state
}

/// The change of a balance by the rules of altair, by flags and ETH of effective balance.
fn reward(flags: u8, increments: u64, score: u64) -> i64 {
    let mut change = 0i64;
    for (flag, weight) in [14u64, 26, 14].into_iter().enumerate() {
        let base = increments * 357 * weight;
        change += match (flags >> flag & 1, flag) {
            (1, _) => (base * 987_654 / (1_000_000 * 64)) as i64,
            (_, 2) => 0,
            _ => -((base / 64) as i64),
        };
    }
    if flags & 2 == 0 {
        change -= (increments * ETH * score / LEAK_DIVISOR) as i64;
    }
    change
}

/// The state an epoch later: by the rules, but for some exceptions.
fn an_epoch_later(state: &State, is_leaking: bool, numbers: &mut Numbers) -> State {
    let mut next = state.clone();
    for index in 0..state.balances.len() {
        let before = state.one(index);
        let increments = u64::from(before.increments);
        if increments > 0 && increments <= 2048 {
            let change = match (before.previous & 2, is_leaking) {
                (0, true) => 4,
                (0, false) => -12,
                (_, true) => -1,
                (_, false) => -17,
            };
            let score = before.score.saturating_add_signed(change);
            next.scores[index] = score.to_le_bytes();
            let change = reward(before.previous & 7, increments, score);
            let balance = before.balance.saturating_add_signed(change);
            next.balances[index] = balance.to_le_bytes();
        }
        next.previous[index] = if before.previous == 0 { 0 } else { 7 };
        next.current[index] = 0;
    }
    for index in 0..state.balances.len() {
        if numbers.one_in(100) {
            next.balances[index] = match numbers.below(4) {
                0 => 0,
                1 => 32 * ETH,
                2 => u64::from_le_bytes(next.balances[index]).wrapping_add(20_000),
                _ => numbers.next(),
            }
            .to_le_bytes();
        }
        if numbers.one_in(100) {
            next.previous[index] = numbers.below(256) as u8;
        }
        if numbers.one_in(1000) {
            next.scores[index] = numbers.next().to_le_bytes();
            next.current[index] = numbers.below(8) as u8;
        }
    }
    next
}

fn sections_of(encoded: &EncodedColumns, chunks: Chunks) -> Decoded<ColumnSections<'_>> {
    let count = chunks.count();
    let mut unpacker = Unpacker::new();
    Ok(ColumnSections {
        balances: match &encoded.balances {
            Some(section) => Some(BalanceSection::parse(section, count)?),
            None => None,
        },
        scores: match &encoded.scores {
            Some(section) => Some(ScoreSection::parse(section, count)?),
            None => None,
        },
        previous: match &encoded.previous {
            Some(section) => Some(FlagSection::parse(section, count, &mut unpacker)?),
            None => None,
        },
        current: match &encoded.current {
            Some(section) => Some(FlagSection::parse(section, count, &mut unpacker)?),
            None => None,
        },
    })
}

fn apply(base: &State, encoded: &EncodedColumns, chunks: Chunks) -> Decoded<State> {
    let mut unpacker = Unpacker::new();
    let sections = sections_of(encoded, chunks)?;
    let tables = sections.tables(&mut unpacker)?;
    let (mut result, mut columns) = (State::default(), ChunkColumns::default());
    for chunk in 0..chunks.count() {
        columns.load(&base.slices(), chunks.range(chunk));
        let applied = sections.apply(&tables, chunk, &mut columns, &mut unpacker);
        applied.map_err(|(_, wrong)| wrong)?;
        result.balances.extend(columns.balances.iter().map(|balance| balance.to_le_bytes()));
        result.scores.extend(columns.scores.iter().map(|score| score.to_le_bytes()));
        result.previous.extend(&columns.previous);
        result.current.extend(&columns.current);
    }
    Ok(result)
}

/// Encodes, and checks that applying all and applying one give the next state. Returns the sections.
fn checked(base: &State, next: &State, chunk_log2: u8) -> EncodedColumns {
    let encoded = encode_columns(chunk_log2, &base.slices(), &next.slices(), LEAK_DIVISOR);
    let chunks = Chunks { log2: chunk_log2, validators: next.balances.len() };
    let mut found = apply(base, &encoded, chunks).unwrap();
    found.increments.clone_from(&next.increments);
    // A column that the fork lacks.
    if next.scores.is_empty() {
        found.scores.clear();
        found.previous.clear();
        found.current.clear();
    }
    assert!(found == *next, "applying the diff gives another state");
    let (sections, mut unpacker) = (sections_of(&encoded, chunks).unwrap(), Unpacker::new());
    let step = (next.balances.len() / 500).max(1);
    for index in (0..next.balances.len()).step_by(step) {
        let mut one = base.one(index);
        let applied = sections.apply_one(chunks.place(index), &mut one, &mut unpacker);
        assert!(applied.is_ok());
        let wanted = One { increments: one.increments, ..next.one(index) };
        assert_eq!(one, wanted, "validator {index}");
    }
    encoded
}

fn byte_len(section: &Option<Vec<u8>>) -> usize {
    section.as_ref().map_or(0, Vec::len)
}

#[test]
fn an_epoch_is_applied_in_whole_and_for_one_validator() {
    let mut numbers = Numbers(1);
    for (count, chunk_log2) in [(0, 4), (1, 4), (15, 4), (16, 4), (17, 4), (1000, 6), (70_000, 16)]
    {
        let base = realistic(count, &mut numbers);
        for is_leaking in [false, true] {
            let next = an_epoch_later(&base, is_leaking, &mut numbers);
            checked(&base, &next, chunk_log2);
        }
        let same = checked(&base, &base, chunk_log2);
        assert_eq!([byte_len(&same.balances), byte_len(&same.previous)], [0; 2]);
    }
}

#[test]
fn any_columns_are_applied() {
    let mut numbers = Numbers(2);
    for round in 0..50 {
        let random = |count: u64, numbers: &mut Numbers| {
            let mut state = State::default();
            for _ in 0..count {
                let [effective, balance, score] = [(); 3].map(|()| match numbers.below(4) {
                    0 => 0,
                    1 => u64::MAX,
                    2 => numbers.below(3000) * ETH,
                    _ => numbers.next(),
                });
                let flags = numbers.next().to_le_bytes();
                state.push(effective, balance, score, [flags[0], flags[1]]);
            }
            state
        };
        let count = numbers.below(300);
        let base = random(count, &mut numbers);
        let more = count + numbers.below(100);
        let mut next = random(more, &mut numbers);
        if round % 3 == 0 {
            // Most stays as it is.
            let kept = base.balances.len() / 2;
            next.balances[..kept].copy_from_slice(&base.balances[..kept]);
            next.current[..kept].copy_from_slice(&base.current[..kept]);
        }
        checked(&base, &next, 4 + (round % 5));
    }
}

#[test]
fn validators_are_added_and_columns_begin_with_a_fork() {
    let mut numbers = Numbers(3);
    let base = realistic(500, &mut numbers);
    let mut next = an_epoch_later(&base, false, &mut numbers);
    for _ in 0..100 {
        next.push(32 * ETH, 32 * ETH, 0, [0, 0]);
    }
    checked(&base, &next, 6);
    let mut phase0 = base.clone();
    phase0.scores.clear();
    phase0.previous.clear();
    phase0.current.clear();
    checked(&phase0, &next, 6);
    let mut next_phase0 = next.clone();
    next_phase0.scores.clear();
    next_phase0.previous.clear();
    next_phase0.current.clear();
    checked(&phase0, &next_phase0, 6);
}

/// 100,000 validators whose balances follow the rules take a few hundred bytes: nothing but the tables.
#[test]
fn classes_predict_every_reward_and_every_penalty_of_a_leak() {
    let mut numbers = Numbers(4);
    let mut base = State::default();
    for index in 0..100_000u64 {
        let effective = if index % 50 == 0 { 33 + index / 50 % 40 * 50 } else { 32 };
        let flags = if numbers.one_in(10) { numbers.below(8) as u8 } else { 7 };
        let score = if flags & 2 == 0 { 10 + index % 7 * 4 } else { 0 };
        base.push(effective * ETH, effective * ETH + numbers.below(ETH), score, [flags, 0]);
    }
    for is_leaking in [false, true] {
        let mut next = base.clone();
        for index in 0..base.balances.len() {
            let before = base.one(index);
            let bias = if before.previous & 2 == 0 { 4 } else { -1 };
            let score =
                before.score.saturating_add_signed(if is_leaking { bias } else { bias - 16 });
            let change = reward(before.previous, u64::from(before.increments), score);
            next.scores[index] = score.to_le_bytes();
            next.balances[index] = before.balance.saturating_add_signed(change).to_le_bytes();
        }
        let encoded = checked(&base, &next, 16);
        let [balances, scores] = [&encoded.balances, &encoded.scores].map(byte_len);
        assert!(balances < 1200, "{balances} bytes of balances");
        assert!(scores < 60, "{scores} bytes of scores");
    }
}

#[test]
fn damaged_sections_give_errors_or_values_but_no_panic() {
    let mut numbers = Numbers(5);
    let base = realistic(300, &mut numbers);
    let mut next = an_epoch_later(&base, true, &mut numbers);
    for index in 0..64 {
        // A chunk in planes.
        next.balances[index] = numbers.below(1 << 20).to_le_bytes();
    }
    let chunks = Chunks { log2: 6, validators: next.balances.len() };
    let encoded = checked(&base, &next, 6);
    let read = |encoded: &EncodedColumns| {
        let _ = apply(&base, encoded, chunks);
        let Ok(sections) = sections_of(encoded, chunks) else { return };
        let mut unpacker = Unpacker::new();
        for index in [0, 63, 64, 150, 299] {
            let mut one = base.one(index);
            let _ = sections.apply_one(chunks.place(index), &mut one, &mut unpacker);
        }
    };
    type Field = fn(&mut EncodedColumns) -> &mut Option<Vec<u8>>;
    let fields: [Field; 4] = [
        |encoded| &mut encoded.balances,
        |encoded| &mut encoded.scores,
        |encoded| &mut encoded.previous,
        |encoded| &mut encoded.current,
    ];
    let clone = || EncodedColumns {
        balances: encoded.balances.clone(),
        scores: encoded.scores.clone(),
        previous: encoded.previous.clone(),
        current: encoded.current.clone(),
    };
    for field in fields {
        let byte_len = byte_len(field(&mut clone()));
        assert!(byte_len > 0);
        for at in 0..byte_len {
            for value in [0, 0xff, numbers.next().to_le_bytes()[0]] {
                let mut damaged = clone();
                field(&mut damaged).as_mut().unwrap()[at] = value;
                read(&damaged);
            }
            let mut cut = clone();
            field(&mut cut).as_mut().unwrap().truncate(at);
            assert!(apply(&base, &cut, chunks).is_err(), "cut at {at}");
        }
    }
}
