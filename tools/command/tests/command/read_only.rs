//! Verbs that only read leave no trace and need no permission to write.

use std::fs;
use std::process::Command;

use test_support::copy_dir;

use crate::support::{Archive, Run, coldstore, listing, roots, test_data};

/// An archive with the leftovers of a crash, so that healing would show.
fn archive() -> Archive {
    let archive = Archive::new().with("bbr", &roots([0, 1, 2]));
    let golden = test_data("golden/crash/backfill-new-file-conf-tmp/bss");
    copy_dir(&golden, &archive.path().join("bss"));
    archive
}

fn reading_verbs(archive: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["get", archive, "bbr", "1"],
        vec!["scan", archive, "bss", "--format", "sha256"],
        vec!["scan", archive, "bss", "--format", "stream"],
        vec!["stat", archive],
        vec!["map", archive],
        vec!["map", archive, "bss", "--json"],
        vec!["verify", archive, "bbr"],
        vec!["heal", archive, "--dry-run"],
        vec!["follow", archive, "bss", "--from", "0", "--limit", "1"],
    ]
}

#[test]
fn verbs_that_read_change_nothing() {
    let archive = archive();
    let before = listing(&archive.path());
    for args in reading_verbs(&archive.arg()) {
        coldstore(&args).exits(0);
        assert_eq!(listing(&archive.path()), before, "{args:?}");
    }
    coldstore(&["verify", &archive.arg()]);
    coldstore(&["verify", &archive.arg(), "bbr", "--deep"]).exits(1);
    coldstore(&["get", &archive.arg(), "blk", "1"]).exits(3);
    assert_eq!(listing(&archive.path()), before);
}

#[test]
fn a_missing_archive_is_an_error_and_is_not_created() {
    let archive = Archive::new();
    for args in reading_verbs(&archive.arg()) {
        coldstore(&args).exits(3);
        assert!(!archive.path().exists(), "{args:?}");
    }
    coldstore(&["heal", &archive.arg()]).exits(3);
    assert!(!archive.path().exists());
}

#[test]
fn verbs_that_read_work_on_a_read_only_mount() {
    let archive = archive();
    let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
    let on_read_only_mount = |args: &[&str]| -> Run {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, &archive.arg()]);
        command.args(args).output().unwrap().into()
    };
    let probe = archive.arg() + "/probe";
    let permitted = on_read_only_mount(&["true"]).code == Some(0)
        && on_read_only_mount(&["touch", &probe]).code == Some(1);
    if !permitted {
        eprintln!("this system lets nobody make a read-only mount: nothing was tested");
        return;
    }
    let binary = env!("CARGO_BIN_EXE_coldstore");
    let before = listing(&archive.path());
    for args in reading_verbs(&archive.arg()) {
        on_read_only_mount(&[&[binary], &args[..]].concat()).exits(0);
    }
    let value = archive.beside("value");
    fs::write(&value, b"x").unwrap();
    let put = on_read_only_mount(&[binary, "put", &archive.arg(), "bbr", "9", &value]).exits(3);
    put.complains_of("Read-only");
    assert_eq!(listing(&archive.path()), before);
}
