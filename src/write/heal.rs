//! Restores a column to its last commit: `FORMAT.md`, section 6.
//!
//! [`plan`] first inspects the whole column without changing it. It fails with [`Error::Corrupt`] if
//! the files contradict each other, and otherwise returns a list of actions, which [`apply`] executes.
//! Healing may be interrupted at any point and repeated: each action removes only bytes that the conf
//! does not name.

use std::path::Path;

use crate::error::{CorruptItem, Error, Result};
use crate::files::disk::Access;
use crate::format::conf::Conf;
use crate::format::names::{self, SlotFile};
use crate::format::sums::{SUMS_BYTES, SumEntry};
use crate::format::witness::{Standing, Witness};
use crate::slot::{FileId, Slot};
use crate::write::aside;
use crate::write::column_dir::{ColumnDir, Sums};
use crate::write::examine::{Evidence, examine};
use crate::write::foreign;
use crate::write::heal_action::{HealAction, HealChange};
use crate::write::options::WriterOptions;

/// Reads the conf, and plans what an opening with these options heals.
pub(super) fn plan(
    directory: &ColumnDir,
    options: &WriterOptions,
) -> Result<(Conf, Vec<HealAction>)> {
    let witness = directory.read_witness()?;
    let conf = directory.read_conf()?.ok_or_else(|| no_conf(directory))?;
    let actions = plan_witnessed(directory, &conf, &witness, options)?;
    Ok((conf, actions))
}

/// Plans what an opening with these options heals, given the conf and its witness.
pub(super) fn plan_witnessed(
    directory: &ColumnDir,
    conf: &Conf,
    witness: &Witness,
    options: &WriterOptions,
) -> Result<Vec<HealAction>> {
    let discard = options.discard;
    let evidence = match discard {
        true => Evidence::Own,
        false => Evidence::of(directory, conf, witness)?,
    };
    let mut plan = examine(directory, conf, &evidence)?;
    foreign::clear_stale_sums(directory, conf, witness, discard, &mut plan)?;
    if let Evidence::Doubted { contradicts: Some(newest) } = evidence {
        let is_other_kind = (newest.spec.record_type, newest.spec.compression)
            != (conf.spec.record_type, conf.spec.compression);
        if is_other_kind || !plan.actions.is_empty() {
            return Err(contradiction(directory, conf, &newest));
        }
    }
    if options.orphans_aside {
        foreign::put_orphans_aside(directory, conf, witness, &mut plan)?;
    }
    if matches!(witness.standing(conf), Standing::Before { .. }) {
        let file = directory.file_path(names::CHECK);
        plan.actions.push(HealAction { file, change: HealChange::ClearedWitness });
    }
    Ok(plan.actions)
}

/// The error for a conf that no writer produces from the newest one in the witness.
fn contradiction(directory: &ColumnDir, conf: &Conf, newest: &Conf) -> Error {
    let wanted = format!("the conf in column.check ({newest}), or one that can follow it");
    let found = format!(
        "another conf ({conf}). Nothing was changed. `coldstore heal --restore-conf` restores the one in \
         column.check. `coldstore heal --discard` keeps this one and removes data that it does not name"
    );
    let what = CorruptItem::Conf("conf, which contradicts its witness");
    Error::corrupt(directory.file_path(names::CONF), None, what, wanted, found)
}

/// The error for a directory without a conf: either no column, or a column whose conf was lost.
pub(super) fn no_conf(directory: &ColumnDir) -> Error {
    let files = match directory.slot_files_if_there() {
        Ok(files) => files,
        Err(error) => return error,
    };
    match files.first() {
        None => Error::NoSuchColumn { directory: directory.path().into() },
        Some(file) => {
            let found = format!("none, but {}", directory.slot_file_path(*file).display());
            let (conf, item) = (directory.file_path(names::CONF), CorruptItem::Column);
            Error::corrupt(conf, None, item, "a conf", found)
        }
    }
}

/// Flushes the files that opening trusts. The previous process may have died between a rename and its
/// flush, so that visible data is not durable yet.
pub(super) fn flush_trusted(directory: &ColumnDir, conf: &Conf) -> Result<()> {
    let target = conf.backfill_target().map(|target| target.file_id);
    for file_id in conf.current_file().into_iter().chain(target) {
        for file in SlotFile::all(file_id) {
            let path = directory.slot_file_path(file);
            if let Some(mut file) = directory.open(path, Access::Read)? {
                file.sync()?;
            }
        }
    }
    directory.sync()?;
    directory.sync_parent()
}

