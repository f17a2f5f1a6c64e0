//! One commit of a column: what its snapshots have in common, mapped or not.

use std::io::{self, Read, Write};

use crate::column::Compression;
use crate::error::{CorruptItem, Error, Result};
use crate::files::directory::OpenConf;
use crate::files::pread::PreadFile;
use crate::format::conf::Conf;
use crate::format::frames::{FrameStream, max_encoded_len};
use crate::format::names::SlotFile;
use crate::format::record::{HEADER_BYTES, RecordFault, RecordTag};
use crate::read::decode::{self, DecodeFault};
use crate::read::fd_cache::OpenFile;
use crate::read::files::Files;
use crate::read::options::ReaderOptions;
use crate::slot::{FileId, Slot};
use crate::sync::Arc;

/// Bytes of a value that are written to a sink at a time.
const PIECE_BYTES: usize = 64 << 10;

#[derive(Clone, Debug)]
pub struct Commit {
    pub(super) files: Arc<Files>,
    pub(super) seen: Arc<OpenConf>,
    pub(super) options: ReaderOptions,
    /// One past the highest slot; 0 in an empty column.
    pub(super) end: u64,
    pub(super) tag: RecordTag,
    /// Maximum length of a payload by this conf; a later conf may allow more.
    pub(super) max_stored_len: usize,
}

impl Commit {
    pub(super) fn new(files: Arc<Files>, seen: Arc<OpenConf>, options: ReaderOptions) -> Self {
        let spec = seen.conf.spec;
        let max_stored_len = match spec.compression {
            Compression::None => usize::try_from(spec.max_value_bytes).unwrap_or(usize::MAX),
            Compression::Snappy => usize::MAX,
        };
        let end = seen.conf.highest.map_or(0, |slot| slot.0 + 1);
        let tag = RecordTag::new(spec.record_type);
        Self { files, seen, options, end, tag, max_stored_len }
    }

    pub(super) fn conf(&self) -> &Conf {
        &self.seen.conf
    }

    pub(crate) fn is_latest(&self) -> Result<bool> {
        self.files.directory.is_latest(&self.seen)
    }

    pub(super) fn compression(&self) -> Compression {
        self.conf().spec.compression
    }

