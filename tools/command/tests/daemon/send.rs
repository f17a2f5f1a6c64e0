//! `send`.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::host::Daemon;
use crate::support::{Archive, Run, coldstore, coldstore_fed, roots, spawn, stream};

const ROOTS: [u8; 2] = [2, 0];

#[test]
fn a_stream_is_acknowledged_request_by_request() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let bytes = stream(ROOTS, &roots([0, 1, 5, 6, 9]));
    let send = ["send", &daemon.socket, "bbr", "--batch", "2"];
    let run = coldstore_fed(&send, &bytes).exits(0);
    assert_eq!(run.text(), "COMMITTED 0 1 2\nCOMMITTED 5 6 2\nCOMMITTED 9 9 1\n");
    assert_eq!(run.stderr, "");
    assert_eq!(coldstore_fed(&send, &bytes).exits(0).text(), run.text(), "sending again is fine");
    let scanned = archive.scan("bbr", &["--format", "stream"]).exits(0).stdout;
    assert!(scanned == bytes);
    let file = archive.beside("stream");
    std::fs::write(&file, stream(ROOTS, &roots([10]))).unwrap();
    let run = coldstore(&["send", &daemon.socket, "block-roots", &file]).exits(0);
    assert_eq!(run.text(), "COMMITTED 10 10 1\n");
}

/// The daemon itself runs without these flags.
#[test]
fn raw_and_far_are_sent_with_every_request() {
    let archive = Archive::new();
    let daemon = Daemon::start(&archive, &[]);
    let send = |items: &[(u64, Vec<u8>)], more: &[&str]| {
        let args = [&["send", &daemon.socket, "bbr", "--batch", "1"], more].concat();
        coldstore_fed(&args, &stream(ROOTS, items))
    };
    send(&roots([0]), &[]).exits(0);
    // A gap; then also more than an era of 8192 slots above the highest.
    send(&roots([5]), &[]).exits(3).complains_of("slot 5");
    let run = send(&roots([5, 9]), &["--raw"]).exits(0);
    assert_eq!(run.text(), "COMMITTED 5 5 1\nCOMMITTED 9 9 1\n");
    send(&roots([9000]), &["--raw"]).exits(3).complains_of("slot 9000");
    // `--far` alone does not allow the gap.
    send(&roots([9000]), &["--far"]).exits(3).complains_of("slot 9000");
    let run = send(&roots([9000]), &["--raw", "--far"]).exits(0);
    assert_eq!(run.text(), "COMMITTED 9000 9000 1\n");
}

#[test]
fn acknowledgements_are_flushed_while_the_stream_is_open() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let mut child = spawn(&["send", &daemon.socket, "bbr", "--batch", "1"], Stdio::piped());
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    stdin.write_all(&stream(ROOTS, &[])).unwrap();
    for item in roots([4, 7]) {
        stdin.write_all(&stream(ROOTS, std::slice::from_ref(&item))[8..]).unwrap();
        let wanted = format!("COMMITTED {0} {0} 1", item.0);
        assert_eq!(lines.next().unwrap().unwrap(), wanted);
        assert!(daemon.get(&format!("/v1/bbr/{}", item.0)).body == item.1);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_send_continues_after_its_standard_output_is_closed() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let mut child = spawn(&["send", &daemon.socket, "bbr", "--batch", "1"], Stdio::piped());
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(&stream(ROOTS, &roots(0..20))).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(archive.scan("bbr", &["--format", "sha256"]).text().lines().count(), 20);
}

#[test]
fn a_refusal_is_reported_after_the_durable_prefix() {
    let archive = Archive::new().with("bbr", &roots([700]));
    let daemon = Daemon::raw(&archive, &["--backfill=bbr"]);
    let mut items = roots(0..1000);
    items[700].1 = vec![1; 32];
    let run = coldstore_fed(&["send", &daemon.socket, "bbr"], &stream(ROOTS, &items)).exits(3);
    // The durable batches of the request, before the one with the conflict.
    assert_eq!(run.complains_of("slot 700").text(), "COMMITTED 0 511 512\n");
    let wrong = stream([1, 0], &roots([1]));
    coldstore_fed(&["send", &daemon.socket, "bbr"], &wrong).exits(3).complains_of("type 02 00");
    let large = stream(ROOTS, &[(2000, vec![0; 65])]);
    coldstore_fed(&["send", &daemon.socket, "bbr"], &large).exits(3).complains_of("slot 2000");
}

