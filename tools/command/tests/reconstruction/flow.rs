//! Four senders, two readers, and a daemon that is killed at random moments.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::host::{Daemon, PATIENCE};
use crate::reader::Readers;
use crate::support::{Archive, coldstore, command, test_data};
use crate::truth::Truth;

/// One stream: its file, and the slots in it.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) path: String,
    pub(crate) slots: Vec<u64>,
}

/// Random numbers for the times of the kills (xorshift).
pub(crate) struct Moments(u64);

impl Moments {
    pub(crate) fn new() -> Self {
        let seed = RandomState::new().hash_one(0);
        eprintln!("seed {seed}");
        Self(seed | 1)
    }

    /// A number from 1 to `most`.
    pub(crate) fn up_to(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        1 + usize::try_from(self.0 % most as u64).unwrap()
    }
}

pub(crate) fn import(archive: &Archive, chain: &str) {
    let files = test_data(chain).join("era");
    let files = files.to_str().unwrap();
    coldstore(&["import", &archive.arg(), files, "--backfill", "--states", "all"]).exits(0);
}

pub(crate) fn held(archive: &Archive, column: &str) -> Truth {
    Truth::of_lines(archive.scan(column, &["--format", "sha256"]).exits(0).text())
}

/// Asserts that the imported records are unchanged.
pub(crate) fn assert_imported(archive: &Archive, chain: &str, columns: &[&str]) {
    for column in columns {
        let lines = archive.scan(column, &["--format", "sha256"]).exits(0);
        test_support::assert_imported(chain, column, 0..=u64::MAX, lines.text());
    }
}

type Acknowledged = Arc<Mutex<BTreeSet<u64>>>;

/// Sends streams one after another with `send`, and records the acknowledgements.
fn sender(
    streams: Vec<Stream>,
    column: &'static str,
    batch: &'static str,
    socket: &str,
    acknowledged: &Acknowledged,
) -> JoinHandle<()> {
    let (socket, acknowledged) = (socket.to_owned(), Arc::clone(acknowledged));
    thread::spawn(move || {
        for Stream { path, slots } in streams {
            let arguments = ["send", &socket, column, &path, "--batch", batch, "--retry", "60"];
            let mut command = command(&arguments);
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            note(&mut child, &slots, &acknowledged);
            assert!(child.wait().unwrap().success());
            let acknowledged = acknowledged.lock().unwrap();
            assert!(slots.iter().all(|slot| acknowledged.contains(slot)));
        }
    })
}

/// Records the `COMMITTED` lines.
fn note(child: &mut Child, slots: &[u64], acknowledged: &Acknowledged) {
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let ["COMMITTED", first, last, records] = words[..] else { panic!("{line}") };
        let committed = first.parse().unwrap()..=last.parse::<u64>().unwrap();
        let committed: Vec<u64> =
            slots.iter().copied().filter(|slot| committed.contains(slot)).collect();
        assert_eq!(committed.len(), records.parse::<usize>().unwrap(), "{line}");
        acknowledged.lock().unwrap().extend(committed);
    }
}

/// A column to fill, and how.
pub(crate) struct Flow<'a> {
    pub(crate) archive: &'a Archive,
    pub(crate) column: &'static str,
    pub(crate) truth: &'a Truth,
    /// The streams of each sender.
    pub(crate) senders: Vec<Vec<Stream>>,
    /// Records in one request.
    pub(crate) batch: &'static str,
    pub(crate) kills: usize,
}

impl Flow<'_> {
    /// Fills the column; returns the number of kills.
    pub(crate) fn run(self) -> usize {
        let Self { archive, column, truth, .. } = self;
        let mut daemon = Daemon::start(archive, &["--backfill"]);
        let mut readers = Readers::start(archive, column, truth);
        let acknowledged = Acknowledged::default();
        let senders: Vec<JoinHandle<()>> = self
            .senders
            .into_iter()
            .map(|streams| sender(streams, column, self.batch, &daemon.socket, &acknowledged))
            .collect();
        let mut moments = Moments::new();
        // The kills happen in the first half of the work, at any speed.
        let most_between_kills = (truth.len() / (2 * self.kills)).max(1);
        let started = Instant::now();
        let wait_for = |slots: usize| {
            while acknowledged.lock().unwrap().len() < slots
                && !senders.iter().all(JoinHandle::is_finished)
            {
                assert!(started.elapsed() < 3 * PATIENCE, "the senders do not finish");
                sleep(Duration::from_millis(1));
            }
        };
        let mut kills = 0;
        while kills < self.kills && !senders.iter().all(JoinHandle::is_finished) {
            let before = acknowledged.lock().unwrap().len();
            wait_for(before + moments.up_to(most_between_kills));
            // At a random time during the following commits.
            sleep(Duration::from_micros(moments.up_to(4000) as u64));
            readers.assert_alive();
            daemon.kill();
            kills += 1;
            // Before any healing, as a reader sees it now.
            let promised = acknowledged.lock().unwrap().clone();
            truth.check_all(&held(archive, column), promised);
            daemon = Daemon::start(archive, &["--backfill"]);
        }
        wait_for(usize::MAX);
        readers.assert_alive();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        readers.finish();
        assert!(held(archive, column) == *truth);
        daemon.stop();
        assert!(held(archive, column) == *truth);
        let heal = coldstore(&["heal", &archive.arg(), "--dry-run"]).exits(0);
        assert!(heal.text().lines().all(|line| line.ends_with("nothing to heal")));
        assert_eq!(coldstore(&["verify", &archive.arg(), "--deep"]).exits(0).text(), "");
        kills
    }
}

pub(crate) fn write_file(path: impl AsRef<Path>, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}
