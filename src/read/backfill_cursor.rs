//! Tracks which backfilled slots a follower has yet to show.
//!
//! A follower scans forward through the slots of a view. Records that are later filled in behind the
//! scan are found by file length: a file's records lie in commit order, so new ones lie between the
//! file's old bound and its new one. For every file that the follower has reached, `shown` holds the
//! bound of the map with which its slots were shown. The forward scan and this cursor use the same map
//! of the same view, so no record is missed or shown twice.

use std::collections::{HashMap, VecDeque};

use crate::error::{Error, Result};
use crate::files::watch::Changes;
use crate::format::names;
use crate::read::snapshot::Taken;
use crate::slot::{FileId, Slot};

#[derive(Debug)]
pub(super) struct BackfillCursor {
    /// The lowest slot to show.
    lowest: Slot,
    /// By file: all records below this offset, in slots behind the forward scan, were shown or existed
    /// before.
    shown: HashMap<FileId, u64>,
    /// Files to check, in the order in which they changed.
    changed: VecDeque<FileId>,
    /// Changes were missed, so the next commit checks every file.
    incomplete: bool,
    pending: VecDeque<Slot>,
}

impl BackfillCursor {
    /// A cursor for a forward scan that begins at `from` in this view.
    pub(super) fn new(view: &impl Taken, lowest: Slot, from: Slot) -> Result<Self> {
        let mut shown = HashMap::new();
        for file_id in files_up_to(view, Some(from))? {
            if file_id == from.file_id() {
                shown.insert(file_id, view.bound(file_id)?);
            } else if file_id >= lowest.file_id() {
                shown.insert(file_id, view.committed_len(file_id)?);
            }
        }
        let (changed, pending) = (VecDeque::new(), VecDeque::new());
        Ok(Self { lowest, shown, changed, incomplete: false, pending })
    }

    /// Removes and returns the next backfilled slot.
    pub(super) fn pop(&mut self) -> Option<Slot> {
        self.pending.pop_front()
    }

    /// Records that the forward scan has advanced from `from` to `next` in this view.
    pub(super) fn pass(&mut self, view: &impl Taken, from: Slot, next: Option<Slot>) -> Result<()> {
        if next.map(Slot::file_id) == Some(from.file_id()) {
            return Ok(());
        }
        for file_id in files_up_to(view, next)?.filter(|file_id| *file_id > from.file_id()) {
            // An unreadable file was reported by the scan; nothing of it was shown.
            if let Ok(bound) = view.bound(file_id) {
                self.shown.insert(file_id, bound);
            }
        }
        Ok(())
    }

    /// Queues slots that were filled behind `next`; the forward scan finds those ahead. `moved`: the view
    /// has changed since the last call.
    pub(super) fn look(
        &mut self,
        view: &impl Taken,
        next: Option<Slot>,
        changes: Changes,
        moved: bool,
    ) -> Result<()> {
        self.add(changes.files);
        self.incomplete |= changes.incomplete;
        if moved {
            let conf = view.conf();
            let target = conf.backfill_target().map(|target| target.file_id);
            self.add(target.into_iter().chain(conf.current_file()).chain(next.map(Slot::file_id)));
        }
        if moved && std::mem::take(&mut self.incomplete) {
            for file_id in files_up_to(view, next)? {
                if view.committed_len(file_id)? != self.shown.get(&file_id).copied().unwrap_or(0) {
                    self.add([file_id]);
                }
            }
        }
        let mut growing = Vec::new();
        while let Some(file_id) = self.changed.pop_front() {
            let behind = next.is_none_or(|next| file_id <= next.file_id());
            if !behind || Some(file_id) > view.conf().current_file() {
                continue;
            }
            match self.queue(view, file_id, next) {
                Ok(true) => growing.push(file_id),
                Ok(false) => {}
                Err(error) => {
                    if !matches!(error, Error::Corrupt(_)) {
                        self.changed.push_back(file_id);
                    }
                    self.add(growing);
                    return Err(error);
                }
            }
        }
        self.add(growing);
        Ok(())
    }

    fn add(&mut self, files: impl IntoIterator<Item = FileId>) {
        for file_id in files {
            if !self.changed.contains(&file_id) {
                self.changed.push_back(file_id);
            }
        }
    }

    /// Queues the new slots of one file. Returns true if the file is longer than its bound, because a
    /// commit is in flight.
    fn queue(&mut self, view: &impl Taken, file_id: FileId, next: Option<Slot>) -> Result<bool> {
        let bound = view.bound(file_id)?;
        let old = self.shown.insert(file_id, bound).unwrap_or(0).max(1);
        if let Some(highest) = view.conf().highest.filter(|_| old < bound) {
            let table = view.table(file_id)?;
            let mut filled: Vec<(u64, Slot)> = table
                .records(file_id, highest)
                .filter(|(_, entry)| *entry >= old)
                .filter(|(slot, _)| *slot >= self.lowest && next.is_none_or(|next| *slot < next))
                .map(|(slot, entry)| (entry, slot))
                .collect();
            filled.sort_unstable();
            self.pending.extend(filled.into_iter().map(|(_, slot)| slot));
        }
        let status = view.commit().files.directory.status(&names::data_file(file_id))?;
        Ok(status.is_some_and(|status| status.byte_len > bound))
    }
}

/// The committed files with slots up to `slot`; all committed files if it is `None`.
fn files_up_to(view: &impl Taken, slot: Option<Slot>) -> Result<impl Iterator<Item = FileId>> {
    let current = view.conf().current_file();
    let last = current.map(|current| slot.map_or(current, |slot| current.min(slot.file_id())));
    Ok(view.file_ids()?.into_iter().filter(move |file_id| Some(*file_id) <= last))
}
