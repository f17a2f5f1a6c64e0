//! Calls that fail once: the right error, poisoned exactly from the first change on, readers that
//! notice nothing, and the last commit when the column is opened again, also when the power goes
//! later.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use coldstore::{Error, IoError, Slot};

use crate::campaign::{Campaign, Effort, Failure};
use crate::disk::CrashDisk;
use crate::drive::{Driver, Stopped};
use crate::expect::Expect;
use crate::faults::{Call, Fault, Kind, What};
use crate::look::look;
use crate::medium::Medium;
use crate::scripts::{COLUMN, Script, Step};
use crate::states::Limit;
use test_support::size::quick_or_whole;

/// What a call of this kind may come back with.
fn faults_of(kind: Kind) -> &'static [What] {
    const FAIL: &[What] = &[What::Errno(libc::EIO)];
    const FILL: &[What] = &[What::Errno(libc::EIO), What::Errno(libc::ENOSPC)];
    // The system's calls that end by EINTR are begun again below the trait, but for these two.
    const READ: &[What] =
        &[What::Errno(libc::EIO), What::Errno(libc::EINTR), What::Short(1), What::Short(5)];
    const WRITE: &[What] = &[
        What::Errno(libc::EIO),
        What::Errno(libc::ENOSPC),
        What::Errno(libc::EINTR),
        What::Short(0),
        What::Short(1),
        What::Short(7),
    ];
    match kind {
        Kind::OpenToRead | Kind::OpenToWrite | Kind::List | Kind::Stat => FAIL,
        Kind::Create | Kind::CreateDir | Kind::Rename | Kind::Remove => FILL,
        Kind::Link | Kind::RenameDir | Kind::RemoveDir => FILL,
        Kind::SetLen | Kind::Sync | Kind::SyncDir => FILL,
        Kind::Read => READ,
        Kind::Write => WRITE,
    }
}

/// What an error says was being done.
fn operation_of(kind: Kind) -> &'static str {
    match kind {
        Kind::OpenToRead | Kind::OpenToWrite => "open",
        Kind::Create => "create",
        Kind::List => "list the directory",
        Kind::CreateDir => "create the directory",
        Kind::Rename => "replace by column.conf.tmp",
        Kind::Link => "keep (by a hard link) in the new content",
        Kind::RenameDir => "exchange with its new content",
        Kind::RemoveDir => "remove the directory",
        Kind::Remove => "remove",
        Kind::SyncDir => "flush the directory",
        Kind::Stat => "stat",
        Kind::Read => "read",
        Kind::Write => "write",
        Kind::SetLen => "set the length of",
        Kind::Sync => "flush",
    }
}

/// True where the caller is to notice nothing.
fn is_absorbed(kind: Kind, what: What) -> bool {
    matches!((kind, what), (Kind::Read | Kind::Write, What::Errno(libc::EINTR) | What::Short(1..)))
}

/// A script whose calls fail one after the other.
struct Subject<'a> {
    campaign: &'a Campaign,
    number: usize,
    script: &'a Script,
    base: Medium,
    expect: Expect,
}

/// The calls of a run, and where its steps began.
struct Calls {
    calls: Vec<Call>,
    steps: Vec<usize>,
}

impl Calls {
    /// Whether this call, when it fails, poisons the writer: it is the first that changes
    /// something in its step, or comes later.
    fn poisons(&self, at: usize) -> bool {
        let step = self.steps.partition_point(|from| *from <= at);
        let from = self.steps[step - 1];
        let to = self.steps.get(step).copied().unwrap_or(self.calls.len());
        let first = (from..to).find(|at| self.calls[*at].kind.changes());
        first.is_some_and(|first| at >= first)
    }
}

