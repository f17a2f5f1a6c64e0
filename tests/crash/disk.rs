//! A disk in memory that remembers every change and which of them have been flushed.
//!
//! What the processes see is the *cache*. What a power cut leaves is made from the *log*: see
//! [`crate::states`]. A process that is killed leaves the cache as it is, with what was not
//! flushed: [`CrashDisk::fork`].

use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use coldstore::files::disk::{Access, Disk, DiskFile, Lock, LockAttempt};
use coldstore::write::copy::MARK;

use crate::expect::Expect;
use crate::faults::{Call, Fault, Kind};
use crate::lies::{Flush, Lie};
use crate::medium::{DirNo, Ino, Left, Medium, Name, Op, Target};
use crate::scripts::COLUMN;
use crate::turns::{self, Outstanding, Turns, What};

/// Not flushed.
const NEVER: usize = usize::MAX;

#[derive(Clone)]
pub(crate) struct Logged {
    pub(crate) op: Op,
    /// Position in the log of the flush that made it durable.
    settled: usize,
    /// A flush of it failed: it may be on the medium or not, and no later flush tells.
    dropped: bool,
}

impl Logged {
    /// Whether a power cut after the first `position` operations leaves it for certain.
    pub(crate) fn is_durable(&self, position: usize) -> bool {
        self.settled < position || !self.op.changes()
    }
}

/// What the process that uses the disk is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    Put,
    /// The column is replaced by a part of it.
    Cut,
}

/// What is expected from some position of the log on.
pub(crate) struct Mark {
    pub(crate) at: usize,
    pub(crate) expect: Arc<Expect>,
    pub(crate) digest: u64,
}

pub(crate) struct Fs {
    /// What was durable when the log began.
    pub(crate) base: Medium,
    pub(crate) cache: Medium,
    pub(crate) log: Vec<Logged>,
    pub(crate) marks: Vec<Mark>,
    /// The flushes that this disk does not do.
    pub(crate) lie: Option<Lie>,
    pub(crate) phase: Phase,
    /// Where in the log the present step began.
    pub(crate) step_from: usize,
    /// The calls made, where somebody asked for that.
    pub(crate) calls: Vec<Call>,
    /// Where among the calls the steps began.
    pub(crate) step_calls: Vec<usize>,
    pub(crate) fault: Option<Fault>,
    /// Whether two names can be exchanged.
    pub(crate) exchanges: bool,
    /// Flushes of a commit are done at once and end in this order.
    pub(crate) turns: Option<Turns>,
    pub(crate) outstanding: Outstanding,
}

impl Fs {
    fn record(&mut self, op: Op) {
        self.cache.apply(&op, Left::Whole);
        self.log.push(Logged { op, settled: NEVER, dropped: false });
    }

    fn settle(&mut self, op: Op, of: impl Fn(&Op) -> bool) {
        let at = self.log.len();
        for logged in self.log.iter_mut().filter(|logged| logged.settled == NEVER) {
            if !logged.dropped && of(&logged.op) {
                logged.settled = at;
            }
        }
        self.log.push(Logged { op, settled: NEVER, dropped: false });
    }

    /// The flush of a file fails: what it should have written counts as clean from now on.
    fn drop_dirty(&mut self, ino: Ino) {
        for logged in self.log.iter_mut().filter(|logged| logged.settled == NEVER) {
            logged.dropped |= logged.op.is_of_file(ino);
        }
    }

    fn lies(&self, flush: &Flush<'_>) -> bool {
        self.lie.is_some_and(|lie| lie.tells(self, flush))
    }

    /// The operations of the present step.
    pub(crate) fn of_step(&self) -> impl DoubleEndedIterator<Item = &Op> {
        self.log[self.step_from..].iter().map(|logged| &logged.op)
    }

    /// The last mark at or before a position.
    pub(crate) fn mark(&self, position: usize) -> Option<&Mark> {
        let after = self.marks.partition_point(|mark| mark.at <= position);
        after.checked_sub(1).map(|last| &self.marks[last])
    }

