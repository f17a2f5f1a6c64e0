//! To whom new files and directories belong.
//!
//! Whoever opens a column for writing makes files in it: an operator as root, under whatever umask.
//! Those that are there belong to the service that writes the column, and its readers may read them.
//! A new file therefore gets the owner, the group and the mode of the conf beside it. Where there is
//! no conf yet, and for a directory, the directory that it lies in is the model, but only where that
//! belongs to another user: in his own directories a user's umask counts.
//!
//! What the system does not permit stays as it is: only root may give a file away.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Uid};

use crate::format::names;

/// What the permissions of a file may have: no program lies in a column.
const FILE_BITS: u32 = 0o666;
/// What the permissions of a file always have: a writer opens again what it made.
const OWNER_BITS: u32 = 0o600;
/// What the permissions of a directory always have, too.
const OWNER_SEARCH: u32 = 0o100;
/// What a new file and a new directory have at most where a directory is the model.
pub(super) const FILE_MODE: u32 = 0o644;
pub(super) const DIRECTORY_MODE: u32 = 0o755;
/// A directory that is being made: nobody looks into it before it has its mode.
pub(super) const PRIVATE_MODE: u32 = 0o700;
/// The bits of a mode that a directory hands on.
const DIRECTORY_BITS: u32 = 0o7777;
/// The bits of a mode that are permissions.
const PERMISSION_BITS: u32 = 0o777;

/// Gives a file that was just made to whom its column belongs. True when that changed anything.
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

/// The conf of a column, or of the one whose new content is being built there.
fn conf_of(directory: &Path) -> rustix::io::Result<Stat> {
    let built_for = || {
        let name = names::column_of_new_directory(directory.file_name()?.to_str()?)?;
        rustix::fs::lstat(directory.with_file_name(name).join(names::CONF)).ok()
    };
    rustix::fs::lstat(directory.join(names::CONF)).or_else(|error| built_for().ok_or(error))
}

/// Gives a directory that was just made the owner, the group and the mode of another one.
pub(super) fn copy_directory(path: &Path, model: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    let (made, model) = (rustix::fs::fstat(&directory)?, rustix::fs::stat(model)?);
    give(&directory, &made, &model);
    let mode = Mode::from_raw_mode(model.st_mode & DIRECTORY_BITS);
    Ok(rustix::fs::fchmod(directory, mode)?)
}

/// Gives a directory that was just made to whom the one above it belongs.
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

/// Gives the file to the model's owner and group, or to its group alone: one's own file may go to any
/// group that one is in. True when that changed anything.
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
