//! States that are stored in layers, as `stat`, `map`, `verify`, `prune` and `rewind` see them.

use coldstore::{Column, Manifest};
use serde_json::{Value, json};

use crate::state::layered;
use crate::support::{Archive, coldstore, roots};

/// Whole states at 0 and 512, 8 diffs at the other boundaries, and 7 in each of 9 eras.
#[test]
fn stat_and_map_count_the_records_of_each_layer() {
    let archive = layered();
    let root = archive.path().to_str().unwrap();
    let stat = coldstore(&["stat", root, "--json"]).exits(0).json();
    let states = &stat["states"];
    assert_eq!(states["layers"], "9,6+3");
    let kept = states["kept"].as_array().unwrap();
    let counts: Vec<[&Value; 3]> =
        kept.iter().map(|row| [&row["layer"], &row["distance"], &row["records"]]).collect();
    let wanted = json!([["snapshot", "512", "2"], ["flat", "64", "8"], ["chained", "8", "63"]]);
    assert_eq!(json!(counts), wanted);
    let bytes = |row: &Value, name: &str| row[name].as_str().unwrap().parse::<u64>().unwrap();
    let total: u64 = kept.iter().map(|row| bytes(row, "bytes")).sum();
    let columns = stat["columns"].as_array().unwrap();
    let of_states = columns.iter().filter(|column| column["column"] != "blk");
    let of_states =
        of_states.filter(|column| column["records"] == "2" || column["records"] == "71");
    // Without the record of the version at the start of each file.
    let of_states: u64 = of_states.map(|column| bytes(column, "data_bytes") - 8).sum();
    assert_eq!(total, of_states);
    // 5,259,600 slots of 6 seconds: 82,181 boundaries, 10,272 of them whole.
    let boundaries = &kept[1];
    let a_year = bytes(boundaries, "bytes") * (82_181 - 10_272) / 8;
    assert_eq!(boundaries["bytes_a_year"], a_year.to_string());
    let run = coldstore(&["stat", root]).exits(0);
    let text = run.text();
    assert!(text.contains("\nstates by layer; a year is extrapolated"), "{text}");
    assert!(text.contains("\ndiff, chained          8 slots"), "{text}");

    let map = coldstore(&["map", root, "--json"]).exits(0).json();
    let of = |name| {
        let columns = map["columns"].as_array().unwrap();
        columns.iter().find(|column| column["column"] == name).unwrap()["layers"].clone()
    };
    assert_eq!(of("bss"), json!([{"layer": "snapshot", "distance": "512", "records": "2"}]));
    assert_eq!(of("bsd")[1], json!({"layer": "chained", "distance": "8", "records": "63"}));
    assert_eq!(of("blk"), Value::Null);
    let drawn = coldstore(&["map", root, "bsd"]).exits(0);
    let line = "8 diffs every 64 slots; 63 diffs, chained, every 8 slots";
    assert!(drawn.text().contains(line), "{}", drawn.text());
}

#[test]
fn verify_proves_diffs_and_names_what_they_lack() {
    let archive = layered();
    let root = archive.path().to_str().unwrap();
    coldstore(&["verify", root]).exits(0);
    for column in [&[][..], &["bsd"]] {
        let args = [&["verify", root], column, &["--deep"]].concat();
        let run = coldstore(&args).exits(0);
        let told = "of the states, 16 were rebuilt from diffs; 54 were not rebuilt themselves";
        assert!(run.stderr.contains(told), "{}", run.stderr);
    }
    let all = coldstore(&["verify", root, "--deep", "--states", "all", "--json"]).exits(0).json();
    assert_eq!(all["proof"]["rebuilt_states"], "70");
    assert_eq!(all["proof"]["covered_states"], "0");
    let some = ["verify", root, "--deep", "--states", "every:16", "--json"];
    assert_eq!(coldstore(&some).exits(0).json()["proof"]["rebuilt_states"], "34");
    coldstore(&["verify", root, "--deep", "--states", "some"]).exits(2);
    coldstore(&["verify", root, "--states", "all"]).exits(2);

    archive.remake(Column::StateDiffs, |slot, value| (slot != 72).then_some(value));
    let line = "bsd/data_00000, slot 80: state diff: wanted in the layer of 8 slots: the state of slot \
                72, on which it builds, found in neither bss nor bsd\n";
    for deep in [&[][..], &["--deep"]] {
        let run = coldstore(&[&["verify", root], deep].concat()).exits(1);
        assert_eq!(run.text().matches(line).count(), 1, "{}", run.text());
        assert_eq!(run.text().lines().count(), 1, "{}", run.text());
    }
    let json = coldstore(&["verify", root, "--json"]).exits(1).json();
    assert_eq!((&json["damages"], &json["findings"][0]["slot"]), (&json!("1"), &json!("80")));
}