#[test]
fn complete_items_before_the_break_of_a_stream_are_sent() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let bytes = stream(ROOTS, &roots(0..10));
    let run = coldstore_fed(&["send", &daemon.socket, "bbr"], &bytes[..bytes.len() - 1]).exits(3);
    assert_eq!(run.complains_of("slot 9").text(), "COMMITTED 0 8 9\n");
}

#[test]
fn an_unreachable_daemon_is_an_error_at_once_or_after_the_retry_time() {
    let archive = Archive::new();
    let bytes = stream(ROOTS, &roots(0..10));
    let socket = archive.beside("socket");
    let run = coldstore_fed(&["send", &socket, "bbr"], &bytes).exits(3);
    assert_eq!(run.complains_of(&socket).text(), "");
    let started = std::time::Instant::now();
    coldstore_fed(&["send", &socket, "bbr", "--retry", "1"], &bytes).exits(3);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_send_resumes_when_the_daemon_is_back() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let socket = daemon.socket.clone();
    let mut child =
        spawn(&["send", &socket, "bbr", "--batch", "10", "--retry", "60"], Stdio::piped());
    let mut stdin = child.stdin.take().unwrap();
    let items = roots(0..100);
    let bytes = stream(ROOTS, &items);
    let half = 8 + 50 * 56;
    stdin.write_all(&bytes[..half]).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = |first: usize| {
        let wanted = format!("COMMITTED {first} {} 10", first + 9);
        assert_eq!(lines.next().unwrap().unwrap(), wanted);
    };
    (0..5).for_each(|request| next(request * 10));
    daemon.kill();
    stdin.write_all(&bytes[half..]).unwrap();
    drop(stdin);
    // Some attempts to reconnect fail before the daemon is back; none need to.
    sleep(Duration::from_millis(200));
    let daemon = Daemon::raw(&archive, &[]);
    (5..10).for_each(|request| next(request * 10));
    assert!(child.wait().unwrap().success());
    daemon.stop();
    assert!(archive.scan("bbr", &["--format", "stream"]).stdout == bytes);
}

#[test]
fn many_senders_of_the_same_slots_all_succeed() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--backfill"]);
    let bytes = stream([5, 0], &roots((0..2000).map(|n| n * 9)));
    let children: Vec<_> = (0..4)
        .map(|_| {
            let child = spawn(&["send", &daemon.socket, "bsd", "--batch", "100"], Stdio::piped());
            let (mut child, bytes) = (child, bytes.clone());
            std::thread::spawn(move || {
                child.stdin.take().unwrap().write_all(&bytes).unwrap();
                Run::from(child.wait_with_output().unwrap()).exits(0)
            })
        })
        .collect();
    for child in children {
        assert_eq!(child.join().unwrap().text().lines().count(), 20);
    }
    assert!(archive.scan("bsd", &["--format", "stream"]).stdout == bytes);
}

#[test]
fn many_senders_of_interleaved_slots_all_succeed() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--backfill"]);
    let slots = |of: u64| (0..1500).map(move |n| n * 4 + of);
    let children: Vec<_> = (0..4)
        .map(|of| {
            let bytes = stream([5, 0], &roots(slots(of)));
            let socket = daemon.socket.clone();
            std::thread::spawn(move || {
                coldstore_fed(&["send", &socket, "bsd", "--batch", "50"], &bytes).exits(0)
            })
        })
        .collect();
    children.into_iter().for_each(|child| drop(child.join().unwrap()));
    let all = stream([5, 0], &roots(0..6000));
    assert!(archive.scan("bsd", &["--format", "stream"]).stdout == all);
}
