//! The answer to each request.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use serde_json::json;

use crate::host::{Daemon, head};
use crate::support::{Archive, coldstore, roots, stream};

const STATES: [u8; 2] = [4, 0];

#[test]
fn a_put_is_visible_to_every_reader_once_it_is_answered() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    for slot in 0..20 {
        let (path, value) = (format!("/v1/bss/{slot}"), vec![7; slot * 1000]);
        assert_eq!(daemon.ask("PUT", &path, &value).exits_with(201).body, b"");
        assert!(daemon.get(&path).exits_with(200).body == value);
        let slot = slot.to_string();
        assert!(coldstore(&["get", &archive.arg(), "bss", &slot]).exits(0).stdout == value);
    }
    daemon.stop();
}

#[test]
fn a_repeated_put_succeeds_and_another_value_is_a_conflict() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    daemon.ask("PUT", "/v1/blk/5", b"one").exits_with(201);
    daemon.ask("PUT", "/v1/blk/5", b"one").exits_with(200);
    let refusal = daemon.ask("PUT", "/v1/blk/5", b"two").refuses(409, "Conflict");
    assert_eq!(refusal["slot"], "5");
    assert_eq!(daemon.get("/v1/blk/5").body, b"one");
}

#[test]
fn a_column_goes_by_both_its_names() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let names = [
        "blk blocks",
        "bbr block-roots",
        "bsr state-roots",
        "bss state-snapshots",
        "bsd state-diffs",
    ];
    for (short, long) in names.map(|names| names.split_once(' ').unwrap()) {
        let value = short.as_bytes();
        daemon.ask("PUT", &format!("/v1/{short}/1"), value).exits_with(201);
        daemon.ask("PUT", &format!("/v1/{long}/1"), value).exits_with(200);
        assert_eq!(daemon.get(&format!("/v1/{long}/1")).body, value);
        daemon.get(&format!("/v1/{long}/2")).refuses(404, "NoRecord");
    }
}

#[test]
fn head_has_the_length_of_the_value_and_no_body() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    for column in ["blk", "bss"] {
        let path = format!("/v1/{column}/3");
        assert_eq!(daemon.ask("HEAD", &path, b"").status, 404);
        daemon.ask("PUT", &path, &[1; 1000]).exits_with(201);
        let reply = daemon.ask("HEAD", &path, b"").exits_with(200);
        assert_eq!(reply.header("content-length"), Some("1000"), "{column}");
        assert_eq!(reply.body, b"");
    }
}

#[test]
fn a_slot_stream_is_durable_when_it_is_answered() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let items = roots((0..3000).map(|n| n * 3));
    let reply = daemon.ask("POST", "/v1/bbr", &stream([2, 0], &items)).exits_with(200);
    assert_eq!(reply.json(), json!({"committed": "3000", "first": "0", "last": "8997"}));
    let again = daemon.ask("POST", "/v1/bbr", &stream([2, 0], &items)).exits_with(200);
    assert_eq!(again.json(), reply.json(), "records that were there count");
    daemon.kill();
    assert!(archive.scan("bbr", &["--format", "stream"]).stdout == stream([2, 0], &items));
}

#[test]
fn a_stream_without_items_commits_nothing() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let reply = daemon.ask("POST", "/v1/bbr", &stream([2, 0], &[])).exits_with(200);
    assert_eq!(reply.json(), json!({"committed": "0", "first": null, "last": null}));
}

#[test]
fn a_stream_may_fill_gaps_of_many_files_and_go_past_the_highest_slot() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--backfill"]);
    let boundaries = roots([0, 8192, 16_384, 24_576]);
    daemon.ask("POST", "/v1/bss", &stream(STATES, &boundaries)).exits_with(200);
    let between = roots((1..30_000).step_by(97));
    let reply = daemon.ask("POST", "/v1/bss", &stream(STATES, &between)).exits_with(200);
    assert_eq!(reply.json()["committed"], between.len().to_string());
    let mut all = [boundaries, between].concat();
    all.sort();
    all.dedup();
    assert!(archive.scan("bss", &["--format", "stream"]).stdout == stream(STATES, &all));
    daemon.stop();
}

