//! A disk that records calls and fails.

use super::*;

/// One call of [`Disk`] or [`DiskFile`] that the writer made. Files by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Open(String),
    Create(String),
    Write { file: String, at: u64, bytes: Vec<u8> },
    SetLen { file: String, byte_len: u64 },
    Sync(String),
    Rename { from: String, to: String },
    Remove(String),
    SyncDir(PathBuf),
    CreateDir(PathBuf),
}

impl Call {
    /// True when the call changes bytes, lengths or names; a flush and an opening do not.
    pub fn changes(&self) -> bool {
        !matches!(self, Call::Open(_) | Call::Sync(_) | Call::SyncDir(_))
    }

    pub fn is_flush(&self) -> bool {
        matches!(self, Call::Sync(_) | Call::SyncDir(_))
    }
}

/// What happens at the call that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and nothing of it happens; later calls work.
    Once,
    /// It fails after half of it, if it is a write, or after all of it, if it is anything else
    /// that changes something; later calls work.
    Torn,
    /// It and every later call fail, as after a kill.
    Dead,
}

#[derive(Debug, Default)]
struct DiskState {
    calls: Vec<Call>,
    fault: Option<(usize, Fault)>,
    hit: bool,
    /// A write takes at most so many bytes.
    longest_write: Option<usize>,
    /// For each mark of a finished commit in the witness the call before it. They are not among the calls.
    marks: Vec<Option<Call>>,
    fails_marks: bool,
}

/// The real disk, with a log of every call that matters to what is on it, and with a fault at one
/// of them. Reading, listing and the lock are passed through.
#[derive(Clone, Debug, Default)]
pub struct TestDisk {
    state: Arc<Mutex<DiskState>>,
}

impl TestDisk {
    pub fn new() -> TestDisk {
        TestDisk::default()
    }

    /// The `n`-th call from now on, counted from 0, fails.
    pub fn fail_at(&self, n: usize, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        state.calls.clear();
        state.fault = Some((n, fault));
        state.hit = false;
    }

    /// Writes take at most so many bytes from now on.
    pub fn shorten_writes(&self, byte_len: usize) {
        self.state.lock().unwrap().longest_write = Some(byte_len);
    }

    /// No mark of a finished commit can be written from now on.
    pub fn fail_marks(&self) {
        self.state.lock().unwrap().fails_marks = true;
    }

    /// For each mark of a finished commit that was written, or was to be, the call before it.
    pub fn take_marks(&self) -> Vec<Option<Call>> {
        std::mem::take(&mut self.state.lock().unwrap().marks)
    }

    /// Whether the call that was chosen came.
    pub fn was_hit(&self) -> bool {
        self.state.lock().unwrap().hit
    }

    /// The calls since the last time this was asked, with the one that failed.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Logs a call and says whether it fails, and how.
    fn enter(&self, call: Call) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        let n = state.calls.len();
        state.calls.push(call);
        match state.fault {
            Some((at, fault)) if n == at => {
                state.hit = true;
                Some(fault)
            }
            Some((at, Fault::Dead)) if n > at => Some(Fault::Dead),
            _ => None,
        }
    }

    fn run<T>(&self, call: Call, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let changes = call.changes();
        match self.enter(call) {
            None => run(),
            Some(Fault::Torn) if changes => run().and_then(|_| Err(injected())),
            Some(_) => Err(injected()),
        }
    }
}

