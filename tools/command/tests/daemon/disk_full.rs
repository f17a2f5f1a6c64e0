//! A full disk: a small tmpfs in its own mount namespace.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Daemon, PATIENCE};
use crate::support::Archive;

/// Runs the daemon on a file system of 6 MiB, then again on a larger one, and verifies the archive.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs -o size=6m tmpfs "$1"
cp /dev/null "$1/probe"
[ -z "$2" ] && exit 0
"$2" write "$1/archive" --socket "$3" --backfill --raw
mount -o remount,size=64m "$1"
"$2" write "$1/archive" --socket "$3" --backfill --raw
"$2" heal "$1/archive" --dry-run >"$3.heal"
"$2" verify "$1/archive" >"$3.verify"
"#;

fn in_namespace(arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh"]);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The daemon's own process id; the child is the shell around it.
fn daemon_pid(daemon: &Daemon) -> i32 {
    let pid = daemon.get("/v1/status").exits_with(200).json()["pid"].clone();
    pid.as_str().unwrap().parse().unwrap()
}

fn wait_for_socket(daemon: &mut Daemon) {
    let started = Instant::now();
    while std::os::unix::net::UnixStream::connect(&daemon.socket).is_err() {
        assert!(started.elapsed() < PATIENCE && daemon.child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn terminate(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    let started = Instant::now();
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_full_disk_is_reported_reads_continue_and_a_restart_heals() {
    let outside = Archive::new();
    let mount = outside.beside("mount");
    std::fs::create_dir(&mount).unwrap();
    let permitted = in_namespace(&[&mount, "", ""]).status();
    if !permitted.is_ok_and(|status| status.success()) {
        eprintln!("this system lets nobody mount a tmpfs: nothing was tested");
        return;
    }
    let socket = outside.beside("socket");
    let child = in_namespace(&[&mount, env!("CARGO_BIN_EXE_coldstore"), &socket]).spawn().unwrap();
    let mut daemon = Daemon { child, socket: socket.clone() };
    wait_for_socket(&mut daemon);
    daemon.ask("PUT", "/v1/bss/1", &vec![1; 2 << 20]).exits_with(201);
    daemon.ask("PUT", "/v1/bbr/1", &[1; 32]).exits_with(201);
    let full = daemon.ask("PUT", "/v1/bss/2", &vec![2; 8 << 20]).refuses(507, "DiskFull");
    assert!(full["message"].as_str().unwrap().contains("data_00000"), "{full}");
    // The column's writer is poisoned and says why; its readers continue.
    let again = daemon.ask("PUT", "/v1/bss/3", b"small").refuses(507, "DiskFull");
    assert!(again["message"].as_str().unwrap().contains("poisoned"), "{again}");
    assert_eq!(daemon.metric("poisoned", "bss"), 1.0);
    let status = daemon.get("/v1/status").exits_with(200).json();
    assert!(status["columns"][3]["poisoned"].as_str().unwrap().contains("No space"), "{status}");
    assert!(daemon.get("/v1/bss/1").exits_with(200).body == vec![1; 2 << 20]);
    daemon.get("/v1/bss/2").refuses(404, "NoRecord");
    assert_eq!(daemon.get("/v1/bbr/1").exits_with(200).body, [1; 32]);

    terminate(daemon_pid(&daemon));
    wait_for_socket(&mut daemon);
    assert_eq!(daemon.metric("poisoned", "bss"), 0.0);
    daemon.get("/v1/bss/2").refuses(404, "NoRecord");
    assert!(daemon.get("/v1/bss/1").exits_with(200).body == vec![1; 2 << 20]);
    daemon.ask("PUT", "/v1/bss/2", &vec![2; 8 << 20]).exits_with(201);
    terminate(daemon_pid(&daemon));
    daemon.wait().exits(0);
    let heal = std::fs::read_to_string(format!("{socket}.heal")).unwrap();
    assert!(heal.lines().all(|line| line.ends_with("nothing to heal")), "{heal}");
    assert_eq!(std::fs::read_to_string(format!("{socket}.verify")).unwrap(), "");
}