#[test]
fn backfill_is_on_only_for_the_columns_named() {
    for (more, filled, refused) in [
        (&[][..], &[][..], &["bss", "bsd", "blk"][..]),
        (&["--backfill"], &["bss", "bsd"], &["blk", "bbr"]),
        (&["--backfill=blk,block-roots"], &["blk", "bbr"], &["bss", "bsd"]),
    ] {
        let archive = Archive::new();
        let daemon = Daemon::raw(&archive, more);
        for column in filled {
            daemon.ask("PUT", &format!("/v1/{column}/9"), b"nine").exits_with(201);
            daemon.ask("PUT", &format!("/v1/{column}/5"), b"five").exits_with(201);
        }
        for column in refused {
            daemon.ask("PUT", &format!("/v1/{column}/9"), b"nine").exits_with(201);
            let five = daemon.ask("PUT", &format!("/v1/{column}/5"), b"five");
            assert_eq!(five.refuses(422, "BackfillDisabled")["slot"], "5");
        }
    }
}

#[test]
fn a_range_is_a_slot_stream_that_includes_both_ends() {
    let archive = Archive::new();
    let values: Vec<(u64, Vec<u8>)> =
        (0..200u64).map(|n| (n * 2, vec![n.to_le_bytes()[0]; 5000])).collect();
    for (column, tag) in [("blk", [1, 0]), ("bsd", [5, 0])] {
        let daemon = Daemon::raw(&archive, &[]);
        daemon.ask("POST", &format!("/v1/{column}"), &stream(tag, &values)).exits_with(200);
        for (query, slots) in [
            ("", 0..u64::MAX),
            ("?from=10&to=20", 10..21),
            ("?from=11", 11..u64::MAX),
            ("?to=0", 0..1),
            ("?from=399", 399..u64::MAX),
            ("?from=11&to=11", 0..0),
        ] {
            let reply = daemon.get(&format!("/v1/{column}{query}")).exits_with(200);
            let wanted: Vec<_> =
                values.iter().filter(|(slot, _)| slots.contains(slot)).cloned().collect();
            assert!(reply.is_whole && reply.body == stream(tag, &wanted), "{column} {query}");
        }
        daemon.stop();
    }
}

#[test]
fn a_damaged_record_in_a_range_breaks_the_connection() {
    let archive = Archive::new().with("bss", &[(1, vec![1; 1 << 20]), (2, vec![2; 100])]);
    let data = archive.path().join("bss/data_00000");
    let daemon = Daemon::raw(&archive, &[]);
    // The type of the second record, after version record, header and value of the first.
    let file = OpenOptions::new().write(true).open(data).unwrap();
    file.write_all_at(&[9], 8 + 8 + (1 << 20)).unwrap();
    let (mut stream, mut answer) = (daemon.connect(), Vec::new());
    stream.write_all(&head("GET", "/v1/bss", 0)).unwrap();
    // The connection may be reset before any of the answer is sent.
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.ends_with(b"0\r\n\r\n"), "a part is not taken for the whole");
    daemon.get("/v1/bss?from=2").refuses(500, "Corrupt");
    daemon.get("/v1/bss/2").refuses(500, "Corrupt");
    daemon.get("/v1/bss/1").exits_with(200);
}

#[test]
fn a_large_value_is_stored_and_read_back_unchanged() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let value: Vec<u8> =
        (0..40_000_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    daemon.ask("PUT", "/v1/bss/1", &value).exits_with(201);
    assert!(daemon.get("/v1/bss/1").body == value);
    let items = [(2, value.clone()), (3, b"small".to_vec())];
    daemon.ask("POST", "/v1/bss", &stream(STATES, &items)).exits_with(200);
    assert!(daemon.get("/v1/bss?from=2").body == stream(STATES, &items));
    daemon.stop();
}

/// The start of a state, built from the consensus specification alone.
fn state(slot: u64) -> Vec<u8> {
    [&[0; 40][..], &slot.to_le_bytes(), &[9; 500]].concat()
}

