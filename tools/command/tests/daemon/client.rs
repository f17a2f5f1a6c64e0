//! The two clients for programs that embed one.

use std::io::Cursor;
use std::time::Duration;

use bytes::Bytes;
use coldstore::{Column, Slot};
use coldstore_client::ClientError;
use coldstore_client::blocking::Client;
use coldstore_client::wire::{Decimal, RefusalKind, StreamCommitted};

use crate::host::Daemon;
use crate::support::{Archive, roots, stream};

fn kind_of(error: ClientError) -> (u16, String) {
    match error {
        ClientError::Refused { status, refusal } => (status, refusal.error.to_string()),
        other => panic!("{other}"),
    }
}

#[test]
fn values_are_stored_and_read_back() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let mut client = Client::new(&daemon.socket).unwrap();
    let (column, slot) = (Column::StateSnapshots, Slot(5));
    assert_eq!(client.get(column, slot).unwrap(), None);
    assert!(client.put(column, slot, vec![1; 1_000_000]).unwrap());
    assert!(!client.put(column, slot, vec![1; 1_000_000]).unwrap(), "it was there");
    assert!(client.get(column, slot).unwrap().unwrap() == vec![1; 1_000_000]);
    let (status, kind) = kind_of(client.put(column, slot, vec![2]).unwrap_err());
    assert_eq!((status, kind.as_str()), (409, "Conflict"));
    assert_eq!(client.status().unwrap().columns[3].highest_slot, Some(Decimal(5)));
}

#[test]
fn batches_and_streams_report_what_is_committed() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let mut client = Client::new(&daemon.socket).unwrap();
    let items: Vec<(Slot, Bytes)> =
        roots(0..600).into_iter().map(|(slot, root)| (Slot(slot), root.into())).collect();
    let all = |committed, first, last| StreamCommitted {
        committed: Decimal(committed),
        first: Some(Decimal(first)),
        last: Some(Decimal(last)),
    };
    let column = Column::BlockRoots;
    assert_eq!(client.put_batch(column, &items).unwrap(), all(600, 0, 599));
    assert_eq!(client.put_batch(column, &[]).unwrap(), StreamCommitted::default());
    let more = Cursor::new(stream([2, 0], &roots(600..2000)));
    assert_eq!(client.post_stream(column, more).unwrap(), all(1400, 600, 1999));
    let garbage = Cursor::new(b"garbage, and more of it".to_vec());
    let (status, kind) = kind_of(client.post_stream(column, garbage).unwrap_err());
    assert_eq!((status, kind.as_str()), (400, "Malformed"));
    assert_eq!(archive.scan("bbr", &["--format", "sha256"]).text().lines().count(), 2000);
    let mut scan = client.scan(column, Slot(500)..=Slot(700)).unwrap();
    for (slot, root) in roots(500..701) {
        assert_eq!(scan.next().unwrap().unwrap(), (Slot(slot), root));
    }
    assert!(scan.next().is_none());
    let refused = client.scan(column, Slot(2)..=Slot(1)).unwrap_err();
    assert_eq!(refused.refusal_kind(), Some(&RefusalKind::Malformed));
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

fn is_send<T: Send>(future: T) -> T {
    future
}

#[test]
fn the_asynchronous_client_makes_the_same_calls() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    block_on(async {
        let mut client = coldstore_client::Client::new(&daemon.socket);
        let (column, slot) = (Column::BlockRoots, Slot(0));
        assert_eq!(client.get(column, slot).await.unwrap(), None);
        assert!(is_send(client.put(column, slot, vec![1; 32])).await.unwrap());
        assert!(!client.put(column, slot, vec![1; 32]).await.unwrap(), "the value was there");
        assert_eq!(client.get(column, slot).await.unwrap().unwrap(), [1; 32]);
        let refused = client.put(column, slot, vec![2; 32]).await.unwrap_err();
        assert_eq!(refused.refusal_kind(), Some(&RefusalKind::Conflict));
        let items = [(Slot(1), vec![1; 32].into()), (Slot(2), vec![2; 32].into())];
        let committed = is_send(client.put_batch(column, &items)).await.unwrap();
        assert_eq!((committed.committed, committed.last), (Decimal(2), Some(Decimal(2))));
        let more = Cursor::new(stream([2, 0], &roots(3..9)));
        let committed = is_send(client.post_stream(column, more)).await.unwrap();
        assert_eq!((committed.committed, committed.last), (Decimal(6), Some(Decimal(8))));
        assert_eq!(client.status().await.unwrap().columns[1].highest_slot, Some(Decimal(8)));
        let mut scan = client.scan(column, Slot(2)..=Slot(3)).await.unwrap();
        // Other calls may be made during a scan.
        assert!(client.get(column, Slot(8)).await.unwrap().is_some());
        assert_eq!(is_send(scan.next()).await.unwrap(), Some((Slot(2), vec![2; 32])));
        assert_eq!(scan.next().await.unwrap(), roots([3]).pop().map(|(n, root)| (Slot(n), root)));
        assert_eq!(scan.next().await.unwrap(), None);
    });
}

#[test]
fn many_asynchronous_clients_share_a_thread() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--backfill"]);
    block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        for slot in (0..50).map(Slot) {
            let mut client = coldstore_client::Client::new(&daemon.socket);
            clients.spawn(async move {
                let value = slot.0.to_be_bytes().to_vec();
                client.put(Column::StateDiffs, slot, value.clone()).await.unwrap();
                assert_eq!(client.get(Column::StateDiffs, slot).await.unwrap(), Some(value));
            });
        }
        while let Some(done) = clients.join_next().await {
            done.unwrap();
        }
    });
}

/// The stall time of the daemon is longer than this test: only a cancelled request's connection that is
/// used again would hang it.
#[test]
fn a_cancelled_call_leaves_the_client_usable() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    block_on(async {
        let mut client = coldstore_client::Client::new(&daemon.socket);
        let (column, value) = (Column::StateDiffs, vec![7; 32 << 20]);
        client.put(column, Slot(1), vec![1]).await.unwrap();
        let cancelled = client.put(column, Slot(2), value.clone());
        assert!(tokio::time::timeout(Duration::from_millis(1), cancelled).await.is_err());
        client.put(column, Slot(2), value).await.unwrap();
        assert_eq!(client.get(column, Slot(1)).await.unwrap(), Some(vec![1]));
    });
}

#[test]
fn a_call_is_repeated_until_the_daemon_is_back() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &[]);
    let mut client = Client::new(&daemon.socket).unwrap().retry_for(crate::host::PATIENCE);
    client.put(Column::StateDiffs, Slot(1), vec![1]).unwrap();
    daemon.kill();
    let put = std::thread::spawn(move || client.put(Column::StateDiffs, Slot(2), vec![2]).unwrap());
    let _daemon = Daemon::raw(&archive, &[]);
    assert!(put.join().unwrap());
}

#[test]
fn a_lost_connection_is_reopened() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--stall-timeout", "1"]);
    let mut client = Client::new(&daemon.socket).unwrap();
    client.put(Column::StateDiffs, Slot(1), vec![1]).unwrap();
    daemon.wait_for_connections("1");
    client.put(Column::StateDiffs, Slot(2), vec![2]).unwrap();
    daemon.kill();
    let error = client.put(Column::StateDiffs, Slot(3), vec![3]).unwrap_err();
    assert!(matches!(error, ClientError::Connection { .. }), "{error}");
    let _daemon = Daemon::raw(&archive, &[]);
    client.put(Column::StateDiffs, Slot(3), vec![3]).unwrap();
}
