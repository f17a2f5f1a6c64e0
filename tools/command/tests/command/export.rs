//! `export`.

use std::fs;
use std::path::{Path, PathBuf};

use test_support::{copy_dir, era_files};

use crate::support::{Archive, Run, coldstore, listing, roots, test_data};

fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// An archive of a chain with a named network.
fn imported(chain: &str, more: &[&str]) -> Archive {
    let archive = Archive::new();
    let config = archive.beside("config.yaml");
    let name = if chain == "chain-minimal" { "minimal" } else { "mainnet" };
    fs::write(&config, format!("CONFIG_NAME: '{name}'\n")).unwrap();
    let files = test_data(chain).join("era");
    let (path, files) = (archive.arg(), files.to_str().unwrap().to_owned());
    coldstore(&[&["import", &path, &files, "--network", &config], more].concat()).exits(0);
    archive
}

fn export(archive: &Archive, more: &[&str]) -> Run {
    let (path, out) = (archive.arg(), archive.beside("out"));
    coldstore(&[&["export", &path, "--out", &out], more].concat())
}

#[test]
fn exported_files_have_the_names_of_the_imported_ones_and_import_to_the_same_archive() {
    for chain in ["chain-minimal", "chain-mainnet-preset"] {
        let archive = imported(chain, &[]);
        let before = listing(&archive.path());
        let run = export(&archive, &[]).exits(0);
        assert_eq!(run.text(), "", "the summary is for people");
        assert!(run.stderr.contains("eras written"), "{}", run.stderr);
        assert_eq!(listing(&archive.path()), before, "an export changes nothing");
        let sources = era_files(chain);
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let wanted: Vec<String> = sources.iter().map(name).collect();
        let out = archive.beside("out");
        assert_eq!(names(&out), wanted);
        for path in &sources {
            let exported = fs::read(Path::new(&out).join(path.file_name().unwrap())).unwrap();
            // The files of the minimal chain have another index at skipped slots.
            let is_same =
                chain == "chain-mainnet-preset" || path.to_str().unwrap().contains("-00000-");
            assert_eq!(exported == fs::read(path).unwrap(), is_same, "{}", path.display());
        }
        let again = Archive::new();
        coldstore(&["import", &again.arg(), &out]).exits(0);
        for column in ["blk", "bbr", "bsr", "bss"] {
            for file in names(archive.path().join(column).to_str().unwrap()) {
                let read = |of: &Archive| fs::read(of.path().join(column).join(&file)).unwrap();
                assert!(file == "lock" || read(&again) == read(&archive), "{column}/{file}");
            }
        }
    }
}

#[test]
fn the_summary_is_json_when_asked_for() {
    let archive = imported("chain-minimal", &[]);
    let summary = export(&archive, &["--era", "0..2", "--json"]).exits(0).json();
    assert_eq!(summary["exported_eras"], "3");
    assert_eq!(summary["present_eras"], "0");
    assert_eq!(summary["config_name"], "minimal");
    assert_eq!(summary["blocks"], (128 - 14).to_string());
    assert_eq!(summary["skipped_slots"], "14");
    let files = summary["files"].as_array().unwrap();
    assert_eq!(files.len(), 3);
    let path = archive.beside("out/minimal-00002-68884aec.era");
    assert_eq!(files[2]["file"], path);
    assert_eq!(files[2]["bytes"], fs::metadata(&path).unwrap().len().to_string());
    assert_eq!((&files[2]["first_slot"], &files[2]["last_slot"]), (&"64".into(), &"127".into()));
    assert_eq!(files[2]["state_slot"], "128");
    assert_eq!(files[0]["first_slot"], serde_json::Value::Null);
}

#[test]
fn an_interrupted_export_is_resumed() {
    let archive = imported("chain-minimal", &[]);
    export(&archive, &["--era", "0..4"]).exits(0);
    let out = archive.beside("out");
    let third = format!("{out}/minimal-00003-ed01c88d.era");
    fs::rename(&third, format!("{third}.tmp")).unwrap();
    let summary = export(&archive, &["--json"]).exits(0).json();
    assert_eq!((&summary["exported_eras"], &summary["present_eras"]), (&"6".into(), &"4".into()));
    assert_eq!(names(&out).len(), 10, "{:?}", names(&out));
}

