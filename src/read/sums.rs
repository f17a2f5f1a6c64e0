//! Compares records with their stored checksums.

use std::io;
use std::os::unix::fs::FileExt;

use zerocopy::{FromZeros, IntoBytes};

use crate::error::{CorruptItem, Error, Result};
use crate::files::directory::Directory;
use crate::format::names::{self, SlotFile};
use crate::format::offsets::entry_offset;
use crate::format::record::RecordHeader;
use crate::format::sums::{
    SUMS_BYTES, SUMS_HEADER_BYTES, SumEntry, SumVerdict, SumsHeader, sum_entry_offset,
};
use crate::read::fd_cache::OpenFile;
use crate::read::files::Files;
use crate::slot::Slot;

impl Files {
    /// Compares a record at `offset` with its stored checksum.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the record is damaged; [`Error::Io`].
    pub(super) fn check_sum(
        &self,
        record_type: [u8; 2],
        (slot, offset): (Slot, u64),
        payload: &[u8],
    ) -> Result<()> {
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let header = RecordHeader::new(record_type, len).to_bytes();
        let check = || {
            let entry = self.sum(record_type, slot)?;
            accept(&self.directory, entry.check(slot, offset, header, payload), slot, offset)
        };
        match check() {
            // The open file may have been replaced since: healing and operators remove checksum
            // files, and the next commit makes a new one.
            Err(Error::Corrupt(_)) if self.open.remove(SlotFile::Sums(slot.file_id())) => check(),
            outcome => outcome,
        }
    }

    /// The stored checksum of a record; the zero entry if there is none, or the file is broken.
    fn sum(&self, record_type: [u8; 2], slot: Slot) -> Result<SumEntry> {
        let name = SlotFile::Sums(slot.file_id());
        let read =
            |open: &OpenFile, buffer: &mut [u8], at: u64| match open.file.read_exact_at(buffer, at)
            {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    Err(Error::io(self.directory.file_path(&name.name()), "read", error))
                }
                read => Ok(read.is_ok()),
            };
        let entry = |open: &OpenFile| {
            let mut entry = SumEntry::new_zeroed();
            let is_read = read(open, entry.as_mut_bytes(), sum_entry_offset(slot.index_in_file()))?;
            Ok(if is_read { entry } else { SumEntry::default() })
        };
        if let Some(open) = self.open.get(name) {
            let entry = entry(&open)?;
            if entry != SumEntry::default() {
                return Ok(entry);
            }
        }
        // The file did not exist yet, or was replaced.
        let Some(open) = self.open_cached(name)? else {
            return Ok(SumEntry::default());
        };
        let mut header = [0; SUMS_HEADER_BYTES];
        let is_whole = open.status.byte_len == SUMS_BYTES as u64
            && read(&open, &mut header, 0)?
            && header == SumsHeader::new(slot.file_id(), record_type).as_bytes();
        if !is_whole {
            self.open.remove(name);
            return Ok(SumEntry::default());
        }
        entry(&open)
    }
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
