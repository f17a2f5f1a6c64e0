//! Slow clients must not affect others.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::host::{Daemon, PATIENCE, head, read_reply};
use crate::support::{Archive, stream};

#[test]
fn sixty_four_slow_clients_do_not_delay_another() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--stall-timeout", "300"]);
    let large = stream([4, 0], &[(1, vec![1; 4 << 20])]);
    daemon.ask("POST", "/v1/bss", &large).exits_with(200);
    let slow: Vec<UnixStream> = (0..64)
        .map(|n| {
            let mut stream = daemon.connect();
            match n % 4 {
                0 => stream.write_all(b"PUT /v1/bsd/1 HT").unwrap(),
                1 => {
                    stream.write_all(&head("PUT", &format!("/v1/bsd/{n}"), 1 << 20)).unwrap();
                    stream.write_all(&[1; 5000]).unwrap();
                }
                2 => {
                    stream.write_all(&head("POST", "/v1/bss", large.len())).unwrap();
                    stream.write_all(&large[..9000]).unwrap();
                }
                // Requests a lot and reads none of it.
                _ => stream.write_all(&head("GET", "/v1/bss", 0)).unwrap(),
            }
            stream
        })
        .collect();
    let started = Instant::now();
    for slot in 0..50 {
        let path = format!("/v1/bbr/{slot}");
        daemon.ask("PUT", &path, &[2; 32]).exits_with(201);
        daemon.get(&path).exits_with(200);
    }
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    daemon.wait_for_connections("65");
    let held: u64 =
        daemon.get("/v1/status").json()["held_bytes"].as_str().unwrap().parse().unwrap();
    assert!(held < 1 << 20, "{held} bytes are held of what slow clients have sent");
    drop(slow);
    daemon.stop();
}

#[test]
fn a_client_that_sends_nothing_is_dropped() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--stall-timeout", "1"]);
    let mut in_head = daemon.connect();
    in_head.write_all(b"GET /v1/sta").unwrap();
    let mut in_body = daemon.connect();
    in_body.write_all(&head("PUT", "/v1/bss/1", 100)).unwrap();
    in_body.write_all(b"not all").unwrap();
    let mut silent = daemon.connect();
    let started = Instant::now();
    read_reply(in_body, false).refuses(408, "Stalled");
    let mut rest = Vec::new();
    in_head.read_to_end(&mut rest).unwrap();
    silent.read_to_end(&mut rest).unwrap();
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    daemon.wait_for_connections("1");
}

#[test]
fn a_client_that_reads_nothing_is_dropped() {
    let archive = Archive::new().with("bss", &[(1, vec![1; 4 << 20])]);
    let daemon = Daemon::raw(&archive, &["--stall-timeout", "1"]);
    let mut deaf = daemon.connect();
    deaf.write_all(&head("GET", "/v1/bss/1", 0)).unwrap();
    daemon.wait_for_connections("2");
    daemon.wait_for_connections("1");
}

#[test]
fn a_client_that_trickles_is_answered() {
    let archive = Archive::new();
    // The whole takes longer than the timeout, the gaps between bytes a 25th of it.
    let daemon = Daemon::raw(&archive, &["--stall-timeout", "5"]);
    let mut stream = daemon.connect();
    let value = b"as slow as can be, or more";
    stream.write_all(&head("PUT", "/v1/bss/1", value.len())).unwrap();
    for byte in value {
        std::thread::sleep(Duration::from_millis(200));
        stream.write_all(&[*byte]).unwrap();
    }
    read_reply(stream, false).exits_with(201);
    assert_eq!(daemon.get("/v1/bss/1").body, value);
}

#[test]
fn connections_beyond_the_maximum_wait() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--max-connections", "2", "--stall-timeout", "1"]);
    let _one = daemon.connect();
    let _other = daemon.connect();
    // The two are dropped after a second, then this request is answered.
    daemon.get("/v1/status").exits_with(200);
}
