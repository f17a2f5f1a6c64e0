//! Waits for commits and follows a column.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::files::watch::{Changes, Watch};
use crate::read::backfill_cursor::BackfillCursor;
use crate::read::owned_range::OwnedRange;
use crate::read::pread_view::PreadView;
use crate::read::reader::Reader;
use crate::read::snapshot::{Snapshot, Taken};
use crate::slot::Slot;
use crate::sync::Arc;

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

impl<S: Taken> Reader<S> {
    /// Waits until the highest slot has reached `slot`, and returns whether it has a record. The writer may
    /// be in any process. Without a timeout, waits forever.
    ///
    /// [`Reader::view`] then shows the record.
    ///
    /// # Errors
    /// As [`Reader::refresh`] and [`Snapshot::contains`].
    pub fn wait_for(&self, slot: Slot, timeout: Option<Duration>) -> Result<Arrival> {
        if let Some(arrival) = arrived(&self.refresh()?, slot)? {
            return Ok(arrival);
        }
        // Take the watch before the first check, so that no commit is missed.
        let watch = self.shared.take_watch();
        let arrival = self.wait_on(&watch, slot, deadline(timeout));
        self.shared.return_watch(watch);
        arrival
    }

    fn wait_on(&self, watch: &Watch, slot: Slot, deadline: Option<Instant>) -> Result<Arrival> {
        loop {
            watch.take(&mut Changes::default());
            if let Some(arrival) = arrived(&self.refresh()?, slot)? {
                return Ok(arrival);
            }
            if wait(watch, deadline).is_none() {
                return Ok(Arrival::TimedOut);
            }
        }
    }

    /// Follows the column from a slot: first shows the existing slots at or above `from`, in ascending
    /// order, then each new one as soon as it is committed.
    ///
    /// Works for a writer in any process of this machine, in a container or behind a bind mount too. inotify
    /// wakes the follower; it does not see the changes of another machine, or through another layer of an
    /// overlay. There, and where inotify is unavailable, the follower polls the commit marker, at least
    /// every 100 ms. Network file systems are not supported: they may show the marker and the files late.
    ///
    /// # Errors
    /// As [`Reader::refresh`].
    pub fn follow(&self, from: Slot, options: FollowOptions) -> Result<Follower<S>> {
        Follower::new(self.clone(), from, options)
    }
}

fn arrived(view: &impl Snapshot, slot: Slot) -> Result<Option<Arrival>> {
    if view.highest_written_slot().is_none_or(|highest| highest < slot) {
        return Ok(None);
    }
    Ok(Some(if view.contains(slot)? { Arrival::Record } else { Arrival::Skipped }))
}

/// `None`: never.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// Sleeps until something may have changed. Returns whether the watch ended the sleep; `None` after the
/// deadline.
fn wait(watch: &Watch, deadline: Option<Instant>) -> Option<bool> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    (left != Some(Duration::ZERO)).then(|| watch.wait(left.unwrap_or(Duration::MAX)))
}

/// Shows every slot once, as soon as it is committed; created by [`Reader::follow`].
///
/// Slots above the highest come in ascending order. Backfilled slots, if requested, come in commit
/// order; if two files were filled since the last check, the one written first comes first. A slot that
/// is filled before the follower has reached it is shown in slot order.
#[derive(Debug)]
pub struct Follower<S = PreadView> {
    reader: Reader<S>,
    watch: Watch,
    view: S,
    /// The forward scan of the view.
    range: OwnedRange,
    /// The next slot of the forward scan; `None` past [`Slot::MAX`].
    next: Option<Slot>,
    backfill: Option<BackfillCursor>,
}

impl<S: Taken> Follower<S> {
    fn new(reader: Reader<S>, from: Slot, options: FollowOptions) -> Result<Self> {
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
        let range = view.owned_range(from..).headers_only();
        Ok(Self { reader, watch, view, range, next: Some(from), backfill })
    }

    /// Waits for the next slot; `None` if the timeout expires. Without a timeout, waits forever.
    ///
    /// # Errors
    /// As [`Reader::refresh`] and [`Snapshot::value`]. A damaged record or file is reported once; the next
    /// call resumes after it.
    pub fn next_slot(&mut self, timeout: Option<Duration>) -> Result<Option<Slot>> {
        if let Some(slot) = self.ready()? {
            return Ok(Some(slot));
        }
        let deadline = deadline(timeout);
        let mut woken = true;
        loop {
            // A commit between these two calls wakes the next wait.
            let mut changes = Changes::default();
            self.watch.take(&mut changes);
            self.advance(changes, woken)?;
            if let Some(slot) = self.ready()? {
                return Ok(Some(slot));
            }
            match wait(&self.watch, deadline) {
                Some(is_woken) => woken = is_woken,
                None => return Ok(None),
            }
        }
    }

    /// Takes the view of the last commit.
    fn advance(&mut self, mut changes: Changes, woken: bool) -> Result<()> {
        let latest = self.reader.refresh()?;
        let moved = !Arc::ptr_eq(&latest.commit().seen, &self.view.commit().seen);
        self.view = latest;
        if moved && let Some(next) = self.next {
            self.range = self.view.owned_range(next..).headers_only();
        }
        match &mut self.backfill {
            Some(cursor) => {
                // The watch missed a commit, so it may have missed changes of files too.
                changes.incomplete |= moved && !woken && !changes.any;
                cursor.look(&self.view, self.next, changes, moved)
            }
            None => Ok(()),
        }
    }

    /// The view that shows the slot just returned.
    #[must_use]
    pub fn view(&self) -> &S {
        &self.view
    }

    /// The next slot to show in this view. All its slots are shown before a newer view is taken.
    fn ready(&mut self) -> Result<Option<Slot>> {
        let Self { view, range, next, backfill, .. } = self;
        if let Some(slot) = backfill.as_mut().and_then(BackfillCursor::pop) {
            return Ok(Some(slot));
        }
        let (Some(from), Some(highest)) = (*next, view.highest_written_slot()) else {
            return Ok(None);
        };
        if from > highest {
            return Ok(None);
        }
        let found = range.next().transpose();
        *next = range.rest();
        if let Some(cursor) = backfill {
            cursor.pass(view, from, *next)?;
        }
        Ok(found?.map(|record| record.slot()))
    }
}
