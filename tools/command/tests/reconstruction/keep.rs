//! `coldstore reconstruct --keep`: the states of the small chain as diffs.

use std::thread::sleep;
use std::time::{Duration, Instant};

use coldstore::{Archive as Reading, Reader, ReaderOptions, Slot};
use coldstore_consensus::Config;
use coldstore_history::states::{How, States};
use serde_json::json;
use test_support::chain_content::MINIMAL_CONFIG;

use crate::chain_minimal::{CHAIN, states};
use crate::flow::{Moments, assert_imported, held, import, write_file};
use crate::host::{Daemon, PATIENCE};
use crate::replay::{imported, reconstruct, spawn};
use crate::support::{Archive, coldstore, coldstore_fed, stream, test_data};
use crate::truth::Truth;

/// The diffs of an undisturbed run.
fn kept(keep: &str) -> Truth {
    let archive = imported();
    reconstruct(&archive, &["--keep", keep, "--jobs", "1"]).exits(0);
    held(&archive, "bsd")
}

#[track_caller]
fn assert_kept(archive: &Archive, wanted: &Truth) {
    assert!(held(archive, "bsd") == *wanted);
    assert_imported(archive, CHAIN, &["blk", "bbr", "bsr"]);
    let heal = coldstore(&["heal", &archive.arg(), "--dry-run"]).exits(0);
    assert!(heal.text().lines().all(|line| line.ends_with("nothing to heal")), "{}", heal.text());
    assert_eq!(coldstore(&["verify", &archive.arg(), "--deep"]).exits(0).text(), "");
}

/// Keeps every state of an archive with up to `most` kills on the way; returns their number.
fn keep_with_kills(most: usize, moments: &mut Moments, wanted: &Truth) -> usize {
    let archive = imported();
    let reader = Reader::open(archive.path().join("bsd"), ReaderOptions::default()).unwrap();
    let count = || {
        let view = reader.refresh().unwrap();
        (0..=576).filter(|slot| view.contains(Slot(*slot)).unwrap()).count()
    };
    let started = Instant::now();
    let mut kills = 0;
    while kills < most && count() < wanted.len() {
        let before = count();
        let mut run = spawn(&archive, &["--keep", "slots", "--jobs", "2"]);
        // One in four is killed while it starts, the others in the first commits or after some.
        let after = before + if kills % 4 == 0 { 0 } else { moments.up_to(100) };
        while count() < after && run.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < 3 * PATIENCE, "it makes no progress");
            sleep(Duration::from_millis(1));
        }
        let most_micros = if after == before { 50_000 } else { 4000 };
        sleep(Duration::from_micros(moments.up_to(most_micros) as u64));
        kills += usize::from(run.try_wait().unwrap().is_none());
        run.kill().unwrap();
        run.wait().unwrap();
        // Before any healing, as a reader sees it now.
        wanted.check_all(&held(&archive, "bsd"), []);
    }
    reconstruct(&archive, &["--keep", "slots"]).exits(0);
    assert_kept(&archive, wanted);
    kills
}

#[test]
fn killed_at_random_moments_it_ends_like_an_undisturbed_run() {
    const KILLS: usize = 16;
    let (mut kills, mut moments, wanted) = (0, Moments::new(), kept("slots"));
    assert_eq!(wanted.len(), 567);
    while kills < KILLS {
        kills += keep_with_kills(KILLS - kills, &mut moments, &wanted);
    }
}

#[test]
fn layers_are_added_in_any_order_and_by_parts() {
    let wanted = kept("slots");
    let archive = imported();
    reconstruct(&archive, &["--keep", "epochs", "--era", "3..5"]).exits(0);
    reconstruct(&archive, &["--keep", "slots", "--era", "1..3", "--jobs", "3"]).exits(0);
    reconstruct(&archive, &["--keep", "epochs", "--check", "slot"]).exits(0);
    let epochs = kept("epochs");
    assert!(epochs.slots().all(|slot| held(&archive, "bsd").slots().any(|held| held == slot)));
    let done = reconstruct(&archive, &["--keep", "slots", "--json"]).exits(0).json();
    assert_eq!((&done["done_eras"], &done["eras"]), (&json!("3"), &json!("6")));
    assert_kept(&archive, &wanted);
}

