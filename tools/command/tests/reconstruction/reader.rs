//! Readers in separate processes, which check every value against the truth. They are this test binary,
//! started with a variable that names the column.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use coldstore::{MappedReader, Reader, ReaderOptions, Slot, View};

use crate::support::Archive;
use crate::truth::{Truth, line_of};

const VARIABLE: &str = "COLDSTORE_TEST_READER";
const PAUSE: Duration = Duration::from_millis(2);

/// Two readers of a column: one scans it repeatedly, the other follows it.
pub(crate) struct Readers {
    children: Vec<Child>,
    stop: String,
}

impl Readers {
    pub(crate) fn start(archive: &Archive, column: &str, truth: &Truth) -> Self {
        let (path, stop) = (archive.beside("truth.tsv"), archive.beside("stop"));
        truth.write(&path);
        let column = archive.path().join(column);
        let spawn = |mode: &str| {
            let told = [mode, column.to_str().unwrap(), path.as_str(), stop.as_str()].join("\n");
            let mut reader = Command::new(env::current_exe().unwrap());
            reader.args(["--exact", "reader::a_reader_sees_only_true_states", "--nocapture"]);
            reader.env(VARIABLE, told).stdin(Stdio::null()).stdout(Stdio::piped());
            reader.stderr(Stdio::piped()).spawn().unwrap()
        };
        Self { children: ["scan", "follow"].map(spawn).into(), stop }
    }

    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        for child in &mut self.children {
            assert!(child.try_wait().unwrap().is_none(), "a reader has ended");
        }
    }

    /// Waits for their end, after they have seen every slot.
    pub(crate) fn finish(mut self) {
        fs::write(&self.stop, b"").unwrap();
        for child in self.children.drain(..) {
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            let stdout = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "a reader has failed: {stdout} {stderr}");
            assert!(stdout.contains("checked"), "{stdout}");
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Does nothing unless started as a reader.
#[test]
fn a_reader_sees_only_true_states() {
    let Ok(told) = env::var(VARIABLE) else { return };
    let [mode, column, truth, stop] = told.split('\n').collect::<Vec<_>>()[..] else {
        panic!("{told:?}");
    };
    let truth = Truth::read(truth);
    // SAFETY: the column is in this test's own directory, where nobody but the daemon writes.
    #[expect(unsafe_code, reason = "a reader maps the files")]
    let reader = unsafe { Reader::open_mapped(column, ReaderOptions::default()) }.unwrap();
    let stops = || fs::exists(Path::new(stop)).unwrap();
    match mode {
        "scan" => scan(&reader, &truth, stops),
        _ => follow(&reader, &truth, stops),
    }
}

fn check(truth: &Truth, slot: u64, value: &[u8]) {
    truth.check(slot, &line_of(slot, value));
}

/// A slot seen once is in every later view.
fn scan(reader: &MappedReader, truth: &Truth, stops: impl Fn() -> bool) {
    let mut seen = BTreeSet::new();
    let mut rounds = 0;
    loop {
        let is_last = stops();
        let view = reader.refresh().unwrap();
        let now = slots_of(&view, truth);
        assert!(seen.is_subset(&now), "a slot was seen and is gone");
        assert!(slots_of(&view, truth).is_superset(&now), "a view lost a slot");
        seen = now;
        rounds += 1;
        if is_last {
            break;
        }
        sleep(PAUSE);
    }
    assert_eq!(seen.len(), truth.len());
    println!("checked {} slots in {rounds} rounds", seen.len());
}

fn slots_of(view: &View, truth: &Truth) -> BTreeSet<u64> {
    let records = view.range(..).map(|record| {
        let record = record.unwrap();
        check(truth, record.slot().0, &record.value().unwrap());
        record.slot().0
    });
    records.collect()
}

/// Every slot is reported once, and its value is readable immediately.
fn follow(reader: &MappedReader, truth: &Truth, stops: impl Fn() -> bool) {
    let mut follower = reader.follow_backfill(Slot(0), Slot(0)).unwrap();
    let mut seen = BTreeSet::new();
    loop {
        match follower.next_slot(Some(Duration::from_millis(100))).unwrap() {
            Some(slot) => {
                let value = follower.view().get(slot).unwrap();
                check(truth, slot.0, &value.expect("a slot that was told of has a value"));
                assert!(seen.insert(slot.0), "slot {slot} was told of twice");
            }
            None if stops() => break,
            None => {}
        }
    }
    assert!(seen.iter().copied().eq(truth.slots()), "{} of {}", seen.len(), truth.len());
    println!("checked {} slots as they came", seen.len());
}
