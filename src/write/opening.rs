//! Opens one or more columns for writing.
//!
//! 1. Lock all columns, in the order of [`Column::ALL`](crate::Column::ALL). Of two processes that open
//!    concurrently, the one that gets the first lock gets all of them.
//! 2. Heal them. Contradictions of the format are found here.
//! 3. Create missing columns, again all locks first, and replace confs. On error, remove the columns
//!    that were created.
//!
//! Step 3 can be [deferred](WriterOptions::deferred) to the first write; until then nothing has changed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{CorruptItem, Error, Result};
use crate::files::disk::{Lock, OsDisk};
use crate::format::conf::Conf;
use crate::format::corruption::check_spec;
use crate::format::names;
use crate::format::witness::Witness;
use crate::write::aside::Asides;
use crate::write::column_dir::ColumnDir;
use crate::write::conf_file;
use crate::write::examine::{Evidence, examine};
use crate::write::heal;
use crate::write::heal_action::{HealAction, HealChange, HealReport};
use crate::write::open_column::{Deferred, OpenColumn};
use crate::write::options::{Checksums, WriterOptions};
use crate::write::replace;

/// Maximum number of attempts to take a lock whose file is removed concurrently.
const LOCK_ATTEMPTS: usize = 100;

/// A column that is locked, or that is missing and will be created later.
#[derive(Debug)]
pub(crate) struct Locked {
    directory: ColumnDir,
    options: WriterOptions,
    /// `None` if the column is missing and its creation is deferred.
    lock: Option<Box<dyn Lock>>,
}

impl Locked {
    /// [`Self::take`] on the operating system's disk.
    pub(crate) fn of(directory: &Path, options: WriterOptions) -> Result<Self> {
        Self::take(ColumnDir::new(Arc::new(OsDisk), directory), options)
    }

    /// Locks a column. Creates a missing directory to hold the lock, unless creation is deferred.
    pub(super) fn take(directory: ColumnDir, options: WriterOptions) -> Result<Self> {
        replace::finish_renames(&directory)?;
        match options.spec {
            Some(_) if options.is_deferred && !is_there(&directory)? => {
                return Ok(Self { directory, options, lock: None });
            }
            Some(_) => directory.create_dirs(&mut Vec::new())?,
            None if !directory.has(names::CONF)? => return Err(heal::no_conf(&directory)),
            None => {}
        }
        let lock = Some(take_lock(&directory)?);
        Ok(Self { directory, options, lock })
    }

    /// Removes leftovers and returns the lock without opening the column.
    pub(super) fn into_lock(self) -> Result<(ColumnDir, Box<dyn Lock>)> {
        let Self { directory, lock, .. } = self;
        let lock = lock.ok_or_else(|| heal::no_conf(&directory))?;
        replace::remove_leftovers(&directory, &*lock)?;
        Ok((directory, lock))
    }

    /// The options that the column is opened with.
    pub(super) fn options(&self) -> &WriterOptions {
        &self.options
    }

    /// Heals the column and opens it.
    pub(super) fn open(self) -> Result<OpenColumn> {
        let Self { directory, options, lock } = self;
        match (lock, options.spec) {
            (Some(lock), _) => {
                // Before healing, which refuses files with a second hard link.
                let leftovers = replace::remove_leftovers(&directory, &*lock)?;
                let mut column = OpenColumn { lock: Some(lock), ..open(directory, options)? };
                let removed = |file| HealAction { file, change: HealChange::RemovedLeftover };
                column.healed.actions.splice(..0, leftovers.into_iter().map(removed));
                Ok(column)
            }
            (None, Some(spec)) => {
                let conf = Conf::empty(spec, options.allow_backfill);
                let keeps_sums = options.checksums == Checksums::On;
                let column = OpenColumn::new(directory, conf, Witness::default(), keeps_sums);
                let deferred = Some(Deferred::Column(options.deferred(false)));
                Ok(OpenColumn { deferred, ..column })
            }
            (None, None) => Err(heal::no_conf(&directory)),
        }
    }
}

