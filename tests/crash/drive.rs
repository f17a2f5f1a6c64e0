//! Runs the steps of a script on a disk, and notes there what is expected from when on.

use std::io::{self, Read};
use std::sync::Arc;

use coldstore::{ColumnSpec, FileId, Keep, Slot, Writer};

use crate::disk::{CrashDisk, Mark, Phase};
use crate::expect::Expect;
use crate::foreign::write_like_another_writer;
use crate::look::look;
use crate::medium::Op;
use crate::scripts::{COLUMN, Opening, Script, Step, value};
use test_support::{Content, PER_FILE};

/// Why a step did not come to its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The engine returned an error.
    Engine(coldstore::Error),
    /// It did something wrong.
    Wrong(String),
}

impl From<coldstore::Error> for Stopped {
    fn from(error: coldstore::Error) -> Stopped {
        Stopped::Engine(error)
    }
}

impl From<Stopped> for String {
    fn from(stopped: Stopped) -> String {
        match stopped {
            Stopped::Engine(error) => format!("failed: {error}"),
            Stopped::Wrong(what) => what,
        }
    }
}

pub(crate) struct Driver {
    pub(crate) disk: CrashDisk,
    pub(crate) spec: ColumnSpec,
    pub(crate) writer: Option<Writer>,
    pub(crate) expect: Expect,
}

impl Driver {
    /// On a new disk, with the setup done and durable.
    pub(crate) fn set_up(script: &Script, lie: Option<crate::lies::Lie>) -> Driver {
        let disk = CrashDisk::new(crate::medium::Medium::empty(), None);
        let sums = script.keeps_sums();
        let ours = script.is_ours();
        let expect = Expect { sums, ours, ..Expect::new(script.setup.clone().into()) };
        let mut driver = Driver { disk, spec: script.spec, writer: None, expect };
        driver.run_to_end().unwrap_or_else(|error| panic!("{}: {error}", script.name));
        let position = driver.disk.fs().log.len();
        let disk = driver.disk.fork(position, None);
        // But for the mark of the last commit, which nothing waits for.
        let is_flushed = disk.fs().log.iter().all(|logged| {
            let is_mark = matches!(&logged.op, Op::Write { at, bytes, .. } if at % 4096 == 128 && bytes.len() == 8);
            is_mark || logged.is_durable(usize::MAX)
        });
        assert!(is_flushed, "{}: the setup is durable", script.name);
        let whole = disk.fs().cache.clone();
        let disk = CrashDisk::new(whole, None);
        disk.fs().lie = lie;
        disk.fs().exchanges = script.exchanges;
        let exchanges = script.exchanges;
        let expect =
            Expect { plan: script.steps.clone().into(), at: 0, exchanges, ..driver.expect };
        let mut driver = Driver { disk, spec: script.spec, writer: None, expect };
        if driver.expect.exists {
            driver.open(driver.expect.conf).unwrap_or_else(|error| {
                panic!("{}: {}", script.name, String::from(error));
            });
        }
        driver
    }

    pub(crate) fn run_to_end(&mut self) -> Result<(), String> {
        while self.expect.step().is_some() {
            let at = self.expect.at;
            self.step().map_err(|error| {
                format!("step {at} ({:?}) {}", self.expect.plan[at], String::from(error))
            })?;
        }
        Ok(())
    }

    /// From here on this is expected.
    pub(crate) fn note(&self) {
        mark(&self.disk, &self.expect);
    }

    /// Opens the column, closing it first where it is open.
    pub(crate) fn open(&mut self, opening: Opening) -> Result<(), Stopped> {
        self.writer = None;
        self.disk.begin(Phase::Open);
        self.expect.asked = self.expect.asked.raised(opening);
        self.note();
        let options = opening.options(self.spec);
        let opened = Writer::open_on(self.disk.shared(), COLUMN, options);
        self.writer = Some(opened?);
        self.opened()
    }

    /// What is seen after an opening is acknowledged by it.
    pub(crate) fn opened(&mut self) -> Result<(), Stopped> {
        let seen = look(&self.disk.fs().cache, COLUMN.as_ref()).map_err(Stopped::Wrong)?;
        self.expect.exists = true;
        self.expect.conf = self.expect.asked;
        self.expect.check(seen.as_ref()).map_err(Stopped::Wrong)?;
        if let Some(seen) = seen {
            self.expect.acked = Arc::new(seen.content);
        }
        self.expect.next = None;
        self.note();
        Ok(())
    }

    /// Does the next step of the plan.
    pub(crate) fn step(&mut self) -> Result<(), Stopped> {
        let plan = Arc::clone(&self.expect.plan);
        let step = &plan[self.expect.at];
        match step {
            Step::Open(opening) => self.open(*opening)?,
            Step::Foreign { slot, commits } => {
                self.writer = None;
                self.expect.holds = false;
                let mut content = (*self.expect.acked).clone();
                content.insert(*slot, value(*slot));
                self.expect.next = Some(Arc::new(content));
                self.note();
                write_like_another_writer(&self.disk, self.spec, *slot, *commits);
            }
            Step::Rewind(slot) => self.cut(Keep::UpTo(Slot(*slot)))?,
            Step::Prune(file_id) => self.cut(Keep::From(FileId(*file_id)))?,
            step => {
                self.put(step)?;
                self.expect.holds = true;
            }
        }
        self.expect.at += 1;
        self.note();
        Ok(())
    }

