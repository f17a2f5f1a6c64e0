//! The operations, on the column and on the model.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use coldstore::format::conf::Conf;
use coldstore::verify::{VerifyOptions, verify_column};
use coldstore::{
    Checksums, Committed, Error, FileId, HealAction, HealChange, MappedReader, Slot, Writer,
    inspect,
};

use super::held::Held;
use super::model::{Model, file_of};
use super::{Item, Operation, PLACES, Reopen};

pub(super) struct Column<'a> {
    pub(super) directory: &'a Path,
    pub(super) model: Model,
    pub(super) writer: Option<Writer>,
    /// A reader like one in another process: it stays while writers come and go.
    pub(super) reader: MappedReader,
    pub(super) held: Vec<Held>,
}

impl Column<'_> {
    pub(super) fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().unwrap()
    }

    pub(super) fn step(&mut self, operation: &Operation<'_>) {
        match operation {
            Operation::Put(item) => {
                let items = self.model.items(std::slice::from_ref(item), true);
                self.put(&items, |writer| writer.put(items[0].0, &items[0].1));
            }
            Operation::Batch(items) => {
                let items = self.model.items(items, true);
                self.put(&items, |writer| writer.put_batch(&items));
            }
            Operation::Unordered(items) => {
                let items = self.model.items(items, false);
                self.put(&items, |writer| writer.put_batch(&items));
            }
            Operation::Stored(items) => {
                let items = self.model.items(items, true);
                let stored: Vec<_> =
                    items.iter().map(|(slot, value)| (*slot, self.stored(value))).collect();
                self.put(&items, |writer| writer.put_stored_batch(&stored));
            }
            Operation::Run(items) => self.run(&self.model.items(items, true)),
            Operation::Stream(item, more) => self.stream(item, *more),
            Operation::Contains(place) => {
                let slot = self.model.slot(*place);
                let there = self.model.records().contains_key(&slot);
                assert_eq!(self.writer().contains(Slot(slot)).unwrap(), there);
            }
            Operation::Refresh => self.refresh(),
            Operation::Hold => {
                let view = self.reader.refresh().unwrap();
                self.held.push(Held::new(view, &self.model));
            }
            Operation::LetGo(index) if !self.held.is_empty() => {
                self.held.remove(usize::from(*index) % self.held.len());
            }
            Operation::Look(index, place) => {
                let file = file_of(self.model.slot(*place));
                if let Some(held) = nth(&mut self.held, *index) {
                    held.look_at(&self.model, file);
                }
            }
            Operation::Scan { held, from, to, ends } => {
                if let Some(held) = nth(&mut self.held, *held) {
                    held.scan(&self.model, *from, *to, *ends);
                }
            }
            Operation::LetGo(_) => {}
            Operation::Reopen(reopen) => {
                self.writer = None;
                // A run that was refused may have named a file that it was about to make.
                let is_unmade =
                    |action: &HealAction| matches!(action.change, HealChange::DroppedBackfillFile);
                let found = inspect(self.directory).unwrap();
                assert!(found.actions.iter().all(is_unmade), "{found:?}");
                self.open(reopen);
                assert_eq!(*self.writer().heal_report(), found);
            }
            Operation::Crash { garbage, tmp, next_file, reopen } => {
                self.crash(garbage, *tmp, *next_file);
                self.refresh();
                self.open(reopen);
                self.refresh();
            }
            Operation::Verify => self.verify(),
        }
    }

    pub(super) fn stored(&self, value: &[u8]) -> Vec<u8> {
        if !self.model.snappy || value.is_empty() {
            return value.to_vec();
        }
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(value).unwrap();
        encoder.into_inner().unwrap()
    }

    pub(super) fn put(
        &mut self,
        items: &[(Slot, Vec<u8>)],
        put: impl FnOnce(&mut Writer) -> coldstore::Result<Committed>,
    ) {
        match put(self.writer()) {
            Ok(committed) => {
                assert!(self.model.permits(items, None, false), "accepted: {items:?}");
                assert_eq!(committed.written, self.model.commit(items));
                assert_eq!(committed.written + committed.unchanged, items.len() as u64);
            }
            Err(error) => {
                assert!(self.model.permits(items, Some(&error), false), "{error}: {items:?}");
            }
        }
        self.check_writer();
    }

    pub(super) fn run(&mut self, items: &[(Slot, Vec<u8>)]) {
        let (reader, mut told) = (self.reader.clone(), 0);
        let outcome = self.writer().put_bulk(items, |commit| {
            let view = reader.refresh().unwrap();
            assert!(view.contains(commit.first).unwrap() && view.contains(commit.last).unwrap());
            told += commit.records;
        });
        let (done, error) = match outcome {
            Ok(done) => (done, None),
            Err(error) => (error.done, Some(error.error)),
        };
        let count = (done.written + done.unchanged) as usize;
        assert_eq!(told as usize, count);
        assert_eq!(done.last, items[..count].last().map(|(slot, _)| *slot));
        assert!(self.model.permits(items, error.as_ref(), true), "{error:?}: {items:?}");
        assert!(error.is_some() || count == items.len());
        // A run is several commits: one of a view's states may be any of them.
        let mut written = 0;
        for part in items[..count].chunk_by(|l, r| file_of(l.0.0) == file_of(r.0.0)) {
            let highest = self.model.highest();
            let gaps = part.partition_point(|(slot, _)| Some(slot.0) <= highest);
            written += self.model.commit(&part[..gaps]);
        }
        written += self.model.commit(&items[..count]);
        assert_eq!(written, done.written);
        self.check_writer();
    }

    pub(super) fn stream(&mut self, item: &Item<'_>, more: i8) {
        let items = self.model.items(std::slice::from_ref(item), true);
        let (slot, value) = &items[0];
        let byte_len = (value.len() as u64).saturating_add_signed(i64::from(more));
        if byte_len <= value.len() as u64 {
            let cut = vec![(*slot, value[..byte_len as usize].to_vec())];
            self.put(&cut, |writer| writer.put_from(*slot, byte_len, &mut &value[..]));
            return;
        }
        // The stream ends too early: nothing is put, and the writer goes on.
        let error = self.writer().put_from(*slot, byte_len, &mut &value[..]).unwrap_err();
        let promised = vec![(*slot, vec![0; byte_len as usize])];
        let refused = self.model.permits(&promised, Some(&error), false)
            || self.model.permits(&items, Some(&error), false);
        assert!(refused || matches!(error, Error::Io(_)), "{error}");
        self.check_writer();
    }

    pub(super) fn check_writer(&mut self) {
        let highest = self.model.highest().map(Slot);
        assert!(!self.writer().is_poisoned());
        assert_eq!(self.writer().highest_written_slot(), highest);
    }

    pub(super) fn refresh(&mut self) {
        let view = self.reader.refresh().unwrap();
        Held::new(view, &self.model).check(&self.model);
    }

    pub(super) fn open(&mut self, reopen: &Reopen) {
        self.model.bound += u64::from(reopen.raise % 8);
        self.model.backfill |= reopen.backfill;
        match reopen.raise >> 3 & 3 {
            0 => {}
            1 => self.model.checksums = Checksums::Off,
            2 => self.model.checksums = Checksums::On,
            _ => self.model.checksums = Checksums::WherePresent,
        }
        self.model.all_summed &= self.model.checksums == Checksums::On;
        let writer = Writer::open(self.directory, self.model.options(reopen.backfill)).unwrap();
        assert_eq!(writer.conf().allows_backfill(), self.model.backfill);
        assert_eq!(writer.conf().spec.max_value_bytes, self.model.bound);
        self.writer = Some(writer);
        self.check_writer();
    }

    /// What a process leaves that dies before the commit: bytes behind the committed ones, a conf
    /// that was not renamed, the beginning of the next file, checksums of what was not committed.
    pub(super) fn crash(&mut self, garbage: &[u8], tmp: bool, next_file: bool) {
        let conf = *self.writer().conf();
        self.writer = None;
        let append = |name: String| {
            let path = self.directory.join(name);
            let mut file =
                std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            file.write_all(garbage).unwrap();
        };
        let target = conf.backfill_target().filter(|target| target.data_len > 0);
        for file_id in conf.current_file().into_iter().chain(target.map(|t| t.file_id)) {
            append(format!("data_{file_id}"));
            if garbage.first().is_some_and(|first| first & 128 != 0) {
                self.leave_checksums(&conf, file_id, garbage);
            }
        }
        if next_file {
            let next = conf.current_file().map_or(0, |file_id| file_id.0 + 1);
            append(format!("data_{next:05}"));
            append(format!("data_{next:05}.sum"));
        }
        if tmp {
            append("column.conf.tmp".to_owned());
        }
    }

    /// Checksums of records that are not there; of a file without any, the beginning of them.
    pub(super) fn leave_checksums(&self, conf: &Conf, file_id: FileId, garbage: &[u8]) {
        let path = self.directory.join(format!("data_{file_id}.sum"));
        let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) else {
            std::fs::write(path, garbage).unwrap();
            return;
        };
        let can_be = |slot: &Slot| {
            let is_new = self.model.highest().is_none_or(|highest| slot.0 > highest);
            let is_gap = !self.model.records().contains_key(&slot.0);
            is_new || (is_gap && conf.allows_backfill())
        };
        let slots = PLACES.map(|place| file_id.slot_at(place as usize));
        for (slot, entry) in slots.into_iter().filter(can_be).zip(garbage.chunks(8)) {
            file.write_all_at(entry, 32 + 8 * slot.index_in_file() as u64).unwrap();
        }
    }

    pub(super) fn verify(&self) {
        let mut findings = Vec::new();
        let summary = verify_column(
            self.directory,
            None,
            &VerifyOptions::default().deep(true),
            &mut |finding| {
                findings.push(finding);
            },
        )
        .unwrap();
        assert_eq!(summary.damages, 0, "{findings:?}");
        assert_eq!(summary.records, self.model.records().len() as u64);
        let with_none = summary.records - summary.with_checksum;
        assert!(!self.model.all_summed || with_none == 0, "{with_none} records without a checksum");
    }
}

fn nth<T>(items: &mut [T], index: u8) -> Option<&mut T> {
    let count = items.len().max(1);
    items.get_mut(usize::from(index) % count)
}
