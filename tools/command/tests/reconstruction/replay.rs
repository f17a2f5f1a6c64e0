//! `coldstore reconstruct`: the states of the small chain, rebuilt from its blocks.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use coldstore::{Column, Reader, ReaderOptions, Slot};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use test_support::{ImportedArchive, MINIMAL, era_files};

use crate::chain_minimal::{CHAIN, states};
use crate::flow::{Moments, assert_imported, held, import};
use crate::host::{Daemon, PATIENCE};
use crate::reader::Readers;
use crate::support::{Archive, Run, coldstore, coldstore_fed, command, listing, test_data};
use crate::truth::Truth;

/// An archive of the small chain, open for backfill.
pub(crate) fn imported() -> Archive {
    let archive = Archive::new();
    import(&archive, CHAIN);
    archive
}

fn arguments(archive: &Archive, more: &[&str]) -> Vec<String> {
    let config = test_data(CHAIN).join("config.yaml");
    let first = ["reconstruct", &archive.arg(), "--network", config.to_str().unwrap()];
    first.iter().chain(more).map(ToString::to_string).collect()
}

pub(crate) fn reconstruct(archive: &Archive, more: &[&str]) -> Run {
    let arguments = arguments(archive, more);
    coldstore(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

pub(crate) fn spawn(archive: &Archive, more: &[&str]) -> Child {
    let arguments = arguments(archive, more);
    let mut command: Command = command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The truth about these slots, and the boundary states.
fn truth_of(slots: impl Fn(u64) -> bool) -> Truth {
    let (states, _) = states();
    let wanted = |slot: &u64| slots(*slot) || slot.is_multiple_of(64);
    let wanted: BTreeMap<_, _> = states.iter().filter(|(slot, _)| wanted(slot)).collect();
    Truth::of_values(wanted.into_iter().map(|(slot, state)| (*slot, state.as_slice())))
}

/// Number of stored states.
fn count(reader: &Reader) -> usize {
    let view = reader.refresh().unwrap();
    (0..=576).filter(|slot| view.contains(Slot(*slot)).unwrap()).count()
}

#[track_caller]
fn assert_whole(archive: &Archive, truth: &Truth) {
    assert!(held(archive, "bss") == *truth);
    assert_imported(archive, CHAIN, &["blk", "bbr", "bsr"]);
    let heal = coldstore(&["heal", &archive.arg(), "--dry-run"]).exits(0);
    assert!(heal.text().lines().all(|line| line.ends_with("nothing to heal")), "{}", heal.text());
    assert_eq!(coldstore(&["verify", &archive.arg(), "--deep"]).exits(0).text(), "");
}

/// Rebuilds every state of an archive with up to `most` kills on the way; returns their number.
fn rebuild_with_kills(most: usize, moments: &mut Moments) -> usize {
    let archive = imported();
    let (_, truth) = states();
    let mut readers = Readers::start(&archive, "bss", &truth);
    let reader = Reader::open(archive.path().join("bss"), ReaderOptions::default()).unwrap();
    let started = Instant::now();
    let mut kills = 0;
    while kills < most && count(&reader) < truth.len() {
        let before = count(&reader);
        let mut run = spawn(&archive, &["--every", "1", "--jobs", "2"]);
        // One in four is killed while it starts, the others after some states.
        let wanted = before + if kills % 4 == 0 { 0 } else { moments.up_to(30) };
        while count(&reader) < wanted && run.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < 3 * PATIENCE, "it makes no progress");
            sleep(Duration::from_millis(1));
        }
        let most_micros = if wanted == before { 50_000 } else { 4000 };
        sleep(Duration::from_micros(moments.up_to(most_micros) as u64));
        kills += usize::from(run.try_wait().unwrap().is_none());
        run.kill().unwrap();
        run.wait().unwrap();
        readers.assert_alive();
        // Before any healing, as a reader sees it now.
        truth.check_all(&held(&archive, "bss"), []);
    }
    reconstruct(&archive, &["--every", "1"]).exits(0);
    readers.finish();
    assert_whole(&archive, &truth);
    kills
}

#[test]
fn killed_at_random_moments_it_resumes_and_stores_every_state() {
    const KILLS: usize = 24;
    let (mut kills, mut moments) = (0, Moments::new());
    // A run that is not killed in time stores everything, and a new archive takes its place.
    while kills < KILLS {
        kills += rebuild_with_kills(KILLS - kills, &mut moments);
    }
}

#[test]
fn any_number_of_workers_and_any_part_store_the_same_states() {
    let evens = truth_of(|slot| slot % 10 == 0);
    for jobs in ["1", "4"] {
        let archive = imported();
        // First some eras, then single slots, then what is left.
        reconstruct(&archive, &["--every", "10", "--era", "2..3", "--jobs", jobs]).exits(0);
        let some = truth_of(|slot| slot % 10 == 0 && (64..=192).contains(&slot));
        assert!(held(&archive, "bss") == some);
        reconstruct(&archive, &["--slots", "560,10,320", "--jobs", jobs]).exits(0);
        let done =
            reconstruct(&archive, &["--every", "10", "--jobs", jobs, "--json"]).exits(0).json();
        assert_eq!((&done["done_eras"], &done["stored_states"]), (&json!("2"), &json!("41")));
        assert_whole(&archive, &evens);
    }
}

#[test]
fn the_summary_says_what_was_proved_by_what() {
    let archive = imported();
    let run = reconstruct(&archive, &["--every", "32", "--json"]).exits(0);
    let mut done = run.json();
    done["seconds"].take();
    let wanted = json!({
        "slots": "575", "stored_states": "9", "eras": "9", "done_eras": "0", "equal_ends": "8",
        "ends_by_root": "1", "checked_states": "0", "failed": [], "seconds": null,
    });
    assert_eq!(done, wanted);
    let lines: Vec<&str> = run.stderr.lines().collect();
    let [plan, slots, proved] = lines[..] else { panic!("{lines:?}") };
    assert!(plan.starts_with("coldstore: 575 slots to replay with "), "{plan}");
    assert!(plan.contains("of memory each"), "{plan}");
    assert!(
        slots.contains(" slots/s), 9 eras; 0 eras left out, with no chosen state missing"),
        "{slots}"
    );
    assert_eq!(
        proved,
        "coldstore: proved: 9 states by their roots in bsr, before they were stored; 8 replays by the \
         stored state at the end, byte for byte; 1 by the root of the last slot in bsr, where no stored \
         state is reached; 0 states by --check"
    );
}

#[test]
fn without_chosen_states_it_proves_and_changes_nothing() {
    let archive = imported();
    let before = listing(&archive.path());
    for check in ["boundary", "epoch", "slot"] {
        let run = reconstruct(&archive, &["--check", check, "--json"]).exits(0);
        assert_eq!(run.json()["equal_ends"], "8");
        assert!(run.stderr.contains("no state stored: --every or --slots chooses some"));
    }
    assert_eq!(listing(&archive.path()), before);
}

#[test]
fn a_running_daemon_stores_the_states() {
    let (archive, other) = (imported(), imported());
    // Its path is that of another directory elsewhere.
    let daemon = Daemon::start_beside(&archive, &[]);
    let socket = daemon.socket.clone();
    let locked = reconstruct(&archive, &["--every", "16"]).exits(3);
    assert!(locked.stderr.contains("if that is the daemon, pass its socket: --socket PATH"));
    let wrong = reconstruct(&other, &["--every", "16", "--socket", &socket]).exits(3);
    assert!(wrong.stderr.contains("the daemon has the archive "), "{}", wrong.stderr);
    reconstruct(&archive, &["--every", "16", "--socket", &socket]).exits(0);
    assert!(held(&archive, "bss") == truth_of(|slot| slot % 16 == 0));
    daemon.stop();
    assert_whole(&archive, &truth_of(|slot| slot % 16 == 0));
    let gone = reconstruct(&archive, &["--every", "8", "--socket", &socket]).exits(3);
    assert!(gone.stderr.contains(&socket), "{}", gone.stderr);
    // Nothing to send.
    reconstruct(&archive, &["--every", "16", "--socket", &socket]).exits(0);
    reconstruct(&archive, &["--era", "1", "--socket", &socket]).exits(0);
}

#[test]
fn a_daemon_that_restarts_does_not_end_the_run() {
    let archive = imported();
    let (_, truth) = states();
    let reader = Reader::open(archive.path().join("bss"), ReaderOptions::default()).unwrap();
    let daemon = Daemon::start(&archive, &[]);
    let run = spawn(&archive, &["--every", "1", "--socket", &daemon.socket, "--retry", "240"]);
    let started = Instant::now();
    while count(&reader) < 20 {
        assert!(started.elapsed() < PATIENCE, "it makes no progress");
        sleep(Duration::from_millis(1));
    }
    daemon.kill();
    let daemon = Daemon::start(&archive, &[]);
    Run::from(run.wait_with_output().unwrap()).exits(0);
    daemon.stop();
    assert_whole(&archive, &truth);
}

#[test]
fn a_column_that_is_not_open_for_backfill_is_refused_with_the_way_to_open_it() {
    let archive = Archive::new();
    let files = test_data(CHAIN).join("era");
    coldstore(&["import", &archive.arg(), files.to_str().unwrap()]).exits(0);
    let before = listing(&archive.path());
    let refused = reconstruct(&archive, &["--every", "8"]).exits(3);
    assert!(
        refused
            .stderr
            .contains("bss is not open for backfill: import its .era files again with --backfill")
    );
    let after = listing(&archive.path());
    let new = after.iter().filter(|(path, held)| before.get(*path) != Some(held));
    // The locks were taken.
    assert!(
        new.clone().all(|(path, _)| path.is_dir() || path.ends_with("lock")),
        "{:?}",
        new.collect::<Vec<_>>()
    );
    import(&archive, CHAIN);
    reconstruct(&archive, &["--every", "8"]).exits(0);
}

#[test]
fn what_cannot_be_replayed_is_refused_before_the_start() {
    let archive = imported();
    let complain = |more: &[&str], code: i32, sentence: &str| {
        let run = reconstruct(&archive, more).exits(code);
        assert!(run.stderr.contains(sentence), "{}", run.stderr);
    };
    let reach = "slots 1 to 575 can be replayed";
    complain(&["--slots", "65", "--era", "1"], 2, "slot 65 is in era 2, outside --era");
    complain(&["--slots", "577"], 3, "slot 577 cannot be replayed");
    complain(&["--slots", "5,580"], 3, reach);
    complain(&["--every", "0"], 2, "--every");
    complain(&["--every", "8", "--slots", "5"], 2, "--slots");
    complain(&["--check", "sometimes"], 2, "boundary, epoch, slot");
    // The network of the small chain is no known one.
    let unknown = coldstore(&["reconstruct", &archive.arg(), "--every", "8"]).exits(3);
    assert!(unknown.stderr.contains("--network FILE"), "{}", unknown.stderr);
}

#[test]
fn eras_without_blocks_are_named_when_they_are_left_out() {
    let archive = ImportedArchive::of(&era_files(MINIMAL));
    archive.remake(Column::Blocks, |slot, block| (slot >= 192).then_some(block));
    let config = test_data(CHAIN).join("config.yaml");
    let [root, config] = [archive.path(), &config].map(|path| path.to_str().unwrap());
    let run = coldstore(&["reconstruct", root, "--network", config, "--json"]).exits(0);
    assert_eq!(run.json()["eras"], "6");
    assert!(run.stderr.contains("eras 1 to 3 left out"), "{}", run.stderr);
}

#[test]
fn eras_that_hold_nothing_are_an_empty_answer() {
    let archive = imported();
    let slots = |eras: &str| {
        let run = reconstruct(&archive, &["--every", "8", "--era", eras, "--json"]).exits(0);
        run.json()["slots"].clone()
    };
    assert_eq!(slots("10..12"), "0");
    assert_eq!(slots("0"), "0");
    assert_eq!(slots("9..10"), "63");
    assert_eq!(slots("0..1"), "64");
}

#[test]
fn an_era_with_a_damaged_block_is_named_and_the_others_are_done() {
    let archive = imported();
    let stored = coldstore(&["get", &archive.arg(), "blk", "300", "--stored"]).exits(0).stdout;
    let path = archive.path().join("blk/data_00000");
    let file = fs::read(&path).unwrap();
    let at =
        file.windows(stored.len()).position(|bytes| bytes == stored).unwrap() + stored.len() / 2;
    let data = fs::OpenOptions::new().write(true).open(&path).unwrap();
    data.write_all_at(&[file[at] ^ 1], at as u64).unwrap();

    let run = reconstruct(&archive, &["--every", "1", "--jobs", "2", "--json"]).exits(3);
    let done = run.json();
    let [failed] = &done["failed"].as_array().unwrap()[..] else { panic!("{done}") };
    assert_eq!((&failed["first_era"], &failed["last_era"]), (&json!("5"), &json!("5")));
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("blk/data_00000"), "{error}");
    assert!(run.stderr.contains(&format!("coldstore: era 5: {error}")), "{}", run.stderr);
    assert!(run.stderr.ends_with("coldstore: 1 era could not be replayed\n"), "{}", run.stderr);
    assert!(held(&archive, "bss") == truth_of(|slot| !(300..320).contains(&slot)));

    data.write_all_at(&[file[at]], at as u64).unwrap();
    let again = reconstruct(&archive, &["--every", "1", "--json"]).exits(0).json();
    assert_eq!((&again["done_eras"], &again["slots"]), (&Value::from("8"), &Value::from("21")));
    assert_whole(&archive, &truth_of(|_| true));
}