/// An archive of five files whose diffs have whole states at multiples of 16,384, and one more.
fn five_files() -> Archive {
    let archive = Archive::new()
        .with("bbr", &roots(0..36_000))
        .with("bss", &roots([0, 16_384, 28_000, 32_768]))
        .with("bsd", &roots([4096, 20_480, 29_000, 35_000]));
    Manifest::update(&archive.path(), |manifest| {
        manifest.state_values = Some("coldstore".to_owned());
        manifest.state_layers = vec!["14,12+3".to_owned()];
        manifest.preset = Some("minimal".to_owned());
        manifest.slots_per_era = Some(64);
        Ok(())
    })
    .unwrap();
    archive
}

/// Guards against a prune down to the newest whole state, on which nothing may build.
#[test]
fn prune_leaves_the_window_of_the_lowest_diff_that_stays() {
    let archive = five_files();
    let arg = archive.arg();
    let highest = |column: &str| {
        let lines = archive.scan(column, &["--format", "sha256"]).exits(0);
        lines.text().lines().map(|line| line.split('\t').next().unwrap().to_owned()).next()
    };
    for more in [&["--dry-run"][..], &[]] {
        let run = coldstore(&[&["prune", &arg, "--before", "30000"], more].concat()).exits(0);
        let told = "bss and bsd keep everything from slot 16384 on: diffs that stay build on it";
        assert!(run.stderr.contains(told), "{}", run.stderr);
        assert!(run.text().contains("pruned before slot 24576"), "{}", run.text());
        assert_eq!(run.text().matches("pruned before slot 16384").count(), 2, "{}", run.text());
    }
    assert_eq!(highest("bbr").as_deref(), Some("24576"));
    assert_eq!(highest("bss").as_deref(), Some("16384"));
    assert_eq!(highest("bsd").as_deref(), Some("20480"));
    // The last file of a column stays, so what its diffs build on stays too.
    let run = coldstore(&["prune", &arg, "bss", "--before", "99999"]).exits(0);
    assert!(run.text().contains("pruned before slot 32768"), "{}", run.text());
}

#[test]
fn a_rewind_that_would_strand_diffs_is_refused() {
    let archive = five_files();
    let arg = archive.arg();
    for to in ["30000", "nothing"] {
        let refused = coldstore(&["rewind", &arg, "bss", "--to", to]).exits(3);
        refused.complains_of("bsd holds diffs up to slot 35000, which build on states above slot");
    }
    coldstore(&["rewind", &arg, "bss", "--to", "35000"]).exits(0);
    coldstore(&["rewind", &arg, "bss", "bsd", "--to", "30000"]).exits(0);
    coldstore(&["rewind", &arg, "bsd", "--to", "5000"]).exits(0);
    coldstore(&["rewind", &arg, "bss", "--to", "5000"]).exits(0);
}

#[test]
fn a_copy_without_a_state_that_diffs_build_on_is_refused() {
    let (archive, other) = (layered(), layered());
    let [root, copy] = [&archive, &other].map(|archive| archive.path().to_str().unwrap());
    other.remake(Column::StateSnapshots, |slot, state| (slot != 512).then_some(state));
    let refused = coldstore(&["heal", root, "bss", "--from", copy]).exits(3);
    refused.complains_of("slot 520: state diff: in the layer of 8 slots: the state of slot 512");
    other.remake(Column::StateDiffs, |slot, value| (slot != 72).then_some(value));
    coldstore(&["heal", root, "bsd", "--from", copy])
        .exits(3)
        .complains_of("slot 80: state diff: in the layer of 8 slots: the state of slot 72");
    // What another column lacks does not count against a copy. The boundaries with a root in bsr are hashed.
    coldstore(&["verify", copy, "bsd"]).exits(1);
    coldstore(&["heal", copy, "bss", "--from", root]).exits(0);
    let healed = coldstore(&["heal", copy, "bsd", "--from", root]).exits(0);
    let agree = "7 records and 7 roots agree with the other columns";
    assert!(healed.stderr.contains(agree), "{}", healed.stderr);
    coldstore(&["verify", copy, "--deep"]).exits(0);
}