fn injected() -> io::Error {
    io::Error::other("injected fault")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let name = file_name(path);
        let open = || OsDisk.open(path, access);
        let inner = match access {
            Access::Read => open()?,
            Access::Write => self.run(Call::Open(name.clone()), open)?,
            // A failed creation of a name that is there is no change.
            Access::CreateNew => self.run(Call::Create(name.clone()), open)?,
        };
        Ok(Box::new(TestFile { disk: self.clone(), name, inner }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(directory)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.exists() {
            // Refused by the system, so no change and not a call that could fail in another way.
            return OsDisk.create_dir(path);
        }
        self.run(Call::CreateDir(path.to_owned()), || OsDisk.create_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let call = Call::Rename { from: file_name(from), to: file_name(to) };
        self.run(call, || OsDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.run(Call::Remove(file_name(path)), || OsDisk.remove(path))
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.run(Call::SyncDir(directory.to_owned()), || OsDisk.sync_dir(directory))
    }

    fn lock(&self, path: &Path) -> io::Result<LockAttempt> {
        OsDisk.lock(path)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<LockAttempt>> {
        OsDisk.lock_shared(path)
    }
}

#[derive(Debug)]
struct TestFile {
    disk: TestDisk,
    name: String,
    inner: Box<dyn DiskFile>,
}

impl DiskFile for TestFile {
    fn byte_len(&self) -> io::Result<u64> {
        self.inner.byte_len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        if self.name == "column.check" && offset % 4096 == 128 {
            // The mark of a finished commit: nothing waits for it, and nothing is wrong where it fails.
            let mut state = self.disk.state.lock().unwrap();
            let last = state.calls.last().cloned();
            state.marks.push(last);
            return match state.fails_marks {
                true => Err(injected()),
                false => self.inner.write_at(buffers, offset),
            };
        }
        let longest = self.disk.state.lock().unwrap().longest_write.unwrap_or(usize::MAX);
        let bytes: Vec<u8> =
            buffers.iter().flat_map(|buffer| buffer.iter().copied()).take(longest).collect();
        let call = Call::Write { file: self.name.clone(), at: offset, bytes: bytes.clone() };
        match self.disk.enter(call) {
            None => self.inner.write_at(&[IoSlice::new(&bytes)], offset),
            Some(Fault::Torn) => {
                // An aligned store of 8 bytes is there as a whole or not at all.
                let half = if bytes.len() <= 8 { 0 } else { bytes.len() / 2 / 8 * 8 };
                write_all_at(&mut *self.inner, &mut [IoSlice::new(&bytes[..half])], offset)?;
                Err(injected())
            }
            Some(_) => Err(injected()),
        }
    }

    fn set_len(&mut self, byte_len: u64) -> io::Result<()> {
        let call = Call::SetLen { file: self.name.clone(), byte_len };
        let disk = self.disk.clone();
        disk.run(call, || self.inner.set_len(byte_len))
    }

    fn sync(&mut self) -> io::Result<()> {
        let disk = self.disk.clone();
        disk.run(Call::Sync(self.name.clone()), || self.inner.sync())
    }
}

/// Opens or makes a [`PLAIN`] column on this disk.
pub fn open_on(disk: &TestDisk, dir: &Path, backfill: bool) -> Writer {
    let options = WriterOptions::create(PLAIN).allow_backfill(backfill);
    Writer::open_on(disk.shared(), dir, options).unwrap()
}

/// Where in the calls the conf is replaced.
pub fn rename_positions(calls: &[Call]) -> Vec<usize> {
    (0..calls.len()).filter(|&at| matches!(calls[at], Call::Rename { .. })).collect()
}

/// Which file, by name, a call changes.
pub fn changed_file(call: &Call) -> Option<&str> {
    match call {
        Call::Create(file) | Call::Write { file, .. } | Call::SetLen { file, .. } => Some(file),
        _ => None,
    }
}

/// Everything that the calls changed has been flushed by their end.
#[track_caller]
pub fn assert_flushed(calls: &[Call], dir: &Path) {
    let mut unflushed = BTreeSet::new();
    let mut names_unflushed = false;
    for call in calls {
        if let Some(file) = changed_file(call) {
            unflushed.insert(file.to_owned());
        }
        match call {
            Call::Create(_) | Call::Rename { .. } | Call::Remove(_) => names_unflushed = true,
            Call::SyncDir(path) if path == dir => names_unflushed = false,
            _ => {}
        }
        match call {
            Call::Sync(file) => drop(unflushed.remove(file)),
            Call::Rename { from, to } => {
                let flushed = !unflushed.remove(from);
                assert!(flushed, "{from} is renamed before it was flushed: {calls:?}");
                unflushed.remove(to);
            }
            Call::Remove(file) => drop(unflushed.remove(file)),
            _ => {}
        }
    }
    assert!(unflushed.is_empty(), "not flushed: {unflushed:?}: {calls:?}");
    assert!(!names_unflushed, "the directory is not flushed: {calls:?}");
}
