//! Sealed data files without an offset file: `FORMAT.md`, section 12.

use crate::error::{CorruptItem, Error, Result};
use crate::files::disk::Access;
use crate::format::conf::Conf;
use crate::format::names::{self, SlotFile};
use crate::format::record::FIRST_RECORD_OFFSET;
use crate::format::witness::Witness;
use crate::slot::FileId;
use crate::write::aside::Asides;
use crate::write::column_dir::{ColumnDir, NamedFile};
use crate::write::heal_action::HealAction;

/// Puts aside the sealed data files that block backfill and never had an offset file.
pub(super) fn put_aside(
    directory: &ColumnDir,
    conf: &Conf,
    witness: &Witness,
) -> Result<Vec<HealAction>> {
    let mut actions = Vec::new();
    if conf.backfill.is_none() {
        return Ok(actions);
    }
    let mut asides = Asides::list(directory)?;
    for file in directory.slot_files()? {
        let SlotFile::Data(file_id) = file else { continue };
        let is_sealed = Some(file_id) < conf.current_file();
        if is_sealed && is_orphan(directory, conf, witness, file_id)? {
            actions.extend(asides.move_aside(directory, file)?);
        }
    }
    Ok(actions)
}

/// Whether there is no evidence that the file ever had committed records: it has no offset file and no
/// checksum file, and neither the conf nor the witness names it.
fn is_orphan(
    directory: &ColumnDir,
    conf: &Conf,
    witness: &Witness,
    file_id: FileId,
) -> Result<bool> {
    let names_it = |conf: Conf| conf.named_len(file_id).is_some();
    let is_named = names_it(*conf) || witness.confs().any(names_it);
    if is_named || directory.has(&names::offset_file(file_id))? || has_sums(directory, file_id)? {
        return Ok(false);
    }
    let data = directory.open(directory.data_path(file_id), Access::Read)?;
    let byte_len = data.as_ref().map(NamedFile::byte_len).transpose()?;
    // A file with only a version record does not block backfill.
    Ok(byte_len.is_some_and(|byte_len| byte_len != FIRST_RECORD_OFFSET))
}

/// Software that leaves orphans keeps no checksums, and this writer names a file in the conf before it
/// writes to it.
fn has_sums(directory: &ColumnDir, file_id: FileId) -> Result<bool> {
    directory.has(&names::sums_file(file_id))
}

/// The error for a put into a sealed file without an offset file.
pub(super) fn in_the_way(directory: &ColumnDir, file_id: FileId, data_len: u64) -> Error {
    let what_to_do = match has_sums(directory, file_id) {
        Ok(true) => {
            "Its checksum file tells that it had one: put back the offset file, or replace the column by \
             a copy (`coldstore heal ARCHIVE COLUMN --from COPY`)"
        }
        _ => {
            "If another writer was killed before it made the offset file, nothing in there is committed: \
             `coldstore heal` puts the data file aside. If the offset file was lost, put it back first"
        }
    };
    let data = names::data_file(file_id);
    let found = format!("none, although {data} has {data_len} bytes. {what_to_do}");
    Error::corrupt(directory.offset_path(file_id), None, CorruptItem::Column, "offset file", found)
}
