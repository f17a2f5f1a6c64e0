//! The stages of a write: check → drop present records → encode → group by file → commit.
//!
//! Checking needs neither the column nor its files, so a pipeline checks and encodes on the threads of
//! its producers.

use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::column::{Column, ColumnSpec, Compression};
use crate::error::{Error, Result};
use crate::format::conf::Conf;
use crate::read::decode::{self, DecodeFault};
use crate::slot::{FileId, Slot};
use crate::write::commit::{self, FileBatch, READ_SOURCE, Record, Stream, Written};
use crate::write::conf_file::CommitError;
use crate::write::door::{self, Door};
use crate::write::encode;
use crate::write::open_column::OpenColumn;
use crate::write::opening;
use crate::write::rules::{self, Group};

/// The outcome of a put. All of it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Records written.
    pub written: u64,
    /// Records that were already present with the same value.
    pub unchanged: u64,
}

/// The form in which the values of a batch are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Decoded values.
    Values,
    /// Payloads in stored form. Each is decoded as a check.
    Stored,
    /// Payloads in stored form that the caller has checked: it has decoded each within the column's bound,
    /// and compared its slot with the slot in the value.
    Checked,
}

/// Records for one commit.
pub(super) struct Batch<'a> {
    records: Vec<Record<'a>>,
    /// One value that is read while it is written; `records` is empty then.
    stream: Option<Stream<'a>>,
    is_encoded: bool,
    /// Records that were dropped because the column holds the same value.
    unchanged: u64,
    /// The sealed file that the next commit fills, if known. The conf of this commit already names it, which
    /// saves the next one its intent: 1,000 jobs for four sealed files in turn cost 5,011 flushes if four
    /// producers wait side by side (it is known), 8,008 if one puts them alone (it never is).
    next: Option<FileId>,
}

impl<'a> Batch<'a> {
    /// Checks the records as far as possible without the column's files: rule 1, and the values against
    /// `door`.
    pub(super) fn check(
        records: Vec<Record<'a>>,
        form: Form,
        spec: ColumnSpec,
        door: Option<Door>,
    ) -> Result<Self> {
        let is_compressed = spec.compression != Compression::None;
        rules::check_slots(records.iter().map(|(slot, _)| *slot))?;
        match form {
            Form::Stored if is_compressed => {
                records
                    .iter()
                    .try_for_each(|(slot, stored)| check_stored(*slot, stored, spec, door))?;
            }
            Form::Checked if is_compressed => {}
            _ => {
                for (slot, value) in &records {
                    rules::check_value_len(spec, *slot, value.len() as u64)?;
                    if !is_compressed {
                        rules::check_stored_len(*slot, value.len() as u64)?;
                    }
                }
                if let Some(door) = door {
                    records.iter().try_for_each(|(slot, value)| {
                        door.check_value(*slot, value, value.len() as u64)
                    })?;
                }
            }
        }
        Ok(Self { is_encoded: form != Form::Values || !is_compressed, ..Self::encoded(records) })
    }

    /// A batch of records that are already checked and encoded.
    pub(super) fn encoded(records: Vec<Record<'a>>) -> Self {
        Self { records, stream: None, is_encoded: true, unchanged: 0, next: None }
    }