#[test]
fn the_summary_counts_diffs_by_layer() {
    let archive = imported();
    let run = reconstruct(&archive, &["--keep", "slots", "--json"]).exits(0);
    let done = run.json();
    let layers: Vec<_> = done["layers"].as_array().unwrap().iter().collect();
    let records: Vec<_> =
        layers.iter().map(|layer| (layer["layer"].clone(), layer["records"].clone())).collect();
    let wanted = [("every 16 slots", "27"), ("every 8 slots", "36"), ("every slot", "504")];
    assert_eq!(records, wanted.map(|(layer, records)| (json!(layer), json!(records))));
    let counted: u64 =
        layers.iter().map(|layer| layer["bytes"].as_str().unwrap().parse::<u64>().unwrap()).sum();
    let lines = archive.scan("bsd", &["--format", "sha256"]).exits(0);
    let held = lines.text().lines().map(|line| line.split('\t').nth(1).unwrap().parse::<u64>());
    assert_eq!(counted, held.map(Result::unwrap).sum::<u64>());
    for told in [
        "proved: 567 states by the end of their eras, before they were stored; 8 replays by ",
        "coldstore: every 16 slots: 27 diffs, ",
    ] {
        assert!(run.stderr.contains(told), "{}", run.stderr);
    }
}

#[test]
fn a_running_daemon_stores_the_diffs() {
    let (archive, wanted) = (imported(), kept("slots"));
    let daemon = Daemon::start(&archive, &[]);
    let socket = daemon.socket.clone();
    reconstruct(&archive, &["--keep", "epochs", "--socket", &socket]).exits(0);
    assert!(held(&archive, "bsd") == kept("epochs"));
    reconstruct(&archive, &["--keep", "slots", "--jobs", "2", "--socket", &socket]).exits(0);
    daemon.stop();
    assert_kept(&archive, &wanted);
}

#[test]
fn a_new_column_is_opened_for_backfill_and_one_in_use_is_not() {
    let without_backfill = || {
        let archive = Archive::new();
        let files = test_data(CHAIN).join("era");
        coldstore(&["import", &archive.arg(), files.to_str().unwrap()]).exits(0);
        archive
    };
    let archive = without_backfill();
    reconstruct(&archive, &["--keep", "epochs"]).exits(0);
    assert_kept(&archive, &kept("epochs"));
    let archive = without_backfill();
    coldstore_fed(&["put", &archive.arg(), "bsd", "576"], b"of another program").exits(0);
    let refused = reconstruct(&archive, &["--keep", "epochs"]).exits(3);
    assert!(refused.stderr.contains("bsd is not open for backfill: "), "{}", refused.stderr);
    import(&archive, CHAIN);
    coldstore(&["verify", &archive.arg()]).exits(0);
}

#[test]
fn diffs_and_whole_states_are_not_chosen_together() {
    let archive = imported();
    for other in [["--every", "8"], ["--slots", "5"]] {
        let run = reconstruct(&archive, &[&["--keep", "slots"], &other[..]].concat()).exits(2);
        assert!(run.stderr.contains("--keep"), "{}", run.stderr);
    }
    let run = reconstruct(&archive, &["--keep", "eras"]).exits(2);
    assert!(run.stderr.contains("'eras' is none of epochs, slots, every:N"), "{}", run.stderr);
}

