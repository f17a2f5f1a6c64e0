//! What a power cut leaves: for a point of a log, every choice of what of the unflushed changes is
//! on the medium.

use std::collections::HashMap;
use std::sync::Arc;

use crate::disk::{Fs, Logged, Mark};
use crate::medium::{Bytes, Ino, Left, Medium, Op};
use crate::variants::variants;
use test_support::mix;

/// Numbers that look random.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }
}

/// A state that a power cut leaves.
pub(crate) struct State<'a> {
    pub(crate) medium: Medium,
    pub(crate) mark: &'a Mark,
    pub(crate) position: usize,
    unflushed: Picks<'a>,
    last: Option<&'a Op>,
    /// Whether a journal that keeps its order leaves it too: names and lengths up to some moment,
    /// and data before the length that covers it.
    pub(crate) ordered: bool,
}

/// Changes, and what is left of each.
struct Picks<'a> {
    rest: &'a [Logged],
    picks: &'a [Left],
}

impl State<'_> {
    pub(crate) fn describe(&self) -> String {
        let mut text = match self.last {
            Some(op) => format!("power cut after operation {} ({op:?})", self.position),
            None => "power cut before the first operation".to_owned(),
        };
        for (logged, left) in self.unflushed.rest.iter().zip(self.unflushed.picks) {
            if !logged.is_durable(self.position) {
                text += &format!("; {:?}: {left:?}", logged.op);
            }
        }
        text
    }
}

/// The most choices that are tried at one point; where there are more, some are picked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit(pub(crate) usize);

/// Calls `visit` with the states at every point of the log from operation `from` on, until it
/// fails. The same state may come several times.
pub(crate) fn for_each_state<E>(
    fs: &Fs,
    positions: std::ops::Range<usize>,
    limit: Limit,
    random: &mut Random,
    visit: &mut dyn FnMut(State<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut base = fs.base.clone();
    let mut folded = 0;
    for position in positions.start..positions.end.min(fs.log.len() + 1) {
        while folded < position && fs.log[folded].is_durable(position) {
            base.apply(&fs.log[folded].op, Left::Whole);
            folded += 1;
        }
        let Some(mark) = fs.mark(position).filter(|mark| mark.expect.holds) else { continue };
        if fs.is_dull(position) && position > positions.start {
            continue;
        }
        let last = position.checked_sub(1).map(|last| &fs.log[last].op);
        let moment = Moment::new(&base, &fs.log[folded..position], position);
        let choices: Vec<Vec<Left>> = moment
            .rest
            .iter()
            .map(|logged| {
                if logged.is_durable(position) {
                    return vec![Left::Whole];
                }
                variants(&logged.op, &base)
            })
            .collect();
        let mut moment = moment;
        for_each_choice(&choices, limit.0, random, &mut |picks| {
            let Some(medium) = moment.medium(picks) else { return Ok(()) };
            let ordered = moment.is_ordered(picks);
            let unflushed = Picks { rest: moment.rest, picks };
            visit(State { medium, mark, position, unflushed, last, ordered })
        })?;
    }
    Ok(())
}

struct Moment<'a> {
    base: &'a Medium,
    /// What came since the first change that is not durable.
    rest: &'a [Logged],
    position: usize,
    /// The files in it, with the operations on each.
    files: Vec<(Ino, Vec<usize>)>,
    /// What becomes of a file by what is left of each operation on it.
    made: HashMap<(Ino, Vec<Left>), Arc<Bytes>>,
}

