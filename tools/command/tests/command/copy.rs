//! `copy`.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use crate::support::{Archive, PATIENCE, coldstore, listing, spawn, test_data};

fn imported() -> Archive {
    let archive = Archive::new();
    let era = test_data("chain-minimal").join("era");
    coldstore(&["import", &archive.arg(), era.to_str().unwrap()]).exits(0);
    archive
}

fn sha256(root: &str, column: &str) -> String {
    coldstore(&["scan", root, column, "--format", "sha256"]).exits(0).text().to_owned()
}

#[test]
fn a_copy_holds_the_same_opens_clean_and_proves() {
    let archive = imported();
    let copied = archive.beside("copy");
    let run = coldstore(&["copy", &archive.arg(), &copied, "--json"]).exits(0);
    assert!(run.stderr.contains("copied "), "{}", run.stderr);
    let columns = run.json();
    assert_eq!(columns.as_array().unwrap().len(), 4);
    let blocks = columns.as_array().unwrap().iter().find(|of| of["column"] == "blk").unwrap();
    assert_eq!((&blocks["records"], &blocks["bytes_found"]), (&"516".into(), &"0".into()));
    for column in ["blk", "bbr", "bsr", "bss"] {
        assert_eq!(sha256(&copied, column), sha256(&archive.arg(), column), "{column}");
    }
    let manifest = |root: &Path| fs::read(root.join("archive.toml")).unwrap();
    assert_eq!(manifest(Path::new(&copied)), manifest(&archive.path()));
    coldstore(&["verify", &copied, "--deep"]).exits(0);
    let healed = coldstore(&["heal", &copied, "--dry-run"]).exits(0);
    assert!(!healed.text().contains("cut"), "{}", healed.text());
    coldstore(&["copy", &archive.arg(), &copied]).exits(3).complains_of("no unfinished copy");
    coldstore(&["copy", &archive.beside("none"), &archive.beside("other")]).exits(3);
    assert!(!fs::exists(archive.beside("other")).unwrap());
}

#[test]
fn verbs_refuse_an_unfinished_copy() {
    let archive = imported();
    let copied = archive.beside("copy");
    coldstore(&["copy", &archive.arg(), &copied]).exits(0);
    fs::write(Path::new(&copied).join("copy.unfinished"), "").unwrap();
    let (era, value) = (test_data("chain-minimal").join("era"), archive.beside("value"));
    fs::write(&value, "x").unwrap();
    let (era, out, socket) =
        (era.to_str().unwrap(), archive.beside("out"), archive.beside("socket"));
    let runs: [&[&str]; 14] = [
        &["verify", &copied],
        &["stat", &copied],
        &["map", &copied],
        &["get", &copied, "blk", "1"],
        &["scan", &copied, "bss"],
        &["export", &copied, "--out", &out],
        &["import", &copied, era],
        &["write", &copied, "--socket", &socket],
        &["put", &copied, "blk", "600", &value],
        &["heal", &copied],
        &["heal", &copied, "blk", "--from", &archive.arg()],
        &["rewind", &copied, "--to", "100"],
        &["prune", &copied, "--before", "100"],
        &["copy", &copied, &out],
    ];
    let before = listing(Path::new(&copied));
    for args in runs {
        coldstore(args).exits(3).complains_of(
            " is an unfinished copy of an archive; run `coldstore copy` again to finish it",
        );
    }
    assert_eq!(listing(Path::new(&copied)), before);
    coldstore(&["copy", &archive.arg(), &copied]).exits(0);
    coldstore(&["verify", &copied]).exits(0);
}

#[test]
fn a_copy_that_is_killed_is_resumed_by_the_same_command() {
    let items: Vec<_> = (0..48_u64).map(|slot| (slot * 1000, vec![3; 1 << 20])).collect();
    let archive = Archive::new();
    let stream = crate::support::stream(crate::support::record_type("bss"), &items);
    let args = ["load", &archive.arg(), "bss", "--raw", "--far"];
    crate::support::coldstore_fed(&args, &stream).exits(0);
    let copied = archive.beside("copy");
    let mark = Path::new(&copied).join("copy.unfinished");
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "no kill hits a copy");
        let mut child = spawn(&["copy", &archive.arg(), &copied], Stdio::null());
        let data = Path::new(&copied).join("bss/data_00002");
        while !data.exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if mark.exists() {
            break;
        }
        // The copy had finished.
        fs::remove_dir_all(&copied).unwrap();
    }
    assert!(!Path::new(&copied).join("bss/column.conf").exists(), "it does not open");
    let run = coldstore(&["copy", &archive.arg(), &copied, "--json"]).exits(0);
    let found: u64 = run.json()[0]["bytes_found"].as_str().unwrap().parse().unwrap();
    assert!(found > 0 && !mark.exists(), "{found}");
    assert_eq!(sha256(&copied, "bss"), sha256(&archive.arg(), "bss"));
    coldstore(&["verify", &copied]).exits(0);
}
