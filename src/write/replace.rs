//! Replaces the content of a column as a whole: `FORMAT.md`, section 10, step by step.
//!
//! The new content is a column of its own, built by ordinary means in a directory beside the old one
//! (`.blk.new` for `blk`). The two directories then exchange names, and the old one is removed. No file of
//! the old column changes: a file that stays has two names for a while. The column's lock is held
//! throughout.
//!
//! # What a crash leaves
//! Before the exchange is durable: the old column unchanged, and a leftover with the unfinished new one.
//! After it: the new column, which step 3 flushed, and a leftover with all or part of the old one. Opening
//! for writing removes the leftover before it heals, because a file with two names is not healed. Before
//! that it flushes the parent directory: a visible exchange may not be durable yet, and a crash could undo
//! it after the old content was removed.
//!
//! A directory named `.blk.new` is a leftover if it is empty or its `lock` is the column's: the lock is
//! the first name in the directory and the last one removed. Any other belongs to somebody else.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::disk::{Access, Lock};
use crate::format::names;
use crate::write::column_dir::{ColumnDir, if_there, parent};
use crate::write::heal;
use crate::write::heal_action::{HealAction, HealChange};
use crate::write::options::WriterOptions;

const EXCHANGE: &str = "exchange with its new content";

/// Replaces the content of a column by what `build` puts into the new directory. The column was opened
/// under this lock, and opening has removed leftovers.
///
/// An error before the exchange leaves the old content in place, an error after it the new content. The
/// next opening removes leftovers.
pub(super) fn replace<T>(
    column: &ColumnDir,
    lock: Box<dyn Lock>,
    build: impl FnOnce(&Replacement) -> Result<T>,
) -> Result<T> {
    let replacement = Replacement::of(column)?.ok_or_else(|| no_name(column))?;
    let Replacement { column, new, .. } = &replacement;
    // 1. `.blk.new`, with the lock file under a second name
    make_new(column, new)?;
    let prepare = || {
        replacement.keep(names::LOCK)?;
        new.sync()?;
        new.sync_parent()?;
        // 2. build
        let built = build(&replacement)?;
        replacement.keep_others()?;
        // 3. flush and check
        prove(new)?;
        column.check_lock(&*lock)?;
        Ok(built)
    };
    let built = prepare().inspect_err(|_| replacement.give_up())?;
    // 4. exchange. After an error it is unknown which content is where, so nothing is removed.
    let old = replacement.exchange()?;
    // 5. the commit point
    column.sync_parent()?;
    // 6. remove the old content
    remove(old)?;
    drop(lock);
    Ok(built)
}

/// Creates `.blk.new`.
fn make_new(column: &ColumnDir, new: &ColumnDir) -> Result<()> {
    column.disk().create_dir_like(new.path(), column.path()).map_err(|error| {
        let source = match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(
                error.kind(),
                "it exists, and nothing shows that it belongs to this column; move it away",
            ),
            _ => error,
        };
        Error::io(new.path(), "create the directory", source)
    })
}

/// Flushes the new content, and checks that opening it would heal nothing. Files that were put aside are
/// kept; if the new content has committed their records again, the next opening removes them.
fn prove(new: &ColumnDir) -> Result<()> {
    let (conf, actions) = heal::plan(new, &WriterOptions::default())?;
    heal::flush_trusted(new, &conf)?;
    let is_heal = |action: &&HealAction| !matches!(action.change, HealChange::RemovedAside(_));
    let Some(action) = actions.iter().find(is_heal) else { return Ok(()) };
    let (file, wanted) = (action.file.clone(), "a column that needs no healing");
    Err(Error::corrupt(file, None, "new content", wanted, action.to_string()))
}

/// The directories of a replacement, without symbolic links in their paths.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) column: ColumnDir,
    /// `.blk.new`
    pub(super) new: ColumnDir,
    /// `.blk.old`
    old: ColumnDir,
}

impl Replacement {
    /// The directories, whether or not they exist; `None` for a column's directory without a name.
    fn of(column: &ColumnDir) -> Result<Option<Self>> {
        let resolve = |path: &Path| {
            let resolved = column.disk().resolve(path);
            if_there(resolved.map_err(|error| Error::io(path, "resolve", error)))
        };
        let path = match resolve(column.path())? {
            Some(path) => Some(path),
            None => resolve(parent(column.path()))?
                .and_then(|parent| Some(parent.join(column.path().file_name()?))),
        };
        let Some(path) = path else { return Ok(None) };
        let Some(own) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
        let beside = |name: String| column.sibling(&path.with_file_name(name));
        let (new, old) = (beside(names::new_directory(own)), beside(names::old_directory(own)));
        Ok(Some(Self { column: column.sibling(&path), new, old }))
    }