/// Whether the directory holds a column, or the files of one that lost its conf.
fn is_there(directory: &ColumnDir) -> Result<bool> {
    Ok(directory.has(names::CONF)? || !directory.slot_files_if_there()?.is_empty())
}

/// Takes the lock and checks that its file is still at its path: a process that undoes the creation of
/// a column removes the lock's file while holding the lock.
fn take_lock(directory: &ColumnDir) -> Result<Box<dyn Lock>> {
    let path = directory.file_path(names::LOCK);
    let failed = |error| Error::io(&path, "lock", error);
    for _ in 0..LOCK_ATTEMPTS {
        let lock = directory.lock(&path)?;
        if lock.is_at(&path).map_err(failed)? {
            return Ok(lock);
        }
    }
    Err(failed(io::Error::other("the lock file is removed repeatedly")))
}

/// Executes what was deferred for these columns, in the order of their locks:
///
/// 1. create the missing columns, all locks first,
/// 2. call `last_check`, which sees them,
/// 3. replace the confs of the others.
///
/// An error in step 1 or 2 changes nothing: the created columns are removed again.
pub(super) fn settle<'a, T, E: From<Error>>(
    columns: impl IntoIterator<Item = &'a mut OpenColumn>,
    last_check: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let (mut made, mut others) = (Vec::new(), Vec::new());
    for column in columns {
        match column.deferred {
            Some(Deferred::Column(options)) => made.push(Made::new(column, options)),
            _ => others.push(column),
        }
    }
    // 1. to 3.
    let settled = make_all(&mut made).map_err(E::from).and_then(|opened| {
        let checked = last_check()?;
        others.into_iter().try_for_each(OpenColumn::settle_conf)?;
        Ok((opened, checked))
    });
    match settled {
        Ok((opened, checked)) => {
            for (Made { column, lock, .. }, opened) in made.into_iter().zip(opened) {
                *column = OpenColumn { lock, ..opened };
            }
            Ok(checked)
        }
        Err(error) => {
            made.into_iter().rev().for_each(Made::take_away);
            Err(error)
        }
    }
}

fn make_all(columns: &mut [Made<'_>]) -> Result<Vec<OpenColumn>> {
    columns.iter_mut().try_for_each(Made::lock)?;
    columns.iter_mut().map(|made| made.open()).collect()
}

/// A column that is being created.
struct Made<'a> {
    column: &'a mut OpenColumn,
    options: WriterOptions,
    lock: Option<Box<dyn Lock>>,
    /// The directories created for it.
    directories: Vec<PathBuf>,
    /// The names in its directory when the lock was taken. Any later name was created under this lock.
    before: Vec<String>,
}

impl<'a> Made<'a> {
    fn new(column: &'a mut OpenColumn, options: WriterOptions) -> Self {
        Self { column, options, lock: None, directories: Vec::new(), before: Vec::new() }
    }

    fn lock(&mut self) -> Result<()> {
        let directory = &self.column.directory;
        directory.create_dirs(&mut self.directories)?;
        self.lock = Some(take_lock(directory)?);
        self.before = directory.names()?;
        Ok(())
    }

    /// Writes the conf of an empty column.
    fn open(&self) -> Result<OpenColumn> {
        let directory = &self.column.directory;
        // The caller has acted on the column being missing.
        if directory.read_conf()?.is_some_and(|conf| conf.highest.is_some()) {
            let source = io::Error::other(
                "another process has created it and written to it in the meantime; start again",
            );
            return Err(Error::io(directory.path(), "make the column", source));
        }
        open(directory.clone(), self.options)
    }