    /// A batch of one checked value that is read from `source`; `None` if the column already holds it. In
    /// an uncompressed column, the value is read while it is written.
    pub(super) fn of_source(
        column: &OpenColumn,
        slot: Slot,
        byte_len: u64,
        source: &'a mut dyn Read,
    ) -> Result<Option<Self>> {
        let is_new = column.entry(slot)? == 0;
        if is_new && column.conf.spec.compression == Compression::None {
            rules::check_stored_len(slot, byte_len)?;
            let stream = Some(Stream { slot, byte_len, source });
            return Ok(Some(Self { stream, ..Self::encoded(Vec::new()) }));
        }
        let failed = |error| source_failed(column, slot, error);
        let mut value = source.take(byte_len);
        let batch = if is_new {
            let stored = encode::encode_stream(&mut value).map_err(failed)?;
            Some(Self::encoded(vec![(slot, stored.into())]))
        } else {
            column.holds(slot, &mut value)?;
            None
        };
        match value.limit() {
            0 => Ok(batch),
            _ => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Sets the sealed file that the next commit fills.
    pub(super) fn followed_by(self, next: Option<FileId>) -> Self {
        Self { next, ..self }
    }

    pub(super) fn into_records(self) -> Vec<Record<'a>> {
        self.records
    }

    pub(super) fn slots(
        &self,
    ) -> impl DoubleEndedIterator<Item = Slot> + ExactSizeIterator + Clone {
        self.records.iter().map(|(slot, _)| *slot)
    }

    /// Total size of the payloads in bytes.
    pub(super) fn byte_len(&self) -> u64 {
        let records = self.records.iter().map(|(_, payload)| payload.len() as u64);
        records.sum::<u64>() + self.stream.as_ref().map_or(0, |stream| stream.byte_len)
    }

    /// Divides the batch into parts that can each be committed ([`rules::split`]).
    pub(super) fn split(mut self, highest: Option<Slot>) -> Vec<Self> {
        let (is_encoded, ranges) = (self.is_encoded, rules::split(&self.records, highest));
        let mut next = None;
        let part = |range: Range<usize>| {
            let records = self.records.split_off(range.start);
            let first = records.first().map(|(slot, _)| slot.file_id());
            let next = std::mem::replace(&mut next, first);
            Self { is_encoded, next, ..Self::encoded(records) }
        };
        let mut parts: Vec<_> = ranges.into_iter().rev().map(part).collect();
        parts.reverse();
        parts
    }

    /// Drops the records whose slot already holds the same value.
    ///
    /// # Errors
    /// [`Error::Conflict`] for a slot that holds another value.
    pub(super) fn keep_new(&mut self, column: &OpenColumn) -> Result<()> {
        if self.records.first().is_none_or(|(slot, _)| Some(*slot) > column.conf.highest) {
            return Ok(());
        }
        let form = if self.is_encoded { column.conf.spec.compression } else { Compression::None };
        let (given, mut entry, mut checked) = (self.records.len(), column.entries(), Ok(()));
        let mut is_new = |slot, bytes: &[u8]| -> Result<bool> {
            Ok(entry(slot)? == 0 || !column.holds(slot, &mut *decode::decoder(bytes, form))?)
        };
        self.records.retain(|(slot, bytes)| {
            checked.is_err()
                || is_new(*slot, bytes).unwrap_or_else(|error| {
                    checked = Err(error);
                    true
                })
        });
        self.unchanged += (given - self.records.len()) as u64;
        checked
    }

    /// Converts the values to stored form.
    pub(super) fn encode(&mut self, directory: &Path) -> Result<()> {
        if std::mem::replace(&mut self.is_encoded, true) {
            return Ok(());
        }
        encode::compress_all(&mut self.records)
            .map_err(|error| Error::io(directory, "compress a value for", error))?;
        let mut stored = self.records.iter().map(|(slot, stored)| (*slot, stored.len() as u64));
        stored.try_for_each(|(slot, byte_len)| rules::check_stored_len(slot, byte_len).map(drop))
    }

    /// Groups the records by file: rules 2, 4, 5 and 6.
    pub(super) fn group(&self, conf: &Conf) -> Result<Vec<Group>> {
        match &self.stream {
            Some(stream) => rules::group(conf, &[(stream.slot, ())]),
            None => rules::group(conf, &self.records),
        }
    }

    /// Executes the commit up to, but excluding, the flush. Nothing is visible yet.
    pub(super) fn write(mut self, column: &mut OpenColumn) -> Result<Prepared<'_>> {
        self.keep_new(column)?;
        // Before compression, so that a refused batch costs none.
        let groups = self.group(&column.conf)?;
        self.encode(column.directory.path())?;
        let done = Finished {
            committed: Committed {
                written: self.records.len() as u64 + u64::from(self.stream.is_some()),
                unchanged: self.unchanged,
            },
            bytes: self.byte_len(),
            flush: Duration::ZERO,
        };
        let mut written = None;
        if !groups.is_empty() {
            if column.deferred.is_some() {
                opening::settle([&mut *column], || Ok::<_, Error>(()))?;
            }
            written = Some(column.change(|column| self.write_groups(column, groups))?);
        }
        Ok(Prepared { column, written, done })
    }

    fn write_groups(
        self,
        column: &mut OpenColumn,
        groups: Vec<Group>,
    ) -> Result<Written, CommitError> {
        let next = self.next.filter(|file_id| Some(*file_id) < column.conf.current_file());
        let Self { records, mut stream, .. } = self;
        let of_group = |Group { file_id, items }: Group| FileBatch {
            file_id,
            records: records.get(items).unwrap_or_default(),
            stream: stream.take().map(|Stream { slot, byte_len, source }| Stream {
                slot,
                byte_len,
                source,
            }),
        };
        commit::write(column, groups.into_iter().map(of_group).collect(), next)
    }
}

/// A batch that is written but not visible yet: [`Writer::prepare_batch`](crate::Writer::prepare_batch).
/// A crash discards it.
#[derive(Debug)]
#[must_use = "it is removed again unless it is committed"]
pub struct Prepared<'w> {
    column: &'w mut OpenColumn,
    /// `None` if there is nothing to commit.
    written: Option<Written>,
    /// The outcome, once it is committed.
    done: Finished,
}

