//! Records compared with the checksums that were kept when they were written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use zerocopy::{FromZeros, IntoBytes};

use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::format::names;
use crate::format::offsets::entry_offset;
use crate::format::record::RecordHeader;
use crate::format::sums::{
    SUMS_BYTES, SUMS_HEADER_BYTES, SumEntry, SumVerdict, SumsHeader, sum_entry_offset,
};
use crate::read::files::Files;
use crate::slot::{FileId, Slot};

/// Checksum files held open at most.
const MAX_FILES: usize = 32;

/// The checksum files read last, the latest at the end.
#[derive(Debug, Default)]
pub(super) struct SumFiles(Mutex<Vec<(FileId, Arc<File>)>>);

impl SumFiles {
    /// What is kept of a record; the zero entry where nothing is.
    fn entry(&self, directory: &Directory, record_type: [u8; 2], slot: Slot) -> Result<SumEntry> {
        let held = {
            let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let find = |(id, _): &&(FileId, Arc<File>)| *id == slot.file_id();
            files.iter().find(find).map(|(_, file)| Arc::clone(file))
        };
        let read = |file: &File| {
            let mut entry = SumEntry::new_zeroed();
            match file.read_exact_at(entry.as_mut_bytes(), sum_entry_offset(slot.index_in_file())) {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
                _ => Ok(entry),
            }
        };
        let name = names::sums_file(slot.file_id());
        let failed = |error| Error::io(directory.file_path(&name), "read", error);
        if let Some(file) = held {
            let entry = read(&file).map_err(failed)?;
            if entry != SumEntry::default() {
                return Ok(entry);
            }
        }
        // There is no file yet, or another one by now.
        let Some(file) = open(directory, record_type, slot.file_id())? else {
            return Ok(SumEntry::default());
        };
        let entry = read(&file).map_err(failed)?;
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|(id, _)| *id != slot.file_id());
        if files.len() >= MAX_FILES {
            files.remove(0);
        }
        files.push((slot.file_id(), Arc::new(file)));
        Ok(entry)
    }

    /// Closes the checksum file of a data file; `false` where it was not open.
    fn forget(&self, file_id: FileId) -> bool {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = files.len();
        files.retain(|(id, _)| *id != file_id);
        files.len() < before
    }
}

/// Opens a checksum file; `None` where there is none that is whole.
fn open(directory: &Directory, record_type: [u8; 2], file_id: FileId) -> Result<Option<File>> {
    let name = names::sums_file(file_id);
    let Some(file) = directory.open_file(&name)? else {
        return Ok(None);
    };
    let mut header = [0; SUMS_HEADER_BYTES];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read.map_err(|error| Error::io(directory.file_path(&name), "read", error))?,
    }
    let is_whole = directory.open_status(&name, &file)?.byte_len == SUMS_BYTES as u64;
    let wanted = SumsHeader::new(file_id, record_type);
    Ok((is_whole && header == wanted.as_bytes()).then_some(file))
}

impl Files {
    /// Compares a record that lies at `offset` with what is kept of it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is not what was written; [`Error::Io`].
    pub(crate) fn check_sum(
        &self,
        record_type: [u8; 2],
        slot: Slot,
        offset: u64,
        payload: &[u8],
    ) -> Result<SumVerdict> {
        let judge = || {
            let entry = self.sums.entry(&self.directory, record_type, slot)?;
            self.judge(entry, record_type, slot, offset, payload)
        };
        match judge() {
            // The file that is held may have been replaced since: healing and operators remove
            // checksum files, and the next commit makes a new one.
            Err(Error::Corrupt(_)) if self.sums.forget(slot.file_id()) => judge(),
            outcome => outcome,
        }
    }

    /// [`Self::check_sum`] by an entry that was read already.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the record is not what was written.
    fn judge(
        &self,
        entry: SumEntry,
        record_type: [u8; 2],
        slot: Slot,
        offset: u64,
        payload: &[u8],
    ) -> Result<SumVerdict> {
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let header = RecordHeader::new(record_type, len).to_bytes();
        self.accept(entry.check(slot, offset, header, payload), slot, offset)
    }

    /// A verdict on the record of a slot that lies at `offset`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the record is not what was written.
    pub(crate) fn accept(
        &self,
        verdict: SumVerdict,
        slot: Slot,
        offset: u64,
    ) -> Result<SumVerdict> {
        let file_id = slot.file_id();
        let sums = names::sums_file(file_id);
        match verdict {
            SumVerdict::Unknown | SumVerdict::Intact | SumVerdict::EntryDamaged => Ok(verdict),
            SumVerdict::Damaged { wanted, found } => {
                let wanted = format!("{wanted:08x} for slot {slot}, as {sums} has it");
                let found = format!("{found:08x}: its bytes are not those that were written");
                let path = self.data_path(file_id);
                Err(Error::corrupt(path, offset, "checksum of a record", wanted, found))
            }
            SumVerdict::Misplaced => {
                let wanted = format!("the offset at which the record of slot {slot} was written");
                let found = format!("{offset}, for which {sums} has no checksum");
                let at = entry_offset(slot.index_in_file());
                Err(Error::corrupt(self.offset_path(file_id), at, "offset entry", wanted, found))
            }
        }
    }
}
