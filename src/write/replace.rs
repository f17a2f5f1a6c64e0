//! Replaces the content of a column as a whole: `FORMAT.md`, section 10.
//!
//! The new content is a column of its own, built by ordinary means in a directory beside the old one.
//! The two directories then exchange names, and the old one is removed. No file of the old column
//! changes: a file that stays has two names for a while.
//!
//! # Steps, and what a crash leaves
//! The column's lock is held throughout. `blk` stands for the column's directory.
//!
//! 1. Create `.blk.new` and give the lock file a second name in it; flush both directories. The lock is
//!    the first name in the directory and the last one removed. A directory of this name is therefore a
//!    leftover of this procedure if it is empty or its `lock` is the column's. Any other directory of
//!    this name belongs to somebody else and is left alone.
//! 2. Build the new content: second names of files that stay, new files, a conf.
//! 3. Flush the new content, and check that opening it would heal nothing.
//! 4. Check that `blk` is still the locked directory, and exchange the two names.
//! 5. Flush the parent directory: the commit point.
//! 6. Remove the conf of the old directory. From now on a reader that misses a file finds no conf
//!    either, and reports [`Error::Replaced`].
//! 7. Remove the other files of the old directory, flush it, remove its lock, remove the directory,
//!    and flush the parent directory.
//!
//! A crash before the exchange is durable leaves the old column unchanged, and a leftover with the
//! unfinished new one. A crash after it leaves the new column, which step 3 flushed, and a leftover with
//! all or part of the old one. Opening for writing removes the leftover before it heals, because a file
//! with two names is not healed. Before that it flushes the parent directory: a visible exchange may not
//! be durable yet, and a crash could undo it after the old content was removed.
//!
//! # Without an exchange
//! If the file system cannot exchange two names, step 4 is: rename `blk` to `.blk.old`, flush the parent
//! directory, rename `.blk.new` to `blk`. Between the renames there is no `blk`. Since `.blk.new` was
//! complete before `blk` was renamed, opening for writing finds both directories and makes the second
//! rename, under the lock that both contain.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::disk::{Access, Lock, LockAttempt};
use crate::format::names;
use crate::write::column_dir::{ColumnDir, parent};
use crate::write::heal;
use crate::write::options::WriterOptions;

const EXCHANGE: &str = "exchange with its new content";

/// A replacement in progress; holds the column's lock.
#[derive(Debug)]
pub(super) struct Replacement {
    column: ColumnDir,
    new: ColumnDir,
    lock: Box<dyn Lock>,
}

/// The lock for building the new content. It does nothing, because the column's own lock is held.
#[derive(Debug)]
pub(super) struct HeldForIt;

impl Lock for HeldForIt {}

impl Replacement {
    /// Step 1. The column was opened under this lock, and opening has removed leftovers.
    pub(super) fn begin(column: &ColumnDir, lock: Box<dyn Lock>) -> Result<Self> {
        let column = resolved(column)?;
        let new = beside(&column, names::new_directory).ok_or_else(|| no_name(&column))?;
        column.disk().create_dir_like(new.path(), column.path()).map_err(|error| {
            let source = match error.kind() {
                io::ErrorKind::AlreadyExists => io::Error::new(
                    error.kind(),
                    "it exists, and nothing shows that it belongs to this column; move it away",
                ),
                _ => error,
            };
            Error::io(new.path(), "create the directory", source)
        })?;
        let replacement = Self { column, new, lock };
        let begun = replacement.keep(names::LOCK).and_then(|()| {
            replacement.new.sync()?;
            replacement.new.sync_parent()
        });
        match begun {
            Ok(()) => Ok(replacement),
            Err(error) => Err(replacement.give_up(error)),
        }
    }

    /// The column with its old content.
    pub(super) fn column(&self) -> &ColumnDir {
        &self.column
    }

    /// The directory of the new content.
    pub(super) fn new_directory(&self) -> &ColumnDir {
        &self.new
    }

    /// Keeps a file of the column by giving it a second name in the new content.
    pub(super) fn keep(&self, name: &str) -> Result<()> {
        let (from, to) = (self.column.file_path(name), self.new.file_path(name));
        let linked = self.column.disk().link(&from, &to);
        linked.map_err(|error| Error::io(from, "keep (by a hard link) in the new content", error))
    }

