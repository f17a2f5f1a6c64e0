//! A scan that owns what it reads from.

use std::iter::FusedIterator;
use std::ops::RangeBounds;

use crate::error::Result;
use crate::files::map::SlotMap;
use crate::read::commit::Commit;
use crate::read::file_pair::FilePair;
use crate::read::mapped::Way;
use crate::read::pread_view::PreadView;
use crate::read::range::{Ahead, Source, Steps};
use crate::read::record::OwnedRecord;
use crate::read::snapshot::Snapshot as _;
use crate::read::view::View;
use crate::slot::{FileId, Slot};

/// An iterator over the records of a range of slots, in either direction, as owned values. It holds its
/// snapshot, borrows nothing, and may be stored, sent to another thread or returned from a trait method.
///
/// Yields an error for a damaged record and resumes with the next record. An unreadable file is one error,
/// and the iterator resumes with the next file.
#[derive(Debug)]
pub struct OwnedRange {
    from: From,
    steps: Steps<File>,
}

#[derive(Debug)]
struct From {
    snapshot: Held,
    /// Values are left empty.
    headers_only: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Held {
    Mapped(View),
    Pread(PreadView),
}

enum File {
    Mapped(SlotMap, Ahead),
    Pread(Box<FilePair>),
}

impl OwnedRange {
    pub(super) fn new(snapshot: Held, slots: impl RangeBounds<Slot>) -> Self {
        let end = snapshot.commit().end;
        let from = From { snapshot, headers_only: false };
        Self { from, steps: Steps::new(slots, end) }
    }

    /// Reads only the headers of records, and leaves the values empty.
    pub(super) fn headers_only(mut self) -> Self {
        self.from.headers_only = true;
        self
    }

    /// The first slot that the forward scan has not passed; `None` past [`Slot::MAX`].
    pub(super) fn rest(&self) -> Option<Slot> {
        self.steps.rest()
    }
}

impl Held {
    fn commit(&self) -> &Commit {
        match self {
            Held::Mapped(view) => view.commit(),
            Held::Pread(view) => view.commit(),
        }
    }
}

impl Source for From {
    type File = File;
    type Item = OwnedRecord;

    fn open(&mut self, file_id: FileId) -> Result<Option<File>> {
        Ok(match &self.snapshot {
            Held::Mapped(view) => {
                let map = view.file(file_id)?;
                map.has_files().then(|| File::Mapped(map.clone(), Ahead::default()))
            }
            Held::Pread(view) => {
                let pair = view.pair(file_id)?;
                pair.table_len.is_some().then(|| File::Pread(Box::new(pair)))
            }
        })
    }

    fn next_file(&mut self, file_id: FileId, way: Way) -> Result<Option<FileId>> {
        match &self.snapshot {
            Held::Mapped(view) => view.snapshot().next_file(file_id, way),
            Held::Pread(view) => {
                let mut ids = view.file_ids()?.into_iter();
                Ok(match way {
                    Way::Forward => ids.find(|other| *other > file_id),
                    Way::Backward => ids.rfind(|other| *other < file_id),
                })
            }
        }
    }

    fn look(&mut self, file: &mut File, slot: Slot, way: Way) -> Result<Option<OwnedRecord>> {
        let commit = self.snapshot.commit();
        match (&self.snapshot, file) {
            (Held::Mapped(view), File::Mapped(map, ahead)) => {
                let Some((stored, _)) = ahead.look(view.snapshot(), map, slot, way)? else {
                    return Ok(None);
                };
                match self.headers_only {
                    true => Ok(Some(OwnedRecord::copied(slot, Vec::new()))),
                    false => view.snapshot().own(map, slot, stored).map(Some),
                }
            }
            (_, File::Pread(pair)) if self.headers_only => {
                let found = pair.stored(commit, slot, None)?;
                Ok(found.map(|none| OwnedRecord::copied(slot, none)))
            }
            (_, File::Pread(pair)) => {
                let mut value = Vec::new();
                let is_found = commit.value_by(slot, &mut value, |ceiling, buffer| {
                    let stored = pair.stored(commit, slot, Some(ceiling))?;
                    Ok(stored.map(|stored| *buffer = stored).is_some())
                })?;
                Ok(is_found.then(|| OwnedRecord::copied(slot, value)))
            }
            (Held::Pread(_), File::Mapped(..)) => {
                unreachable!("a snapshot that reads with pread opens no map")
            }
        }
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").finish_non_exhaustive()
    }
}

impl Iterator for OwnedRange {
    type Item = Result<OwnedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        self.steps.step(&mut self.from, Way::Forward).transpose()
    }
}

impl DoubleEndedIterator for OwnedRange {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.steps.step(&mut self.from, Way::Backward).transpose()
    }
}

impl FusedIterator for OwnedRange {}
