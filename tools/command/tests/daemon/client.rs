//! The client type for programs that embed it.

use std::io::Cursor;
use std::time::Duration;

use bytes::Bytes;
use coldstore::{Column, Slot};
use coldstore_client::client::{Client, ClientError};
use coldstore_client::wire::{Decimal, StreamCommitted};

use crate::host::Daemon;
use crate::support::{Archive, roots, stream};

fn kind_of(error: ClientError) -> (u16, String) {
    match error {
        ClientError::Refused { status, refusal } => (status, refusal.error),
        other => panic!("{other}"),
    }
}

#[test]
fn values_go_in_and_come_back() {
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
fn batches_and_streams_tell_what_is_committed() {
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
}

#[test]
fn a_connection_that_was_lost_is_made_again() {
    let archive = Archive::new();
    let daemon = Daemon::raw(&archive, &["--stall-timeout", "1"]);
    let mut client = Client::new(&daemon.socket).unwrap();
    client.put(Column::StateDiffs, Slot(1), vec![1]).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    client.put(Column::StateDiffs, Slot(2), vec![2]).unwrap();
    daemon.kill();
    let error = client.put(Column::StateDiffs, Slot(3), vec![3]).unwrap_err();
    assert!(matches!(error, ClientError::Connection { .. }), "{error}");
    let _daemon = Daemon::raw(&archive, &[]);
    client.put(Column::StateDiffs, Slot(3), vec![3]).unwrap();
}