/// Removes everything that the conf does not name, and returns what that was.
pub(super) fn discard(directory: &ColumnDir, conf: &Conf) -> Result<Vec<HealAction>> {
    let actions = examine(directory, conf, &Evidence::Own)?.actions;
    apply(directory, conf, &actions)?;
    Ok(actions)
}

/// Removes the remnants of a commit that this writer abandons. The conf may still name a backfill file
/// without committed records; the next opening drops it.
pub(super) fn take_back(directory: &ColumnDir, conf: &Conf) -> Result<()> {
    let mut actions = examine(directory, conf, &Evidence::Own)?.actions;
    actions.retain(|action| !matches!(action.change, HealChange::RemovedAside(_)));
    apply(directory, conf, &actions)
}

/// Executes planned actions. Flushes every changed file, then the directory.
///
/// An offset file is rewritten as a whole, and before its data file is truncated. If an earlier attempt
/// failed to flush it, the page cache may show entries as cleared that are still on the medium. The
/// excess length of the data file is the only sign of such an attempt, so it must go last.
pub(super) fn apply(directory: &ColumnDir, conf: &Conf, actions: &[HealAction]) -> Result<()> {
    aside::copy_all(directory, actions)?;
    for action in actions {
        tracing::info!(column = %directory.path().display(), "healing: {action}");
        let HealAction { file, change } = action;
        match change {
            // Copies were made above, and opening has removed leftovers; conf and witness are the caller's
            // to write.
            HealChange::CopiedAside { .. }
            | HealChange::RemovedLeftover
            | HealChange::DroppedBackfillFile
            | HealChange::ClearedWitness => {}
            HealChange::MovedAside { aside, .. } => directory.rename(file, aside)?,
            HealChange::MendedSums => {
                if let Some(file_id) = file_id_of(file)
                    && let Sums::Broken(sums, _) =
                        directory.read_sums(file_id, conf.spec.record_type)?
                {
                    let mut file = directory.must_open(file.clone(), Access::Write)?;
                    file.set_len(SUMS_BYTES as u64)?;
                    file.write_at(sums.as_bytes(), 0)?;
                    file.sync()?;
                }
            }
            HealChange::ClearedEntries(slots) => rewrite_table(directory, file, slots)?,
            HealChange::ClearedSums(slots) => {
                if let Some(file_id) = file_id_of(file) {
                    rewrite_sums(directory, conf, file_id, slots)?;
                }
            }
            HealChange::ExtendedOffsets(_) => rewrite_table(directory, file, &[])?,
            HealChange::Truncated { to, .. } => {
                if let Some(file_id) = file_id_of(file) {
                    rewrite_table(directory, &directory.offset_path(file_id), &[])?;
                    rewrite_sums(directory, conf, file_id, &[])?;
                }
                let mut data = directory.must_open(file.clone(), Access::Write)?;
                data.set_len(*to)?;
                data.sync()?;
            }
            HealChange::RemovedFile(_) | HealChange::RemovedAside(_) | HealChange::RemovedTmp => {
                directory.remove(file)?;
            }
        }
    }
    if actions.is_empty() { Ok(()) } else { directory.sync() }
}

fn file_id_of(path: &Path) -> Option<FileId> {
    Some(SlotFile::parse(path.file_name()?.to_str()?)?.file_id())
}

/// Rewrites a whole checksum file with the entries of `cleared` set to 0. A broken file is left alone.
pub(super) fn rewrite_sums(
    directory: &ColumnDir,
    conf: &Conf,
    file_id: FileId,
    cleared: &[Slot],
) -> Result<()> {
    let Sums::Whole(mut table) = directory.read_sums(file_id, conf.spec.record_type)? else {
        return Ok(());
    };
    for slot in cleared {
        table.set(slot.index_in_file(), SumEntry::default());
    }
    let mut sums = directory.must_open(directory.sums_path(file_id), Access::Write)?;
    sums.write_at(table.as_bytes(), 0)?;
    sums.sync()
}

/// Rewrites an offset file with the entries of `cleared` set to 0. A missing file is not created, since
/// there are no records then.
fn rewrite_table(directory: &ColumnDir, path: &Path, cleared: &[Slot]) -> Result<()> {
    let Some(mut offsets) = directory.open(path.to_owned(), Access::Write)? else {
        return Ok(());
    };
    let mut table = offsets.read_table()?;
    for slot in cleared {
        table.set(slot.index_in_file(), 0);
    }
    offsets.write_at(table.as_bytes(), 0)?;
    offsets.sync()
}