    /// A hash of what is durable, what is seen, and what lies between.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        (self.base.hash(), self.cache.hash()).hash(&mut hasher);
        for logged in self.log.iter().filter(|logged| logged.op.changes()) {
            (format!("{:?}", logged.op), logged.settled, logged.dropped).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// True where the last operation was a flush and nothing has been expected anew since: fewer
    /// states are left than before it, and none that was not left then.
    pub(crate) fn is_dull(&self, position: usize) -> bool {
        let flushed = position > 0 && !self.log[position - 1].op.changes();
        flushed && self.mark(position).is_some_and(|mark| mark.at < position)
    }

    /// Of the flushes that are done at once some fail.
    fn fail_at_once(&self, at_once: bool, what: What) -> io::Result<()> {
        match self.turns {
            Some(turns) if at_once && turns.fails(what) => {
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            _ => Ok(()),
        }
    }

    fn enter(&mut self, call: Call) -> io::Result<Option<usize>> {
        let Some(fault) = &mut self.fault else { return Ok(None) };
        fault.enter(&mut self.calls, call)
    }
}

#[derive(Clone)]
pub(crate) struct CrashDisk {
    fs: Arc<Mutex<Fs>>,
    /// A flush has begun or ended.
    moved: Arc<Condvar>,
}

impl fmt::Debug for CrashDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CrashDisk")
    }
}

impl CrashDisk {
    /// A disk with this on its medium.
    pub(crate) fn new(base: Medium, lie: Option<Lie>) -> CrashDisk {
        let fs = Fs {
            cache: base.clone(),
            base,
            log: Vec::new(),
            marks: Vec::new(),
            lie,
            phase: Phase::Open,
            step_from: 0,
            calls: Vec::new(),
            step_calls: Vec::new(),
            fault: None,
            exchanges: true,
            turns: None,
            outstanding: Outstanding::default(),
        };
        CrashDisk { fs: Arc::new(Mutex::new(fs)), moved: Arc::default() }
    }

    pub(crate) fn fs(&self) -> MutexGuard<'_, Fs> {
        self.fs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// A step begins.
    pub(crate) fn begin(&self, phase: Phase) {
        let mut fs = self.fs();
        fs.phase = phase;
        fs.step_from = fs.log.len();
        let calls = fs.calls.len();
        fs.step_calls.push(calls);
    }

    /// The disk as a process leaves it that is killed after the first `position` operations, of
    /// which the last one, when it is a write, was done to `torn` bytes.
    pub(crate) fn fork(&self, position: usize, torn: Option<usize>) -> CrashDisk {
        let fs = self.fs();
        let log = &fs.log[..position];
        let folded = log.iter().take_while(|logged| logged.is_durable(position)).count();
        let mut base = fs.base.clone();
        log[..folded].iter().for_each(|logged| base.apply(&logged.op, Left::Whole));
        let disk = CrashDisk::new(base, fs.lie);
        let mut forked = disk.fs();
        forked.turns = fs.turns;
        forked.exchanges = fs.exchanges;
        for (at, logged) in log.iter().enumerate().skip(folded) {
            let mut logged = logged.clone();
            if let (Op::Write { bytes, .. }, Some(len)) = (&mut logged.op, torn)
                && at + 1 == position
            {
                *bytes = bytes[..len].into();
            }
            logged.settled = if logged.is_durable(position) { 0 } else { NEVER };
            forked.cache.apply(&logged.op, Left::Whole);
            forked.log.push(logged);
        }
        forked.step_from = forked.log.len();
        drop(forked);
        disk
    }

    /// Both are in one directory.
    fn rename_dirs(&self, one: &Path, other: &Path) -> io::Result<()> {
        let mut fs = self.fs();
        let column = if other == Path::new(COLUMN) { other } else { one };
        fs.enter(Call::new(Kind::RenameDir, column))?;
        let targets = [fs.cache.dir(one), fs.cache.dir(other)];
        if targets[0].is_none() {
            return Err(not_found());
        }
        let (dir, name) = place(&fs, one)?;
        let names = [name, file_name(other)];
        fs.record(Op::RenameDir { dir, names, targets });
        Ok(())
    }