    /// Keeps the files that are not the column's own, such as notes and files that healing put aside.
    pub(super) fn keep_others(&self) -> Result<()> {
        let names = list(&self.column)?;
        let others = names.iter().filter(|name| !names::is_of_column(name));
        others.into_iter().try_for_each(|name| self.keep(name))
    }

    /// Steps 3 to 7. An error before the exchange leaves the old content in place, an error after it the
    /// new content. The next opening removes leftovers.
    pub(super) fn finish(self) -> Result<()> {
        // 3. flush and check
        if let Err(error) = self.prove().and_then(|()| self.check_lock()) {
            return Err(self.give_up(error));
        }
        // 4. exchange. After an error it is unknown which content is where, so nothing is removed.
        let old = self.exchange()?;
        // 5. the commit point
        self.column.sync_parent()?;
        // 6. and 7.
        remove(&old)?;
        drop(self.lock);
        Ok(())
    }

    /// Removes the new content as far as possible. Returns `error`.
    pub(super) fn give_up(self, reason: Error) -> Error {
        if let Err(error) = remove(&self.new) {
            tracing::warn!(directory = %self.new.path().display(), %error, "cannot remove the unfinished new content; the next opening removes it");
        }
        reason
    }

    fn prove(&self) -> Result<()> {
        let conf = self.new.read_conf()?.ok_or_else(|| heal::no_conf(&self.new))?;
        heal::flush_trusted(&self.new, &conf)?;
        let actions = heal::examine_witnessed(
            &self.new,
            &conf,
            &self.new.read_witness()?,
            &WriterOptions::existing(),
        )?;
        match actions.first() {
            None => Ok(()),
            Some(action) => {
                let (file, wanted) = (action.file().to_owned(), "a column that needs no healing");
                Err(Error::corrupt(file, None, "new content", wanted, action.to_string()))
            }
        }
    }

    fn check_lock(&self) -> Result<()> {
        let path = self.column.file_path(names::LOCK);
        match self.lock.is_at(&path) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::io(
                path,
                "continue under the lock",
                io::Error::other("the file or its directory was removed or replaced"),
            )),
            Err(error) => Err(Error::io(path, "continue under the lock", error)),
        }
    }

    /// Step 4. Returns the directory that holds the old content afterwards.
    fn exchange(&self) -> Result<ColumnDir> {
        let (new, disk) = (self.new.path(), self.column.disk());
        let failed = |error| Error::io(self.column.path(), EXCHANGE, error);
        match disk.exchange(self.column.path(), new) {
            Ok(()) => return Ok(self.new.clone()),
            Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(failed(error)),
            Err(_) => {}
        }
        let old = beside(&self.column, names::old_directory);
        let old = old.ok_or_else(|| no_name(&self.column))?;
        disk.rename_dir(self.column.path(), old.path()).map_err(failed)?;
        self.column.sync_parent()?;
        disk.rename_dir(new, self.column.path()).map_err(failed)?;
        Ok(old)
    }
}

/// Makes the second of the two renames of a replacement that was interrupted between them.
///
/// # Errors
/// [`Error::AlreadyOpen`] while the replacement is still running; [`Error::Io`].
pub(super) fn finish_renames(column: &ColumnDir) -> Result<()> {
    let Some((old, new)) = directories(column)? else { return Ok(()) };
    let is_there = |directory: &ColumnDir| list_if_there(directory).map(|found| found.is_some());
    if !is_there(&old)? || is_there(column)? {
        return Ok(());
    }
    let path = old.file_path(names::LOCK);
    let attempt = column.disk().lock(&path);
    let lock = match attempt.map_err(|error| Error::io(&path, "lock", error))? {
        LockAttempt::Held(lock) => lock,
        LockAttempt::Busy(pid) => {
            return Err(Error::AlreadyOpen { directory: column.path().into(), pid });
        }
    };
    let failed = |error| Error::io(column.path(), EXCHANGE, error);
    if !is_same_lock(&*lock, &new)? {
        let (new, old) = (new.path().display(), old.path().display());
        let missing =
            format!("{new} is not its new content; to restore the old content, rename {old}");
        return Err(failed(io::Error::other(missing)));
    }
    column.disk().rename_dir(new.path(), column.path()).map_err(failed)?;
    column.sync_parent()
}

/// Removes the leftovers of an interrupted replacement beside the column, whose lock is held. Returns
/// the removed directories.
pub(super) fn remove_leftovers(column: &ColumnDir, lock: &dyn Lock) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for directory in leftovers(column, lock)? {
        // A visible exchange must be durable before its old content is removed.
        directory.sync_parent()?;
        remove(&directory)?;
        tracing::info!(directory = %directory.path().display(), "removed a leftover of an interrupted replacement");
        removed.push(directory.path().to_owned());
    }
    Ok(removed)
}

