//! Interleaved rounds, and what comes out of them.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::Workload;

/// What one subject did in one round: a number for each metric of the case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// One number for each metric. Less is better.
    pub values: Vec<f64>,
    /// Of what was read, where subjects read the same.
    pub digest: u64,
}

impl Outcome {
    /// A single number.
    #[must_use]
    pub fn of(value: f64, digest: u64) -> Self {
        Self { values: vec![value], digest }
    }
}

/// A number that is taken in every round.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// What is added to the case's name.
    pub name: &'static str,
    /// The unit.
    pub unit: Unit,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes moved for each byte of payload.
    BytesPerByte,
    /// The time that the same takes alone.
    TimesAlone,
}

impl Metric {
    /// A time.
    #[must_use]
    pub const fn time(name: &'static str) -> Self {
        Self { name, unit: Unit::Nanoseconds }
    }

    /// Bytes moved for each byte of payload.
    #[must_use]
    pub const fn amplification(name: &'static str) -> Self {
        Self { name, unit: Unit::BytesPerByte }
    }
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Case {
    /// The workload that it belongs to.
    pub workload: Workload,
    /// What is done.
    pub name: String,
    /// What is noted in each round.
    pub metrics: Vec<Metric>,
    /// The label of the subject that the others are compared with; without one the values are
    /// ratios themselves.
    pub floor: Option<&'static str>,
}

/// A subject that takes part in a case.
pub struct Contender<'a> {
    label: String,
    work: Box<dyn FnMut(usize) -> Outcome + 'a>,
}

impl std::fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contender").field("label", &self.label).finish_non_exhaustive()
    }
}

impl<'a> Contender<'a> {
    /// `work` is given the number of the round; round 0 is for getting warm.
    pub fn new(label: impl Into<String>, work: impl FnMut(usize) -> Outcome + 'a) -> Self {
        Self { label: label.into(), work: Box::new(work) }
    }
}

/// One subject in one metric of one case.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The workload's name.
    pub workload: String,
    /// What was done, and the metric.
    pub case: String,
    /// The unit of the values.
    pub unit: Unit,
    /// The subject's label.
    pub subject: String,
    /// True for the subject that the others are compared with.
    pub is_floor: bool,
    /// The values of all rounds.
    pub values: Vec<f64>,
    /// Each divided by the floor's of the same round.
    pub ratios: Vec<f64>,
}

impl Row {
    /// The first quartile, the median and the third quartile of the values.
    #[must_use]
    pub fn value(&self) -> [f64; 3] {
        quartiles(&self.values)
    }

    /// The same of the ratios.
    #[must_use]
    pub fn ratio(&self) -> [f64; 3] {
        quartiles(&self.ratios)
    }
}

/// The first quartile, the median and the third quartile, between neighbours where they fall
/// between.
#[must_use]
pub fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|part| {
        let Some(last) = values.len().checked_sub(1) else {
            return f64::NAN;
        };
        let place = part * last as f64;
        let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
        below + (above - below) * place.fract()
    })
}

/// All rows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// In the order in which they were measured.
    pub rows: Vec<Row>,
}