#[test]
fn an_existing_file_that_differs_is_refused_and_kept() {
    let archive = imported("chain-minimal", &[]);
    export(&archive, &["--era", "0..4"]).exits(0);
    let third = archive.beside("out/minimal-00003-ed01c88d.era");
    let mut bytes = fs::read(&third).unwrap();
    bytes[1000] ^= 1;
    fs::write(&third, &bytes).unwrap();
    let run = export(&archive, &["--json"]).exits(3);
    assert!(run.stderr.contains(&third) && run.stderr.contains("byte 1000"), "{}", run.stderr);
    assert_eq!(run.json()["files"].as_array().unwrap().len(), 3, "eras 0 to 2 are there");
    assert_eq!(fs::read(&third).unwrap(), bytes);
    assert_eq!(names(&archive.beside("out")).len(), 5, "nothing else was made");
}

#[test]
fn eras_are_selected_and_an_empty_range_is_a_usage_error() {
    let archive = imported("chain-minimal", &[]);
    export(&archive, &["--era", "5..6"]).exits(0);
    let wanted = ["minimal-00005-7f74b8ae.era", "minimal-00006-40dcf0f3.era"];
    assert_eq!(names(&archive.beside("out")), wanted);
    export(&archive, &["--era", "10"]).exits(3).complains_of("bss has no state of slot 640");
    for wrong in ["x", "1-2", "1..", "6..5"] {
        export(&archive, &["--era", wrong]).exits(2);
    }
    assert_eq!(names(&archive.beside("out")), wanted);
}

#[test]
fn a_missing_record_is_named_and_earlier_eras_stay() {
    let archive = imported("chain-minimal", &["--states", "every:3"]);
    let run = export(&archive, &[]).exits(3);
    assert!(run.stderr.contains("era 1 cannot be exported: bss has no state of slot 64"));
    assert_eq!(names(&archive.beside("out")), ["minimal-00000-0a08c27f.era"]);
    export(&archive, &["--era", "3"]).exits(0);
    let empty = Archive::new().with("bbr", &roots(0..10));
    export(&empty, &[]).exits(3).complains_of("blk");
}

#[test]
fn a_missing_or_invalid_network_name_is_refused() {
    let archive = Archive::new();
    let files = archive.beside("files");
    fs::create_dir(&files).unwrap();
    for (era, path) in era_files("chain-minimal").iter().enumerate() {
        fs::copy(path, format!("{files}/{era}.era")).unwrap();
    }
    coldstore(&["import", &archive.arg(), &files]).exits(0);
    export(&archive, &[]).exits(2).complains_of("--network");
    export(&archive, &["--network", "mainnet"]).exits(3).complains_of("0x0a08c27f");
    let config = archive.beside("config.toml");
    for strange in ["../up", "Minimal", "a b", "a.b"] {
        fs::write(&config, format!("config_name = \"{strange}\"\n")).unwrap();
        export(&archive, &["--network", &config]).exits(3).complains_of("config name");
    }
    assert!(!Path::new(&archive.beside("out")).exists());
    fs::write(&config, "config_name = \"devnet-4\"\n").unwrap();
    export(&archive, &["--network", &config, "--era", "1"]).exits(0);
    assert_eq!(names(&archive.beside("out")), ["devnet-4-00001-c3b5fb85.era"]);
}

/// The config name comes from the names of the imported files.
#[test]
fn exported_files_have_the_names_of_published_ones() {
    for chain in ["chain-minimal", "chain-mainnet-preset"] {
        let archive = Archive::new();
        let files = test_data(chain).join("era");
        coldstore(&["import", &archive.arg(), files.to_str().unwrap()]).exits(0);
        export(&archive, &[]).exits(0);
        let out = archive.beside("out");
        assert_eq!(names(&out), names(files.to_str().unwrap()), "{chain}");
    }
}

