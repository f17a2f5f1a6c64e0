//! Limits, users and special files, by system calls.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A user that owns nothing.
pub(crate) const NOBODY: u32 = 65_534;

fn checked(outcome: libc::c_int) {
    assert_eq!(outcome, 0, "{}", io::Error::last_os_error());
}

pub(crate) fn is_root() -> bool {
    // SAFETY: the call takes nothing and always succeeds.
    unsafe { libc::geteuid() == 0 }
}

/// Root may read everything: from here on this process is somebody who may not. One who is no root
/// stays who he is.
pub(crate) fn give_up_root() {
    if !is_root() {
        return;
    }
    // SAFETY: the calls take plain numbers; the first takes no list.
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "the order is what counts")]
    unsafe {
        checked(libc::setgroups(0, std::ptr::null()));
        checked(libc::setgid(NOBODY));
        checked(libc::setuid(NOBODY));
    }
}

/// Gives a file to a user that owns nothing else.
pub(crate) fn give_to(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn mode_of(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

pub(crate) fn set_umask(mask: libc::mode_t) {
    // SAFETY: the call takes a plain number and always succeeds.
    unsafe { libc::umask(mask) };
}

/// Sets the soft limit of a resource.
pub(crate) fn limit(resource: libc::__rlimit_resource_t, soft: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call fills the struct, which lives across it.
    checked(unsafe { libc::getrlimit(resource, &raw mut limit) });
    limit.rlim_cur = soft.min(limit.rlim_max);
    // SAFETY: the call reads the struct, which lives across it.
    checked(unsafe { libc::setrlimit(resource, &raw const limit) });
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

pub(crate) fn make_pipe(path: &Path) {
    let path = c_path(path);
    // SAFETY: the path ends with a zero and lives across the call.
    checked(unsafe { libc::mkfifo(path.as_ptr(), 0o644) });
}

/// `/dev/zero` under another name; false where that is not permitted.
pub(crate) fn make_zero_device(path: &Path) -> bool {
    let path = c_path(path);
    // SAFETY: the path ends with a zero and lives across the call.
    unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o644, libc::makedev(1, 5)) == 0 }
}

/// Maps pages until the system gives no more maps to this process, and keeps them.
pub(crate) fn use_up_maps() -> usize {
    const PAGE: usize = 4096;
    let mut made = 0;
    loop {
        // Neighbours with the same protection would become one map.
        let protection = if made % 2 == 0 { libc::PROT_NONE } else { libc::PROT_READ };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new map where the system likes, which nobody looks at.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return made;
        }
        made += 1;
    }
}

/// What a `Vm…` line of `/proc/self/status` says, in bytes.
pub(crate) fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    line.trim_matches([':', '\t', ' ', 'k', 'B']).parse::<u64>().unwrap() * 1024
}

pub(crate) fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The number that the next file gets. A limit of that many lets no file be opened.
pub(crate) fn lowest_free_descriptor() -> u64 {
    let file = std::fs::File::open("/dev/null").unwrap();
    u64::try_from(file.as_raw_fd()).unwrap()
}

/// How many descriptors of this process are of files that have no name any more.
pub(crate) fn removed_files() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = descriptors.filter_map(|entry| entry.unwrap().path().read_link().ok());
    targets.filter(|target| target.to_string_lossy().ends_with(" (deleted)")).count()
}

pub(crate) fn maps() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}