impl Results {
    /// Runs all contenders in each round and keeps what they say. The first of a round is the second
    /// of the round before, and every other round goes backwards: nobody comes always after the
    /// same one.
    ///
    /// # Panics
    /// When digests are to be the same and are not.
    pub fn measure(
        &mut self,
        case: &Case,
        rounds: usize,
        same_digests: bool,
        contenders: &mut [Contender<'_>],
    ) {
        eprintln!("{:?} {} ({} subjects)", case.workload, case.name, contenders.len());
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); contenders.len()];
        for round in 0..=rounds {
            for turn in 0..contenders.len() {
                let turn = if round % 2 == 0 { turn } else { contenders.len() - turn };
                let index = (round + turn) % contenders.len();
                let outcome = (contenders[index].work)(round);
                if round > 0 {
                    outcomes[index].push(outcome);
                }
            }
        }
        if same_digests {
            let digests = |of: &[Outcome]| of.iter().map(|round| round.digest).collect::<Vec<_>>();
            for (contender, outcomes_of) in contenders.iter().zip(&outcomes) {
                let wanted = digests(&outcomes[0]);
                let (label, first) = (&contender.label, &contenders[0].label);
                assert_eq!(digests(outcomes_of), wanted, "{}: {label}, {first}", case.name);
            }
        }
        self.keep(case, contenders, &outcomes);
    }

    fn keep(&mut self, case: &Case, contenders: &[Contender<'_>], outcomes: &[Vec<Outcome>]) {
        let floor = case.floor.and_then(|floor| contenders.iter().position(|c| c.label == floor));
        for (index, metric) in case.metrics.iter().enumerate() {
            let values_of = |contender: usize| -> Vec<f64> {
                outcomes[contender].iter().map(|outcome| outcome.values[index]).collect()
            };
            let floors = floor.map(values_of);
            for (place, contender) in contenders.iter().enumerate() {
                let values = values_of(place);
                let ratios = match (&floors, case.floor) {
                    (Some(floors), _) => values.iter().zip(floors).map(|(v, f)| v / f).collect(),
                    (None, None) => values.clone(),
                    (None, Some(_)) => Vec::new(),
                };
                let name = [case.name.as_str(), metric.name].join(if metric.name.is_empty() {
                    ""
                } else {
                    ", "
                });
                self.add(Row {
                    workload: format!("{:?}", case.workload),
                    case: name,
                    unit: metric.unit,
                    subject: contender.label.clone(),
                    is_floor: floor == Some(place),
                    values,
                    ratios,
                });
            }
        }
    }

    /// Subjects that are measured with each group of peers have one row for all of them.
    fn add(&mut self, row: Row) {
        let same = |there: &&mut Row| {
            (&there.workload, &there.case, &there.subject)
                == (&row.workload, &row.case, &row.subject)
        };
        if let Some(there) = self.rows.iter_mut().find(same) {
            there.values.extend(row.values);
            there.ratios.extend(row.ratios);
        } else {
            self.rows.push(row);
        }
    }
}

/// How many operations a subject does in a round.
#[derive(Debug)]
pub struct Pace {
    most: usize,
    budget: Duration,
    count: Option<usize>,
}

impl Pace {
    /// At most `most`, and fewer when they do not fit into `budget`, unless all do the same.
    #[must_use]
    pub fn new(most: usize, budget: Duration, same_count: bool) -> Self {
        Self { most, budget, count: same_count.then_some(most) }
    }

    /// Does a number of operations from the place in `slots` where this round begins, and returns
    /// the nanoseconds for each of them. `work` is given the slots.
    ///
    /// Before the clock starts, the processor's caches are filled with other things, and as many
    /// other operations are done. Several subjects read the same files: whoever came after another
    /// one would find his records there.
    pub fn run(
        &mut self,
        round: usize,
        slots: &[u64],
        mut work: impl FnMut(&[u64]) -> u64,
    ) -> Outcome {
        let count = *self.count.get_or_insert_with(|| {
            let few = &slots[..slots.len().min(32)];
            black_box(work(few));
            let start = Instant::now();
            black_box(work(few));
            let each = start.elapsed().as_secs_f64() / few.len() as f64;
            let fitting = (self.budget.as_secs_f64() / each) as usize;
            fitting.clamp(16, self.most)
        });
        // Those who do fewer do other ones in each round.
        let places = (slots.len() / count).max(1);
        let at = |place: usize| place % places * count..(place % places + 1) * count;
        fill_caches();
        black_box(work(&slots[at(round + 1)]));
        let slots = &slots[at(round)];
        let start = Instant::now();
        let digest = black_box(work(slots));
        Outcome::of(start.elapsed().as_secs_f64() * 1e9 / count as f64, digest)
    }
}

/// Reads more bytes than the processor's caches hold.
fn fill_caches() {
    const WORDS: usize = (128 << 20) / size_of::<u64>();
    static OTHER: OnceLock<Vec<u64>> = OnceLock::new();
    let other = OTHER.get_or_init(|| vec![1; WORDS]);
    black_box(other.iter().step_by(8).fold(0_u64, |sum, word| sum.wrapping_add(*word)));
}