impl<'a> Moment<'a> {
    fn new(base: &'a Medium, rest: &'a [Logged], position: usize) -> Moment<'a> {
        let mut files: Vec<(Ino, Vec<usize>)> = Vec::new();
        for (at, logged) in rest.iter().enumerate() {
            if let Op::Write { ino, .. } | Op::SetLen { ino, .. } = &logged.op {
                match files.iter_mut().find(|(file, _)| file == ino) {
                    Some((_, ops)) => ops.push(at),
                    None => files.push((*ino, vec![at])),
                }
            }
        }
        Moment { base, rest, position, files, made: HashMap::new() }
    }

    /// What these choices leave; `None` where another choice leaves the same: nothing is left of a
    /// file that has no name.
    fn medium(&mut self, picks: &[Left]) -> Option<Medium> {
        let mut medium = self.base.clone();
        for (logged, left) in self.rest.iter().zip(picks) {
            if !matches!(logged.op, Op::Write { .. } | Op::SetLen { .. }) {
                medium.apply(&logged.op, *left);
            }
        }
        let named = medium.named_files();
        for (ino, ops) in &self.files {
            let lefts: Vec<Left> = ops.iter().map(|at| picks[*at]).collect();
            if !named.contains(ino) {
                let lost = ops.iter().all(|at| {
                    picks[*at] == Left::Nothing || self.rest[*at].is_durable(self.position)
                });
                if !lost {
                    return None;
                }
                continue;
            }
            let made = self.made.entry((*ino, lefts)).or_insert_with(|| {
                let mut of_file = self.base.clone();
                for at in ops {
                    of_file.apply(&self.rest[*at].op, picks[*at]);
                }
                of_file.share(*ino)
            });
            medium.put_file(*ino, Arc::clone(made));
        }
        Some(medium)
    }

    /// Every flush commits the journal, with all names and lengths before it. What came after the
    /// last is there up to some operation.
    fn is_ordered(&self, picks: &[Left]) -> bool {
        let mut lost_before = false;
        let mut lost = false;
        for (logged, left) in self.rest.iter().zip(picks) {
            match &logged.op {
                Op::Sync(_) | Op::SyncDir(_) if lost => lost_before = true,
                Op::Sync(_) | Op::SyncDir(_) => {}
                Op::Write { at, bytes, old_len, .. } => {
                    let appends = at + bytes.len() > *old_len;
                    let is_whole = match left {
                        Left::Whole | Left::Nothing | Left::First(_) => true,
                        _ => !appends,
                    };
                    lost_before |= !is_whole;
                }
                _ if *left == Left::Nothing => lost |= !logged.is_durable(self.position),
                _ => lost_before |= lost || *left == Left::BothNames,
            }
        }
        !lost_before
    }
}

/// Every combination where there are at most `limit`, otherwise the plain ones and then random ones.
fn for_each_choice<E>(
    choices: &[Vec<Left>],
    limit: usize,
    random: &mut Random,
    visit: &mut dyn FnMut(&[Left]) -> Result<(), E>,
) -> Result<(), E> {
    let count = choices.iter().fold(1_usize, |count, of_one| count.saturating_mul(of_one.len()));
    let mut picks = vec![Left::Whole; choices.len()];
    if count <= limit {
        for mut number in 0..count {
            for (pick, of_one) in picks.iter_mut().zip(choices) {
                *pick = of_one[number % of_one.len()];
                number /= of_one.len();
            }
            visit(&picks)?;
        }
        return Ok(());
    }
    let mut left = limit;
    let mut visit = |picks: &[Left]| {
        left = left.saturating_sub(1);
        visit(picks).map(|()| left > 0)
    };
    let free: Vec<usize> = (0..choices.len()).filter(|at| choices[*at].len() > 1).collect();
    // Nothing and everything; one alone, and all but one.
    for (of_all, of_one) in [(Left::Nothing, Left::Whole), (Left::Whole, Left::Nothing)] {
        free.iter().for_each(|at| picks[*at] = of_all);
        if !visit(&picks)? {
            return Ok(());
        }
        for at in &free {
            picks[*at] = of_one;
            if !visit(&picks)? {
                return Ok(());
            }
            picks[*at] = of_all;
        }
    }
    // So many of them in the order in which they were made, and then one in every way.
    for done in 0..free.len() {
        for (nth, at) in free.iter().enumerate() {
            picks[*at] = if nth < done { Left::Whole } else { Left::Nothing };
        }
        for pick in &choices[free[done]] {
            picks[free[done]] = *pick;
            if !visit(&picks)? {
                return Ok(());
            }
        }
    }
    loop {
        for at in &free {
            picks[*at] = match random.below(3) {
                0 => Left::Nothing,
                1 => Left::Whole,
                _ => choices[*at][random.below(choices[*at].len())],
            };
        }
        if !visit(&picks)? {
            return Ok(());
        }
    }
}
