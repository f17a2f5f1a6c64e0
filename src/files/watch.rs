//! Being told when a column's directory changes.
//!
//! On Linux by inotify, and always by a slow poll besides: on a network mount inotify keeps
//! silent. Elsewhere, and where inotify is not to be had, the poll alone.

use std::time::Duration;

use crate::files::directory::Directory;
use crate::slot::FileId;

/// How long to sleep at most when inotify works.
const SLOW_POLL: Duration = Duration::from_millis(100);
/// How long to sleep when it does not.
const POLL: Duration = Duration::from_millis(5);

/// What a watch saw since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Files with slots that were made or written, in the order of the first change.
    pub(crate) files: Vec<FileId>,
    /// Something may have been missed: every file may have changed.
    pub(crate) incomplete: bool,
    /// Whether anything was seen at all.
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

    /// Wakes at commits and also reports which files were written.
    pub(crate) fn changes(directory: &Directory) -> Self {
        Self { inotify: system::Inotify::new(directory, true) }
    }

    /// Sleeps until a commit may have happened, no longer than `timeout`. False when nothing woke
    /// it.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        match &self.inotify {
            Some(inotify) => inotify.wait(timeout.min(SLOW_POLL)),
            None => {
                std::thread::sleep(timeout.min(POLL));
                false
            }
        }
    }

    /// Takes what was seen since the last call.
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

    impl Inotify {
        pub(super) fn new(directory: &Directory, writes: bool) -> Option<Self> {
            let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
            let mut mask = WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            if writes {
                mask |= WatchFlags::MODIFY | WatchFlags::CREATE;
            }
            inotify::add_watch(&fd, directory.open_path(), mask).ok()?;
            Some(Self(fd))
        }

        /// An early return does no harm: the caller looks, and waits again.
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

    /// There is none.
    #[derive(Debug)]
    pub(super) enum Inotify {}

    impl Inotify {
        pub(super) fn new(_: &Directory, _: bool) -> Option<Self> {
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
