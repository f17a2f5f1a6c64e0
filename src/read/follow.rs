//! Waits for commits and follows a column.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::files::watch::{Changes, Watch};
use crate::read::backfill_cursor::BackfillCursor;
use crate::read::owned_range::OwnedRange;
use crate::read::pread_view::PreadView;
use crate::read::reader::Reader;
use crate::read::snapshot::Taken;
use crate::slot::Slot;
use crate::sync::Arc;

impl<S: Taken> Reader<S> {
    /// Waits until the highest slot has reached `slot`, and returns a snapshot that shows it, whether the slot
    /// has a record or was skipped; `None` if the timeout expires. Without a timeout, waits forever. The
    /// writer may be in any process.
    ///
    /// # Errors
    /// As [`Reader::refresh`].
    pub fn wait_for(&self, slot: Slot, timeout: Option<Duration>) -> Result<Option<S>> {
        let arrived = || {
            let view = self.refresh()?;
            let has_arrived = view.highest_written_slot() >= Some(slot);
            Ok(has_arrived.then_some(view))
        };
        if let Some(view) = arrived()? {
            return Ok(Some(view));
        }
        // Take the watch before the first check, so that no commit is missed.
        let watch = self.shared.take_watch();
        let found = wait_on(&watch, deadline(timeout), arrived);
        self.shared.return_watch(watch);
        found
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
    pub fn follow(&self, from: Slot) -> Result<Follower<S>> {
        Follower::new(self.clone(), from, None)
    }

    /// As [`Self::follow`], and also shows slots at or above `lowest` that are backfilled while following.
    /// `lowest` may be below `from`.
    ///
    /// # Errors
    /// As [`Reader::refresh`].
    pub fn follow_backfill(&self, from: Slot, lowest: Slot) -> Result<Follower<S>> {
        Follower::new(self.clone(), from, Some(lowest))
    }
}

/// Looks after every commit until `look` finds something; `None` after the deadline.
fn wait_on<T>(
    watch: &Watch,
    deadline: Option<Instant>,
    look: impl Fn() -> Result<Option<T>>,
) -> Result<Option<T>> {
    loop {
        watch.take(&mut Changes::default());
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if wait(watch, deadline).is_none() {
            return Ok(None);
        }
    }
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

/// Shows every slot once, as soon as it is committed; created by [`Reader::follow`] and
/// [`Reader::follow_backfill`].
///
/// Slots above the highest come in ascending order. Backfilled slots, if shown, come in commit
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
    fn new(reader: Reader<S>, from: Slot, lowest: Option<Slot>) -> Result<Self> {
        // Take the watch before the first check, so that no commit is missed.
        let directory = &reader.shared.files.directory;
        let watch = match lowest {
            Some(_) => Watch::changes(directory),
            None => Watch::commits(directory),
        };
        let view = reader.refresh()?;
        let backfill = lowest.map(|lowest| BackfillCursor::new(&view, lowest, from)).transpose()?;
        let range = view.owned_range(from..).headers_only();
        Ok(Self { reader, watch, view, range, next: Some(from), backfill })
    }

    /// Waits for the next slot; `None` if the timeout expires. Without a timeout, waits forever.
    ///
    /// # Errors
    /// As [`Reader::refresh`] and [`Snapshot::value`](crate::Snapshot::value). A damaged record or file is reported once; the next
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
