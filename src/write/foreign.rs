//! What other software leaves: sealed data files without an offset file, and stale checksums.
//! `FORMAT.md`, section 12.

use crate::error::{CorruptItem, Error, Result};
use crate::files::disk::Access;
use crate::format::conf::Conf;
use crate::format::names::{self, AsidePart, SlotFile};
use crate::format::record::FIRST_RECORD_OFFSET;
use crate::format::sums::SumVerdict;
use crate::format::witness::Witness;
use crate::slot::FileId;
use crate::write::column_dir::{ColumnDir, Sums};
use crate::write::examine::Plan;
use crate::write::heal_action::{HealAction, HealChange};

/// Puts aside the sealed data files that block backfill and never had an offset file.
pub(super) fn put_orphans_aside(
    directory: &ColumnDir,
    conf: &Conf,
    witness: &Witness,
    plan: &mut Plan,
) -> Result<()> {
    if conf.backfill.is_none() {
        return Ok(());
    }
    for file in directory.slot_files()? {
        let SlotFile::Data(file_id) = file else { continue };
        if Some(file_id) < conf.current_file()
            && !has_evidence(directory, conf, witness, file_id)?
            && let Some(data) = directory.open(directory.data_path(file_id), Access::Read)?
        {
            let byte_len = data.byte_len()?;
            // A file with only a version record does not block backfill.
            if byte_len != FIRST_RECORD_OFFSET {
                plan.actions.push(plan.asides.move_aside(directory, file, byte_len));
            }
        }
    }
    Ok(())
}

/// Whether there is evidence that the file ever had committed records: it has an offset file or a checksum
/// file, or the conf or the witness names it.
fn has_evidence(
    directory: &ColumnDir,
    conf: &Conf,
    witness: &Witness,
    file_id: FileId,
) -> Result<bool> {
    let names_it = |conf: Conf| conf.named_len(file_id).is_some();
    let is_named = names_it(*conf) || witness.confs().any(names_it);
    Ok(is_named || directory.has(&names::offset_file(file_id))? || has_sums(directory, file_id)?)
}

/// Plans to clear stale checksums. After an unfinished commit here, software that ignores checksum files
/// may have written other records in place of the uncommitted ones, whose checksums remained. If the
/// conf may be this writer's own, such a record may just as well have rotted, so the checksums are put
/// aside first.
pub(super) fn clear_stale_sums(
    directory: &ColumnDir,
    conf: &Conf,
    witness: &Witness,
    discard: bool,
    plan: &mut Plan,
) -> Result<()> {
    for sums_file in directory.slot_files()? {
        let SlotFile::Sums(file_id) = sums_file else { continue };
        let vouched = witness.vouched_len(conf, file_id);
        if vouched == u64::MAX || Some(file_id) > conf.current_file() {
            continue;
        }
        let Sums::Whole(sums) = directory.read_sums(file_id, conf.spec.record_type)? else {
            continue;
        };
        let data = directory.open(directory.data_path(file_id), Access::Read)?;
        let (Some(data), Some((table, _))) = (data, directory.read_table(file_id)?) else {
            continue;
        };
        let byte_len = data.byte_len()?;
        let bound = conf.named_len(file_id).unwrap_or(byte_len).min(byte_len);
        let mut slots = Vec::new();
        for (index, slot) in sums.known().map(|index| (index, file_id.slot_at(index))) {
            let offset = table.get(index);
            if !(vouched.max(1)..bound).contains(&offset) {
                continue;
            }
            let end = data.record_end(conf.spec.record_type, offset, bound)?;
            let Some(end) = end.filter(|end| *end <= bound) else { continue };
            let verdict =
                sums.get(index).compare(slot, offset, data.record_sum(slot, offset, end)?);
            if matches!(verdict, SumVerdict::Damaged { .. } | SumVerdict::Misplaced) {
                slots.push(slot);
            }
        }
        if !slots.is_empty() {
            let file = directory.slot_file_path(sums_file);
            directory.check_has_one_name(file.clone())?;
            let Plan { actions, asides } = &mut *plan;
            let is_copied = actions.iter().any(|action| {
                action.file == file && matches!(action.change, HealChange::CopiedAside { .. })
            });
            if witness.knows(conf) && !discard && !is_copied {
                asides.copy_aside(directory, vec![AsidePart::Whole(sums_file)], actions)?;
            }
            actions.push(HealAction { file, change: HealChange::ClearedSums(slots) });
        }
    }
    Ok(())
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