impl Subject<'_> {
    fn driver(&self, fault: Fault) -> Driver {
        let disk = CrashDisk::new(self.base.clone(), None);
        disk.fs().exchanges = self.expect.exchanges;
        disk.fs().fault = Some(fault);
        Driver { disk, spec: self.script.spec, writer: None, expect: self.expect.clone() }
    }

    fn run(driver: &mut Driver) -> Result<(), Stopped> {
        if driver.expect.exists {
            driver.open(driver.expect.conf)?;
        }
        while driver.expect.step().is_some() {
            driver.step()?;
        }
        Ok(())
    }

    fn calls(&self) -> Calls {
        let mut driver = self.driver(Fault::none());
        Self::run(&mut driver).unwrap_or_else(|error| {
            panic!("{}: {}", self.script.name, String::from(error));
        });
        let mut fs = driver.disk.fs();
        Calls { calls: std::mem::take(&mut fs.calls), steps: std::mem::take(&mut fs.step_calls) }
    }

    /// One call fails in one way.
    fn fail(&self, calls: &Calls, at: usize, what: What, cut: usize) -> Result<(), String> {
        let call = &calls.calls[at];
        let mut driver = self.driver(Fault { at, what });
        let stopped = Self::run(&mut driver);
        driver.disk.fs().fault = None;
        // The mark of a commit that is durable is not missed.
        if is_absorbed(call.kind, what) || call.writes_mark() {
            return stopped.map_err(String::from);
        }
        match stopped {
            Err(Stopped::Engine(error)) => is_right(&error, call, what)?,
            Err(Stopped::Wrong(what)) => return Err(what),
            Ok(()) => return Err("nobody noticed".to_owned()),
        }
        let see = |driver: &Driver| {
            let seen = look(&driver.disk.fs().cache, COLUMN.as_ref())?;
            driver.expect.check(seen.as_ref())
        };
        see(&driver).map_err(|error| format!("after the failure: {error}"))?;
        Self::check_poison(&mut driver, calls.poisons(at), call)?;
        see(&driver).map_err(|error| format!("after the next put: {error}"))?;

        // Opened again, in two ways.
        let position = driver.disk.fs().log.len();
        drop(driver.writer.take());
        for elsewhere in [false, true] {
            let disk = driver.disk.fork(position, None);
            self.go_on(disk, &driver.expect, elsewhere, cut, call)?;
        }
        Ok(())
    }

    /// The column is opened by the next process, used, and then the power goes.
    fn go_on(
        &self,
        disk: CrashDisk,
        expect: &Expect,
        elsewhere: bool,
        cut: usize,
        call: &Call,
    ) -> Result<(), String> {
        let kept = disk.fs().log.len();
        let expect = expect.clone();
        let mut driver = Driver { disk, spec: self.script.spec, writer: None, expect };
        let asked = driver.expect.asked;
        driver.open(asked).map_err(|error| format!("opened again: {}", String::from(error)))?;
        if elsewhere {
            let plan: Arc<[Step]> = self.script.elsewhere.clone().into();
            (driver.expect.plan, driver.expect.at) = (plan, 0);
        }
        driver.run_to_end().map_err(|error| format!("opened again: {error}"))?;
        let disk = driver.disk.clone();
        drop(driver);
        let len = disk.fs().log.len();
        let history = format!("{:?} of {} fails; ", call.kind, call.path.display());
        self.campaign
            .power(self.number, &disk, kept..len + 1, Limit(cut), 0, &history)
            .map_err(|failure| failure.to_string())
    }

    fn check_poison(driver: &mut Driver, poisons: bool, call: &Call) -> Result<(), String> {
        let Some(writer) = &mut driver.writer else { return Ok(()) };
        if writer.is_poisoned() != poisons {
            return Err(format!("poisoned: {}, wanted {poisons}", writer.is_poisoned()));
        }
        // It tells of the last commit that it knows of, not of the one that failed.
        let acked = driver.expect.acked.keys().next_back().copied();
        let highest = writer.highest_written_slot().map(|slot| slot.0);
        if highest != acked {
            return Err(format!("highest slot {highest:?}, wanted {acked:?}"));
        }
        for slot in driver.expect.next.iter().flat_map(|next| next.keys()) {
            let held =
                writer.contains(Slot(*slot)).map_err(|error| format!("contains: {error}"))?;
            if held != driver.expect.acked.contains_key(slot) {
                return Err(format!("the writer says {held} of slot {slot}"));
            }
        }
        if !poisons {
            let remembered = |io: &IoError| call.kind == Kind::Sync && *io.path == *call.path;
            return match driver.step() {
                Ok(()) => Ok(()),
                // A sealed file that could not be flushed is not tried again: that would prove
                // nothing.
                Err(Stopped::Engine(Error::Io(io))) if remembered(&io) => Ok(()),
                Err(error) => Err(format!("again: {}", String::from(error))),
            };
        }
        let log = driver.disk.fs().log.len();
        let expect = driver.expect.clone();
        let refused = driver.step();
        driver.expect = expect;
        match refused {
            Err(Stopped::Engine(Error::Poisoned { .. })) => {}
            other => return Err(format!("wanted Poisoned, found {other:?}")),
        }
        if driver.disk.fs().log.len() != log {
            return Err("a poisoned writer went on".to_owned());
        }
        Ok(())
    }

    /// A process is killed, the flush of a file fails when the next one opens the column, and the
    /// one after that finds the page cache clean.
    fn fail_healing(&self, cut: usize) -> Result<usize, String> {
        let mut driver = self.driver(Fault::none());
        Self::run(&mut driver).map_err(String::from)?;
        driver.writer = None;
        let len = driver.disk.fs().log.len();
        let mut cases = 0;
        for position in 1..=len {
            let expect = {
                let fs = driver.disk.fs();
                let Some(mark) = fs.mark(position).filter(|_| !fs.is_dull(position)) else {
                    continue;
                };
                Expect::clone(&mark.expect)
            };
            for at in 0.. {
                let disk = driver.disk.fork(position, None);
                disk.fs().fault = Some(Fault { at, what: What::Errno(libc::EIO) });
                let (spec, asked) = (self.script.spec, expect.asked);
                let mut next = Driver { disk, spec, writer: None, expect: expect.clone() };
                let opened = next.open(asked);
                let (call, kept) = {
                    let mut fs = next.disk.fs();
                    fs.fault = None;
                    (fs.calls.get(at).cloned(), fs.log.len())
                };
                let Some(call) = call else { break };
                let failed = |error| format!("killed after {position}, {call:?}: {error}");
                match opened {
                    Err(Stopped::Engine(error)) => {
                        is_right(&error, &call, What::Errno(libc::EIO)).map_err(failed)?;
                    }
                    other => return Err(failed(format!("found {other:?}"))),
                }
                if call.kind != Kind::Sync {
                    continue;
                }
                cases += 1;
                next.writer = None;
                for elsewhere in [false, true] {
                    let disk = next.disk.fork(kept, None);
                    self.go_on(disk, &next.expect, elsewhere, cut, &call).map_err(failed)?;
                }
            }
        }
        Ok(cases)
    }
}

