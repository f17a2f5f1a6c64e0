//! Invalid requests and disconnecting clients. The daemon survives each.

use std::io::Write;
use std::net::Shutdown;

use crate::host::{Daemon, head, read_reply};
use crate::support::{Archive, roots, stream};

const ROOTS: [u8; 2] = [2, 0];

/// Nothing is poisoned, and a put still goes through.
fn assert_goes_on(daemon: &Daemon) {
    for column in ["bbr", "bss"] {
        assert_eq!(daemon.metric("poisoned", column), 0.0);
    }
    daemon.ask("PUT", "/v1/bsr/1", b"still here");
    assert_eq!(daemon.get("/v1/bsr/1").exits_with(200).body, b"still here");
}

#[test]
fn what_is_not_there_is_404_and_what_it_does_not_do_405() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    for path in ["/v1/blocks2/1", "/v1/BLK/1", "/v1/index"] {
        daemon.get(path).refuses(404, "UnknownColumn");
    }
    daemon.ask("PUT", "/v1/nope/1", b"x").refuses(404, "UnknownColumn");
    daemon.ask("POST", "/v1/nope", b"x").refuses(404, "UnknownColumn");
    for path in ["/", "/v2/blk/1", "/v1/blk/1/2", "/v1"] {
        daemon.get(path).refuses(404, "NotFound");
    }
    daemon.ask("DELETE", "/v1/blk/1", b"").refuses(405, "MethodNotAllowed");
    daemon.ask("POST", "/v1/blk/1", b"").refuses(405, "MethodNotAllowed");
    daemon.ask("PUT", "/v1/status", b"").refuses(405, "MethodNotAllowed");
    assert_goes_on(&daemon);
}

#[test]
fn what_is_no_slot_is_400() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--backfill"]);
    for slot in ["18446744073709551615", "18446744073709551616", "-1", "1.0", "x", "%20", "%FF"] {
        for method in ["GET", "PUT"] {
            let reply = daemon.ask(method, &format!("/v1/bss/{slot}"), b"");
            assert_eq!(reply.status, 400, "{method} {slot}");
            assert!(
                ["InvalidSlot", "Malformed"].contains(&reply.json()["error"].as_str().unwrap())
            );
        }
    }
    for query in ["from=x", "to=18446744073709551615", "form=1", "from=1&from=2", "from=9&to=2"] {
        assert_eq!(daemon.get(&format!("/v1/bss?{query}")).status, 400, "{query}");
    }
    let last = u64::MAX - 1;
    daemon.ask("PUT", &format!("/v1/bss/{last}"), b"the last slot").exits_with(201);
    daemon.ask("PUT", "/v1/bss/0", b"the first").exits_with(201);
    assert_eq!(daemon.get(&format!("/v1/bss/{last}")).body, b"the last slot");
    assert_goes_on(&daemon);
}

#[test]
fn a_body_is_refused_for_its_declared_or_its_received_length() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    daemon.ask("PUT", "/v1/bbr/1", &[0; 65]).refuses(413, "TooLarge");
    daemon.ask("PUT", "/v1/bbr/1", &[0; 64]).exits_with(201);
    // The daemon does not wait for such a body.
    let mut stream = daemon.connect();
    stream.write_all(&head("PUT", "/v1/bss/1", 1u64 << 40)).unwrap();
    read_reply(stream, false).refuses(413, "TooLarge");
    let mut stream = daemon.connect();
    stream
        .write_all(b"PUT /v1/bbr/2 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = [&b"40\r\n"[..], &[7; 64], b"\r\n"].concat();
    stream.write_all(&chunk).unwrap();
    stream.write_all(&chunk).unwrap();
    assert_eq!(read_reply(stream, false).refuses(413, "TooLarge")["slot"], "2");
    daemon.get("/v1/bbr/2").refuses(404, "NoRecord");
    assert_goes_on(&daemon);
}

#[test]
fn a_body_that_is_cut_is_400_and_stores_nothing() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let mut stream = daemon.connect();
    stream.write_all(&head("PUT", "/v1/bss/1", 1000)).unwrap();
    stream.write_all(&[1; 999]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_reply(stream, false).refuses(400, "Malformed");
    daemon.get("/v1/bss/1").refuses(404, "NoRecord");
    assert_goes_on(&daemon);
}

#[test]
fn a_client_that_disconnects_in_mid_body_affects_no_other() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let bytes = stream(ROOTS, &roots(0..1000));
    for (method, path) in [("PUT", "/v1/bss/1"), ("POST", "/v1/bbr")] {
        for len in [0, 1, 7, 8, 100, bytes.len() - 1] {
            let mut stream = daemon.connect();
            stream.write_all(&head(method, path, bytes.len())).unwrap();
            stream.write_all(&bytes[..len]).unwrap();
        }
    }
    daemon.get("/v1/bss/1").refuses(404, "NoRecord");
    daemon.ask("POST", "/v1/bbr", &bytes).exits_with(200);
    assert!(daemon.get("/v1/bbr").body == bytes);
    assert_goes_on(&daemon);
    daemon.wait_for_connections("1");
    assert_eq!(daemon.get("/v1/status").json()["held_bytes"], "0");
}

