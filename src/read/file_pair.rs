//! Data and offset file of an id, read piece by piece: what a scan and verification need.

use crate::error::{Error, Result};
use crate::files::pread::{PreadFile, Unreadable};
use crate::format::offsets::{ENTRIES, ENTRY_BYTES, OffsetTable};
use crate::format::record::HEADER_BYTES;
use crate::read::commit::Commit;
use crate::read::fd_cache::OpenFile;
use crate::read::files::{Files, Opened};
use crate::read::pread_record::to_usize;
use crate::slot::{FileId, Slot};
use crate::sync::Arc;

/// Both files of an id, with their bound. The offset table was read as a whole.
#[derive(Debug)]
pub(crate) struct FilePair {
    pub(crate) table: Box<OffsetTable>,
    /// Whether each entry could be read; unreadable entries are 0 in the table.
    pub(crate) is_known: Vec<bool>,
    /// Length of the offset file in bytes, if it exists.
    pub(crate) table_len: Option<u64>,
    /// Parts of the offset file that could not be read.
    pub(crate) unreadable: Vec<Unreadable>,
    /// The data file up to the bound.
    pub(crate) data: Option<PreadFile>,
    pub(crate) bound: u64,
}

impl FilePair {
    pub(super) fn read(files: &Files, file_id: FileId, opened: Opened) -> Result<Self> {
        let Opened { data, offsets, bound, is_named } = opened;
        let pread = |file: OpenFile, bound| {
            PreadFile::new(Arc::clone(&files.pread), file.path, file.file, bound)
        };
        let mut pair = Self {
            table: OffsetTable::zeroed(),
            is_known: vec![true; ENTRIES],
            table_len: offsets.as_ref().map(|file| file.status.byte_len),
            unreadable: Vec::new(),
            data: data.map(|file| pread(file, bound)),
            bound,
        };
        if let Some(file) = offsets {
            let byte_len = file.status.byte_len;
            pair.set_table(pread(file, byte_len).read_all()?);
        }
        if pair.data.is_none() && !is_named && pair.table.records().next().is_some() {
            return Err(files.no_data_file(file_id));
        }
        Ok(pair)
    }

    fn set_table(&mut self, (bytes, unreadable): (Vec<u8>, Vec<Unreadable>)) {
        if let Some(table) = OffsetTable::from_prefix(&bytes) {
            self.table = table;
        }
        for lost in &unreadable {
            let end = to_usize(lost.bytes.end.div_ceil(ENTRY_BYTES)).min(ENTRIES);
            for index in to_usize(lost.bytes.start / ENTRY_BYTES)..end {
                self.is_known[index] = false;
                self.table.set(index, 0);
            }
        }
        self.unreadable = unreadable;
    }

    /// Why the entry at `index` could not be read; `None` if it could.
    pub(super) fn fault_of(&self, index: usize) -> Option<Error> {
        let lost = self.unreadable.first().filter(|_| !self.is_known[index]);
        lost.map(|lost| lost.error.clone())
    }

    /// Reads the payload stored for a slot, which must not exceed `ceiling`. Without a ceiling, reads only
    /// the header, and returns an empty payload. `None` if the slot has no visible record.
    pub(super) fn stored(
        &mut self,
        commit: &Commit,
        slot: Slot,
        ceiling: Option<u64>,
    ) -> Result<Option<Vec<u8>>> {
        let index = slot.index_in_file();
        if let Some(error) = self.fault_of(index) {
            return Err(error);
        }
        let (entry, bound) = (self.table.get(index), self.bound);
        if entry == 0 {
            return Ok(None);
        }
        let mut header = [0; 8];
        let fits = entry.checked_add(HEADER_BYTES).is_some_and(|end| end <= bound);
        if let Some(data) = self.data.as_mut().filter(|_| fits) {
            header = data.array(entry)?.ok_or_else(|| data.unreadable_error(entry))?;
        }
        let span = commit.span(slot, (entry, bound), header)?;
        let (Some(span), Some(data)) = (span, self.data.as_mut()) else { return Ok(None) };
        commit.check_len(slot, entry, to_usize(span.end - span.start))?;
        let mut stored = Vec::new();
        let Some(ceiling) = ceiling else { return Ok(Some(stored)) };
        if span.end - span.start > ceiling {
            return Err(commit.over_the_ceiling(slot));
        }
        data.append_to(&mut stored, span)?;
        commit.check_payload(slot, entry, &stored)?;
        Ok(Some(stored))
    }
}
