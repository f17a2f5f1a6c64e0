//! A full disk under a file written by the command: the error names the file.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output};

use crate::support::{Archive, Run, coldstore, roots, test_data};

/// Runs the command with a file size limit of 0 in place of a full disk: every write fails at the first
/// byte, with its own error.
fn without_room(args: &[&str], redirected: Option<&OsStr>) -> Run {
    with_room_for(0, args, redirected)
}

/// Runs the command with a file size limit in blocks of 512 bytes.
fn with_room_for(blocks: u32, args: &[&str], redirected: Option<&OsStr>) -> Run {
    let script =
        format!(r#"trap "" XFSZ; ulimit -f {blocks}; [ -z "$OUT" ] || exec >"$OUT"; exec "$@""#);
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_coldstore")]).args(args);
    command.env("OUT", redirected.unwrap_or_default()).env_remove("COLDSTORE_LOG");
    let output: Output = command.output().unwrap();
    output.into()
}

#[test]
fn a_full_disk_is_reported_with_the_file_being_written() {
    let chain = test_data("chain-minimal/era");
    let imported = Archive::new();
    let archive = imported.arg();
    coldstore(&["import", &archive, chain.to_str().unwrap()]).exits(0);
    // Longer than the buffer, so that it fails while it is written.
    let large = Archive::new().with("bsd", &[(1, vec![7; 3 << 20])]);
    let (value, picture) = (imported.beside("value"), imported.beside("map.svg"));
    let (manuals, proof) = (imported.beside("man"), imported.beside("proof.json"));
    let (eras, streams) = (imported.beside("eras"), imported.beside("streams"));
    let cases: [(&[&str], String); 8] = [
        (&["get", &archive, "bbr", "1", "--out", &value], format!("{value}: cannot write: ")),
        (&["map", &archive, "--svg", &picture], format!("{picture}: cannot write: ")),
        (&["man", &manuals], format!("{manuals}/coldstore.1: cannot write: ")),
        (&["index", &archive], format!("{archive}/index/bbr_00000.roots: cannot replace: ")),
        (&["verify", &archive, "--deep", "--resume", &proof], format!("{proof}: cannot replace: ")),
        (
            &["export", &archive, "--era", "1", "--out", &eras],
            format!("era 1: {eras}/minimal-00001-c3b5fb85.era: cannot write: "),
        ),
        (
            &["export", &large.arg(), "--format", "stream", "--out", &streams],
            format!("bsd: {streams}/bsd.e2s: cannot write: "),
        ),
        (&["rewind", &archive, "--to", "500", "bsr"], format!("{archive}/")),
    ];
    for (args, told) in cases {
        let run = without_room(args, None).exits(3);
        let line = run.stderr.lines().last().unwrap_or_default();
        assert!(line.starts_with(&format!("coldstore: {told}")), "{args:?}: {}", run.stderr);
        assert!(line.ends_with("File too large (os error 27)"), "{args:?}: {}", run.stderr);
    }
    let left: Vec<_> = fs::read_dir(&streams).unwrap().collect();
    assert!(left.is_empty(), "no half of a file stays: {left:?}");

    let redirected = imported.beside("redirected");
    for args in [
        &["get", &archive, "bbr", "1"][..],
        &["scan", &archive, "bbr"],
        &["verify", &archive, "--json"],
        &["map", &archive, "--svg", "-"],
        &["--help"],
        &["scan", "--help"],
        &["--version"],
    ] {
        let run = without_room(args, Some(OsStr::new(&redirected))).exits(3);
        let told = "coldstore: cannot write to standard output: File too large (os error 27)";
        assert_eq!(run.stderr.lines().last(), Some(told), "{args:?}");
    }

    let new = Archive::new();
    let run = without_room(&["import", &new.arg(), chain.to_str().unwrap()], None).exits(3);
    assert!(run.stderr.contains(&format!("coldstore: {}/", new.arg())), "{}", run.stderr);
    let put = ["put", &new.arg(), "bbr", "0", "--raw", &value];
    fs::write(&value, &roots([0])[0].1).unwrap();
    let run = without_room(&put, None).exits(3);
    assert!(run.stderr.contains(&format!("{}/bbr/", new.arg())), "{}", run.stderr);
}

/// Guards against an operator who takes a rewind that failed for one that did nothing.
#[test]
fn a_failed_removal_says_how_to_finish_it() {
    let archive = Archive::new().with("bbr", &roots(0..500)).with("bsr", &roots(0..500));
    let arg = archive.arg();
    // The manifest fits, a column does not.
    let run = with_room_for(4, &["rewind", &arg, "--to", "400"], None).exits(3);
    let told = "the removal is not finished: the next command that writes finishes it";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    assert!(run.stderr.lines().last().unwrap().contains(".bbr.new/"), "{}", run.stderr);
    let verified = coldstore(&["verify", &arg]).exits(0);
    assert!(verified.stderr.contains("a rewind is unfinished"));
    coldstore(&["heal", &arg]).exits(0);
    for column in ["bbr", "bsr"] {
        let last = archive.scan(column, &["--reverse", "--limit", "1", "--format", "sha256"]);
        assert_eq!(last.first_words(), ["400"], "{column}");
    }
}
