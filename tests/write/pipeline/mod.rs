//! Many producers, one writer.
#![allow(missing_docs, clippy::unwrap_used)]

mod archive;
mod jobs;
mod planned;
mod queue;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use test_support::{Fault, PLAIN, TestDisk};

use coldstore::{
    ArchivePipeline, ArchiveWriter, ArchiveWriterOptions, Column, Committed, Error, Manifest,
    OwnedRange, Pipeline, PipelineOptions, Queue, Reader, ReaderOptions, Slot, TrySubmitError,
    View, Writer, WriterOptions,
};

fn value(slot: u64) -> Vec<u8> {
    (0..slot % 200 + 1).map(|index| ((slot * 7 + index) % 251).try_into().unwrap()).collect()
}

fn item(slot: u64) -> (Slot, Vec<u8>) {
    (Slot(slot), value(slot))
}

fn writer(directory: &Path, column: Column, backfill: bool) -> Writer {
    Writer::open(directory, WriterOptions::create(column.spec()).allow_backfill(backfill)).unwrap()
}

fn view(directory: &Path) -> View {
    // SAFETY: the directory is this test's own.
    #[allow(unsafe_code)]
    unsafe { Reader::open_mapped(directory, ReaderOptions::default()) }.unwrap().view()
}

fn shown(directory: &Path) -> BTreeMap<u64, Vec<u8>> {
    let view = view(directory);
    view.range(..)
        .map(|record| record.unwrap())
        .map(|record| (record.slot().0, record.value().unwrap().into_owned()))
        .collect()
}

fn writer_of(directory: &Path) -> Writer {
    Writer::open(directory, WriterOptions::default()).unwrap()
}

/// A value whose first byte comes when it is sent: until then the writer's thread waits in its commit.
struct Held(std::sync::mpsc::Receiver<u8>);

impl std::io::Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Ok(byte) = self.0.recv() else { return Ok(0) };
        buffer[0] = byte;
        Ok(1)
    }
}