    /// Keeps a file of the column by giving it a second name in the new content.
    pub(super) fn keep(&self, name: &str) -> Result<()> {
        let Self { column, new, .. } = self;
        let from = column.file_path(name);
        let linked = column.disk().link(&from, &new.file_path(name));
        linked.map_err(|error| Error::io(from, "keep (by a hard link) in the new content", error))
    }

    /// Keeps the files that are not the column's own, such as notes and files that healing put aside.
    fn keep_others(&self) -> Result<()> {
        let names = self.column.names()?;
        let mut others = names.iter().filter(|name| !names::is_of_column(name));
        others.try_for_each(|name| self.keep(name))
    }

    /// Removes the new content as far as possible.
    fn give_up(&self) {
        if let Err(error) = remove(&self.new) {
            tracing::warn!(directory = %self.new.path().display(), %error, "cannot remove the unfinished new content; the next opening removes it");
        }
    }

    /// Step 4. Returns the directory that holds the old content afterwards.
    fn exchange(&self) -> Result<&ColumnDir> {
        let Self { column, new, old } = self;
        let disk = column.disk();
        let failed = |error| Error::io(column.path(), EXCHANGE, error);
        match disk.exchange(column.path(), new.path()) {
            Ok(()) => return Ok(new),
            Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(failed(error)),
            Err(_) => {}
        }
        disk.rename_dir(column.path(), old.path()).map_err(failed)?;
        column.sync_parent()?;
        disk.rename_dir(new.path(), column.path()).map_err(failed)?;
        Ok(old)
    }
}

/// Makes the second of the two renames of a replacement that was interrupted between them.
///
/// # Errors
/// [`Error::AlreadyOpen`] while the replacement is still running; [`Error::Io`].
pub(super) fn finish_renames(column: &ColumnDir) -> Result<()> {
    let Some(Replacement { column, new, old }) = Replacement::of(column)? else { return Ok(()) };
    if old.names_if_there()?.is_none() || column.names_if_there()?.is_some() {
        return Ok(());
    }
    let lock = column.lock(&old.file_path(names::LOCK))?;
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
    let Some(Replacement { new, old, .. }) = Replacement::of(column)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for directory in [new, old] {
        let Some(names) = directory.names_if_there()? else { continue };
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

/// Step 6: removes a directory with the old content, or with unfinished new content. Its conf goes first:
/// a reader that misses a file then finds no conf either, and reports [`Error::Replaced`].
fn remove(directory: &ColumnDir) -> Result<()> {
    let names = directory.names()?;
    let remove = |name: &str| match names.iter().any(|found| found == name) {
        true => directory.remove(&directory.file_path(name)),
        false => Ok(()),
    };
    // Foreign files that have no second name in the new content are not removed.
    let (ours, foreign): (Vec<_>, Vec<_>) = names
        .iter()
        .filter(|name| ![names::CONF, names::LOCK].contains(&name.as_str()))
        .partition(|name| names::is_of_column(name) || has_another_name(directory, name));
    remove(names::CONF)?;
    ours.into_iter().try_for_each(|name| remove(name))?;
    directory.sync()?;
    if let Some(name) = foreign.first() {
        let file = directory.file_path(name);
        tracing::warn!(file = %file.display(), "a foreign file stays in the old directory of a replaced column");
        return Ok(());
    }
    remove(names::LOCK)?;
    let removed = directory.disk().remove_dir(directory.path());
    removed.map_err(|error| Error::io(directory.path(), "remove the directory", error))?;
    directory.sync_parent()
}

fn has_another_name(directory: &ColumnDir, name: &str) -> bool {
    let file = directory.open(directory.file_path(name), Access::Read);
    file.is_ok_and(|file| file.is_some_and(|file| file.names().is_ok_and(|names| names > 1)))
}

fn no_name(column: &ColumnDir) -> Error {
    let source = io::Error::other("the directory's name is not UTF-8");
    Error::io(column.path(), "replace the content of", source)
}