/// The error tells of this call and of this fault.
fn is_right(error: &Error, call: &Call, what: What) -> Result<(), String> {
    let Error::Io(io) = error else { return Err(format!("wanted Io, found {error:?}")) };
    let errno = io.source.raw_os_error();
    let source_is_right = match what {
        What::Errno(wanted) => errno == Some(wanted),
        What::Short(_) => io.source.kind() == std::io::ErrorKind::WriteZero,
    };
    let name = io.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_aside = name.starts_with("aside-")
        && (call.kind == Kind::Rename || call.path.ends_with("aside.tmp"));
    let place_is_right =
        is_aside || *io.path == *call.path && io.operation == operation_of(call.kind);
    if source_is_right && place_is_right {
        return Ok(());
    }
    Err(format!("{call:?} failed with {what:?}, and the error is: {error}"))
}

/// Fails every call of every script. Says how many cases there were.
pub(crate) fn fail_every_call(
    scripts: &[Script],
    effort: Effort,
    campaign: &Campaign,
) -> Result<usize, Failure> {
    let next = AtomicUsize::new(0);
    let cases = AtomicUsize::new(0);
    let failure: Mutex<Option<Failure>> = Mutex::new(None);
    let work = |number: usize, script: &Script| -> Result<usize, (String, String)> {
        let driver = Driver::set_up(script, None);
        let base = driver.disk.fs().base.clone();
        // A cut that was not flushed leaves bytes that no slot refers to: no harm, and no promise.
        let expect = Expect { next: None, tidy: false, ..driver.expect };
        let subject = Subject { campaign, number, script, base, expect };
        let calls = subject.calls();
        let mut done = 0;
        for (at, call) in calls.calls.iter().enumerate() {
            let faults = faults_of(call.kind);
            // A quick run lets it fail in the first way, and in the others in turn.
            let in_turn = 1 + at % (faults.len() - 1).max(1);
            for (nth, what) in faults.iter().enumerate() {
                if nth != 0 && nth != quick_or_whole(in_turn, nth) {
                    continue;
                }
                // After a failed flush the medium is uncertain for good.
                let cut = match (call.kind, what) {
                    (Kind::Sync, What::Errno(libc::EIO)) => effort.limit_after,
                    _ => 2,
                };
                subject
                    .fail(&calls, at, *what, cut)
                    .map_err(|error| (format!("call {at}: {call:?}: {what:?}"), error))?;
                done += 1;
            }
        }
        let healed = subject.fail_healing(3);
        Ok(done + healed.map_err(|error| ("healing".to_owned(), error))?)
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(script) = scripts.get(number) else { break };
                    match work(number, script) {
                        Ok(done) => drop(cases.fetch_add(done, Ordering::Relaxed)),
                        Err((history, error)) => {
                            let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                            first.get_or_insert(Failure {
                                script: script.name.clone(),
                                history,
                                error,
                            });
                        }
                    }
                }
            });
        }
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(cases.into_inner()), Err)
}
