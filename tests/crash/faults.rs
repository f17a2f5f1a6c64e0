//! Calls that fail: which call it is, and how.

use std::io;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    OpenToRead,
    OpenToWrite,
    Create,
    List,
    CreateDir,
    Rename,
    Link,
    RenameDir,
    RemoveDir,
    Remove,
    SyncDir,
    Stat,
    Read,
    Write,
    SetLen,
    Sync,
}

impl Kind {
    /// Whether the call, when it works, changes something.
    pub(crate) fn changes(self) -> bool {
        use Kind::{Create, CreateDir, Link, Remove, RemoveDir, Rename, RenameDir, SetLen, Write};
        matches!(self, Create | CreateDir | Link | Rename | RenameDir | Remove | RemoveDir)
            || matches!(self, Write | SetLen)
    }
}

/// One call on the disk. The path of a rename is the new name's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    pub(crate) path: Box<Path>,
    /// Where a write begins.
    pub(crate) offset: Option<u64>,
}

impl Call {
    pub(crate) fn new(kind: Kind, path: &Path) -> Call {
        Call { kind, path: path.into(), offset: None }
    }

    pub(crate) fn write(path: &Path, offset: u64) -> Call {
        Call { offset: Some(offset), ..Call::new(Kind::Write, path) }
    }

    /// Whether it writes the mark of a finished commit beside a slot of the witness.
    pub(crate) fn writes_mark(&self) -> bool {
        self.path.ends_with("column.check")
            && self.offset.is_some_and(|offset| offset % 4096 == 128)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The call fails and does nothing.
    Errno(i32),
    /// A read or a write takes at most so many bytes.
    Short(usize),
}

/// What happens to which call, counted from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) what: What,
}

impl Fault {
    /// Calls are noted and none fails.
    pub(crate) fn none() -> Fault {
        Fault { at: usize::MAX, what: What::Short(0) }
    }

    pub(crate) fn enter(&mut self, calls: &mut Vec<Call>, call: Call) -> io::Result<Option<usize>> {
        let at = calls.len();
        let takes = matches!(call.kind, Kind::Read | Kind::Write);
        calls.push(call);
        match self.what {
            _ if at != self.at => Ok(None),
            What::Errno(errno) => Err(io::Error::from_raw_os_error(errno)),
            What::Short(len) => Ok(takes.then_some(len)),
        }
    }
}
