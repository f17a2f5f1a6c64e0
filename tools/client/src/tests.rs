//! A hostile server gets errors out of a client, never its memory.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;

use coldstore::{Column, Slot};

use crate::ClientError;
use crate::blocking::Client;
use crate::slot_stream::{write_item, write_start};

/// A server that sends these bytes to each client, and then closes the connection.
fn server(answer: Vec<u8>) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            // The client may hang up first.
            let _ = stream.write_all(&answer);
        }
    });
    (directory, socket)
}

/// An answer without a length, which ends with the connection.
fn ok(body: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", body].concat()
}

fn roots(slots: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_start(&mut bytes).unwrap();
    for slot in slots {
        write_item(&mut bytes, [2, 0], Slot(*slot), &[1; 32]).unwrap();
    }
    bytes
}

/// Scans what the server sends: the slots up to the error, and the error.
fn scanned(answer: Vec<u8>) -> (Vec<u64>, Option<ClientError>) {
    let (_directory, socket) = server(answer);
    let client = Client::new(&socket).unwrap();
    let mut slots = Vec::new();
    for item in client.scan(Column::BlockRoots, Slot(0)..=Slot(9)).unwrap() {
        match item {
            Ok((slot, _)) => slots.push(slot.0),
            Err(error) => return (slots, Some(error)),
        }
    }
    (slots, None)
}

#[test]
fn a_damaged_scan_is_an_error_after_the_items_before_the_damage() {
    assert!(matches!(scanned(ok(&roots(&[1, 2]))), (slots, None) if slots == [1, 2]));
    let bytes = roots(&[1, 2]);
    for cut in [bytes.len() - 1, bytes.len() - 40, bytes.len() - 50] {
        let (slots, error) = scanned(ok(&bytes[..cut]));
        assert!(matches!(error, Some(ClientError::Stream { .. })), "{cut}: {error:?}");
        assert_eq!(slots, [1], "{cut}");
    }
    let (slots, error) = scanned(ok(&roots(&[2, 1])));
    assert!(error.unwrap().to_string().contains("1 follows 2"));
    assert_eq!(slots, [2]);
    let (slots, error) = scanned(ok(b"not a slot stream, but longer than its head"));
    assert!(matches!(error, Some(ClientError::Stream { .. })), "{error:?}");
    assert!(slots.is_empty());
    let (_, error) = scanned(ok(b""));
    assert!(matches!(error, Some(ClientError::Stream { .. })), "{error:?}");
}

#[test]
fn a_scan_that_breaks_off_is_a_lost_connection() {
    let bytes = roots(&[1]);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len() + 1);
    let (slots, error) = scanned([head.as_bytes(), &bytes].concat());
    assert!(matches!(error, Some(ClientError::Connection { .. })), "{error:?}");
    assert_eq!(slots, [1]);
}

#[test]
fn a_declared_length_from_the_server_allocates_nothing() {
    let mut bytes = roots(&[]);
    bytes.extend_from_slice(b"sl\x08\0\0\0\0\0\x07\0\0\0\0\0\0\0\x02\0\xff\xff\xff\xff\0\0abc");
    assert!(matches!(scanned(ok(&bytes)), (_, Some(ClientError::Stream { .. }))));
    let huge = b"HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775806\r\n\r\nabc".to_vec();
    let (_directory, socket) = server(huge);
    let error = Client::new(&socket).unwrap().get(Column::Blocks, Slot(1)).unwrap_err();
    assert!(matches!(error, ClientError::Connection { .. }), "{error}");
}

#[test]
fn an_answer_that_does_not_end_is_cut_off() {
    let (_directory, socket) = server(ok(&vec![b' '; 2 << 20]));
    let error = Client::new(&socket).unwrap().status().unwrap_err();
    assert!(matches!(error, ClientError::Answer { status: 200, .. }), "{error}");
    assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
}

#[test]
fn an_answer_other_than_json_is_an_error_with_its_status() {
    for status in [200, 500] {
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\n<br>");
        let (_directory, socket) = server(answer.into_bytes());
        let error = Client::new(&socket).unwrap().status().unwrap_err();
        assert!(matches!(error, ClientError::Answer { status: found, .. } if found == status));
    }
}
