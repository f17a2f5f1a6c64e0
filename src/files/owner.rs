//! Owner, group and mode of new files and directories.
//!
//! An operator may open a column as root, under any umask, while its files belong to the service that
//! normally writes it and must stay readable for the service's readers. A new file therefore gets the
//! owner, group and mode of the conf beside it. Without a conf, and for a new directory, the parent
//! directory is the model, but only if it belongs to another user: in a user's own directories the
//! umask decides.
//!
//! Changes that the system does not permit are skipped: only root may give a file away.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Uid};

use crate::format::names;

/// Permissions that a file may have: never execute.
const FILE_BITS: u32 = 0o666;
/// Permissions that a file or directory always has, so that the writer can reopen it.
const OWNER_BITS: u32 = 0o600;
/// Permission that a directory always has in addition.
const OWNER_SEARCH: u32 = 0o100;
/// Upper bound on the permissions of a new file whose model is a directory.
pub(super) const FILE_MODE: u32 = 0o644;
/// Upper bound on the permissions of a new directory whose model is a directory.
pub(super) const DIRECTORY_MODE: u32 = 0o755;
/// Mode of a new directory until it gets its final mode.
pub(super) const PRIVATE_MODE: u32 = 0o700;
/// Mode bits that a directory copies from its model.
const DIRECTORY_BITS: u32 = 0o7777;
/// Mode bits that are permissions.
const PERMISSION_BITS: u32 = 0o777;

/// Gives a new file the owner, group and mode of its column. Returns whether anything changed.
pub(super) fn adopt_file(file: impl AsFd, path: &Path) -> bool {
    let directory = parent(path);
    let (Ok(made), Ok(above)) = (rustix::fs::fstat(&file), rustix::fs::stat(directory)) else {
        return false;
    };
    match conf_of(directory) {
        Ok(conf) if FileType::from_raw_mode(conf.st_mode) == FileType::RegularFile => {
            let given = give(&file, &made, &conf);
            set_mode(file, &made, permissions(&conf) & FILE_BITS | OWNER_BITS) || given
        }
        _ if made.st_uid == above.st_uid => false,
        _ => {
            let given = give(&file, &made, &above);
            if given {
                set_mode(file, &made, permissions(&above) & FILE_MODE | OWNER_BITS);
            }
            given
        }
    }
}

/// The status of the conf in a column's directory. In a `.NAME.new` directory without a conf, that of
/// the column that it will replace.
fn conf_of(directory: &Path) -> rustix::io::Result<Stat> {
    let built_for = || {
        let name = names::column_of_new_directory(directory.file_name()?.to_str()?)?;
        rustix::fs::lstat(directory.with_file_name(name).join(names::CONF)).ok()
    };
    rustix::fs::lstat(directory.join(names::CONF)).or_else(|error| built_for().ok_or(error))
}

/// Gives a new directory the owner, group and mode of `model`.
pub(super) fn copy_directory(path: &Path, model: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    let (made, model) = (rustix::fs::fstat(&directory)?, rustix::fs::stat(model)?);
    give(&directory, &made, &model);
    let mode = Mode::from_raw_mode(model.st_mode & DIRECTORY_BITS);
    Ok(rustix::fs::fchmod(directory, mode)?)
}

/// Gives a new directory to the owner of its parent.
pub(super) fn adopt_directory(path: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::open(path, flags, Mode::empty()) else { return };
    if let (Ok(made), Ok(above)) = (rustix::fs::fstat(&directory), rustix::fs::stat(parent(path)))
        && made.st_uid != above.st_uid
        && give(&directory, &made, &above)
    {
        set_mode(
            directory,
            &made,
            permissions(&above) & DIRECTORY_MODE | OWNER_BITS | OWNER_SEARCH,
        );
    }
}

/// Gives the file to the model's owner and group, or, if that is not permitted, to the group only: a
/// user may give a file to any of his own groups. Returns whether anything changed.
fn give(file: impl AsFd, made: &Stat, model: &Stat) -> bool {
    let owner = (made.st_uid != model.st_uid).then(|| Uid::from_raw(model.st_uid));
    let group = (made.st_gid != model.st_gid).then(|| Gid::from_raw(model.st_gid));
    (owner.is_some() || group.is_some())
        && (rustix::fs::fchown(&file, owner, group).is_ok()
            || owner.is_some() && rustix::fs::fchown(&file, None, group).is_ok() && group.is_some())
}

fn set_mode(file: impl AsFd, made: &Stat, wanted: u32) -> bool {
    permissions(made) != wanted && rustix::fs::fchmod(file, Mode::from_raw_mode(wanted)).is_ok()
}

fn permissions(stat: &Stat) -> u32 {
    stat.st_mode & PERMISSION_BITS
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
