//! Waits for commits and follows a column.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::files::watch::{Changes, Watch};
use crate::read::backfill_cursor::BackfillCursor;
use crate::read::reader::Reader;
use crate::read::view::View;
use crate::slot::Slot;

/// What [`Reader::wait_for`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The highest slot has reached the slot, which has a record.
    Record,
    /// The highest slot has reached the slot, which was skipped.
    Skipped,
    /// The timeout expired while the highest slot was still below.
    TimedOut,
}

/// Options of [`Reader::follow`].
#[derive(Clone, Copy, Debug, Default)]
pub struct FollowOptions {
    backfilled: bool,
    backfilled_from: Option<Slot>,
}

impl FollowOptions {
    /// Whether to show slots that are backfilled while following, if they are at or above the slot from
    /// which the column is followed.
    #[must_use]
    pub fn backfilled(self, backfilled: bool) -> Self {
        Self { backfilled, ..self }
    }

    /// Shows slots that are backfilled while following, if they are at or above `slot`, which may lie below
    /// the slot from which the column is followed.
    #[must_use]
    pub fn backfilled_from(self, slot: Slot) -> Self {
        Self { backfilled: true, backfilled_from: Some(slot) }
    }
}

impl Reader {
    /// Waits until the highest slot has reached `slot`, and returns whether it has a record. The writer may
    /// be in any process. Without a timeout, waits forever.
    ///
    /// [`Reader::view`] then shows the record.
    ///
    /// # Errors
    /// As [`Reader::refresh`] and [`View::contains`].
    pub fn wait_for(&self, slot: Slot, timeout: Option<Duration>) -> Result<Arrival> {
        if let Some(arrival) = arrived(&self.refresh()?, slot)? {
            return Ok(arrival);
        }
        // Take the watch before the first check, so that no commit is missed.
        let watch = self.shared.take_watch();
        let arrival = wait_on(&watch, timeout, |_| {
            watch.take(&mut Changes::default());
            arrived(&self.refresh()?, slot)
        });
        self.shared.return_watch(watch);
        Ok(arrival?.unwrap_or(Arrival::TimedOut))
    }

    /// Follows the column from a slot: first shows the existing slots at or above `from`, in ascending
    /// order, then each new one as soon as it is committed.
    ///
    /// # Errors
    /// As [`Reader::refresh`].
    pub fn follow(&self, from: Slot, options: FollowOptions) -> Result<Follower> {
        Follower::new(self.clone(), from, options)
    }
}

fn arrived(view: &View, slot: Slot) -> Result<Option<Arrival>> {
    if view.highest_written_slot().is_none_or(|highest| highest < slot) {
        return Ok(None);
    }
    Ok(Some(if view.contains(slot)? { Arrival::Record } else { Arrival::Skipped }))
}

/// Calls `look` whenever something may have changed, until it returns an answer or the timeout expires.
/// The argument of `look` is true if the watch woke it, and false after a full sleep.
fn wait_on<T>(
    watch: &Watch,
    timeout: Option<Duration>,
    mut look: impl FnMut(bool) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut woken = true;
    loop {
        if let Some(answer) = look(woken)? {
            return Ok(Some(answer));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(None);
        }
        woken = watch.wait(left.unwrap_or(Duration::MAX));
    }
}

/// Shows every slot once, as soon as it is committed; created by [`Reader::follow`].
///
/// Slots above the highest come in ascending order. Backfilled slots, if requested, come in commit
/// order; if two files were filled since the last check, the one written first comes first. A slot that
/// is filled before the follower has reached it is shown in slot order.
#[derive(Debug)]
pub struct Follower {
    reader: Reader,
    watch: Watch,
    view: View,
    /// The next slot of the forward scan; `None` past [`Slot::MAX`].
    next: Option<Slot>,
    backfill: Option<BackfillCursor>,
}

impl Follower {
    fn new(reader: Reader, from: Slot, options: FollowOptions) -> Result<Self> {
        // Take the watch before the first check, so that no commit is missed.
        let directory = &reader.shared.files.directory;
        let watch = match options.backfilled {
            true => Watch::changes(directory),
            false => Watch::commits(directory),
        };
        let view = reader.refresh()?;
        let backfill = match options.backfilled {
            true => {
                let lowest = options.backfilled_from.unwrap_or(from);
                Some(BackfillCursor::new(&view, lowest, from)?)
            }
            false => None,
        };
        Ok(Self { reader, watch, view, next: Some(from), backfill })
    }

    /// Waits for the next slot; `None` if the timeout expires. Without a timeout, waits forever.
    ///
    /// # Errors
    /// As [`Reader::refresh`] and [`View::get`]. A damaged record or file is reported once; the next call
    /// resumes after it.
    pub fn next_slot(&mut self, timeout: Option<Duration>) -> Result<Option<Slot>> {
        let Self { reader, watch, view, next, backfill } = self;
        if let Some(slot) = ready(view, next, backfill.as_mut())? {
            return Ok(Some(slot));
        }
        wait_on(watch, timeout, |woken| {
            // A commit between these two calls wakes the next wait.
            let mut changes = Changes::default();
            watch.take(&mut changes);
            let latest = reader.refresh()?;
            let moved = !latest.is_same_commit(view);
            *view = latest;
            if let Some(cursor) = backfill {
                // The watch missed a commit, so it may have missed changes of files too.
                changes.incomplete |= moved && !woken && !changes.any;
                cursor.look(view, *next, changes, moved)?;
            }
            ready(view, next, backfill.as_mut())
        })
    }

    /// The view that shows the slot just returned.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }
}

/// The next slot to show in this view. All its slots are shown before a newer view is taken.
fn ready(
    view: &View,
    next: &mut Option<Slot>,
    mut backfill: Option<&mut BackfillCursor>,
) -> Result<Option<Slot>> {
    if let Some(slot) = backfill.as_mut().and_then(|cursor| cursor.pop()) {
        return Ok(Some(slot));
    }
    let (Some(from), Some(highest)) = (*next, view.highest_written_slot()) else {
        return Ok(None);
    };
    if from > highest {
        return Ok(None);
    }
    let mut range = view.iter_from(from);
    let found = range.next().transpose();
    *next = range.rest();
    if let Some(cursor) = backfill {
        cursor.pass(view, from, *next)?;
    }
    Ok(found?.map(|record| record.slot()))
}
