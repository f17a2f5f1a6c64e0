//! What the tests of models, processes, damage and followers share.
#![allow(dead_code, unused_imports, reason = "every test binary uses a part of it")]
#![allow(unsafe_code, reason = "opening a reader maps files")]

pub(crate) mod allocations;
pub(crate) mod scratch;
pub(crate) mod size;
pub(crate) mod system_calls;

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use coldstore::{ColumnSpec, Compression, MappedReader, Reader, ReaderOptions, Result, Slot, View};
pub(crate) use scratch::scratch;

/// Waiting longer than this is a hang, on however busy a machine.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// Opens a reader of a column that only this test changes.
pub(crate) fn open_reader(directory: &Path, options: ReaderOptions) -> Result<MappedReader> {
    // SAFETY: the directory is this test's own, and what a test does to files under a reader is cut
    // back to what healing does: it never shortens a file below the length that the reader's conf
    // commits while that reader is used.
    unsafe { Reader::open_mapped(directory, options) }
}

/// Opens a reader with no expectations, and expects that to work.
pub(crate) fn reader(directory: &Path) -> MappedReader {
    open_reader(directory, ReaderOptions::default()).unwrap()
}

pub(crate) fn spec(compression: Compression, max_value_bytes: u64) -> ColumnSpec {
    ColumnSpec { record_type: [0x77, 0x00], compression, max_value_bytes }
}

/// Every file of a column with its bytes, but for the lock, whose text is a process id, and for
/// `column.check`, which grows a sequence number with every conf.
pub(crate) fn files_of(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .filter(|(name, _)| name != "lock" && name != "column.check")
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

/// Panics with the names of the files in which two moments of a directory differ.
#[track_caller]
pub(crate) fn assert_same_files(
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
    why: &str,
) {
    let differing = differing_files(before, after);
    assert!(differing.is_empty(), "{why}: changed {differing:?}");
}

/// Names of the files that are not the same in both, with their lengths.
pub(crate) fn differing_files(
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
) -> Vec<(String, Option<usize>, Option<usize>)> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| (name.clone(), before.get(name).map(Vec::len), after.get(name).map(Vec::len)))
        .collect()
}

/// A well-mixed function of its argument (splitmix64).
pub(crate) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// `byte_len` bytes that depend on the seed and compress a little.
pub(crate) fn bytes_from(seed: u64, byte_len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(byte_len + 16);
    let mut word = seed;
    while bytes.len() < byte_len {
        word = mix(word);
        bytes.extend_from_slice(&word.to_le_bytes());
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    bytes.truncate(byte_len);
    bytes
}

/// A sequence of numbers for the choices of a test.
#[derive(Clone, Debug)]
pub(crate) struct Choices(u64);

impl Choices {
    pub(crate) fn new(seed: u64) -> Self {
        Choices(seed)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % bound
    }
}

/// Every record of a range of the view, by its value; panics on an error.
#[track_caller]
pub(crate) fn scan(view: &View, slots: impl RangeBounds<Slot>) -> Vec<(u64, Vec<u8>)> {
    view.range(slots)
        .map(|record| record.unwrap_or_else(|error| panic!("scan: {error}")))
        .map(|record| (record.slot().0, record.value().unwrap().into_owned()))
        .collect()
}

/// Runs `work` on a thread of its own and fails the test when it does not end.
#[track_caller]
pub(crate) fn without_hanging<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, outcome) = mpsc::channel();
    let worker = thread::spawn(move || done.send(work()));
    match outcome.recv_timeout(HANG) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: no end after {HANG:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(cause) => std::panic::resume_unwind(cause),
            Ok(_) => unreachable!("the worker sends before it ends"),
        },
    }
}

/// Many short cases, none of which may hang.
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// From here on the process is ended when no step comes for too long: a case that hangs does so
    /// in the library and cannot be stopped otherwise.
    pub(crate) fn watched(what: &'static str) -> Self {
        let progress = Progress(Arc::default());
        let steps = Arc::downgrade(&progress.0);
        thread::spawn(move || {
            let mut last = None;
            while let Some(now) = steps.upgrade().map(|steps| steps.load(Ordering::Relaxed)) {
                if last == Some(now) {
                    eprintln!("{what}: case {now} hangs");
                    std::process::abort();
                }
                last = Some(now);
                thread::sleep(HANG);
            }
        });
        progress
    }

    /// The next case begins.
    pub(crate) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A test function of this very binary, run in a process of its own.
///
/// The function is `#[ignore]`d, so that nothing else runs it, and does nothing without its
/// environment. What it prints goes to a file, shown when it fails.
pub(crate) struct Process {
    child: Child,
    name: &'static str,
    output: PathBuf,
}

impl Process {
    #[allow(clippy::disallowed_methods, reason = "what a child prints is no file of a column")]
    /// Starts the test function `name` with the given environment.
    pub(crate) fn start(
        name: &'static str,
        output: PathBuf,
        environment: &[(&str, &std::ffi::OsStr)],
    ) -> Process {
        let log = fs::OpenOptions::new().create(true).append(true).open(&output).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Process { child, name, output }
    }

    /// Kills it with -9; gives its status.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    /// Its status, when it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end, which is no hang.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            if start.elapsed() > HANG {
                self.child.kill().unwrap();
                panic!("{} did not end:\n{}", self.name, self.printed());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end, which must be a good one.
    #[track_caller]
    pub(crate) fn expect_success(&mut self) {
        let status = self.wait();
        assert!(status.success(), "{} ended with {status}:\n{}", self.name, self.printed());
    }

    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap()).into_owned()
    }
}

impl Drop for Process {
    /// A test that fails leaves no process behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens a reader that sees the writer's puts as soon as they return.
pub(crate) fn writers_reader(writer: &coldstore::Writer) -> MappedReader {
    // SAFETY: as for `open_reader`.
    unsafe { Reader::open_mapped(writer.directory(), ReaderOptions::default()) }.unwrap()
}

/// Appends to a file that need not exist.
#[allow(clippy::disallowed_methods, reason = "what a crash leaves is made by hand")]
pub(crate) fn append(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}