    /// Replaces the column by a part of it, and opens that.
    fn cut(&mut self, keep: Keep) -> Result<(), Stopped> {
        let mut content = (*self.expect.acked).clone();
        content.retain(|slot, _| match keep {
            Keep::UpTo(to) => Slot(*slot) <= to,
            Keep::From(first) => Slot(*slot).file_id() >= first,
            Keep::Nothing => false,
        });
        self.disk.begin(Phase::Cut);
        self.expect.next = Some(Arc::new(content));
        self.expect.away = !self.expect.exchanges;
        self.note();
        let writer = self.writer.take().expect("the column is open");
        writer.cut(keep)?;
        self.expect.away = false;
        ack(&mut self.expect);
        self.note();
        self.open(self.expect.asked)
    }

    fn put(&mut self, step: &Step) -> Result<(), Stopped> {
        let mut units = units(&self.expect.acked, step).into_iter();
        self.disk.begin(Phase::Put);
        self.expect.next = units.next().map(Arc::new);
        self.note();
        let (begun, from) = (self.expect.clone(), self.disk.fs().log.len());
        let Driver { disk, expect, writer, .. } = self;
        let writer = writer.as_mut().expect("the column is open");
        match step {
            Step::Run(slots) => {
                let done = writer.put_bulk(&batch(slots), |_| {
                    ack(expect);
                    expect.holds = true;
                    expect.next = units.next().map(Arc::new);
                    disk.begin(Phase::Put);
                    mark(disk, expect);
                });
                done.map_err(|error| error.error)?;
            }
            Step::Put(slots) => drop(writer.put_batch(&batch(slots))?),
            Step::Stream(slot) => {
                let value = value(*slot);
                writer.put_from(Slot(*slot), value.len() as u64, &mut &value[..])?;
            }
            Step::FailingStream(slot) => {
                let value = value(*slot);
                let mut source = (&value[..2]).chain(Broken);
                match writer.put_from(Slot(*slot), value.len() as u64, &mut source) {
                    Err(coldstore::Error::Io(error)) if error.source.to_string() == BROKEN => {}
                    Err(error) => return Err(error.into()),
                    Ok(_) => return Err(Stopped::Wrong("took half of a value".to_owned())),
                }
            }
            Step::GivenUp(slots) => {
                drop(writer.prepare_batch(&batch(slots))?);
                // What failed then is said by whatever is written next.
                match writer.put_batch::<Vec<u8>>(&[]) {
                    Err(coldstore::Error::Poisoned { cause, .. }) => return Err((*cause).into()),
                    done => drop(done?),
                }
            }
            Step::Open(_) | Step::Foreign { .. } | Step::Rewind(_) | Step::Prune(_) => {
                unreachable!("no puts")
            }
        }
        ack(expect);
        mark(disk, expect);
        hold_from_the_first_change(disk, from, begun);
        let seen = look(&disk.fs().cache, COLUMN.as_ref()).map_err(Stopped::Wrong)?;
        expect.check(seen.as_ref()).map_err(Stopped::Wrong)
    }
}

/// What another kind of writer left is flushed by the time that a put changes something because of
/// it: what the put relies on is promised from there on, not only when it is done.
fn hold_from_the_first_change(disk: &CrashDisk, from: usize, begun: Expect) {
    let mut fs = disk.fs();
    let first = fs.log[from..].iter().position(|logged| logged.op.changes());
    if let Some(first) = first.filter(|_| !begun.holds) {
        let at = from + first;
        let next = fs.marks.partition_point(|mark| mark.at <= at);
        let digest = begun.digest();
        let expect = Arc::new(Expect { holds: true, ..begun });
        fs.marks.insert(next, Mark { at, expect, digest });
    }
}

fn ack(expect: &mut Expect) {
    if let Some(next) = expect.next.take() {
        expect.acked = next;
    }
}

fn mark(disk: &CrashDisk, expect: &Expect) {
    let mut fs = disk.fs();
    let at = fs.log.len();
    fs.marks.push(Mark { at, expect: Arc::new(expect.clone()), digest: expect.digest() });
}

pub(crate) fn batch(slots: &[u64]) -> Vec<(Slot, Vec<u8>)> {
    slots.iter().map(|slot| (Slot(*slot), value(*slot))).collect()
}

const BROKEN: &str = "the stream is broken";

struct Broken;

impl Read for Broken {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other(BROKEN))
    }
}

/// What the column holds after each commit of a step.
pub(crate) fn units(held: &Content, step: &Step) -> Vec<Content> {
    let slots = match step {
        Step::Put(slots) | Step::Run(slots) => slots.clone(),
        Step::Stream(slot) => vec![*slot],
        Step::FailingStream(_) | Step::GivenUp(_) | Step::Open(_) | Step::Foreign { .. } => {
            return Vec::new();
        }
        Step::Rewind(_) | Step::Prune(_) => return Vec::new(),
    };
    let highest = held.keys().next_back().copied();
    let group = |slot: u64| match step {
        Step::Run(_) if Some(slot) <= highest => slot / PER_FILE,
        _ => u64::MAX,
    };
    let mut content = held.clone();
    let mut units = Vec::new();
    for slots in slots.chunk_by(|left, right| group(*left) == group(*right)) {
        content.extend(slots.iter().map(|slot| (*slot, value(*slot))));
        units.push(content.clone());
    }
    units
}
