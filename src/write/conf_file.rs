//! Replaces the conf and its witness: `FORMAT.md`, sections 5.2 and 11.

use crate::error::{Error, Result};
use crate::files::disk::Access;
use crate::format::conf::Conf;
use crate::format::names;
use crate::format::witness::Witness;
use crate::write::column_dir::ColumnDir;
use crate::write::fsync_pool::Flush;
use crate::write::named_file::NamedFile;

/// The error of a step that changes files.
#[derive(Debug)]
pub(super) struct CommitError {
    pub(super) error: Error,
    /// Files may have been changed, so the column must be opened again.
    pub(super) poisons: bool,
}

/// Errors before the first write leave the writer usable.
impl From<Error> for CommitError {
    fn from(error: Error) -> Self {
        Self { error, poisons: false }
    }
}

pub(super) fn poisoning(error: Error) -> CommitError {
    CommitError { error, poisons: true }
}

/// Writes the next conf into the witness slot that does not hold the conf in force. The caller flushes
/// the file.
pub(super) fn announce(
    directory: &ColumnDir,
    witness: &mut Witness,
    in_force: Option<&Conf>,
    next: Conf,
) -> Result<NamedFile, CommitError> {
    let path = directory.file_path(names::CHECK);
    let found = directory.open(path.clone(), Access::Write)?;
    let names = found.as_ref().map(NamedFile::names).transpose()?;
    // Other software wrote the conf in force. This writer has healed by it, so remnants of a crash are
    // its own from now on. The witness must hold that conf durably before its other slot is filled.
    let adopted =
        in_force.filter(|conf| !witness.knows(conf)).map(|conf| witness.fill(None, *conf));
    let write = || {
        let mut file = match (found, names) {
            (Some(file), Some(0 | 1)) => file,
            // Under its other hard link, the file is the witness of a copy.
            (found, _) => {
                found.map_or(Ok(()), |found| directory.remove(found.path()))?;
                let mut file = directory.create(path)?;
                file.write_at(&witness.to_bytes(), 0)?;
                file
            }
        };
        if let Some((offset, bytes)) = adopted {
            file.write_at(&bytes, offset)?;
            file.sync()?;
        }
        let (offset, bytes) = witness.fill(in_force, next);
        file.write_at(&bytes, offset)?;
        Ok(file)
    };
    write().map_err(poisoning)
}

/// Marks a commit as finished in the witness that [`announce`] opened, once its rename is durable. The
/// mark is not flushed, and a failure is harmless: without the mark, the checksums of the commit's
/// records vouch for them only after the next commit.
pub(super) fn finish(check: &mut NamedFile, witness: &mut Witness, in_force: &Conf) {
    let Some((offset, bytes)) = witness.finish(in_force) else { return };
    if let Err(error) = check.write_at(&bytes, offset) {
        tracing::warn!(file = %check.path().display(), %error, "a commit is not marked as finished");
    }
}

/// Clears the slot of an abandoned commit: no commit is in flight. The caller flushes the file if it
/// needs to.
pub(super) fn settle(
    directory: &ColumnDir,
    witness: &mut Witness,
    in_force: &Conf,
) -> Result<Option<NamedFile>> {
    let Some((offset, bytes)) = witness.clear(in_force) else { return Ok(None) };
    let Some(mut file) = directory.open(directory.file_path(names::CHECK), Access::Write)? else {
        return Ok(None);
    };
    file.write_at(&bytes, offset)?;
    Ok(Some(file))
}

/// Replaces the conf: writes witness and new conf, flushes both together, renames the new conf over the
/// old one, and flushes the rename. The rename is the commit point.
pub(super) fn replace(
    directory: &ColumnDir,
    witness: &mut Witness,
    in_force: Option<&Conf>,
    next: Conf,
    flush: impl FnOnce(Vec<Flush>) -> Result<()>,
) -> Result<(), CommitError> {
    let check = announce(directory, witness, in_force, next)?;
    let replaced = directory
        .write_tmp(&next)
        .and_then(|tmp| flush(vec![Flush::File(check), Flush::File(tmp)]))
        .and_then(|()| directory.rename_tmp());
    replaced.map_err(poisoning)
}

/// [`replace`] outside a commit: flushes its two files one after the other.
pub(super) fn replace_alone(
    directory: &ColumnDir,
    witness: &mut Witness,
    in_force: Option<&Conf>,
    next: Conf,
) -> Result<()> {
    let flush = |flushes: Vec<Flush>| flushes.into_iter().try_for_each(Flush::run);
    replace(directory, witness, in_force, next, flush).map_err(|failed| failed.error)
}
