//! Waiting for commits.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::files::watch::{Changes, Watch};
use crate::format::names;
use crate::read::reader::Reader;
use crate::read::view::View;
use crate::slot::{FileId, Slot};

/// What [`Reader::wait_for`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The highest slot has reached the slot, and a record is there.
    Record,
    /// The highest slot has reached the slot, which was skipped.
    Skipped,
    /// The time is over and the highest slot is still below.
    TimedOut,
}

/// What a follower shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct FollowOptions {
    backfilled: bool,
    backfilled_from: Option<Slot>,
}

impl FollowOptions {
    /// Whether slots are shown too that are filled behind the highest slot while following, those
    /// at or above the slot from which the column is followed.
    #[must_use]
    pub fn backfilled(self, backfilled: bool) -> Self {
        Self { backfilled, ..self }
    }

    /// Shows slots that are filled behind the highest slot while following, those at or above
    /// `slot`, which may lie below the slot from which the column is followed.
    #[must_use]
    pub fn backfilled_from(self, slot: Slot) -> Self {
        Self { backfilled: true, backfilled_from: Some(slot) }
    }
}

impl Reader {
    /// Waits until the highest slot has reached `slot`, and says whether a record is there. The
    /// writer may be in any process. Without a timeout it waits for ever.
    ///
    /// [`Reader::view`] shows what was found.
    ///
    /// # Errors
    /// As [`Reader::refresh`] and [`View::contains`].
    pub fn wait_for(&self, slot: Slot, timeout: Option<Duration>) -> Result<Arrival> {
        if let Some(arrival) = arrived(&self.refresh()?, slot)? {
            return Ok(arrival);
        }
        // From here on no commit goes unseen: the watch comes before the look.
        let watch = self.shared.take_watch();
        let arrival = wait_on(&watch, timeout, || {
            watch.take(&mut Changes::default());
            arrived(&self.refresh()?, slot)
        });
        self.shared.return_watch(watch);
        Ok(arrival?.unwrap_or(Arrival::TimedOut))
    }

    /// Follows the column from a slot on: the slots at or above `from` that are there, in
    /// ascending order, then each new one as soon as it is committed.
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

/// Looks, and sleeps until something may have changed, until there is an answer or the time is
/// over.
fn wait_on<T>(
    watch: &Watch,
    timeout: Option<Duration>,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        if let Some(answer) = look()? {
            return Ok(Some(answer));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(None);
        }
        watch.wait(left.unwrap_or(Duration::MAX));
    }
}

/// Shows every slot once, as soon as it is committed; made by [`Reader::follow`].
///
/// Slots above the highest come in ascending order. Backfilled slots, where they were asked for,
/// come in the order of their commits; of two files that were both filled since the last look,
/// the one that was written first comes first. A slot that is filled before the follower has come
/// to it is shown in its place among the others.
#[derive(Debug)]
pub struct Follower {
    reader: Reader,
    watch: Watch,
    view: View,
    /// The lowest backfilled slot to show.
    backfilled_from: Slot,
    /// The next slot to look at on the way up, `None` behind the last possible one.
    next: Option<Slot>,
    backfill: Option<BackfillTracker>,
}

impl Follower {
    fn new(reader: Reader, from: Slot, options: FollowOptions) -> Result<Self> {
        let path = reader.directory();
        // From here on no commit goes unseen: the watch comes before the look.
        let watch = if options.backfilled { Watch::changes(path) } else { Watch::commits(path) };
        let view = reader.refresh()?;
        let backfill = options.backfilled.then(|| BackfillTracker::new(&view)).transpose()?;
        let backfilled_from = options.backfilled_from.unwrap_or(from);
        Ok(Self { reader, watch, view, backfilled_from, next: Some(from), backfill })
    }

