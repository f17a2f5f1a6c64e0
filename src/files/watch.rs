//! Watches a column's directory for changes.
//!
//! Linux uses inotify plus a slow poll, because inotify does not see changes that other machines make
//! on a network mount. Other systems, and Linux if inotify is unavailable, poll only.

use std::time::Duration;

use crate::files::directory::Directory;
use crate::slot::FileId;
use crate::sync::thread;

/// Maximum sleep with inotify.
const SLOW_POLL: Duration = Duration::from_millis(100);
/// Maximum sleep without inotify.
const POLL: Duration = Duration::from_millis(5);

/// The changes that a watch saw since the last call of [`Watch::take`].
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Ids whose data or offset file changed, in the order of the first change.
    pub(crate) files: Vec<FileId>,
    /// Events may have been lost: any file may have changed.
    pub(crate) incomplete: bool,
    /// Whether there was any event.
    pub(crate) any: bool,
}

/// A watch on one directory.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Option<system::Inotify>,
}

impl Watch {
    /// Wakes at commits.
    pub(crate) fn commits(directory: &Directory) -> Self {
        Self { inotify: system::Inotify::new(directory, false) }
    }

    /// Wakes at commits and reports which files were created or written.
    pub(crate) fn changes(directory: &Directory) -> Self {
        Self { inotify: system::Inotify::new(directory, true) }
    }

    /// Reports which files were written, created, replaced or removed. `None` if the system cannot
    /// report every change: on a network mount, for example, it reports only this machine's.
    pub(crate) fn all_changes(directory: &Directory) -> Option<Self> {
        let inotify = Some(system::Inotify::of_all(directory)?);
        Some(Self { inotify })
    }

    /// Sleeps until a commit may have happened, at most for `timeout`. Returns whether an event ended
    /// the sleep.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        match &self.inotify {
            Some(inotify) => inotify.wait(timeout.min(SLOW_POLL)),
            None => {
                thread::sleep(timeout.min(POLL));
                false
            }
        }
    }

    /// Adds the events since the last call to `changes`.
    pub(crate) fn take(&self, changes: &mut Changes) {
        match &self.inotify {
            Some(inotify) => inotify.drain(changes),
            None => changes.incomplete = true,
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

    use super::Changes;
    use crate::files::directory::Directory;
    use crate::format::names::SlotFile;

    #[derive(Debug)]
    pub(super) struct Inotify(OwnedFd);

    /// File systems that change only through this kernel: ext4, XFS, btrfs, tmpfs, F2FS, ZFS and
    /// bcachefs (`statfs(2)`, and the projects' sources).
    const LOCAL: [u64; 7] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e];

    impl Inotify {
        pub(super) fn new(directory: &Directory, writes: bool) -> Option<Self> {
            let mut mask = WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            if writes {
                mask |= WatchFlags::MODIFY | WatchFlags::CREATE;
            }
            Self::with_mask(directory, mask)
        }

        pub(super) fn of_all(directory: &Directory) -> Option<Self> {
            if !LOCAL.contains(&directory.file_system()?) {
                return None;
            }
            let renames = WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
            let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::DELETE;
            Self::with_mask(directory, renames | changes)
        }

        fn with_mask(directory: &Directory, mask: WatchFlags) -> Option<Self> {
            if !crate::sync::MAY_BLOCK_IN_KERNEL {
                return None;
            }
            let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
            inotify::add_watch(&fd, directory.open_path(), mask).ok()?;
            Some(Self(fd))
        }

        /// May return early; the caller checks for a commit and waits again.
        pub(super) fn wait(&self, timeout: Duration) -> bool {
            let timeout = Timespec::try_from(timeout).ok();
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
        }

        pub(super) fn drain(&self, changes: &mut Changes) {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(self.0.as_fd(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => {
                        changes.any = true;
                        if event.events().intersects(ReadFlags::QUEUE_OVERFLOW | ReadFlags::IGNORED)
                        {
                            changes.incomplete = true;
                        }
                        let name = event.file_name().and_then(|name| name.to_str().ok());
                        if let Some(file) = name.and_then(SlotFile::parse)
                            && !matches!(file, SlotFile::Sums(_))
                            && !changes.files.contains(&file.file_id())
                        {
                            changes.files.push(file.file_id());
                        }
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::WOULDBLOCK) => return,
                    Err(_) => {
                        changes.incomplete = true;
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    use super::Changes;
    use crate::files::directory::Directory;

    /// Uninhabited: only Linux has inotify.
    #[derive(Debug)]
    pub(super) enum Inotify {}

    impl Inotify {
        pub(super) fn new(_: &Directory, _: bool) -> Option<Self> {
            None
        }

        pub(super) fn of_all(_: &Directory) -> Option<Self> {
            None
        }

        pub(super) fn wait(&self, _: Duration) -> bool {
            match *self {}
        }

        pub(super) fn drain(&self, _: &mut Changes) {
            match *self {}
        }
    }
}
