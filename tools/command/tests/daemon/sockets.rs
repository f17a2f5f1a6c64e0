//! The socket and the archive's locks: when a daemon may start, and what it leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use crate::host::Daemon;
use crate::support::{Archive, Run, coldstore, command, listing, roots};

fn write(archive: &str, socket: &str) -> Run {
    coldstore(&["write", archive, "--socket", socket])
}

#[test]
fn the_socket_is_private_and_removed_at_shutdown() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let mode = fs::metadata(&daemon.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let files = fs::metadata(archive.path().join("bss/column.conf")).unwrap().permissions().mode();
    assert_ne!(files & 0o777, 0o600, "the umask is the process's own again");
    let socket = daemon.socket.clone();
    daemon.stop();
    assert!(!fs::exists(socket).unwrap());
}

#[test]
fn a_second_daemon_of_the_archive_is_refused_with_the_pid_of_the_first() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let holder = format!("process {}", daemon.child.id());
    for socket in [&daemon.socket, &archive.beside("other")] {
        write(&archive.arg(), socket).exits(3).complains_of(&holder);
    }
    assert!(!fs::exists(archive.beside("other")).unwrap());
    coldstore(&["put", &archive.arg(), "bbr", "1", "/dev/null"]).exits(3).complains_of(&holder);
    daemon.get("/v1/status").exits_with(200);
    daemon.stop();
}

#[test]
fn a_live_socket_is_never_taken() {
    let (archive, other) = (Archive::new(), Archive::new());
    let daemon = Daemon::raw(&archive, &[]);
    write(&other.arg(), &daemon.socket).exits(3).complains_of("listens on this socket");
    assert!(!other.path().exists(), "nothing was made for a daemon that did not start");
    daemon.get("/v1/status").exits_with(200);
    daemon.stop();
}

#[test]
fn a_stale_socket_of_a_killed_daemon_is_replaced() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let socket = daemon.socket.clone();
    daemon.kill();
    assert!(fs::exists(&socket).unwrap());
    let daemon = Daemon::raw(&archive, &[]);
    daemon.get("/v1/status").exits_with(200);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    daemon.stop();
    drop(UnixListener::bind(&socket).unwrap());
    Daemon::raw(&archive, &[]).stop();
}

#[test]
fn a_file_that_is_not_a_socket_is_left_unchanged() {
    let archive = Archive::new();
    let file = archive.beside("file");
    fs::write(&file, b"").unwrap();
    let link = archive.beside("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &link, &archive.beside("")] {
        write(&archive.arg(), path).exits(3);
        assert!(fs::exists(path).unwrap(), "{path}");
    }
    let missing = archive.beside("missing/socket");
    write(&archive.arg(), &missing).exits(3).complains_of("missing");
}

#[test]
fn a_socket_in_the_working_directory_needs_no_path() {
    let archive = Archive::new();
    let directory = archive.beside("");
    let mut command = command(&["write", &archive.arg(), "--socket", "bare"]);
    let mut child = command.current_dir(&directory).spawn().unwrap();
    let started = std::time::Instant::now();
    while !fs::exists(archive.beside("bare")).unwrap() {
        assert!(started.elapsed() < crate::host::PATIENCE);
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for args in [
        &["write", "a"][..],
        &["write", "a", "--socket", "s", "--backfill=nope"],
        &["write", "a", "--socket", "s", "--max-connections", "0"],
        &["write", "a", "--socket", "s", "--stall-timeout", "0"],
        &["send", "s"],
        &["send", "s", "nope"],
        &["send", "s", "bbr", "--batch", "0"],
    ] {
        coldstore(args).exits(2);
    }
}

#[test]
fn the_service_manager_is_notified_of_start_and_shutdown() {
    let archive = Archive::new();
    let path = archive.beside("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(crate::host::PATIENCE)).unwrap();
    let mut command = command(&["write", &archive.arg(), "--socket", &archive.beside("socket")]);
    command.env("NOTIFY_SOCKET", &path).stderr(std::process::Stdio::piped());
    let daemon = Daemon { child: command.spawn().unwrap(), socket: archive.beside("socket") };
    let told = || {
        let mut bytes = [0; 100];
        let count = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).trim().to_owned()
    };
    assert_eq!(told(), "READY=1");
    daemon.get("/v1/status").exits_with(200);
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(told(), "STOPPING=1");
    daemon.wait().exits(0);
}

#[test]
fn a_daemon_that_cannot_start_leaves_the_archive_unchanged() {
    let archive = Archive::new().with("bbr", &roots([1, 2])).with("bss", &roots([1]));
    let no_socket = archive.beside("no socket");
    fs::write(&no_socket, b"in the way").unwrap();
    let tree = || {
        let mut tree = listing(&archive.path());
        tree.retain(|path, _| path.file_name().unwrap() != "lock");
        // A directory created and removed again changes the time of its parent.
        tree.into_iter().map(|(path, (_, content))| (path, content)).collect::<Vec<_>>()
    };
    let start = |socket: &str| {
        coldstore(&["write", &archive.arg(), "--backfill=bbr,bss", "--socket", socket]).exits(3)
    };
    let before = tree();
    start(&no_socket).complains_of("not a socket");
    start(&archive.beside("no directory/socket")).complains_of("no directory");
    assert_eq!(tree(), before);
    // The columns before it are intact, and unchanged.
    let conf = archive.path().join("bss/column.conf");
    let bytes = fs::read(&conf).unwrap();
    fs::write(&conf, b"LHSTBLK9").unwrap();
    let before = tree();
    start(&archive.beside("socket")).complains_of("bss/column.conf");
    assert_eq!(tree(), before);
    fs::write(&conf, bytes).unwrap();
    let before = tree();
    let options = coldstore::WriterOptions::default();
    let elsewhere = coldstore::Writer::open(archive.path().join("bss"), options).unwrap();
    start(&archive.beside("socket")).complains_of("bss is open for writing");
    assert_eq!(tree(), before);
    drop(elsewhere);
    // The socket may be inside the archive.
    let new = Archive::new();
    let inside = new.path().join("socket");
    let mut daemon = command(&["write", &new.arg(), "--socket", inside.to_str().unwrap()]);
    let mut daemon = daemon.stderr(std::process::Stdio::null()).spawn().unwrap();
    let started = std::time::Instant::now();
    while std::os::unix::net::UnixStream::connect(&inside).is_err() {
        assert!(started.elapsed() < crate::host::PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