    /// The next slot. `None` when none came within the timeout; without a timeout it waits for
    /// ever.
    ///
    /// # Errors
    /// As [`Reader::refresh`] and [`View::get`]. A damaged record is an error once; the next call
    /// goes on behind it.
    pub fn next_slot(&mut self, timeout: Option<Duration>) -> Result<Option<Slot>> {
        if let Some(slot) = self.ready()? {
            return Ok(Some(slot));
        }
        let Self { reader, watch, view, backfilled_from, next, backfill } = self;
        wait_on(watch, timeout, || {
            if let Some(tracker) = backfill {
                watch.take(&mut tracker.changes);
            } else {
                watch.take(&mut Changes::default());
            }
            let latest = reader.refresh()?;
            if latest.is_same_moment(view) {
                return Ok(None);
            }
            *view = latest;
            if let Some(tracker) = backfill {
                tracker.look(view, *backfilled_from, *next)?;
            }
            ready(view, next, backfill.as_mut())
        })
    }

    /// The view that shows the slot just returned.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    fn ready(&mut self) -> Result<Option<Slot>> {
        ready(&self.view, &mut self.next, self.backfill.as_mut())
    }
}

fn ready(
    view: &View,
    next: &mut Option<Slot>,
    backfill: Option<&mut BackfillTracker>,
) -> Result<Option<Slot>> {
    if let Some(slot) = backfill.and_then(|tracker| tracker.pending.pop_front()) {
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
    Ok(found?.map(|record| record.slot()))
}

/// Finds the records that were appended to a file since the last look.
#[derive(Debug)]
struct BackfillTracker {
    changes: Changes,
    /// The bound of each file at the last look.
    bounds: HashMap<FileId, u64>,
    pending: VecDeque<Slot>,
}

impl BackfillTracker {
    fn new(view: &View) -> Result<Self> {
        let mut bounds = HashMap::new();
        for file_id in files_of(view)? {
            bounds.insert(file_id, view.bound(file_id)?);
        }
        Ok(Self { changes: Changes::default(), bounds, pending: VecDeque::new() })
    }

    /// Queues what was filled behind `next`: what lies ahead is met on the way up.
    fn look(&mut self, view: &View, from: Slot, next: Option<Slot>) -> Result<()> {
        let Some(current) = view.conf().current_file() else {
            return Ok(());
        };
        let mut files = std::mem::take(&mut self.changes.files);
        if std::mem::take(&mut self.changes.incomplete) {
            for file_id in files_of(view)? {
                if !files.contains(&file_id) {
                    files.push(file_id);
                }
            }
        }
        for file_id in files {
            if file_id > current {
                self.changes.files.push(file_id);
                continue;
            }
            let old = self.bounds.get(&file_id).copied().unwrap_or(0);
            let map = view.file(file_id)?;
            let new = map.bound();
            let mut filled: Vec<(u64, Slot)> = map
                .entries()
                .enumerate()
                .filter(|(_, entry)| *entry >= old.max(1) && *entry < new)
                .map(|(index, entry)| (entry, file_id.slot_at(index)))
                .filter(|(_, slot)| *slot >= from && next.is_none_or(|next| *slot < next))
                .collect();
            filled.sort_unstable();
            self.pending.extend(filled.into_iter().map(|(_, slot)| slot));
            self.bounds.insert(file_id, new);
            self.keep_if_ahead(view, file_id, new)?;
        }
        Ok(())
    }

    /// A file that is longer than its bound is being written: the commit is still to come.
    fn keep_if_ahead(&mut self, view: &View, file_id: FileId, bound: u64) -> Result<()> {
        let status = view.files().directory.status(&names::data_file(file_id))?;
        if status.is_some_and(|status| status.byte_len > bound) {
            self.changes.files.push(file_id);
        }
        Ok(())
    }
}

/// The files at or below the current one.
fn files_of(view: &View) -> Result<impl Iterator<Item = FileId> + '_> {
    let current = view.conf().current_file();
    let ids = view.file_ids()?.iter().copied();
    Ok(ids.filter(move |file_id| current.is_some_and(|current| *file_id <= current)))
}