    fn flush(&self, path: &Path, ino: Ino) -> io::Result<()> {
        let name = file_name(path);
        let (mut fs, at_once) = turns::wait(self.fs(), &self.moved, What::of_file(&name), ino);
        let entered = fs.enter(Call::new(Kind::Sync, path)).map(drop);
        if let Err(error) = entered.and_then(|()| fs.fail_at_once(at_once, What::of_file(&name))) {
            fs.drop_dirty(ino);
            return Err(error);
        }
        if !fs.lies(&Flush::File { name: &name, ino }) {
            fs.settle(Op::Sync(ino), |op| op.is_of_file(ino));
        }
        Ok(())
    }
}

fn file_name(path: &Path) -> Name {
    path.file_name().and_then(|name| name.to_str()).expect("a file's path has a name").into()
}

fn not_found() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

/// Directory and name of a path.
fn place(fs: &Fs, path: &Path) -> io::Result<(DirNo, Name)> {
    let parent = path.parent().ok_or_else(not_found)?;
    Ok((fs.cache.dir(parent).ok_or_else(not_found)?, file_name(path)))
}

impl Disk for CrashDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let mut fs = self.fs();
        let kind = match access {
            Access::Read => Kind::OpenToRead,
            Access::Write => Kind::OpenToWrite,
            Access::CreateNew => Kind::Create,
        };
        fs.enter(Call::new(kind, path))?;
        let (dir, name) = place(&fs, path)?;
        let found = fs.cache.names(dir).get(&name).copied();
        let ino = match (found, access) {
            (Some(Target::Dir(_)), _) => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
            (Some(_), Access::CreateNew) => {
                return Err(io::Error::from_raw_os_error(libc::EEXIST));
            }
            (Some(Target::File(ino)), _) => ino,
            (None, Access::CreateNew) => {
                let ino = fs.cache.new_file();
                fs.record(Op::Link { dir, name, target: Target::File(ino) });
                ino
            }
            (None, _) => return Err(not_found()),
        };
        Ok(Box::new(CrashFile { disk: self.clone(), path: path.into(), ino }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut fs = self.fs();
        fs.enter(Call::new(Kind::List, directory))?;
        let dir = fs.cache.dir(directory).ok_or_else(not_found)?;
        Ok(fs.cache.names(dir).keys().map(ToString::to_string).collect())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut fs = self.fs();
        if fs.cache.dir(path).is_some() {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let (dir, name) = place(&fs, path)?;
        fs.enter(Call::new(Kind::CreateDir, path))?;
        let made = fs.cache.new_dir();
        fs.record(Op::Link { dir, name, target: Target::Dir(made) });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut fs = self.fs();
        fs.enter(Call::new(Kind::Rename, to))?;
        let (dir, from) = place(&fs, from)?;
        let Some(Target::File(ino)) = fs.cache.names(dir).get(&from).copied() else {
            return Err(not_found());
        };
        fs.record(Op::Rename { dir, from, to: file_name(to), ino });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut fs = self.fs();
        fs.enter(Call::new(Kind::Remove, path))?;
        let (dir, name) = place(&fs, path)?;
        if !fs.cache.names(dir).contains_key(&name) {
            return Err(not_found());
        }
        fs.record(Op::Unlink { dir, name });
        Ok(())
    }

    fn create_dir_like(&self, path: &Path, _model: &Path) -> io::Result<()> {
        self.create_dir(path)
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        let mut fs = self.fs();
        fs.enter(Call::new(Kind::Link, file))?;
        let (dir, from) = place(&fs, file)?;
        let target = fs.cache.names(dir).get(&from).copied().ok_or_else(not_found)?;
        let (dir, name) = place(&fs, name)?;
        if fs.cache.names(dir).contains_key(&name) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        fs.record(Op::Link { dir, name, target });
        Ok(())
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        if !self.fs().exchanges {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.rename_dirs(one, other)
    }

    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_dirs(from, to)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut fs = self.fs();
        fs.enter(Call::new(Kind::RemoveDir, path))?;
        let removed = fs.cache.dir(path).ok_or_else(not_found)?;
        if !fs.cache.names(removed).is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOTEMPTY));
        }
        let (dir, name) = place(&fs, path)?;
        fs.record(Op::Unlink { dir, name });
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let (mut fs, at_once) = turns::wait(self.fs(), &self.moved, What::Names, 0);
        fs.enter(Call::new(Kind::SyncDir, directory))?;
        fs.fail_at_once(at_once, What::Names)?;
        let dir = fs.cache.dir(directory).ok_or_else(not_found)?;
        if !fs.lies(&Flush::Dir { path: directory }) {
            fs.settle(Op::SyncDir(dir), |op| op.is_of_dir(dir));
        }
        Ok(())
    }

    fn flushes_at_once(&self) -> bool {
        self.fs().turns.is_some()
    }

    /// The name of a new lock file is durable at once: nothing depends on it before the directory
    /// has been flushed for other reasons.
    fn lock(&self, path: &Path) -> io::Result<LockAttempt> {
        let mut fs = self.fs();
        let (dir, name) = place(&fs, path)?;
        let ino = match fs.cache.names(dir).get(&name) {
            Some(Target::File(ino)) => *ino,
            Some(Target::Dir(_)) => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
            None => {
                let ino = fs.cache.new_file();
                fs.record(Op::Link { dir, name, target: Target::File(ino) });
                // But for that of a copy, which is what tells a copy from an archive.
                if path.file_name() != Some(MARK.as_ref()) {
                    let at = fs.log.len() - 1;
                    fs.log[at].settled = at;
                }
                ino
            }
        };
        Ok(LockAttempt::Held(Box::new(CrashLock { disk: self.clone(), ino })))
    }

    fn lock_shared(&self, _path: &Path) -> io::Result<Option<LockAttempt>> {
        Ok(None)
    }
}