#[test]
fn a_signal_ends_it_with_what_is_durable() {
    let archive = imported();
    let (_, truth) = states();
    let reader = Reader::open(archive.path().join("bss"), ReaderOptions::default()).unwrap();
    let run = spawn(&archive, &["--every", "1", "--jobs", "1"]);
    let started = Instant::now();
    while count(&reader) < 20 {
        assert!(started.elapsed() < PATIENCE, "it makes no progress");
        sleep(Duration::from_millis(1));
    }
    kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    let run = Run::from(run.wait_with_output().unwrap());
    assert!((20..577).contains(&count(&reader)));
    let run = run.exits(3);
    assert!(run.stderr.ends_with("coldstore: stopped; run the same command again to resume\n"));
    truth.check_all(&held(&archive, "bss"), []);
    let heal = coldstore(&["heal", &archive.arg(), "--dry-run"]).exits(0);
    assert!(heal.text().lines().all(|line| line.ends_with("nothing to heal")));
}

#[test]
fn an_unfinished_era_is_rebuilt_and_the_next_import_goes_on_from_there() {
    let (whole, archive) = (imported(), Archive::new());
    let era = |number: u64| {
        let files = fs::read_dir(test_data(CHAIN).join("era")).unwrap();
        let paths = files.map(|file| file.unwrap().path().to_str().unwrap().to_owned());
        let name = format!("minimal-{number:05}-");
        paths.into_iter().find(|path| path.contains(&name)).unwrap()
    };
    for number in 0..=8 {
        coldstore(&["import", &archive.arg(), &era(number), "--backfill"]).exits(0);
    }
    for column in ["blk", "bsr", "bbr"] {
        let slots = ["--from", "512", "--to", "550", "--format", "stream"];
        let stream = whole.scan(column, &slots).exits(0).stdout;
        coldstore_fed(&["load", &archive.arg(), column], &stream).exits(0);
    }
    let done = reconstruct(&archive, &["--every", "1", "--json"]).exits(0).json();
    assert_eq!((&done["equal_ends"], &done["ends_by_root"]), (&json!("8"), &json!("1")));
    let (_, truth) = states();
    truth.check_all(&held(&archive, "bss"), 0..=550);
    coldstore(&["verify", &archive.arg(), "--deep"]).exits(0);
    assert_eq!(held(&archive, "bss").len(), 551);
    coldstore(&["import", &archive.arg(), &era(9), "--backfill"]).exits(0);
    reconstruct(&archive, &["--every", "1"]).exits(0);
    assert_whole(&archive, &truth);
}
