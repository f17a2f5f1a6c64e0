//! Work that may hang, and test functions in processes of their own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Waiting longer than this is a hang, on however busy a machine.
pub const HANG: Duration = Duration::from_secs(240);

/// Runs `work` on a thread of its own and fails the test when it does not end.
#[track_caller]
pub fn without_hanging<T: Send + 'static>(
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
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// From here on the process is ended when no step comes for too long: a case that hangs does so
    /// in the library and cannot be stopped otherwise.
    pub fn watched(what: &'static str) -> Self {
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
    pub fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A test function of this very binary, run in a process of its own.
///
/// The function is `#[ignore]`d, so that nothing else runs it, and does nothing without its
/// environment. What it prints goes to a file, shown when it fails.
pub struct Process {
    child: Child,
    name: &'static str,
    output: PathBuf,
}

impl Process {
    /// Starts the test function `name` with the given environment.
    pub fn start(
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
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    /// Its status, when it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end, which is no hang.
    pub fn wait(&mut self) -> ExitStatus {
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
    pub fn expect_success(&mut self) {
        let status = self.wait();
        assert!(status.success(), "{} ended with {status}:\n{}", self.name, self.printed());
    }

    pub fn printed(&self) -> String {
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
