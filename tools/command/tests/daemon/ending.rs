//! Shutdown and kill of the daemon: nothing acknowledged is lost.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coldstore::{Column, Slot};
use coldstore_client::ClientError;
use coldstore_client::blocking::Client;
use coldstore_client::wire::RefusalKind;
use rustix::process::Signal;

use crate::host::{Daemon, PATIENCE, head, read_reply};
use crate::support::{Archive, coldstore, roots, stream};

type Acknowledged = Arc<Mutex<BTreeMap<u64, Vec<u8>>>>;

fn value(slot: u64) -> Vec<u8> {
    slot.to_be_bytes().repeat(1 + usize::try_from(slot % 500).unwrap())
}

/// Sends slots `of, of + 8, …` of one file after another until the daemon ends.
fn sender(
    of: u64,
    socket: &str,
    acknowledged: &Acknowledged,
    done: &Arc<AtomicBool>,
) -> JoinHandle<()> {
    let mut client = Client::new(socket).unwrap();
    let (acknowledged, done) = (Arc::clone(acknowledged), Arc::clone(done));
    thread::spawn(move || {
        let mut slots = (of..).step_by(8);
        let mut batch: Vec<u64> = Vec::new();
        while !done.load(Ordering::Relaxed) {
            if batch.is_empty() {
                batch = slots.by_ref().take(if of.is_multiple_of(2) { 1 } else { 20 }).collect();
            }
            let items: Vec<(Slot, Bytes)> =
                batch.iter().map(|slot| (Slot(*slot), value(*slot).into())).collect();
            let committed = match &items[..] {
                [(slot, value)] => {
                    client.put(Column::StateDiffs, *slot, value.clone()).map(|_| slot.0)
                }
                items => client
                    .put_batch(Column::StateDiffs, items)
                    .map(|committed| committed.last.unwrap().0),
            };
            let last = match committed {
                Ok(last) => Some(last),
                Err(ClientError::Refused { refusal, .. }) => {
                    assert_eq!(refusal.error, RefusalKind::ShuttingDown, "{refusal:?}");
                    refusal.prefix.and_then(|prefix| prefix.last).map(|last| last.0)
                }
                Err(_) => None,
            };
            match last {
                Some(last) => {
                    let durable = batch.iter().filter(|slot| **slot <= last);
                    acknowledged.lock().unwrap().extend(durable.map(|slot| (*slot, value(*slot))));
                    batch.retain(|slot| *slot > last);
                }
                None => sleep(Duration::from_millis(5)),
            }
        }
    })
}

fn wait_for_more_than(count: usize, acknowledged: &Acknowledged) {
    let started = Instant::now();
    while acknowledged.lock().unwrap().len() <= count {
        assert!(started.elapsed() < PATIENCE, "{count} values were not acknowledged");
        sleep(Duration::from_millis(5));
    }
}

fn assert_all_there(archive: &Archive, acknowledged: &Acknowledged) -> usize {
    let acknowledged = acknowledged.lock().unwrap();
    let scanned = archive.scan("bsd", &["--format", "stream"]).exits(0).stdout;
    let mut there = BTreeMap::new();
    let mut stream =
        coldstore_client::slot_stream::SlotStream::start(&scanned[..], [5, 0], u64::MAX).unwrap();
    while let Some(item) = stream.next_item().unwrap() {
        there.insert(item.slot.0, item.into_value().unwrap());
    }
    for (slot, wanted) in &*acknowledged {
        assert!(there.get(slot) == Some(wanted), "slot {slot} was acknowledged and is lost");
    }
    for (slot, found) in &there {
        assert!(*found == value(*slot), "slot {slot} holds what nobody has sent");
    }
    acknowledged.len()
}

fn assert_nothing_to_heal(archive: &Archive) {
    let heal = coldstore(&["heal", &archive.arg(), "--dry-run"]).exits(0);
    for line in heal.text().lines() {
        assert!(line.ends_with("nothing to heal"), "{line}");
    }
}