/// The state of a slot as the archive gives it, which must be stored as a diff.
fn kept_state(archive: &Archive, slot: u64) -> Vec<u8> {
    let archive = Reading::open(archive.path(), ReaderOptions::default()).unwrap();
    let config = Config::parse(MINIMAL_CONFIG).unwrap();
    let states = States::open(&archive, Some(&config)).unwrap();
    let view = states.at(Slot(slot)).unwrap();
    assert!(matches!(view.how(), How::Diffs { .. }), "slot {slot}: {}", view.how());
    let mut ssz = Vec::new();
    view.write_ssz(&mut ssz).unwrap();
    ssz
}

#[test]
fn a_whole_state_that_is_put_is_stored_as_a_diff() {
    let (archive, (states, _)) = (imported(), states());
    let daemon = Daemon::start(&archive, &[]);
    let put = |slot: u64, value: &[u8]| daemon.ask("PUT", &format!("/v1/bsd/{slot}"), value);
    // An epoch inside an era, the slot after it, skipped slots, the first slot of a fork.
    for slot in [104, 105, 102, 336, 575] {
        put(slot, &states[&slot]).exits_with(201);
        assert!(daemon.get(&format!("/v1/bsd/{slot}")).body.starts_with(b"CSD1"), "slot {slot}");
        put(slot, &states[&slot]).exits_with(200);
        assert!(kept_state(&archive, slot) == states[&slot], "slot {slot}");
    }
    let manifest = std::fs::read_to_string(archive.path().join("archive.toml")).unwrap();
    assert!(manifest.contains("state_values = \"coldstore\""), "{manifest}");
    // The genesis time, and the chain's root.
    let changed = |slot: u64, at: usize| {
        let mut state = states[&slot].clone();
        state[at] ^= 1;
        state
    };
    put(104, &changed(104, 0)).refuses(409, "Conflict");
    let chain = put(103, &changed(103, 8)).refuses(422, "WrongValue");
    assert!(chain["message"].as_str().unwrap().contains("genesis validators root"), "{chain}");
    let cut = put(103, &states[&103][..5000]).refuses(422, "WrongValue");
    assert_eq!(cut["slot"], "103");
    put(103, &states[&105]).refuses(422, "WrongValue");
    put(103, b"a diff of another program").refuses(422, "WrongValue");
    daemon.stop();
    // What is left is added, to the states that are there.
    reconstruct(&archive, &["--keep", "slots"]).exits(0);
    for slot in (1..=575).filter(|slot| slot % 64 != 0) {
        assert!(kept_state(&archive, slot) == states[&slot], "slot {slot}");
    }
}

#[test]
fn a_diff_that_is_sent_is_checked_and_stored_as_it_is() {
    let (archive, made, (states, _)) = (imported(), imported(), states());
    reconstruct(&made, &["--keep", "epochs"]).exits(0);
    let of = |slot: u64| coldstore(&["get", &made.arg(), "bsd", &slot.to_string()]).exits(0).stdout;
    let daemon = Daemon::start(&archive, &[]);
    let put = |slot: u64, value: &[u8]| daemon.ask("PUT", &format!("/v1/bsd/{slot}"), value);
    put(80, &of(80)).exits_with(201);
    assert!(daemon.get("/v1/bsd/80").body == of(80));
    assert!(kept_state(&archive, 80) == states[&80]);
    put(88, &of(96)).refuses(422, "WrongValue");
    let mut damaged = of(96);
    damaged[16] ^= 1;
    put(96, &damaged).refuses(422, "WrongValue");
    // A diff by other layers.
    let other = imported();
    let manifest = other.path().join("archive.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    write_file(&manifest, format!("state_layers = [\"11,6+2,0\"]\n{text}").as_bytes());
    reconstruct(&other, &["--keep", "every:4", "--era", "2"]).exits(0);
    let elsewhere = coldstore(&["get", &other.arg(), "bsd", "112"]).exits(0).stdout;
    let refused = put(112, &elsewhere).refuses(422, "WrongValue");
    assert!(refused["message"].as_str().unwrap().contains("found 108"), "{refused}");
    for (slot, value) in [(112, &elsewhere), (96, &states[&96])] {
        let stream = stream([5, 0], &[(slot, value.clone())]);
        daemon.ask("POST", "/v1/bsd", &stream).refuses(422, "WrongValue");
    }
    daemon.ask("POST", "/v1/bsd", &stream([5, 0], &[(96, of(96))])).exits_with(200);
    assert!(kept_state(&archive, 96) == states[&96]);
    daemon.stop();
}