/// One process at a time is what the campaign drives; the lock has tests of its own.
#[derive(Debug)]
struct CrashLock {
    disk: CrashDisk,
    ino: Ino,
}

impl Lock for CrashLock {
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let fs = self.disk.fs();
        let Ok((dir, name)) = place(&fs, path) else { return Ok(false) };
        Ok(fs.cache.names(dir).get(&name) == Some(&Target::File(self.ino)))
    }
}

#[derive(Debug)]
struct CrashFile {
    disk: CrashDisk,
    path: Box<Path>,
    ino: Ino,
}

impl DiskFile for CrashFile {
    fn byte_len(&self) -> io::Result<u64> {
        let mut fs = self.disk.fs();
        fs.enter(Call::new(Kind::Stat, &self.path))?;
        Ok(fs.cache.file(self.ino).get().len() as u64)
    }

    fn names(&self) -> io::Result<u64> {
        Ok(self.disk.fs().cache.links(self.ino))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut fs = self.disk.fs();
        let short = fs.enter(Call::new(Kind::Read, &self.path))?;
        let bytes = fs.cache.file(self.ino).get();
        let from = usize::try_from(offset).expect("a small file").min(bytes.len());
        let len = buffer.len().min(bytes.len() - from).min(short.unwrap_or(usize::MAX));
        buffer[..len].copy_from_slice(&bytes[from..from + len]);
        Ok(len)
    }

    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut fs = self.disk.fs();
        let short = fs.enter(Call::write(&self.path, offset))?;
        let len = buffers.iter().map(|buffer| buffer.len()).sum::<usize>();
        let len = len.min(short.unwrap_or(usize::MAX));
        let bytes: Arc<[u8]> = match buffers {
            [buffer] => buffer[..len].into(),
            buffers => buffers.iter().flat_map(|buffer| buffer.iter().copied()).take(len).collect(),
        };
        let old_len = fs.cache.file(self.ino).get().len();
        let at = usize::try_from(offset).expect("a small file");
        if len > 0 {
            fs.record(Op::Write { ino: self.ino, at, bytes, old_len });
        }
        Ok(len)
    }

    fn set_len(&mut self, byte_len: u64) -> io::Result<()> {
        let mut fs = self.disk.fs();
        fs.enter(Call::new(Kind::SetLen, &self.path))?;
        let len = usize::try_from(byte_len).expect("a small file");
        fs.record(Op::SetLen { ino: self.ino, len });
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.flush(&self.path, self.ino)
    }
}