#[test]
fn without_archive_toml_the_preset_follows_from_the_states() {
    for (chain, first) in [
        ("chain-minimal", "minimal-00001-c3b5fb85.era"),
        ("chain-mainnet-preset", "mainnet-00001-b5651e15.era"),
    ] {
        let archive = imported(chain, &[]);
        fs::remove_file(archive.path().join("archive.toml")).unwrap();
        let config = archive.beside("config.yaml");
        export(&archive, &["--network", &config, "--era", "1"]).exits(0);
        assert_eq!(names(&archive.beside("out")), [first]);
    }
}

#[test]
fn exported_streams_equal_those_of_scan_and_load_into_an_equal_column() {
    let archive = imported("chain-minimal", &[]);
    let summary = export(&archive, &["--format", "stream", "--json"]).exits(0).json();
    let out = archive.beside("out");
    assert_eq!(names(&out), ["bbr.e2s", "blk.e2s", "bsr.e2s", "bss.e2s"]);
    assert_eq!(summary["files"][0]["column"], "blk");
    assert_eq!(summary["files"][0]["records"], "516");
    for column in ["blk", "bbr", "bsr", "bss"] {
        let file = format!("{out}/{column}.e2s");
        let scanned = archive.scan(column, &["--format", "stream"]).exits(0).stdout;
        assert!(fs::read(&file).unwrap() == scanned, "{column}");
        let path = archive.arg();
        let args = ["export", &path, "--out", "-", "--format", "stream", "--column", column];
        assert!(coldstore(&args).exits(0).stdout == scanned, "{column}");
        let again = Archive::new();
        coldstore(&["load", &again.arg(), column, &file]).exits(0);
        let sums = |of: &Archive| of.scan(column, &["--format", "sha256"]).exits(0).stdout;
        assert_eq!(sums(&again), sums(&archive), "{column}");
    }
    let again = export(&archive, &["--format", "stream", "--json"]).exits(0).json();
    assert_eq!(again["files"][3]["outcome"], "present");
    let range = &["--format", "stream", "--column", "bbr", "--from", "3", "--to", "5"];
    let refused = export(&archive, range).exits(3);
    refused.complains_of("bbr.e2s");
    fs::remove_file(format!("{out}/bbr.e2s")).unwrap();
    export(&archive, range).exits(0);
    assert_eq!(
        fs::read(format!("{out}/bbr.e2s")).unwrap(),
        archive.scan("bbr", &["--format", "stream", "--from", "3", "--to", "5"]).stdout
    );
}

#[test]
fn options_of_the_other_format_are_usage_errors() {
    let archive = imported("chain-minimal", &[]);
    for (args, named) in [
        (&["--column", "blk"][..], "--column"),
        (&["--from", "1"], "--from"),
        (&["--to", "1"], "--to"),
        (&["--format", "stream", "--era", "1"], "--era"),
        (&["--format", "stream", "--network", "mainnet"], "--network"),
    ] {
        export(&archive, args).exits(2).complains_of(named);
    }
    let path = archive.arg();
    coldstore(&["export", &path, "--out", "-", "--format", "stream"]).exits(2);
    coldstore(&["export", &path]).exits(2);
}

#[test]
fn a_damaged_block_stops_the_export_with_file_and_offset() {
    let archive = imported("chain-minimal", &[]);
    let damaged = Archive::new();
    copy_dir(&archive.path(), &damaged.path());
    let data = damaged.path().join("blk/data_00000");
    let mut bytes = fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&data, bytes).unwrap();
    let run = export(&damaged, &[]).exits(3);
    assert!(run.stderr.contains("blk") && run.stderr.contains("slot"), "{}", run.stderr);
    let left = names(&damaged.beside("out"));
    assert!(left.len() > 2 && left.iter().all(|name| name.ends_with(".era")), "{left:?}");
}
