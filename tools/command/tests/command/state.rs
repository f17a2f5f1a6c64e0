//! `state`: the state of any slot.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use coldstore::{Column, Manifest, Slot, Writer, WriterOptions};
use coldstore_consensus::{Fork, Preset, StateFields, StateJson};
use coldstore_history::states::hierarchy::Hierarchy;
use test_support::chain_content::{MINIMAL_CONFIG, all_states, truth};
use test_support::diffs::store_diffs;
use test_support::{ImportedArchive, MINIMAL, era_files};

use crate::support::{Archive, Run, coldstore, spawn, test_data};

fn imported() -> Archive {
    let archive = Archive::new();
    let eras = test_data("chain-minimal/era");
    coldstore(&["import", &archive.arg(), eras.to_str().unwrap()]).exits(0);
    fs::write(archive.beside("config.yaml"), MINIMAL_CONFIG).unwrap();
    archive
}

fn state(archive: &Archive, slot: u64, more: &[&str]) -> Run {
    let (slot, config) = (slot.to_string(), archive.beside("config.yaml"));
    coldstore(&[&["state", &archive.arg(), &slot, "--network", &config], more].concat())
}

#[test]
fn the_state_of_any_slot_is_printed_with_its_origin() {
    let (archive, truth, roots) = (imported(), all_states(), truth("STATES.tsv"));
    // Stored; with a block; skipped; the first of a fork inside an era; skipped at the end of an era.
    for (slot, from) in
        [(128, None), (100, Some(64)), (102, Some(64)), (336, Some(320)), (383, Some(320))]
    {
        let root = roots[&slot].root;
        let run = state(&archive, slot, &[]).exits(0);
        assert!(run.stdout == truth[&slot], "slot {slot}");
        let how = match from {
            None => "stored".to_owned(),
            Some(from) => format!("replayed {} slots from slot {from}", slot - from),
        };
        run.complains_of(&format!("state at slot {slot}: {how}, root {root} in bsr"));
        let proved = state(&archive, slot, &["--prove"]).exits(0);
        assert!(proved.stdout == truth[&slot], "slot {slot}");
        proved.complains_of(&format!("{how}, root {root} (proved against bsr)"));
    }
    state(&archive, 65, &[]).exits(0).complains_of("replayed 1 slot from slot 64");
}

#[test]
fn a_state_goes_to_a_file_and_its_summary_to_json() {
    let (archive, truth, roots) = (imported(), all_states(), truth("STATES.tsv"));
    let path = archive.beside("state.ssz");
    let run = state(&archive, 500, &["--out", &path, "--json", "--prove"]).exits(0);
    assert!(fs::read(&path).unwrap() == truth[&500]);
    let json = run.json();
    for (key, value) in [
        ("slot", "500"),
        ("base", "448"),
        ("replayed_slots", "52"),
        ("fork", "fulu"),
        ("byte_len", &truth[&500].len().to_string()),
        ("root", &roots[&500].root.to_string()),
    ] {
        assert_eq!(json[key], value, "{json}");
    }
    assert_eq!(json["proved"], true);
    // As with `get`, a link is followed and its target replaced as a whole.
    let link = archive.beside("link");
    symlink(&path, &link).unwrap();
    let run = state(&archive, 501, &["--out", &link, "--json"]).exits(0);
    assert!(fs::read(&path).unwrap() == truth[&501]);
    assert_eq!(run.json()["proved"], false);
}

#[test]
fn a_field_is_printed_as_ssz_or_as_json() {
    let (archive, truth) = (imported(), all_states());
    let fields = StateFields::of(Preset::Minimal, Fork::Fulu);
    let spans = fields.spans(&truth[&500]).unwrap();
    let balances = &truth[&500][spans[fields.place("balances").unwrap()].clone()];
    let run = state(&archive, 500, &["--field", "balances"]).exits(0);
    assert!(run.stdout == balances);
    run.complains_of("balances of the state at slot 500: replayed 52 slots from slot 448");
    let json = state(&archive, 500, &["--field", "balances", "--json"]).exits(0).json();
    let numbers = balances.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes).to_string());
    assert_eq!(json, serde_json::json!(numbers.collect::<Vec<_>>()));
    // To a file goes SSZ, and its summary to standard output.
    let path = archive.beside("balances.ssz");
    let run = state(&archive, 500, &["--field", "balances", "--json", "--out", &path]).exits(0);
    assert!(fs::read(&path).unwrap() == balances);
    assert_eq!(run.json()["field"], "balances");
    assert_eq!(run.json()["byte_len"], balances.len().to_string());

    let unknown = state(&archive, 0, &["--field", "inactivity_scores"]).exits(2);
    assert_eq!(unknown.stdout, b"");
    unknown.complains_of(
        "a phase0 state has no field 'inactivity_scores'; its fields are genesis_time, ",
    );
}