#[test]
fn an_invalid_stream_or_one_of_another_column_is_400() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let blocks = stream([1, 0], &roots([1]));
    daemon.ask("POST", "/v1/bbr", &blocks).refuses(400, "Malformed");
    let bytes = stream(ROOTS, &roots([1, 2]));
    for garbage in [&b""[..], b"e2", b"this is not a slot stream at all", &bytes[1..]] {
        daemon.ask("POST", "/v1/bbr", garbage).refuses(400, "Malformed");
    }
    let no_slot = stream(ROOTS, &[(u64::MAX, vec![0; 32])]);
    daemon.ask("POST", "/v1/bbr", &no_slot).refuses(400, "InvalidSlot");
    daemon.get("/v1/bbr/1").refuses(404, "NoRecord");
    assert_goes_on(&daemon);
}

#[test]
fn a_stream_that_fails_midway_reports_its_durable_prefix() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let cases = [
        (stream(ROOTS, &roots([0, 1, 2, 2])), 422, "NotAscending"),
        (stream(ROOTS, &roots([10, 11, 12, 5])), 422, "NotAscending"),
        (stream(ROOTS, &[roots([20, 21, 22]), vec![(23, vec![0; 65])]].concat()), 413, "TooLarge"),
        (stream(ROOTS, &roots([30, 31, 32, 33]))[..8 + 4 * 56 - 1].to_vec(), 400, "Malformed"),
        ([stream(ROOTS, &roots([40, 41, 42])), b"garbage!".to_vec()].concat(), 400, "Malformed"),
    ];
    for (index, (bytes, status, kind)) in cases.into_iter().enumerate() {
        let refusal = daemon.ask("POST", "/v1/bbr", &bytes).refuses(status, kind);
        let first = index * 10;
        assert_eq!(refusal["committed"], "3", "{refusal}");
        assert_eq!(refusal["first"], first.to_string());
        assert_eq!(refusal["last"], (first + 2).to_string());
        let path = format!("/v1/bbr?from={first}");
        let there = stream(ROOTS, &roots((first as u64)..(first as u64 + 3)));
        assert!(daemon.get(&path).body == there, "that prefix and no more");
    }
    assert_goes_on(&daemon);
}

#[test]
fn a_conflict_in_a_long_stream_keeps_the_batches_before_it() {
    let archive = Archive::new().with("bbr", &roots([2000]));
    let daemon = Daemon::raw(&archive, &["--backfill=bbr"]);
    let mut items = roots(0..3000);
    items[2000].1 = vec![1; 32];
    let refusal = daemon.ask("POST", "/v1/bbr", &stream(ROOTS, &items)).refuses(409, "Conflict");
    assert_eq!(refusal["slot"], "2000");
    let committed: usize = refusal["committed"].as_str().unwrap().parse().unwrap();
    assert!((1000..=2000).contains(&committed), "{refusal}");
    assert_eq!(refusal["last"], (committed - 1).to_string());
    let path = format!("/v1/bbr?to={}", committed - 1);
    assert!(daemon.get(&path).body == stream(ROOTS, &items[..committed]));
    assert_goes_on(&daemon);
}

/// Guards against a client that takes what is acknowledged of a failed stream for all that is stored.
#[test]
fn a_failed_stream_says_that_parts_after_its_prefix_may_be_durable() {
    let archive = Archive::new().with("bss", &roots([5, 30_000]));
    let daemon = Daemon::raw(&archive, &["--backfill"]);
    let mut items = roots([4, 5, 8200, 8201]);
    items[1].1 = vec![1; 32];
    let refusal = daemon.ask("POST", "/v1/bss", &stream([4, 0], &items)).refuses(409, "Conflict");
    assert_eq!((&refusal["committed"], &refusal["last"]), (&"0".into(), &().into()), "{refusal}");
    let message = refusal["message"].as_str().unwrap();
    for part in ["slot 5 already", "no durable prefix", "may be durable too, in any order"] {
        assert!(message.contains(part), "{message}");
    }
    // The part of the first file is refused as a whole, that of the second is stored as a whole.
    let started = std::time::Instant::now();
    while daemon.get("/v1/bss/8200").status != 200 {
        assert!(started.elapsed() < crate::host::PATIENCE, "it was queued");
    }
    daemon.get("/v1/bss/8201").exits_with(200);
    daemon.get("/v1/bss/4").refuses(404, "NoRecord");
}

#[test]
fn an_invalid_http_request_is_answered_or_dropped() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    for bytes in [&b"\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"] {
        let mut stream = daemon.connect();
        stream.write_all(bytes).unwrap();
        assert!((400..500).contains(&read_reply(stream, false).status));
    }
    assert_goes_on(&daemon);
}
