//! What requests may cost in memory.

use std::io::Write;

use crate::host::{Daemon, head};
use crate::support::{Archive, stream};

const MEBIBYTE: u64 = 1 << 20;

/// A line of `/proc/<pid>/status`, in bytes.
fn memory(daemon: &Daemon, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', '\t', ' ', 'k', 'B']).parse::<u64>().unwrap() << 10
}

#[test]
fn a_large_state_is_held_once() {
    let archive = Archive::new();
    let value = vec![0xA5; 300 << 20];
    for (method, path) in [("PUT", "/v1/bss/1"), ("POST", "/v1/bss")] {
        let daemon = Daemon::raw(&archive, &[]);
        let status = match method {
            "PUT" => daemon.ask(method, path, &value).status,
            _ => daemon.ask(method, path, &stream([4, 0], &[(2, value.clone())])).status,
        };
        assert!([200, 201].contains(&status), "{method}: {status}");
        let most = memory(&daemon, "VmHWM");
        assert!(most < 400 * MEBIBYTE, "{method}: {most} bytes");
        daemon.stop();
    }
}

#[test]
fn a_promise_alone_takes_no_memory() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let mut clients = Vec::new();
    for slot in 0..40 {
        let mut stream = daemon.connect();
        stream.write_all(&head("PUT", &format!("/v1/bss/{slot}"), 1 << 30)).unwrap();
        stream.write_all(&[1; 1000]).unwrap();
        clients.push(stream);
    }
    assert_eq!(daemon.wait_for_held_bytes(40_000), 40_000);
    let resident = memory(&daemon, "VmRSS");
    assert!(resident < 200 * MEBIBYTE, "{resident} bytes");
}
