//! `copy` beside the daemon.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coldstore::{Column, Slot};
use coldstore_client::blocking::Client;
use coldstore_client::slot_stream::SlotStream;

use crate::host::{Daemon, PATIENCE};
use crate::support::{Archive, Run, coldstore, record_type, spawn, test_data};

type Content = BTreeMap<(Column, u64), Vec<u8>>;

/// Everything acknowledged by the daemon.
type Acknowledged = Arc<Mutex<Content>>;

fn content(archive: &str, column: Column) -> Content {
    let scanned = coldstore(&["scan", archive, column.dir_name(), "--format", "stream"]).exits(0);
    let record_type = record_type(column.dir_name());
    let mut stream = SlotStream::start(&scanned.stdout[..], record_type, u64::MAX).unwrap();
    let mut content = Content::new();
    while let Some(item) = stream.next_item().unwrap() {
        content.insert((column, item.slot.0), item.into_value().unwrap());
    }
    content
}

fn put(client: &mut Client, acknowledged: &Acknowledged, column: Column, slot: u64, value: &[u8]) {
    client.put(column, Slot(slot), Bytes::copy_from_slice(value)).unwrap();
    acknowledged.lock().unwrap().insert((column, slot), value.to_vec());
}

/// Sends the chain slot by slot: the block, its roots, and the state if there is one.
fn appender(
    socket: &str,
    chain: Content,
    slots: u64,
    acknowledged: &Acknowledged,
) -> JoinHandle<()> {
    let (mut client, acknowledged) = (Client::new(socket).unwrap(), Arc::clone(acknowledged));
    let order = [Column::StateSnapshots, Column::Blocks, Column::StateRoots, Column::BlockRoots];
    thread::spawn(move || {
        for slot in slots..576 {
            for column in order {
                if let Some(value) = chain.get(&(column, slot)) {
                    put(&mut client, &acknowledged, column, slot, value);
                }
            }
        }
    })
}

/// Fills gaps in one file after another until told to stop.
fn backfiller(socket: &str, acknowledged: &Acknowledged, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (mut client, stop) = (Client::new(socket).unwrap(), Arc::clone(stop));
    let acknowledged = Arc::clone(acknowledged);
    thread::spawn(move || {
        let column = Column::StateDiffs;
        put(&mut client, &acknowledged, column, 8 * 8192, b"the highest");
        for n in 0..8 * 8192_u64 {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let slot = n % 8 * 8192 + n / 8;
            let value = slot.to_be_bytes().repeat(1 + usize::try_from(slot % 500).unwrap());
            put(&mut client, &acknowledged, column, slot, &value);
        }
    })
}

/// Runs a copy with a timeout.
fn copy(from: &str, to: &str) -> Run {
    let mut child = spawn(&["copy", from, to], Stdio::null());
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the copy does not end");
        }
        sleep(Duration::from_millis(1));
    }
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_copy_beside_the_daemon_is_a_whole_archive_with_all_earlier_writes() {
    let archive = Archive::new();
    let (arg, era) = (archive.arg(), test_data("chain-minimal/era"));
    coldstore(&["import", &arg, era.to_str().unwrap()]).exits(0);
    let of_import =
        [Column::Blocks, Column::StateRoots, Column::BlockRoots, Column::StateSnapshots];
    let chain: Content = of_import.iter().flat_map(|column| content(&arg, *column)).collect();
    coldstore(&["rewind", &arg, "--to", "255"]).exits(0);
    let held = chain.clone().into_iter().filter(|((_, slot), _)| *slot <= 255).collect();
    let acknowledged = Arc::new(Mutex::new(held));

    let daemon = Daemon::start(&archive, &["--backfill", "--far"]);
    let stop = Arc::new(AtomicBool::new(false));
    let appender = appender(&daemon.socket, chain.clone(), 256, &acknowledged);
    let backfiller = backfiller(&daemon.socket, &acknowledged, &stop);
    let mut copies = 0;
    while !appender.is_finished() || copies < 3 {
        assert!(!backfiller.is_finished(), "the backfiller has failed");
        let before = acknowledged.lock().unwrap().clone();
        let copied = archive.beside("copy");
        copy(&arg, &copied).exits(0);
        let shown: Content =
            Column::ALL.into_iter().flat_map(|column| content(&copied, column)).collect();
        let lost = before.iter().find(|(key, value)| shown.get(key) != Some(value));
        assert_eq!(lost.map(|(key, _)| key), None, "acknowledged before copy {copies}");
        for (column, slot) in shown.keys() {
            let is_ahead = matches!(column, Column::BlockRoots | Column::StateRoots)
                && chain.contains_key(&(Column::Blocks, *slot))
                && !shown.contains_key(&(Column::Blocks, *slot));
            assert!(!is_ahead, "the root of slot {slot} in {column} is ahead of its block");
        }
        // Unwritten records are unfinished, not damage.
        coldstore(&["verify", &copied, "--deep"]).exits(0);
        let healed = coldstore(&["heal", &copied, "--dry-run"]).exits(0);
        let is_clean = |line: &str| line.ends_with("nothing to heal");
        assert!(healed.text().lines().all(is_clean), "{}", healed.text());
        std::fs::remove_dir_all(&copied).unwrap();
        copies += 1;
    }
    stop.store(true, Ordering::Relaxed);
    appender.join().unwrap();
    backfiller.join().unwrap();
    daemon.stop();
    let copied = archive.beside("last");
    copy(&arg, &copied).exits(0);
    let shown: Content =
        Column::ALL.into_iter().flat_map(|column| content(&copied, column)).collect();
    assert!(shown == *acknowledged.lock().unwrap());
}