#[test]
fn a_state_is_printed_as_json() {
    let (archive, truth) = (imported(), all_states());
    for slot in [0, 101, 500, 576] {
        let mut wanted = StateJson::new(Preset::Minimal, Vec::new());
        wanted.write_all(&truth[&slot]).unwrap();
        let wanted = [wanted.finish().unwrap(), b"\n".to_vec()].concat();
        let run = state(&archive, slot, &["--json"]).exits(0);
        assert!(run.stdout == wanted, "slot {slot}");
        assert_eq!(run.json()["slot"], slot.to_string());
    }
}

/// Stores the states at multiples of 8 as diffs.
pub(crate) fn layered() -> ImportedArchive {
    let archive = ImportedArchive::of(&era_files(MINIMAL));
    let layers = Hierarchy::new("9,6+3".parse().unwrap());
    store_diffs(&archive, &layers, |slot| slot % 8 == 0);
    Manifest::update(archive.path(), |manifest| {
        layers.record(manifest);
        manifest.state_values = Some("coldstore".to_owned());
        manifest.column_mut(Column::StateSnapshots).highest = Some(Slot(512));
        Ok(())
    })
    .unwrap();
    archive
}

#[test]
fn a_state_of_diffs_is_printed_with_the_layers_of_its_path() {
    let (archive, truth) = (layered(), all_states());
    let config = test_data("chain-minimal/config.yaml");
    let [root, config] = [archive.path(), &config].map(|path| path.to_str().unwrap());
    let state = |slot: u64, more: &[&str]| {
        let slot = slot.to_string();
        coldstore(&[&["state", root, &slot, "--network", config], more].concat())
    };
    let run = state(88, &["--prove"]).exits(0);
    assert!(run.stdout == truth[&88]);
    run.complains_of(
        "rebuilt from 4 diffs (1 of 64 slots, 3 of 8 slots) on the state of slot 0, root",
    );
    let path = archive.path().join("state.ssz");
    let run = state(90, &["--json", "--out", path.to_str().unwrap()]).exits(0);
    assert!(fs::read(&path).unwrap() == truth[&90]);
    let json = run.json();
    assert_eq!(json["how"], "replayed");
    assert_eq!(json["base"], "88");
    assert_eq!(json["diffs"], serde_json::json!(["64", "72", "80", "88"]));
    run.complains_of("replayed 2 slots from slot 88, rebuilt from 4 diffs");
    assert_eq!(state(0, &[]).exits(0).stdout, truth[&0]);

    // `get` says where a state is that its column does not have.
    let absent = coldstore(&["get", root, "bss", "64"]).exits(1);
    absent.complains_of("the state is kept as a diff in bsd; `coldstore state` rebuilds it");
    coldstore(&["get", root, "bsd", "512"]).exits(1).complains_of("kept whole in bss");
}

#[test]
fn a_missing_link_is_replayed_over_and_named() {
    let (archive, truth) = (layered(), all_states());
    archive.remake(Column::StateDiffs, |slot, value| (slot != 72).then_some(value));
    let config = test_data("chain-minimal/config.yaml");
    let [root, config] = [archive.path(), &config].map(|path| path.to_str().unwrap());
    let run = coldstore(&["state", root, "88", "--network", config]).exits(0);
    assert!(run.stdout == truth[&88]);
    for told in [
        "replayed 24 slots from slot 64",
        "slot 80: its diff in bsd is based on the state of slot 72",
    ] {
        assert!(run.stderr.contains(told), "{}", run.stderr);
    }
}