    /// Ids of the files in the directory, and of those that the conf names: a missing file with committed
    /// bytes is corrupt, not skipped.
    pub(super) fn list(&self) -> Result<Vec<FileId>> {
        let mut ids = self.files.directory.file_ids()?;
        self.files.directory.check_conf()?;
        let conf = self.conf();
        let target = conf.backfill_target().filter(|target| target.data_len > 0);
        ids.extend(conf.current_file().into_iter().chain(target.map(|target| target.file_id)));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Checks the payload of the record at `entry`: its length, and its checksum if the options demand it.
    pub(super) fn check_payload(&self, slot: Slot, entry: u64, payload: &[u8]) -> Result<()> {
        self.check_len(slot, entry, payload.len())?;
        if self.options.checks_sums {
            self.files.check_sum(self.conf().spec.record_type, (slot, entry), payload)?;
        }
        Ok(())
    }

    /// Checks the length of a payload. Reads the conf only if it exceeds this commit's bound.
    pub(super) fn check_len(&self, slot: Slot, entry: u64, byte_len: usize) -> Result<()> {
        match byte_len <= self.max_stored_len {
            true => Ok(()),
            false => self.files.check_len(slot, entry, byte_len as u64),
        }
    }

    /// Handles an entry that points to no record below the file's bound: it is not committed yet, or the
    /// file is corrupt. Before it reports corruption, reads the conf, loads the entry again with `load`, and
    /// establishes the bound again.
    #[cold]
    pub(super) fn second_look<T>(
        &self,
        slot: Slot,
        (entry, bound): (u64, u64),
        load: impl FnOnce() -> Result<(u64, Result<T, RecordFault>)>,
    ) -> Result<Option<T>> {
        if entry >= bound && self.conf().allows_backfill() {
            return Ok(None);
        }
        let latest = self.files.latest_conf()?;
        let (entry, found) = load()?;
        let fault = match found {
            _ if entry == 0 => return Ok(None),
            Ok(found) => return Ok(Some(found)),
            Err(fault) => fault,
        };
        // The column was upgraded from V2 after this snapshot: the record was backfilled.
        if entry >= bound && latest.conf.allows_backfill() {
            return Ok(None);
        }
        // A writer without the intent step lets a sealed file grow unannounced. Records past the bound
        // were not committed with this snapshot.
        if matches!(fault, RecordFault::HeaderPastBound | RecordFault::PayloadPastBound(_)) {
            let grown = self.files.bound(&latest, slot.file_id())?;
            let is_record = || self.files.span_on_disk(self.tag, (slot, entry), grown);
            if grown > bound && is_record()?.is_ok() {
                return Ok(None);
            }
        }
        Err(self.files.no_record(self.tag, slot, (entry, bound), fault))
    }

    /// Replaces the content of `buffer` with the value of a slot, by a function that reads its stored
    /// payload up to a length. Returns `false` if the slot has no record.
    pub(super) fn value_by(
        &self,
        slot: Slot,
        buffer: &mut Vec<u8>,
        mut read: impl FnMut(u64, &mut Vec<u8>) -> Result<bool>,
    ) -> Result<bool> {
        if self.compression() == Compression::None {
            return read(self.options.ceiling, buffer);
        }
        let mut stored = Vec::new();
        let limit = max_encoded_len(self.conf().spec.max_value_bytes.min(self.options.ceiling));
        let is_found = match read(limit, &mut stored) {
            Err(Error::TooLarge { .. }) => {
                self.check_start(slot, limit)?;
                read(u64::MAX, &mut stored)?
            }
            read => read?,
        };
        if !is_found {
            buffer.clear();
            return Ok(false);
        }
        self.value_into(slot, &stored, buffer).map(|()| true)
    }

    /// Decodes the first `limit` bytes of a payload that is longer, without keeping them. If a damaged
    /// header has its length, this meets the bytes after the real payload, or a value that is too large.
    #[cold]
    fn check_start(&self, slot: Slot, limit: u64) -> Result<()> {
        let name = SlotFile::Data(slot.file_id());
        let Some(entry) = self.files.entry_on_disk(slot) else { return Ok(()) };
        let Some(OpenFile { path, file, .. }) = self.files.open_file(name)? else { return Ok(()) };
        let mut at = entry.saturating_add(HEADER_BYTES);
        let end = at.saturating_add(limit);
        let mut data = PreadFile::new(Arc::clone(&self.files.pread), path, file, end);
        let (mut frames, mut byte_len) = (FrameStream::default(), 0);
        let mut bound = self.conf().spec.max_value_bytes;
        while at < end {
            let Ok(piece) = data.piece(at, end)? else { return Err(data.unreadable_error(at)) };
            at = at.saturating_add(piece.len() as u64);
            let fed = frames.feed(piece, &mut |decoded| byte_len += decoded.len() as u64);
            fed.map_err(|fault| self.no_frames(slot, &fault))?;
            if byte_len > self.options.ceiling {
                return Err(self.over_the_ceiling(slot));
            }
            if byte_len > bound {
                bound = self.raised_bound(slot, byte_len - 1)?;
            }
        }
        Ok(())
    }

    /// Replaces the content of `buffer` with the value of a stored payload.
    pub(super) fn value_into(&self, slot: Slot, stored: &[u8], buffer: &mut Vec<u8>) -> Result<()> {
        let (mut bound, ceiling) = (self.conf().spec.max_value_bytes, self.options.ceiling);
        loop {
            let limit = bound.min(ceiling);
            bound = match decode::decode_into(stored, self.compression(), limit, buffer) {
                Ok(()) => return Ok(()),
                Err(DecodeFault::Frames(fault)) => return Err(self.no_frames(slot, &fault)),
                Err(DecodeFault::TooLarge) if ceiling < bound => {
                    return Err(self.over_the_ceiling(slot));
                }
                Err(DecodeFault::TooLarge) => self.raised_bound(slot, bound)?,
            }
        }
    }

    /// Writes the value of a stored payload to `sink` piece by piece. Returns its length in bytes.
    pub(super) fn copy_value(
        &self,
        slot: Slot,
        stored: &[u8],
        sink: &mut dyn Write,
    ) -> Result<u64> {
        let mut bound = self.conf().spec.max_value_bytes;
        let mut value = decode::decoder(stored, self.compression());
        let mut piece = vec![0; PIECE_BYTES];
        let mut byte_len = 0;
        loop {
            let count = match value.read(&mut piece) {
                Ok(0) => return Ok(byte_len),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.no_frames(slot, &error)),
            };
            byte_len += count as u64;
            if byte_len > bound {
                bound = self.raised_bound(slot, byte_len - 1)?;
            }
            sink.write_all(&piece[..count]).map_err(|error| {
                Error::io(self.files.data_path(slot.file_id()), "write out a value of", error)
            })?;
        }
    }

    /// The column's latest bound on values; an error unless it is above `bound`. It may have been raised
    /// after this commit, and a sealed file filled with longer values since.
    fn raised_bound(&self, slot: Slot, bound: u64) -> Result<u64> {
        let raised = self.files.latest_conf()?.conf.spec.max_value_bytes;
        if raised > bound {
            return Ok(raised);
        }
        let wanted = format!("at most the column's {raised} bytes for slot {slot}");
        Err(self.bad_payload(slot, CorruptItem::ValueLength, wanted, "more".to_owned()))
    }

    fn no_frames(&self, slot: Slot, error: &dyn std::fmt::Display) -> Error {
        let wanted = format!("snappy frames of the value of slot {slot}");
        self.bad_payload(slot, CorruptItem::Payload, wanted, error.to_string())
    }

    fn bad_payload(&self, slot: Slot, what: CorruptItem, wanted: String, found: String) -> Error {
        let place = self.files.entry_on_disk(slot).map(|entry| entry.saturating_add(HEADER_BYTES));
        Error::corrupt(self.files.data_path(slot.file_id()), place, what, wanted, found)
    }

    /// The error for a value that exceeds the reader's ceiling.
    pub(super) fn over_the_ceiling(&self, slot: Slot) -> Error {
        let limit = self.options.ceiling;
        let byte_len = limit.saturating_add(1);
        Error::TooLarge { slot, byte_len, at_least: true, limit, bound: "the reader's ceiling" }
    }
}
