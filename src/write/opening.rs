//! Opening columns for writing, several at once.
//!
//! 1. Take the locks of all of them, in the order of [`Column::ALL`](crate::Column::ALL): of two processes
//!    that begin at the same moment, the one that gets the first lock gets all of them.
//! 2. Heal them. Whatever contradicts the format is found here.
//! 3. Only then make the columns that are missing, again all locks first, and replace confs. What fails
//!    here takes away what it has made.
//!
//! Step 3 can be [deferred](WriterOptions::deferred) to the first write: until then nothing has changed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::column::ColumnSpec;
use crate::error::{Error, Result};
use crate::files::disk::{Access, Lock, LockAttempt, OsDisk};
use crate::format::conf::Conf;
use crate::format::names;
use crate::write::column_dir::ColumnDir;
use crate::write::heal;
use crate::write::replace;
use crate::write::writer::{self, Opened, Writer, WriterOptions};

/// How often a lock is taken anew because its file was removed meanwhile.
const LOCK_ATTEMPTS: usize = 100;

/// What [`settle`] has to do for a column.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deferred {
    /// Make it.
    Column(WriterOptions),
    /// Replace this conf, which is in force, by the one in memory.
    Conf(Conf),
}

/// A column that is locked, or is missing and made later.
#[derive(Debug)]
pub(crate) struct Locked(Opening);

#[derive(Debug)]
enum Opening {
    Column(ColumnDir, WriterOptions, Box<dyn Lock>),
    Missing(ColumnDir, WriterOptions, ColumnSpec),
}

impl Locked {
    /// [`Self::take`] on the operating system's disk.
    pub(crate) fn of(directory: &Path, options: WriterOptions) -> Result<Self> {
        Self::take(ColumnDir::new(Arc::new(OsDisk), directory), options)
    }

    /// Locks a column, and makes its directory for that unless making it is deferred.
    pub(super) fn take(directory: ColumnDir, options: WriterOptions) -> Result<Self> {
        replace::finish_renames(&directory)?;
        match options.makes() {
            Some(spec) if options.is_deferred && !is_there(&directory)? => {
                return Ok(Self(Opening::Missing(directory, options, spec)));
            }
            Some(_) => directory.create_dirs(&mut Vec::new())?,
            None if !has_conf(&directory)? => return Err(heal::no_conf(&directory)),
            None => {}
        }
        let lock = take_lock(&directory)?;
        Ok(Self(Opening::Column(directory, options, lock)))
    }

    /// Gives up the opening for the lock alone, with leftovers removed.
    pub(super) fn into_lock(self) -> Result<(ColumnDir, Box<dyn Lock>)> {
        match self.0 {
            Opening::Column(directory, _, lock) => {
                replace::remove_leftovers(&directory, &*lock)?;
                Ok((directory, lock))
            }
            Opening::Missing(directory, ..) => Err(heal::no_conf(&directory)),
        }
    }

    /// Heals the column and opens it.
    pub(crate) fn open(self) -> Result<Writer> {
        match self.0 {
            Opening::Column(directory, options, lock) => {
                // Before healing: a file with a second name is not healed.
                let leftovers = replace::remove_leftovers(&directory, &*lock)?;
                let mut writer = Writer::open_locked(directory, lock, options)?;
                writer.tell_removed(leftovers);
                Ok(writer)
            }
            Opening::Missing(directory, options, spec) => {
                Ok(Writer::of_missing(directory, options, spec))
            }
        }
    }
}

fn has_conf(directory: &ColumnDir) -> Result<bool> {
    Ok(directory.open(directory.file_path(names::CONF), Access::Read)?.is_some())
}

/// True where there is a column, or what is left of one.
fn is_there(directory: &ColumnDir) -> Result<bool> {
    Ok(has_conf(directory)? || !directory.slot_files_if_there()?.is_empty())
}