#[test]
fn a_signal_shuts_down_in_order_while_clients_send() {
    for signal in [Signal::TERM, Signal::INT] {
        let archive = Archive::new();
        let daemon = Daemon::raw(&archive, &["--backfill"]);
        let (acknowledged, done) = (Acknowledged::default(), Arc::new(AtomicBool::new(false)));
        let senders: Vec<_> =
            (0..8).map(|of| sender(of, &daemon.socket, &acknowledged, &done)).collect();
        // Load before the signal; the wait below makes sure of some.
        sleep(Duration::from_millis(700));
        wait_for_more_than(8, &acknowledged);
        daemon.signal(signal);
        let started = Instant::now();
        daemon.wait().exits(0);
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        done.store(true, Ordering::Relaxed);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_nothing_to_heal(&archive);
        assert!(assert_all_there(&archive, &acknowledged) > 8);
    }
}

#[test]
fn a_signal_in_mid_stream_keeps_the_items_received() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let bytes = stream([2, 0], &roots(0..100));
    let mut posting = daemon.connect();
    posting.write_all(&head("POST", "/v1/bbr", bytes.len())).unwrap();
    posting.write_all(&bytes[..8 + 56 * 40 + 10]).unwrap();
    let held = daemon.wait_for_held_bytes(40 * 32);
    let mut putting = daemon.connect();
    putting.write_all(&head("PUT", "/v1/bss/1", 10)).unwrap();
    putting.write_all(b"half").unwrap();
    daemon.wait_for_held_bytes(held + 4);
    daemon.signal(Signal::TERM);
    let refusal = read_reply(posting, false).refuses(503, "ShuttingDown");
    assert_eq!((&refusal["committed"], &refusal["last"]), (&"40".into(), &"39".into()));
    read_reply(putting, false).refuses(503, "ShuttingDown");
    daemon.wait().exits(0);
    assert_nothing_to_heal(&archive);
    let there = archive.scan("bbr", &["--format", "stream"]).stdout;
    assert!(there == stream([2, 0], &roots(0..40)));
}

#[test]
fn idle_clients_do_not_delay_the_shutdown() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--stall-timeout", "300"]);
    let _silent = daemon.connect();
    let mut client = Client::new(&daemon.socket).unwrap();
    client.status().unwrap();
    // Both connections are idle by now; stopping takes no longer if they are not.
    sleep(Duration::from_millis(100));
    let started = Instant::now();
    daemon.stop();
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let archive = Archive::new().with("bss", &[(1, vec![1; 4 << 20])]);
    let daemon = Daemon::raw(&archive, &["--stall-timeout", "300"]);
    let mut deaf = daemon.connect();
    deaf.write_all(&head("GET", "/v1/bss/1", 0)).unwrap();
    deaf.read_exact(&mut [0]).unwrap();
    daemon.signal(Signal::TERM);
    daemon.wait_until_stopping();
    daemon.signal(Signal::TERM);
    daemon.wait().exits(3);
}

#[test]
fn a_signal_counts_as_soon_as_the_socket_exists() {
    let archive = Archive::new();
    for _ in 0..10 {
        let daemon = Daemon::raw(&archive, &[]);
        let socket = daemon.socket.clone();
        daemon.stop();
        assert!(!Path::new(&socket).exists());
    }
}

#[test]
fn nothing_acknowledged_is_lost_over_repeated_kills() {
    let archive = Archive::new();
    let (acknowledged, done) = (Acknowledged::default(), Arc::new(AtomicBool::new(false)));
    let mut daemon = Daemon::raw(&archive, &["--backfill"]);
    let senders: Vec<_> =
        (0..8).map(|of| sender(of, &daemon.socket, &acknowledged, &done)).collect();
    for round in 0..6u64 {
        // A kill at any time is right.
        sleep(Duration::from_millis(150 + 97 * (round * 7 % 5)));
        daemon.kill();
        assert_all_there(&archive, &acknowledged);
        daemon = Daemon::raw(&archive, &["--backfill"]);
    }
    wait_for_more_than(50, &acknowledged);
    done.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    daemon.stop();
    assert!(assert_all_there(&archive, &acknowledged) > 50);
    coldstore(&["verify", &archive.arg()]).exits(0);
}
