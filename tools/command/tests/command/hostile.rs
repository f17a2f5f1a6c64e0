//! Hostile content of an archive or of files to import, meant to make the command write elsewhere,
//! hang, or exhaust memory.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Archive, PATIENCE, Run, command, roots, test_data};

const PRECIOUS: &[u8] = b"not the archive's";

pub(crate) fn make_pipe(path: impl AsRef<Path>) {
    assert!(Command::new("mkfifo").arg(path.as_ref()).status().unwrap().success());
}

/// Runs the command with 2 GiB of address space and a timeout.
fn coldstore(args: &[&str]) -> Run {
    let mut limited = Command::new("sh");
    limited.args(["-c", r#"ulimit -v 2097152; exec "$0" "$@""#]).arg(command(&[]).get_program());
    limited.args(args).stdin(Stdio::null());
    let mut child = limited.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{args:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap().into()
}

fn import(archive: &Archive) -> Run {
    let files = test_data("chain-minimal/era");
    coldstore(&["import", &archive.arg(), files.to_str().unwrap()])
}

/// Guards against an import that writes over whatever a link in the archive leads to.
#[test]
fn archive_toml_is_not_written_through_a_link() {
    let archive = Archive::new();
    let (precious, another) = (archive.beside("precious"), archive.beside("another"));
    fs::write(&precious, PRECIOUS).unwrap();
    fs::create_dir(archive.path()).unwrap();
    symlink(&precious, archive.path().join("archive.toml.tmp")).unwrap();
    import(&archive).exits(0);
    assert_eq!(fs::read(&precious).unwrap(), PRECIOUS);
    let written = archive.path().join("archive.toml");
    assert!(fs::symlink_metadata(&written).unwrap().is_file());

    // A link as the manifest is read, and replaced on the next write.
    let text = fs::read_to_string(&written).unwrap();
    let others = text.lines().filter(|line| !line.starts_with("slots_per_era"));
    fs::write(&another, others.collect::<Vec<_>>().join("\n")).unwrap();
    let before = fs::read(&another).unwrap();
    fs::remove_file(&written).unwrap();
    symlink(&another, &written).unwrap();
    fs::remove_dir_all(archive.path().join("blk")).unwrap();
    import(&archive);
    assert_eq!(fs::read(&another).unwrap(), before);
}

#[test]
fn archive_toml_is_writable_by_its_owner_only_under_any_umask() {
    let archive = Archive::new();
    let mut run = Command::new("sh");
    run.args(["-c", r#"umask 0; exec "$0" "$@""#]).arg(command(&[]).get_program());
    run.args(["import", &archive.arg(), test_data("chain-minimal/era").to_str().unwrap()]);
    Run::from(run.output().unwrap()).exits(0);
    let mode = |name: &str| fs::metadata(archive.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("archive.toml") & 0o777, 0o644);
    assert_eq!(mode("") & 0o777, 0o755);
    assert_eq!(mode("blk") & 0o777, 0o755);
    assert_eq!(mode("blk/column.conf") & 0o777, 0o644);
}

#[test]
fn an_archive_toml_that_is_not_a_regular_file_is_refused() {
    let archive = Archive::new();
    fs::create_dir(archive.path()).unwrap();
    let path = archive.path().join("archive.toml");
    make_pipe(&path);
    import(&archive).exits(3).complains_of("archive.toml");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    import(&archive).exits(3).complains_of("archive.toml");
    fs::remove_dir(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    import(&archive).exits(3).complains_of("archive.toml");
    fs::remove_file(&path).unwrap();
    // A sparse file of 1 TiB.
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    import(&archive).exits(3).complains_of("longer than");
    assert!(!archive.path().join("blk").exists(), "nothing was begun");
}

#[test]
fn a_file_that_is_not_an_era_is_refused_at_once() {
    let archive = Archive::new();
    let files = archive.beside("files");
    fs::create_dir(&files).unwrap();
    let odd = format!("{files}/mainnet-00000-00000000.era");
    let refused = |what: &str| {
        let run = coldstore(&["import", &archive.arg(), &odd]).exits(3);
        assert!(run.stderr.contains(&odd), "{what}: {}", run.stderr);
        assert!(!archive.path().exists(), "{what}");
    };
    make_pipe(&odd);
    refused("pipe");
    fs::remove_file(&odd).unwrap();
    fs::create_dir(&odd).unwrap();
    refused("directory");
    fs::remove_dir(&odd).unwrap();
    symlink("/dev/zero", &odd).unwrap();
    refused("device");
    fs::remove_file(&odd).unwrap();
    File::create(&odd).unwrap().set_len(1 << 40).unwrap();
    refused("a TiB of zeros");
}

#[test]
fn verbs_that_read_do_not_block_on_pipes() {
    let archive = Archive::new().with("bss", &[(1, vec![7; 5000]), (9000, vec![8; 5000])]);
    let verbs: [&[&str]; 6] = [
        &["get", "A", "bss", "1"],
        &["scan", "A", "bss"],
        &["stat", "A"],
        &["verify", "A", "--deep"],
        &["heal", "A", "--dry-run"],
        &["heal", "A"],
    ];
    for name in ["column.conf", "data_00000", "data_00000.off", "data_00001", "data_00001.off"] {
        let path = archive.path().join("bss").join(name);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        make_pipe(&path);
        for verb in verbs {
            let archive = archive.arg();
            let args = verb.iter().map(|word| if *word == "A" { &archive } else { *word });
            let run = coldstore(&args.collect::<Vec<_>>());
            assert!(matches!(run.code, Some(0 | 1 | 3)), "{name} {verb:?}: {}", run.stderr);
            assert!(!run.stderr.contains("panicked"), "{name} {verb:?}: {}", run.stderr);
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    coldstore(&["verify", &archive.arg()]).exits(0);
}

/// The operator chose the file, so a link is followed. A failure to write is reported.
#[test]
fn get_reports_a_file_that_it_cannot_write() {
    let archive = Archive::new().with("bbr", &roots([1]));
    let out = archive.beside("out");
    fs::create_dir(&out).unwrap();
    let run = coldstore(&["get", &archive.arg(), "bbr", "1", "--out", &out]).exits(3);
    run.complains_of("out");
}

/// A header may claim 4 GiB: memory is taken only for bytes received.
#[test]
fn a_stream_with_a_false_length_is_refused_in_little_memory() {
    let archive = Archive::new();
    let stream = archive.beside("stream");
    let mut bytes = b"e2\0\0\0\0\0\0sl\x08\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&[4, 0, 0xff, 0xff, 0xff, 0x3f, 0, 0, 1, 2, 3]);
    fs::write(&stream, &bytes).unwrap();
    coldstore(&["load", &archive.arg(), "bss", &stream]).exits(3).complains_of("slot 1");
}
