//! Reports what opening a column for writing would heal.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::files::disk::OsDisk;
use crate::write::aside::Asides;
use crate::write::column_dir::ColumnDir;
use crate::write::heal;
use crate::write::heal_action::{HealAction, HealChange, HealReport};
use crate::write::options::WriterOptions;
use crate::write::replace;

/// Reports what opening the column for writing would heal. Changes nothing and needs no write
/// permission. If there is a lock file, writers are locked out for the duration.
///
/// # Errors
/// [`Error::NoSuchColumn`](crate::Error::NoSuchColumn);
/// [`Error::AlreadyOpen`](crate::Error::AlreadyOpen) while a writer has the column open; and the errors of
/// [`Writer::open`](crate::Writer::open).
pub fn inspect(directory: impl AsRef<Path>) -> Result<HealReport> {
    inspect_with(directory, WriterOptions::default())
}

/// [`inspect`] for an opening with these options. Only [`WriterOptions::discard`] and
/// [`WriterOptions::orphans_aside`] have an effect.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_with(directory: impl AsRef<Path>, options: WriterOptions) -> Result<HealReport> {
    let directory = ColumnDir::new(Arc::new(OsDisk), directory.as_ref());
    let held = directory.lock_shared()?;
    let (_, healed) = heal::plan(&directory, &options)?;
    let leftovers = match &held {
        Some(lock) => replace::leftovers(&directory, &**lock)?,
        None => Vec::new(),
    };
    let removed = |leftover: ColumnDir| HealAction {
        file: leftover.path().into(),
        change: HealChange::RemovedLeftover,
    };
    let actions = leftovers.into_iter().map(removed).chain(healed).collect();
    Ok(HealReport::new(actions, Asides::list(&directory)?.paths(&directory)))
}