/// Guards against a value that is acknowledged for ever although it is none of the column's.
#[test]
fn wrong_values_gaps_and_far_slots_are_refused_without_raw_and_far() {
    let archive = Archive::new();
    let daemon = Daemon::start(&archive, &["--backfill"]);
    let put = |path: &str, value: &[u8]| daemon.ask("PUT", &format!("/v1/{path}"), value);
    put("bss/100", &state(100)).exits_with(201);
    put("bbr/100", &[1; 32]).exits_with(201);
    for (path, value, kind) in [
        ("bss/101", &b""[..], "WrongValue"),
        ("bss/101", &state(102), "WrongValue"),
        ("blk/101", b"no block", "WrongValue"),
        ("bbr/101", b"abc", "WrongValue"),
        ("bbr/102", &[1; 32], "RootGap"),
        ("bss/1000000", &state(1_000_000), "TooFar"),
        ("bss/1000000?raw=true", b"x", "TooFar"),
        ("bss/101?far=true", b"x", "WrongValue"),
    ] {
        let slot = path.split(['/', '?']).nth(1).unwrap();
        assert_eq!(put(path, value).refuses(422, kind)["slot"], slot, "{path}");
    }
    put("bss/101?raw", b"x").refuses(400, "Malformed");
    put("bss/101?rough=true", b"x").refuses(400, "Malformed");
    let gap = stream([2, 0], &roots([101, 103]));
    daemon.ask("POST", "/v1/bbr", &gap).refuses(422, "RootGap");
    let states = [(102, state(102)), (103, state(7))];
    let refused = daemon.ask("POST", "/v1/bss", &stream(STATES, &states));
    assert_eq!(refused.refuses(422, "WrongValue")["slot"], "103");

    put("bss/101?raw=true", b"").exits_with(201);
    put("bss/1000000?far=true", &state(1_000_000)).exits_with(201);
    put("bss/2000000?raw=true&far=true", b"x").exits_with(201);
    daemon.ask("POST", "/v1/bbr?raw=true", &gap).exits_with(200);
    put("bss/50", &state(50)).exits_with(201);
}

/// Guards against the envelope of a form, or compressed bytes, that are stored as the value.
#[test]
fn a_body_that_is_not_the_value_itself_is_refused() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let ask = |method: &str, path: &str, headers: &str, body: &str| {
        let mut stream = daemon.connect();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        crate::host::read_reply(stream, false)
    };
    for header in [
        "content-encoding: gzip",
        "content-encoding: identity\r\ncontent-encoding: br",
        "content-type: multipart/form-data; boundary=x",
        "content-type: Application/X-WWW-Form-Urlencoded",
    ] {
        for (method, path) in [("PUT", "/v1/bss/5"), ("POST", "/v1/bss")] {
            let headers = format!("content-length: 1\r\n{header}\r\n");
            ask(method, path, &headers, "x").refuses(415, "UnsupportedMediaType");
        }
    }
    ask("PUT", "/v1/bss/5", "", "").refuses(400, "Malformed");
    daemon.get("/v1/bss/5").refuses(404, "NoRecord");
    for header in ["content-encoding: Identity", "content-type: application/octet-stream"] {
        let status = ask("PUT", "/v1/bss/5", &format!("content-length: 1\r\n{header}\r\n"), "x");
        assert!(matches!(status.status, 200 | 201), "{header}");
    }
    ask("PUT", "/v1/bss/6", "transfer-encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n")
        .exits_with(201);
}

#[test]
fn curl_is_a_client() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let file = archive.beside("value");
    std::fs::write(&file, vec![5; 3_000_000]).unwrap();
    let curl = |more: &[&str]| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "--unix-socket", &daemon.socket, "-w", "%{http_code}"]).args(more);
        curl.output().ok().map(|output| String::from_utf8(output.stdout).unwrap())
    };
    if curl(&["--version"]).is_none() {
        eprintln!("curl is not installed: nothing was tested");
        return;
    }
    let url = "http://localhost/v1/bss/7";
    assert_eq!(curl(&["-T", &file, url]).unwrap(), "201");
    assert_eq!(curl(&["-o", &archive.beside("back"), url]).unwrap(), "200");
    assert!(std::fs::read(archive.beside("back")).unwrap() == vec![5; 3_000_000]);
    let scanned = archive.scan("bss", &["--format", "stream"]).exits(0).stdout;
    std::fs::write(&file, scanned).unwrap();
    let data = format!("@{file}");
    let post = ["--data-binary", &data, "http://localhost/v1/bss"];
    // Without an explicit type curl declares a form.
    let form = curl(&post).unwrap();
    assert!(form.ends_with("415") && form.contains("application/octet-stream"), "{form}");
    let octets = ["-H", "Content-Type: application/octet-stream"];
    let posted = curl(&[&octets[..], &post].concat()).unwrap();
    assert_eq!(posted, "{\"committed\":\"1\",\"first\":\"7\",\"last\":\"7\"}200");
    // The client gets the answer to a refused request, before and after the body.
    let refused = curl(&["-T", &file, "http://localhost/v1/bbr/7"]).unwrap();
    assert!(refused.ends_with("413") && refused.contains("TooLarge"), "{refused}");
    let conflict = curl(&["-T", &file, url]).unwrap();
    assert!(conflict.ends_with("409") && conflict.contains("Conflict"), "{conflict}");
}
