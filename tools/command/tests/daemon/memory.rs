//! Memory used by requests.

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
fn a_declared_length_alone_takes_no_memory() {
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

fn pattern(byte_len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..byte_len).map(|_| next()).collect()
}

/// Guards against uploads that fill the budget while they arrive, so that nobody else can write.
#[test]
fn large_uploads_in_progress_do_not_delay_others() {
    const BYTES: usize = 40 << 20;
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--budget", "4", "--backfill"]);
    daemon.ask("PUT", "/v1/bss/100", b"the highest").exits_with(201);
    let values = [pattern(BYTES, 1), pattern(BYTES, 2)];
    let streamed = stream([4, 0], &[(3, b"small".to_vec()), (4, values[1].clone())]);
    let uploads = [("PUT", "/v1/bss/2", &values[0]), ("POST", "/v1/bss", &streamed)];
    let mut clients: Vec<_> = uploads
        .map(|(method, path, body)| {
            let mut client = daemon.connect();
            client.write_all(&head(method, path, body.len())).unwrap();
            client.write_all(&body[..body.len() / 2]).unwrap();
            (client, &body[body.len() / 2..])
        })
        .into();
    // Their data is in unnamed files and not in memory.
    let started = std::time::Instant::now();
    while daemon.plain_metric("spooled_bytes") < (BYTES - (4 << 20)) as f64 {
        assert!(started.elapsed() < crate::host::PATIENCE, "nothing is spooled");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(daemon.wait_for_held_bytes(0) < 2 * MEBIBYTE);
    let names = || {
        let entries = std::fs::read_dir(archive.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let during = names();
    for slot in 0..20 {
        daemon.ask("PUT", &format!("/v1/bbr/{slot}"), &[7; 32]).exits_with(201);
        daemon.ask("PUT", &format!("/v1/bss/{}", 10 + slot), &[7; 32]).exits_with(201);
    }
    // Items before the large value of a stream do not wait for it.
    assert_eq!(daemon.get("/v1/bss/3").exits_with(200).body, b"small");
    for (client, rest) in &mut clients {
        client.write_all(rest).unwrap();
    }
    for ((client, _), status) in clients.into_iter().zip([201, 200]) {
        crate::host::read_reply(client, false).exits_with(status);
    }
    // Before values are read: maps of files count too.
    let most = memory(&daemon, "VmHWM");
    assert!(most < 60 * MEBIBYTE, "{most} bytes");
    assert!(daemon.get("/v1/bss/2").body == values[0]);
    assert!(daemon.get("/v1/bss/4").body == values[1]);
    assert_eq!(daemon.plain_metric("spooled_bytes"), 0.0);
    daemon.stop();
    assert_eq!(names(), during, "no upload has a name");
}

/// Guards against bodies of middle size that fill the budget, so that no root gets in.
#[test]
fn small_bodies_are_accepted_while_larger_ones_wait_for_memory() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--budget", "1", "--backfill"]);
    let clients: Vec<_> = (0..6)
        .map(|slot| {
            let mut client = daemon.connect();
            client.write_all(&head("PUT", &format!("/v1/bsd/{slot}"), 800_000)).unwrap();
            client.set_nonblocking(true).unwrap();
            // Sends as much as the daemon accepts.
            let _ = client.write_all(&vec![1; 700_000]);
            client
        })
        .collect();
    daemon.wait_for_held_bytes(7 * MEBIBYTE / 8 - 500_000);
    for slot in 0..50 {
        daemon.ask("PUT", &format!("/v1/bbr/{slot}"), &[7; 32]).exits_with(201);
    }
    drop(clients);
    daemon.stop();
}

/// Guards against a client that holds memory, or a spool file, for as long as it likes.
#[test]
fn a_large_value_that_trickles_in_is_dropped() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--stall-timeout", "3", "--min-rate", "1024"]);
    let mut client = daemon.connect();
    client.write_all(&head("PUT", "/v1/bss/1", 100 << 20)).unwrap();
    let started = std::time::Instant::now();
    // Never silent for three seconds.
    let mut sender = client.try_clone().unwrap();
    let reader = std::thread::spawn(move || crate::host::read_reply(client, false));
    while !reader.is_finished() {
        assert!(started.elapsed() < crate::host::PATIENCE, "it is still heard");
        // The daemon continues to read for a while after its answer.
        let _ = sender.write_all(&[1; 1000]);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    reader.join().unwrap().refuses(408, "TooSlow");
    daemon.get("/v1/bss/1").refuses(404, "NoRecord");
}

/// Guards against items that wait for memory to be free although their sender rests.
#[test]
fn received_items_are_committed_while_the_sender_pauses() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let bytes = stream([2, 0], &crate::support::roots(0..3));
    let mut client = daemon.connect();
    client.write_all(&head("POST", "/v1/bbr", bytes.len())).unwrap();
    let third = bytes.len() - 56;
    client.write_all(&bytes[..third]).unwrap();
    let started = std::time::Instant::now();
    while daemon.get("/v1/bbr/1").status != 200 {
        assert!(started.elapsed() < crate::host::PATIENCE, "nothing is committed");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    client.write_all(&bytes[third..]).unwrap();
    let reply = crate::host::read_reply(client, false).exits_with(200);
    assert_eq!(reply.json()["committed"], "3");
}
