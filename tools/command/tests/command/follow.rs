//! `follow`.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Archive, PATIENCE, Run, coldstore, roots, spawn, stream};

const STATES: [u8; 2] = [4, 0];

/// A `load` that commits each item when it is fed.
struct Feed {
    child: Child,
    stdin: ChildStdin,
    acknowledged: Lines<BufReader<ChildStdout>>,
}

impl Feed {
    fn start(archive: &Archive) -> Self {
        let args = ["load", &archive.arg(), "bss", "--batch", "1", "--backfill", "--raw", "--far"];
        let mut child = spawn(&args, Stdio::piped());
        let mut stdin = child.stdin.take().unwrap();
        let acknowledged = BufReader::new(child.stdout.take().unwrap()).lines();
        stdin.write_all(&stream(STATES, &[])).unwrap();
        Self { child, stdin, acknowledged }
    }

    fn commit(&mut self, slots: impl IntoIterator<Item = u64>) {
        for item in roots(slots) {
            self.stdin.write_all(&stream(STATES, &[item])[8..]).unwrap();
            assert!(self.acknowledged.next().unwrap().unwrap().starts_with("COMMITTED"));
        }
    }

    fn finish(self) {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }
}

struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn start(archive: &Archive, more: &[&str]) -> Self {
        let archive = archive.arg();
        let mut child = spawn(&[&["follow", &archive, "bss"], more].concat(), Stdio::null());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn take(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Waits for the end, with a timeout.
    fn ends(mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0));
                return;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                panic!("follow goes on");
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let killed = std::process::Command::new("kill").args(["-s", name, &pid]).status();
        assert!(killed.unwrap().success());
    }
}

#[test]
fn follow_prints_committed_slots_from_a_slot_and_stops_at_its_limit() {
    let archive = Archive::new().with("bss", &roots([2, 5, 9000]));
    let run = coldstore(&["follow", &archive.arg(), "bss", "--from", "3", "--limit", "2"]);
    assert_eq!(run.exits(0).text(), "5\n9000\n");
    let run =
        coldstore(&["follow", &archive.arg(), "bss", "--from", "0", "--limit", "1", "--json"]);
    assert_eq!(run.exits(0).json(), serde_json::json!({"column": "bss", "slot": "2"}));
    let run = coldstore(&["follow", &archive.arg(), "bss", "--limit", "0"]).exits(0);
    assert_eq!(run.text(), "");
}

#[test]
fn follow_sees_the_slots_of_a_load_in_another_process() {
    let archive = Archive::new().with("bss", &roots([0, 4, 9000]));
    let mut follow = Following::start(&archive, &["--from", "9000"]);
    assert_eq!(follow.next(), "9000");
    let mut feed = Feed::start(&archive);
    feed.commit([9001, 9005, 20_000]);
    assert_eq!(follow.take(3), ["9001", "9005", "20000"]);
    feed.finish();
    follow.signal("TERM");
    follow.ends();
}

#[test]
fn follow_sees_backfilled_slots_unless_told_otherwise() {
    let archive = Archive::new().with("bss", &roots([0, 4, 9000]));
    let mut all = Following::start(&archive, &["--from", "0"]);
    let mut sequential = Following::start(&archive, &["--from", "0", "--sequential"]);
    assert_eq!(all.take(3), ["0", "4", "9000"]);
    assert_eq!(sequential.take(3), ["0", "4", "9000"]);
    let mut feed = Feed::start(&archive);
    feed.commit([2, 8500, 9001]);
    assert_eq!(all.take(3), ["2", "8500", "9001"]);
    assert_eq!(sequential.next(), "9001");
    feed.finish();
    all.signal("INT");
    all.ends();
    sequential.signal("INT");
    sequential.ends();
}

#[test]
fn follow_starts_after_the_highest_slot() {
    let archive = Archive::new().with("bss", &roots([0, 4]));
    let mut follow = Following::start(&archive, &["--limit", "1"]);
    let mut feed = Feed::start(&archive);
    // The follower may start late: commit until it has seen a slot.
    let seen = thread::spawn(move || {
        let slot = follow.next();
        follow.ends();
        slot.parse::<u64>().unwrap()
    });
    let deadline = Instant::now() + PATIENCE;
    for slot in 5.. {
        feed.commit([slot]);
        if seen.is_finished() {
            break;
        }
        assert!(Instant::now() < deadline, "follow shows nothing");
        thread::sleep(Duration::from_millis(10));
    }
    feed.finish();
    assert!(seen.join().unwrap() >= 5);
}

/// As in the README: the order of the follower and the writers does not matter.
#[test]
fn follow_from_a_slot_counts_committed_slots() {
    let archive = Archive::new().with("bss", &roots([0, 4, 9000]));
    let mut feed = Feed::start(&archive);
    feed.commit([2, 3]);
    let mut late = Following::start(&archive, &["--from", "0", "--limit", "6"]);
    let mut slots = late.take(5);
    feed.commit([8500]);
    slots.extend(late.take(1));
    feed.finish();
    late.ends();
    slots.sort();
    assert_eq!(slots, ["0", "2", "3", "4", "8500", "9000"]);
}

#[test]
fn follow_ends_when_its_output_is_closed_even_without_commits() {
    let archive = Archive::new().with("bss", &roots([0, 4]));
    let mut follow = Following::start(&archive, &["--from", "0"]);
    assert_eq!(follow.next(), "0");
    let Following { child, lines } = follow;
    drop(lines);
    let mut child = child;
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "follow goes on");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(child.wait().unwrap().success());
}

#[test]
fn follow_of_a_missing_column_is_an_error() {
    let archive = Archive::new().with("bbr", &roots([0]));
    coldstore(&["follow", &archive.arg(), "bss"]).exits(3).complains_of("bss");
}

/// Guards against a follow that goes on in a column that is no longer the archive's, for ever silent.
#[test]
fn follow_of_a_replaced_column_reports_it_and_ends() {
    let archive = Archive::new().with("bss", &roots([2, 5, 9000]));
    let mut following = Following::start(&archive, &["--from", "0"]);
    assert_eq!(following.take(3), ["2", "5", "9000"]);
    coldstore(&["rewind", &archive.arg(), "bss", "--to", "5"]).exits(0);
    let deadline = Instant::now() + PATIENCE;
    while following.child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            following.child.kill().unwrap();
            panic!("follow goes on");
        }
        thread::sleep(Duration::from_millis(10));
    }
    let Following { child, lines } = following;
    assert_eq!(lines.count(), 0, "nothing more is printed");
    let run: Run = child.wait_with_output().unwrap().into();
    let run = run.exits(3).complains_of("was replaced");
    assert!(run.stderr.contains("/bss"), "{}", run.stderr);
}
