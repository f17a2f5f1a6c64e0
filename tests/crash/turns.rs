//! Flushes that are outstanding at once, and end in an order that is given.
//!
//! In step 5 of a commit the writer flushes from several threads. This disk holds each of them until
//! as many have begun as the commit needs, or as the writer has threads, and then lets them end one
//! after the other: which order that is does not depend on the threads.

use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::{Fs, Phase};
use crate::medium::{Ino, Op, Target};

/// The writer's own thread and those that help it.
const WRITERS_THREADS: usize = 5;

/// Kinds of flushes.
pub(crate) const KINDS: usize = 5;

/// What a commit flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum What {
    Data,
    Offsets,
    ConfTmp,
    Names,
    Check,
}

impl What {
    pub(crate) fn of_file(name: &str) -> What {
        match name {
            "column.conf.tmp" => What::ConfTmp,
            "column.check" => What::Check,
            name if name.ends_with(".off") => What::Offsets,
            _ => What::Data,
        }
    }
}

/// Flushes of a commit end in this order, and some of them fail.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turns {
    order: [usize; KINDS],
    fails: [bool; KINDS],
}

/// Place in the order, and what tells two of a kind apart.
type Turn = (usize, Ino);

/// The flushes of one commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outstanding {
    /// Those that have begun and not ended.
    begun: Vec<Turn>,
    /// Those that have not ended.
    left: usize,
    /// The most that there were at once, in any commit.
    pub(crate) most: usize,
}

impl Turns {
    /// All orders there are.
    pub(crate) fn all() -> Vec<Turns> {
        let mut all = Vec::new();
        for number in 0..KINDS.pow(5) {
            let order = [0, 1, 2, 3, 4].map(|digit| number / KINDS.pow(digit) % KINDS);
            if (0..KINDS).all(|place| order.contains(&place)) {
                all.push(Turns { order, fails: [false; KINDS] });
            }
        }
        all
    }

    /// The same, in which these fail.
    pub(crate) fn failing(self, fails: [bool; KINDS]) -> Turns {
        Turns { fails, ..self }
    }

    fn place(&self, what: What) -> usize {
        self.order[what as usize]
    }

    pub(crate) fn fails(&self, what: What) -> bool {
        self.fails[what as usize]
    }
}

/// Waits for the turn of a flush that has begun. `false` where it is none of those that a commit
/// does at once.
pub(crate) fn wait<'a>(
    mut fs: MutexGuard<'a, Fs>,
    moved: &Condvar,
    what: What,
    ino: Ino,
) -> (MutexGuard<'a, Fs>, bool) {
    let Some(turns) = fs.turns.filter(|_| is_committing(&fs)) else { return (fs, false) };
    if fs.outstanding.left == 0 {
        fs.outstanding.left = flushes_of_commit(&fs);
    }
    let turn = (turns.place(what), ino);
    fs.outstanding.begun.push(turn);
    fs.outstanding.most = fs.outstanding.most.max(fs.outstanding.begun.len());
    moved.notify_all();
    loop {
        let Outstanding { begun, left, .. } = &fs.outstanding;
        let all_begun = begun.len() >= (*left).min(WRITERS_THREADS);
        if all_begun && begun.iter().min() == Some(&turn) {
            break;
        }
        // A writer that leaves a flush out, or does one after the other, must not wait for ever.
        let waited = moved.wait_timeout(fs, Duration::from_secs(10));
        let (held, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        fs = held;
        if timeout.timed_out() {
            break;
        }
    }
    fs.outstanding.begun.retain(|other| *other != turn);
    fs.outstanding.left = fs.outstanding.left.saturating_sub(1);
    moved.notify_all();
    (fs, true)
}

/// The conf of a commit is written, and not renamed: what is flushed now may be flushed at once.
fn is_committing(fs: &Fs) -> bool {
    let last = fs.of_step().rev().find(|op| op.changes());
    fs.phase == Phase::Put && matches!(last, Some(Op::Write { ino, .. }) if is_conf_tmp(fs, *ino))
}

fn is_conf_tmp(fs: &Fs, file: Ino) -> bool {
    fs.of_step().any(|op| {
        matches!(op, Op::Link { name, target, .. }
            if &**name == "column.conf.tmp" && *target == Target::File(file))
    })
}

/// Files with changes since the last flush or rename, and the directory where one of them is new.
fn flushes_of_commit(fs: &Fs) -> usize {
    let ops: Vec<&Op> = fs.of_step().collect();
    let from = ops.iter().rposition(|op| matches!(op, Op::Rename { .. })).unwrap_or(0);
    let mut files = Vec::new();
    let mut names = 0;
    for op in &ops[from..] {
        match op {
            Op::Write { ino, .. } if !files.contains(ino) => files.push(*ino),
            Op::Link { name, .. } if &**name != "column.conf.tmp" => names = 1,
            _ => {}
        }
    }
    files.len() + names
}