    /// Undoes the creation. Files that cannot be removed stay; they form an empty column or directory.
    fn take_away(self) {
        let Self { column, lock, directories, before, .. } = self;
        let directory = &column.directory;
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

/// Heals and opens a column, or creates it if it is missing. The caller holds its lock.
pub(super) fn open(directory: ColumnDir, options: WriterOptions) -> Result<OpenColumn> {
    let mut witness = directory.read_witness()?;
    if options.restore_conf {
        restore_conf(&directory, &mut witness)?;
    }
    let (conf, healed, deferred) = match directory.read_conf()? {
        Some(conf) => open_existing(&directory, conf, &mut witness, &options)?,
        None => create(&directory, &mut witness, &options)?,
    };
    let keeps_sums = match options.checksums {
        Checksums::Off => false,
        Checksums::WherePresent => directory.has_sums()?,
        Checksums::On => true,
    };
    let asides = Asides::list(&directory)?;
    let column = OpenColumn::new(directory, conf, witness, keeps_sums);
    Ok(OpenColumn { asides, healed, deferred, ..column })
}

/// A conf, what was healed, and what is deferred.
type Opened = (Conf, HealReport, Option<Deferred>);

/// Creates the conf of an empty column. Fails if the directory has data files but no conf: the conf was
/// lost, and an empty conf would make healing remove the data.
fn create(directory: &ColumnDir, witness: &mut Witness, options: &WriterOptions) -> Result<Opened> {
    let spec = match options.spec {
        Some(spec) if directory.slot_files()?.is_empty() => spec,
        _ => return Err(heal::no_conf(directory)),
    };
    // The witness knows of committed records, but the data files are missing.
    if let Some(conf) = witness.confs().find(|conf| conf.highest.is_some()) {
        let wanted = format!("the conf in column.check ({conf})");
        let (path, item) = (directory.file_path(names::CONF), CorruptItem::Column);
        return Err(Error::corrupt(path, None, item, wanted, "no conf, and no data file"));
    }
    let conf = Conf::empty(spec, options.allow_backfill);
    let actions = heal::discard(directory, &conf)?;
    // Before the conf exists: a process that finds a conf relies on durable directory entries above it.
    directory.sync_parent()?;
    directory.sync_ancestors()?;
    conf_file::replace_alone(directory, witness, None, conf)?;
    Ok((conf, HealReport::new(actions, Vec::new()), None))
}

fn open_existing(
    directory: &ColumnDir,
    conf: Conf,
    witness: &mut Witness,
    options: &WriterOptions,
) -> Result<Opened> {
    if let Some(wanted) = options.spec {
        check_spec(directory.file_path(names::CONF), wanted, conf.spec)?;
    }
    heal::flush_trusted(directory, &conf)?;
    let asides = Asides::list(directory)?.paths(directory);
    let actions = heal::plan_witnessed(directory, &conf, witness, options)?;
    heal::apply(directory, &conf, &actions)?;
    if actions.iter().any(|action| action.change == HealChange::ClearedWitness)
        && let Some(mut check) = conf_file::settle(directory, witness, &conf)?
    {
        check.sync()?;
    }

    // A backfill file that healing has removed: one that is restored later must not count as a remnant.
    let mut asked = conf.without_new_target();
    asked.spec.max_value_bytes = conf.spec.max_value_bytes.max(options.max_value_bytes);
    if options.allow_backfill {
        asked = asked.allowing_backfill();
    }
    let is_as_asked = (asked.spec, asked.allows_backfill(), asked.backfill_target())
        == (conf.spec, conf.allows_backfill(), conf.backfill_target());
    let healed = HealReport::new(actions, asides);
    if is_as_asked {
        return Ok((conf, healed, None));
    }
    if options.is_deferred {
        return Ok((asked, healed, Some(Deferred::Conf(conf))));
    }
    conf_file::replace_alone(directory, witness, Some(&conf), asked)?;
    Ok((asked, healed, None))
}

/// Replaces the conf by the newest one in the witness that fits the files.
fn restore_conf(directory: &ColumnDir, witness: &mut Witness) -> Result<()> {
    let fits = |conf: &Conf| examine(directory, conf, &Evidence::Own).is_ok();
    let Some(conf) = witness.confs().find(fits) else {
        let wanted = "a conf that fits the files";
        let path = directory.file_path(names::CHECK);
        let item = CorruptItem::Conf("witness of the conf");
        return Err(Error::corrupt(path, None, item, wanted, "none"));
    };
    directory.remove_if_there(&directory.file_path(names::CONF_TMP))?;
    conf_file::replace_alone(directory, witness, Some(&conf), conf)
}