/// The leftovers of an interrupted replacement beside the column: directories with one of the two names
/// that are empty or contain the column's own lock file.
pub(super) fn leftovers(column: &ColumnDir, lock: &dyn Lock) -> Result<Vec<ColumnDir>> {
    let Some((old, new)) = directories(column)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for directory in [new, old] {
        let Some(names) = list_if_there(&directory)? else { continue };
        if names.is_empty() || is_same_lock(lock, &directory)? {
            found.push(directory);
        }
    }
    Ok(found)
}

/// Whether a directory's lock file is the one that is held.
fn is_same_lock(lock: &dyn Lock, directory: &ColumnDir) -> Result<bool> {
    let path = directory.file_path(names::LOCK);
    lock.is_at(&path).map_err(|error| Error::io(path, "stat", error))
}

/// Steps 6 and 7: removes a directory with the old content, or with unfinished new content.
fn remove(directory: &ColumnDir) -> Result<()> {
    let names = list(directory)?;
    let remove = |name: &String| directory.remove(&directory.file_path(name));
    let (confs, others): (Vec<_>, Vec<_>) = names.iter().partition(|name| *name == names::CONF);
    let (locks, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|name| *name == names::LOCK);
    // Foreign files that have no second name in the new content are not removed.
    let (ours, foreign): (Vec<_>, Vec<_>) = others
        .into_iter()
        .partition(|name| names::is_of_column(name) || has_another_name(directory, name));
    confs.into_iter().chain(ours).try_for_each(remove)?;
    directory.sync()?;
    if let Some(name) = foreign.first() {
        let file = directory.file_path(name);
        tracing::warn!(file = %file.display(), "a foreign file stays in the old directory of a replaced column");
        return Ok(());
    }
    locks.into_iter().try_for_each(remove)?;
    let removed = directory.disk().remove_dir(directory.path());
    removed.map_err(|error| Error::io(directory.path(), "remove the directory", error))?;
    directory.sync_parent()
}

fn has_another_name(directory: &ColumnDir, name: &str) -> bool {
    let file = directory.open(directory.file_path(name), Access::Read);
    file.is_ok_and(|file| file.is_some_and(|file| file.names().is_ok_and(|names| names > 1)))
}

/// The column by its path without symbolic links.
fn resolved(column: &ColumnDir) -> Result<ColumnDir> {
    let resolved = column.disk().resolve(column.path());
    let path = resolved.map_err(|error| Error::io(column.path(), "resolve", error))?;
    Ok(column.sibling(&path))
}

/// `.blk.old` and `.blk.new`, whether or not they exist; `None` for a directory without a name.
fn directories(column: &ColumnDir) -> Result<Option<(ColumnDir, ColumnDir)>> {
    let resolve = |path: &Path| match column.disk().resolve(path) {
        Ok(path) => Ok(Some(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, "resolve", error)),
    };
    let path = match resolve(column.path())? {
        Some(path) => Some(path),
        None => resolve(parent(column.path()))?
            .and_then(|parent| Some(parent.join(column.path().file_name()?))),
    };
    let Some(column) = path.map(|path| column.sibling(&path)) else { return Ok(None) };
    let of = |name| beside(&column, name);
    Ok(of(names::old_directory).zip(of(names::new_directory)))
}

/// The directory beside the column whose name `rename` derives from the column's.
fn beside(column: &ColumnDir, name: fn(&str) -> String) -> Option<ColumnDir> {
    let own = column.path().file_name()?.to_str()?;
    Some(column.sibling(&column.path().with_file_name(name(own))))
}

fn no_name(column: &ColumnDir) -> Error {
    let source = io::Error::other("the directory's name is not UTF-8");
    Error::io(column.path(), "replace the content of", source)
}

fn list(directory: &ColumnDir) -> Result<Vec<String>> {
    let names = directory.disk().list(directory.path());
    names.map_err(|error| Error::io(directory.path(), "list the directory", error))
}

fn list_if_there(directory: &ColumnDir) -> Result<Option<Vec<String>>> {
    match directory.disk().list(directory.path()) {
        Ok(names) => Ok(Some(names)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(directory.path(), "list the directory", error)),
    }
}