#[test]
fn states_are_not_filled_in_where_backfill_is_off() {
    let (archive, (states, _)) = (Archive::new(), states());
    let files = test_data(CHAIN).join("era");
    coldstore(&["import", &archive.arg(), files.to_str().unwrap()]).exits(0);
    let daemon = Daemon::start(&archive, &[]);
    let put = |slot: u64| daemon.ask("PUT", &format!("/v1/bsd/{slot}"), &states[&slot]);
    put(500).exits_with(201);
    put(499).refuses(422, "BackfillDisabled");
    put(501).exits_with(201);
    daemon.stop();
}

#[test]
fn the_manifest_says_whose_diffs_an_archive_holds_and_others_are_not_mixed_with_them() {
    let (ours, theirs, (states, _)) = (imported(), imported(), states());
    let manifest = |archive: &Archive| archive.path().join("archive.toml");
    reconstruct(&ours, &["--keep", "epochs", "--era", "1"]).exits(0);
    let text = std::fs::read_to_string(manifest(&ours)).unwrap();
    assert!(text.contains("11,6,4+3,0"), "{text}");
    assert!(text.contains("state_values = \"coldstore\""), "{text}");
    let text = std::fs::read_to_string(manifest(&theirs)).unwrap();
    let named = format!("state_values = \"lighthouse\"\n{text}");
    write_file(manifest(&theirs), named.as_bytes());
    let refused = reconstruct(&theirs, &["--keep", "epochs"]).exits(3);
    assert!(refused.stderr.contains("bss and bsd hold the values of lighthouse"));
    assert_eq!(held(&theirs, "bsd").len(), 0);
    let daemon = Daemon::start(&theirs, &[]);
    daemon.ask("PUT", "/v1/bsd/104", &states[&104]).refuses(422, "WrongValue");
    daemon.ask("PUT", "/v1/bsd/104", b"a diff of another program").exits_with(201);
    daemon.stop();
    // Without a word in the manifest, the first value decides.
    write_file(manifest(&theirs), text.as_bytes());
    let refused = reconstruct(&theirs, &["--keep", "epochs"]).exits(3);
    assert!(refused.stderr.contains("bsd holds a value of unknown form at slot 104"));
}

#[test]
fn eras_between_boundary_states_that_are_diffs_are_kept_and_proved() {
    let (archive, (states, _)) = (Archive::new(), states());
    let files = test_data(CHAIN).join("era");
    let layered = ["import", &archive.arg(), files.to_str().unwrap(), "--states", "layered"];
    coldstore(&layered).exits(0);
    let boundaries: Vec<u64> = held(&archive, "bsd").slots().collect();
    assert_eq!(boundaries, (64..=576).step_by(64).collect::<Vec<u64>>());
    let proved = reconstruct(&archive, &["--json"]).exits(0).json();
    assert_eq!((&proved["eras"], &proved["equal_ends"]), (&json!("9"), &json!("8")));
    let done = reconstruct(&archive, &["--keep", "slots", "--jobs", "2", "--json"]).exits(0).json();
    assert_eq!((&done["stored_states"], &done["equal_ends"]), (&json!("567"), &json!("8")));
    for slot in 1..=576 {
        assert!(kept_state(&archive, slot) == states[&slot], "slot {slot}");
    }
    let whole = reconstruct(&archive, &["--slots", "100,300"]);
    assert!(whole.code == Some(0), "{}", whole.stderr);
    assert!(held(&archive, "bss").slots().eq([0, 100, 300]));
}