#[test]
fn a_state_that_the_archive_cannot_give_is_answered_with_the_reason() {
    let archive = imported();
    let path = archive.beside("state.ssz");
    state(&archive, 577, &["--out", &path]).exits(1).complains_of("end with slot 576");
    // The root of the last state would be in the next era.
    state(&archive, 576, &["--out", &path, "--prove"]).exits(1).complains_of("cannot be proved");
    assert!(!fs::exists(&path).unwrap());
    state(&archive, 576, &["--out", &path]).exits(0).complains_of("no root in bsr");

    let (later, eras) = (Archive::new(), Archive::new());
    fs::create_dir(eras.path()).unwrap();
    for path in era_files(MINIMAL).into_iter().skip(3) {
        fs::copy(&path, eras.path().join(path.file_name().unwrap())).unwrap();
    }
    coldstore(&["import", &later.arg(), &eras.arg()]).exits(0);
    fs::write(later.beside("config.yaml"), MINIMAL_CONFIG).unwrap();
    state(&later, 191, &[]).exits(1).complains_of("its first after it is that of slot 192");
    state(&later, 200, &["--prove"]).exits(0);
}

#[test]
fn the_network_must_be_known_or_named_and_fit() {
    let archive = imported();
    let unknown = coldstore(&["state", &archive.arg(), "100"]).exits(3);
    assert_eq!(unknown.stdout, b"");
    unknown.complains_of("--network FILE");
    let named = |network: &str| coldstore(&["state", &archive.arg(), "100", "--network", network]);
    named("mainnet").exits(3).complains_of("genesis validators root");
    named("nowhere").exits(2).complains_of("neither a known network");
    let config = archive.beside("config.yaml");
    fs::write(&config, MINIMAL_CONFIG.replace("ALTAIR_FORK_EPOCH: 6", "ALTAIR_FORK_EPOCH: 5"))
        .unwrap();
    // Altair begins with slot 48: its first block there is none of the phase0 chain.
    state(&archive, 47, &[]).exits(3).complains_of("the config is not that of this network");
}

#[test]
fn a_missing_block_is_named_with_the_slot_that_needs_it() {
    let archive = ImportedArchive::of(&era_files(MINIMAL));
    archive.remake(Column::Blocks, |slot, block| (slot != 90).then_some(block));
    let config = test_data("chain-minimal/config.yaml");
    let [root, config] = [archive.path(), &config].map(|path| path.to_str().unwrap());
    let state = |slot| coldstore(&["state", root, slot, "--network", config]);
    state("89").exits(0);
    let missing = state("100").exits(1);
    assert_eq!(missing.stdout, b"");
    let told = missing.complains_of("blk has no record of slot 90: missing").stderr;
    assert!(told.contains("the state of slot 100 cannot be rebuilt without it"), "{told}");
}

#[test]
fn a_wrong_state_inside_an_era_is_passed_over_and_reported() {
    let archive = ImportedArchive::of(&era_files(MINIMAL));
    let mut stored = Vec::new();
    archive.remake(Column::StateSnapshots, |slot, state| {
        stored.push((slot, state));
        None
    });
    stored.insert(2, (80, b"no state".to_vec()));
    let options = WriterOptions::create(Column::StateSnapshots.spec());
    let mut writer = Writer::open(archive.path().join("bss"), options).unwrap();
    for (slot, state) in &stored {
        writer.put(Slot(*slot), state).unwrap();
    }
    drop(writer);
    let config = test_data("chain-minimal/config.yaml");
    let [root, config] = [archive.path(), &config].map(|path| path.to_str().unwrap());
    let run = coldstore(&["state", root, "100", "--network", config]).exits(0);
    assert!(run.stdout == all_states()[&100]);
    assert!(run.stderr.contains("replayed 36 slots from slot 64"), "{}", run.stderr);
    let sentence = "the state in bss of slot 80 is nearer, but wrong; `coldstore verify --deep`";
    assert!(run.stderr.contains(sentence), "{}", run.stderr);
    let found = coldstore(&["verify", root, "--deep"]).exits(1);
    assert!(found.text().contains("slot 80"), "{}", found.text());
}

#[test]
fn damage_is_a_failed_operation_and_writes_nothing() {
    let archive = imported();
    let path = archive.path().join("blk/data_00000");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    let out = archive.beside("state.ssz");
    let failed = (0..9)
        .map(|era| state(&archive, era * 64 + 63, &["--out", &out]))
        .find(|run| run.code != Some(0))
        .unwrap();
    failed.exits(3).complains_of("blk");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let archive = imported();
    let config = archive.beside("config.yaml");
    let args = ["state", &archive.arg(), "100", "--network", &config];
    let mut child = spawn(&args, Stdio::null());
    drop(child.stdout.take());
    Run::from(child.wait_with_output().unwrap()).exits(0);
}
