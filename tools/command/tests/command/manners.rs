//! Exit codes, closed pipes, colours, completions and manual pages.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::{Archive, Run, coldstore, command, roots, spawn};

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for args in [
        &[][..],
        &["fly"],
        &["get", "archive"],
        &["get", "archive", "block", "1"],
        &["scan", "archive", "bbs"],
        &["verify", "archive", "data"],
        &["get", "archive", "bbr", "-1"],
        &["get", "archive", "bbr", "18446744073709551615"],
        &["scan", "archive", "bbr", "--format", "xml"],
        &["import", "archive"],
    ] {
        let run = coldstore(args).exits(2);
        assert_eq!(run.stdout, b"", "{args:?}");
        assert!(!run.stderr.is_empty());
    }
}

#[test]
fn a_column_goes_by_both_its_names() {
    let archive = Archive::new().with("bbr", &roots([1]));
    let short = coldstore(&["get", &archive.arg(), "bbr", "1"]).exits(0).stdout;
    assert_eq!(coldstore(&["get", &archive.arg(), "block-roots", "1"]).exits(0).stdout, short);
}

#[test]
fn a_missing_archive_or_column_is_a_failed_operation() {
    let archive = Archive::new();
    coldstore(&["get", &archive.arg(), "bbr", "1"]).exits(3).complains_of(&archive.arg());
    fs::create_dir(archive.path()).unwrap();
    coldstore(&["get", &archive.arg(), "bbr", "1"]).exits(3).complains_of("bbr");
    coldstore(&["scan", &archive.arg(), "bbr"]).exits(3).complains_of("bbr");
    coldstore(&["verify", &archive.arg(), "bbr"]).exits(3);
}

#[test]
fn a_reader_that_closes_the_pipe_ends_a_scan_quietly() {
    let archive = Archive::new().with("bbr", &roots(0..20_000));
    for format in ["table", "json", "sha256"] {
        let mut child = spawn(&["scan", &archive.arg(), "bbr", "--format", format], Stdio::null());
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let run = Run::from(child.wait_with_output().unwrap()).exits(0);
        assert_eq!(run.stderr, "", "{format}");
    }
}

#[test]
fn a_full_standard_output_is_a_failed_operation() {
    let archive = Archive::new().with("bbr", &roots(0..2000));
    for args in [
        &["scan", &archive.arg(), "bbr"][..],
        &["get", &archive.arg(), "bbr", "1"],
        &["stat", &archive.arg()],
        &["completions", "bash"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(args).stdout(full).output().unwrap();
        Run::from(output).exits(3).complains_of("standard output");
    }
}

#[test]
fn nothing_is_coloured_when_no_color_is_set_or_nobody_looks() {
    let archive = Archive::new().with("bbr", &roots(0..3));
    for args in [
        &["--help"][..],
        &["scan", &archive.arg(), "bbr"],
        &["-vvv", "stat", &archive.arg()],
        &["verify", &archive.arg()],
        &["fly"],
    ] {
        for no_color in [true, false] {
            let mut command = command(args);
            if no_color {
                command.env("NO_COLOR", "1").env("CLICOLOR_FORCE", "1");
            }
            let run = Run::from(command.output().unwrap());
            assert!(!run.stdout.contains(&0x1B), "{args:?}");
            assert!(!run.stderr.contains('\u{1B}'), "{args:?}: {}", run.stderr);
        }
    }
}

#[test]
fn the_library_is_heard_on_standard_error_when_asked() {
    let archive = Archive::new();
    let quiet = coldstore(&["load", &archive.arg(), "bbr", "/dev/null"]);
    assert_eq!(quiet.stderr.lines().count(), 1, "{}", quiet.stderr);
    let mut command = command(&["stat", &archive.arg()]);
    let run = Run::from(command.env("COLDSTORE_LOG", "coldstore=loud").output().unwrap()).exits(0);
    assert!(run.stderr.contains("COLDSTORE_LOG"), "{}", run.stderr);
}

#[test]
fn every_shell_gets_a_completion_script_that_knows_the_verbs_and_columns() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = coldstore(&["completions", shell]).exits(0);
        for verb in ["import", "follow", "heal", "write", "send"] {
            assert!(run.text().contains(verb), "{shell}: {verb}");
        }
    }
    assert!(coldstore(&["completions", "bash"]).text().contains("blk bbr bsr bss bsd"));
    coldstore(&["completions", "csh"]).exits(2);
}

#[test]
fn the_bash_completion_is_valid_bash() {
    let script = coldstore(&["completions", "bash"]).exits(0);
    let Ok(bash) = Command::new("bash").args(["-n", "-c", script.text()]).output() else {
        return;
    };
    assert!(bash.status.success(), "{}", String::from_utf8_lossy(&bash.stderr));
}

#[test]
fn there_is_a_manual_page_for_every_verb() {
    let archive = Archive::new();
    let directory = archive.beside("share/man1");
    assert_eq!(coldstore(&["man", &directory]).exits(0).stdout, b"");
    let verbs = [
        "import", "export", "get", "scan", "put", "load", "stat", "verify", "heal", "map",
        "follow", "write", "send",
    ];
    for verb in verbs {
        let page = fs::read_to_string(format!("{directory}/coldstore-{verb}.1")).unwrap();
        assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{verb}");
    }
    let synopsis = |verb: &str| {
        let page = fs::read_to_string(format!("{directory}/coldstore{verb}.1")).unwrap();
        let (_, rest) = page.split_once(".SH SYNOPSIS\n").unwrap();
        rest.lines().next().unwrap().replace("\\-", "-").replace("\\fB", "").replace("\\fR", "")
    };
    assert_eq!(
        synopsis("-map"),
        "coldstore map <ARCHIVE> [COLUMN] [--svg <FILE>] [--json] [--from <SLOT>] [--to <SLOT>] \
         [--verbose...]"
    );
    let wanted = "coldstore prune <ARCHIVE> [COLUMN]... [--dry-run] [--json] --before <SLOT>";
    assert!(synopsis("-prune").starts_with(wanted), "{}", synopsis("-prune"));
    assert_eq!(synopsis(""), "coldstore [--verbose...] <COMMAND>");
    let page = fs::read_to_string(format!("{directory}/coldstore.1")).unwrap();
    for verb in verbs {
        assert!(page.contains(&format!("coldstore\\-{verb}(1)")), "{verb}");
    }
    assert!(page.contains("Exit status"), "{page}");
}