/// A commit as it is measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Finished {
    pub(super) committed: Committed,
    /// Bytes of payload written.
    pub(super) bytes: u64,
    /// Time spent waiting for flushes.
    pub(super) flush: Duration,
}

impl Prepared<'_> {
    /// Commits the batch: makes it durable and visible to readers.
    ///
    /// # Errors
    /// [`Error::Io`], and the writer is poisoned.
    pub fn commit(self) -> Result<Committed> {
        self.finish().map(|done| done.committed)
    }

    /// [`Self::commit`], measured.
    pub(super) fn finish(mut self) -> Result<Finished> {
        self.flush()?;
        if let Some(written) = self.written.take() {
            let column = &mut *self.column;
            column.change(|column| written.commit(column))?;
            tracing::debug!(column = %column.directory.path().display(), conf = ?column.conf, "committed");
            column.remove_asides();
        }
        Ok(self.done)
    }

    /// Flushes the batch ahead of [`Self::commit`].
    pub(crate) fn flush(&mut self) -> Result<()> {
        // On error nothing is removed here: the error poisons the writer.
        let Some(mut written) = self.written.take() else { return Ok(()) };
        let started = Instant::now();
        self.column.change(|column| written.flush(column))?;
        self.done.flush += started.elapsed();
        self.written = Some(written);
        Ok(())
    }
}

impl Drop for Prepared<'_> {
    /// Removes the batch if it was not committed. An error poisons the writer, which reports it on the next
    /// write; the next opening finishes the removal.
    fn drop(&mut self) {
        if self.written.take().is_some() {
            drop(self.column.take_back());
        }
    }
}

/// Reads the part of a streamed value that a [`Door`] inspects.
pub(super) fn read_head(
    column: &OpenColumn,
    slot: Slot,
    byte_len: u64,
    source: &mut dyn Read,
) -> Result<Vec<u8>> {
    let failed = |error| source_failed(column, slot, error);
    let wanted = byte_len.min(door::HEAD_BYTES as u64);
    let mut head = Vec::new();
    source.take(wanted).read_to_end(&mut head).map_err(failed)?;
    match head.len() as u64 == wanted {
        true => Ok(head),
        false => Err(failed(io::ErrorKind::UnexpectedEof.into())),
    }
}

fn source_failed(column: &OpenColumn, slot: Slot, error: io::Error) -> Error {
    Error::io(column.directory.data_path(slot.file_id()), READ_SOURCE, error)
}

/// Checks that readers accept a payload in stored form.
fn check_stored(slot: Slot, stored: &[u8], spec: ColumnSpec, door: Option<Door>) -> Result<()> {
    rules::check_stored_len(slot, stored.len() as u64)?;
    match decode::decoded_len(stored, Compression::Snappy, spec.max_value_bytes) {
        Ok(byte_len) => door.map_or(Ok(()), |door| {
            let mut head = Vec::new();
            let decoder = decode::decoder(stored, Compression::Snappy);
            let read = decoder.take(door::HEAD_BYTES as u64).read_to_end(&mut head);
            debug_assert!(read.is_ok(), "it was decoded before");
            door.check_value(slot, &head, byte_len)
        }),
        Err(DecodeFault::TooLarge) => {
            Err(rules::too_large(spec, slot, spec.max_value_bytes.saturating_add(1), true))
        }
        Err(DecodeFault::Frames(error)) => {
            Err(Error::Undecodable { slot, cause: error.to_string().into() })
        }
    }
}

/// The highest known slot of the archive: a cached lower bound.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ArchiveHighest(Option<Slot>);

impl ArchiveHighest {
    /// Checks ascending slots against `door`, for a column with this highest slot. Reads the confs of all
    /// columns again if the last slot is too far above the cached highest one.
    pub(super) fn check_slots(
        &mut self,
        column: &OpenColumn,
        highest: Option<Slot>,
        door: Option<Door>,
        slots: impl DoubleEndedIterator<Item = Slot> + Clone,
    ) -> Result<()> {
        let Some((door, last)) = door.zip(slots.clone().next_back()) else { return Ok(()) };
        let known = highest.max(self.0);
        // (The other columns may be damaged: a column that is being repaired must not depend on them.)
        if !door.allows_far() && known.is_none_or(|known| door.is_far(known, last)) {
            for other in Column::ALL {
                let conf = column.directory.beside(other).read_conf()?;
                self.0 = self.0.max(conf.and_then(|conf| conf.highest));
            }
        }
        door.check_slots(highest, self.0, slots)
    }
}
