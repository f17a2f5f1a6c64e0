//! Compares records with their stored checksums.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use zerocopy::{FromZeros, IntoBytes};

use crate::error::{CorruptItem, Error, Result};
use crate::files::directory::Directory;
use crate::format::names;
use crate::format::offsets::entry_offset;
use crate::format::record::RecordHeader;
use crate::format::sums::{
    SUMS_BYTES, SUMS_HEADER_BYTES, SumEntry, SumVerdict, SumsHeader, sum_entry_offset,
};
use crate::read::fd_cache::FdCache;
use crate::slot::{FileId, Slot};

/// The checksum files of a column.
#[derive(Debug, Default)]
pub(super) struct SumFiles(FdCache<FileId>);

impl SumFiles {
    /// Compares a record at `offset` with its stored checksum.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the record is damaged; [`Error::Io`].
    pub(super) fn check(
        &self,
        directory: &Directory,
        record_type: [u8; 2],
        (slot, offset): (Slot, u64),
        payload: &[u8],
    ) -> Result<()> {
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let header = RecordHeader::new(record_type, len).to_bytes();
        let check = || {
            let entry = self.entry(directory, record_type, slot)?;
            accept(directory, entry.check(slot, offset, header, payload), slot, offset)
        };
        match check() {
            // The open file may have been replaced since: healing and operators remove checksum
            // files, and the next commit makes a new one.
            Err(Error::Corrupt(_)) if self.0.remove(slot.file_id()) => check(),
            outcome => outcome,
        }
    }

    /// The stored checksum of a record; the zero entry if there is none.
    fn entry(&self, directory: &Directory, record_type: [u8; 2], slot: Slot) -> Result<SumEntry> {
        let read = |file: &File| {
            let mut entry = SumEntry::new_zeroed();
            let at = sum_entry_offset(slot.index_in_file());
            match file.read_exact_at(entry.as_mut_bytes(), at) {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    let path = directory.file_path(&names::sums_file(slot.file_id()));
                    Err(Error::io(path, "read", error))
                }
                _ => Ok(entry),
            }
        };
        if let Some(file) = self.0.get(slot.file_id()) {
            let entry = read(&file)?;
            if entry != SumEntry::default() {
                return Ok(entry);
            }
        }
        // The file did not exist yet, or was replaced.
        match open(directory, record_type, slot.file_id())? {
            Some(file) => read(&self.0.put(slot.file_id(), file)),
            None => Ok(SumEntry::default()),
        }
    }
}

/// Opens a checksum file; `None` if it is missing or broken.
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

/// Converts the verdict on a record at `offset` into a result.
///
/// # Errors
/// [`Error::Corrupt`] if the record is damaged.
pub(crate) fn accept(
    directory: &Directory,
    verdict: SumVerdict,
    slot: Slot,
    offset: u64,
) -> Result<()> {
    let file_id = slot.file_id();
    let sums = names::sums_file(file_id);
    match verdict {
        SumVerdict::Unknown | SumVerdict::Intact | SumVerdict::EntryDamaged => Ok(()),
        SumVerdict::Damaged { wanted, found } => {
            let wanted = format!("{wanted:08x} for slot {slot}, as {sums} has it");
            let found = format!("{found:08x}: its bytes are not those that were written");
            let path = directory.file_path(&names::data_file(file_id));
            Err(Error::corrupt(path, offset, CorruptItem::RecordChecksum, wanted, found))
        }
        SumVerdict::Misplaced => {
            let wanted = format!("the offset at which the record of slot {slot} was written");
            let found = format!("{offset}, for which {sums} has no checksum");
            let at = entry_offset(slot.index_in_file());
            let path = directory.file_path(&names::offset_file(file_id));
            Err(Error::corrupt(path, at, CorruptItem::OffsetEntry, wanted, found))
        }
    }
}