/// The lock, at the path where the next one asks for it: whoever takes away a column that it has just
/// made removes the lock's file while holding it.
fn take_lock(directory: &ColumnDir) -> Result<Box<dyn Lock>> {
    let path = directory.file_path(names::LOCK);
    let failed = |error| Error::io(&path, "lock", error);
    for _ in 0..LOCK_ATTEMPTS {
        match directory.disk().lock(&path).map_err(failed)? {
            LockAttempt::Held(lock) if lock.is_at(&path).map_err(failed)? => return Ok(lock),
            LockAttempt::Held(_) => {}
            LockAttempt::Busy(pid) => {
                return Err(Error::AlreadyOpen { directory: directory.path().into(), pid });
            }
        }
    }
    Err(failed(io::Error::other("its file is removed again and again")))
}

/// Does what was deferred for these columns, in the order of their locks:
///
/// 1. make those that are missing, all locks first,
/// 2. ask `last_check`, which sees them,
/// 3. replace the confs of the others.
///
/// After an error in 1 or 2 nothing has changed: the columns that were made are taken away.
pub(crate) fn settle<T, E: From<Error>>(
    writers: &mut [&mut Writer],
    last_check: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let mut made = Vec::new();
    for (index, writer) in writers.iter().enumerate() {
        if let Some(Deferred::Column(options)) = writer.deferred {
            made.push(Made::new(index, writer.column_dir().clone(), options));
        }
    }
    // 1. to 3.
    let settled = make_all(&mut made).map_err(E::from).and_then(|opened| {
        let checked = last_check()?;
        writers.iter_mut().try_for_each(|writer| writer.settle_conf())?;
        Ok((opened, checked))
    });
    match settled {
        Ok((opened, checked)) => {
            for (made, opened) in made.into_iter().zip(opened) {
                if let Some(lock) = made.lock {
                    writers[made.index].begin(opened, lock);
                }
            }
            Ok(checked)
        }
        Err(error) => {
            made.into_iter().rev().for_each(Made::take_away);
            Err(error)
        }
    }
}

fn make_all(columns: &mut [Made]) -> Result<Vec<Opened>> {
    columns.iter_mut().try_for_each(Made::lock)?;
    columns.iter_mut().map(Made::open).collect()
}

/// A column that is being made.
struct Made {
    /// Of its writer.
    index: usize,
    directory: ColumnDir,
    options: WriterOptions,
    lock: Option<Box<dyn Lock>>,
    /// What was made for it.
    directories: Vec<PathBuf>,
    /// The names in its directory when the lock was taken: nobody else has made any since.
    before: Vec<String>,
}

impl Made {
    fn new(index: usize, directory: ColumnDir, options: WriterOptions) -> Self {
        let (lock, directories, before) = (None, Vec::new(), Vec::new());
        Self { index, directory, options, lock, directories, before }
    }

    fn lock(&mut self) -> Result<()> {
        self.directory.create_dirs(&mut self.directories)?;
        self.lock = Some(take_lock(&self.directory)?);
        self.before = self.directory.names()?;
        Ok(())
    }

    /// Writes the conf of an empty column.
    fn open(&mut self) -> Result<Opened> {
        // Whoever asked for this column has acted on its being missing.
        if self.directory.read_conf()?.is_some_and(|conf| conf.highest.is_some()) {
            let source = io::Error::other(
                "another process has made it and written to it meanwhile; start again",
            );
            return Err(Error::io(self.directory.path(), "make the column", source));
        }
        writer::open_conf(&self.directory, self.options)
    }

    /// What cannot be removed stays: it is an empty column, or a directory.
    fn take_away(self) {
        let Self { directory, lock, directories, before, .. } = self;
        if lock.is_some() {
            let is_new = |name: &String| !before.contains(name);
            for name in directory.names().into_iter().flatten().filter(is_new) {
                let _ = directory.remove(&directory.file_path(&name));
            }
            let is_ours = directories.iter().any(|made| made == directory.path());
            if is_ours && directory.names().is_ok_and(|left| left == [names::LOCK]) {
                let _ = directory.remove(&directory.file_path(names::LOCK));
            }
        }
        for made in directories.iter().rev() {
            let _ = directory.disk().remove_dir(made);
        }
    }
}
