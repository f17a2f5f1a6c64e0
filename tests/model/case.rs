//! One case: a column and a list of operations.

use coldstore::Snapshot as _;

use super::*;

pub(crate) struct Run {
    pub(crate) column: PathBuf,
    pub(crate) compression: Compression,
    pub(crate) model: Model,
    pub(crate) writer: Option<Writer>,
    /// A reader like one in another process: it stays while writers come and go.
    pub(crate) apart: MappedReader,
    /// As `apart`, without maps.
    pub(crate) safe: coldstore::Reader,
    /// The writer's own.
    pub(crate) own: MappedReader,
    pub(crate) held: Vec<Held>,
}

pub(crate) fn options(compression: Compression, model: &Model, ask: bool) -> WriterOptions {
    WriterOptions::create(spec(compression, model.bound)).allow_backfill(ask)
}

impl Run {
    pub(crate) fn start(column: &Path, compression: Compression, case: &Case) -> Self {
        let mut model =
            Model { backfill: case.backfill, bound: case.bound, states: vec![Records::new()] };
        let mut writer = Writer::open(column, options(compression, &model, case.backfill)).unwrap();
        assert!(writer.heal_report().is_clean());
        let items: Vec<Item> = case
            .prefix
            .iter()
            .map(|&place| (Slot(slot_at(place)), bytes_from(slot_at(place), 6)))
            .collect();
        writer.put_batch(&items).unwrap();
        model.commit(&items);
        let (apart, own) = (reader(column), reader_of(&writer));
        let safe = coldstore::Reader::open(column, ReaderOptions::default()).unwrap();
        let column = column.to_owned();
        Run { column, compression, model, writer: Some(writer), apart, safe, own, held: Vec::new() }
    }

    pub(crate) fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().unwrap()
    }

    pub(crate) fn step(&mut self, op: &Op) {
        match op {
            Op::Put(pair) => {
                let (slot, value) = self.model.item(pair);
                let items = [(slot, value)];
                self.put(&items, |writer| writer.put(slot, &items[0].1));
            }
            Op::PutFrom(pair) => {
                let (slot, value) = self.model.item(pair);
                let items = [(slot, value)];
                let byte_len = items[0].1.len() as u64;
                self.put(&items, |writer| writer.put_from(slot, byte_len, &mut &items[0].1[..]));
            }
            Op::Batch(pairs) => {
                let items = self.model.items(pairs, true);
                self.put(&items, |writer| writer.put_batch(&items));
            }
            Op::Unordered(pairs) => {
                let items = self.model.items(pairs, false);
                self.put(&items, |writer| writer.put_batch(&items));
            }
            Op::Stored(pairs) => {
                let items = self.model.items(pairs, true);
                let stored: Vec<Item> = items
                    .iter()
                    .map(|(slot, value)| (*slot, encoded(value, self.compression)))
                    .collect();
                let new: Vec<Slot> = items
                    .iter()
                    .map(|(slot, _)| *slot)
                    .filter(|slot| !self.model.records().contains_key(&slot.0))
                    .collect();
                let accepted = self.put(&items, |writer| writer.put_stored_batch(&stored));
                let view = self.own.refresh().unwrap();
                for (slot, stored) in stored.iter().filter(|(slot, _)| new.contains(slot)) {
                    if accepted {
                        assert_eq!(view.get_stored(*slot).unwrap(), Some(&stored[..]));
                    }
                }
            }
            Op::Run(pairs) => {
                let items = self.model.items(pairs, true);
                self.run(&items);
            }
            Op::Refresh => self.refresh(),
            Op::Hold => {
                let view = self.apart.refresh().unwrap();
                self.held.push(Held::new(view, &self.model));
            }
            Op::Recheck(index) => {
                let count = self.held.len().max(1);
                if let Some(held) = self.held.get_mut(index % count) {
                    held.check(&self.model);
                }
            }
            Op::Peek(index, pick) => {
                let slot = self.model.resolve(pick);
                let count = self.held.len().max(1);
                if let Some(held) = self.held.get_mut(index % count) {
                    // Which files a search passes is its own affair; it must find records.
                    for found in [
                        held.view.at_or_before(Slot(slot)).unwrap(),
                        held.view.at_or_after(Slot(slot)).unwrap(),
                    ]
                    .into_iter()
                    .flatten()
                    {
                        let expected = &self.model.records()[&found.slot().0];
                        assert_eq!(*found.value().unwrap(), **expected);
                    }
                    held.check_file(&self.model, file_of(slot));
                }
            }
            Op::Query(query) => self.query(query),
            Op::Reopen(how) => {
                let before = self.close();
                self.open(*how, &before, false);
            }
            Op::Crash(leftovers, how) => self.crash(leftovers, *how),
        }
    }

    /// A put of one commit, refused or not; says which.
    pub(crate) fn put(
        &mut self,
        items: &[Item],
        put: impl FnOnce(&mut Writer) -> coldstore::Result<coldstore::Committed>,
    ) -> bool {
        let expected = self.model.refusals(items);
        let new = self.model.new_items(items);
        let unchanged = !expected.is_empty() || new == 0;
        let before = unchanged.then(|| files_of(&self.column));
        let outcome = put(self.writer());
        match &outcome {
            Ok(committed) => {
                assert!(expected.is_empty(), "{items:?} must be refused: {expected:?}");
                assert_eq!(committed.written, new);
                assert_eq!(committed.unchanged, items.len() as u64 - new);
                self.model.commit(items);
            }
            Err(error) => {
                assert!(!expected.is_empty(), "{items:?}: {error}");
                self.model.check_refusal(error, items, &expected);
            }
        }
        if let Some(before) = before {
            assert_same_files(&before, &files_of(&self.column), "a put that writes nothing");
        }
        self.check_writer(items);
        outcome.is_ok()
    }

    /// A run of any length and any files.
    pub(crate) fn run(&mut self, items: &[Item]) {
        let mut expected = self.model.refusals(items);
        expected.retain(|refusal| !matches!(refusal, Refusal::MixedBatch | Refusal::SpansFiles));
        let mut told: Vec<BulkCommit> = Vec::new();
        let (writer, own) = (self.writer.as_mut().unwrap(), &self.own);
        let outcome = writer.put_bulk(items, |commit| {
            let view = own.refresh().unwrap();
            assert!(view.contains(commit.first).unwrap() && view.contains(commit.last).unwrap());
            told.push(*commit);
        });
        let (done, error) = match outcome {
            Ok(done) => (done, None),
            Err(error) => (error.done, Some(error.error)),
        };
        let count = usize::try_from(done.written + done.unchanged).unwrap();
        let prefix = &items[..count];
        assert_eq!(done.written, self.model.new_items(prefix));
        assert_eq!(done.last, prefix.last().map(|(slot, _)| *slot));
        // A step that finds everything there already is told, and is no commit.
        assert!(done.commits <= told.len() as u64);
        assert!(done.commits > 0 || done.written == 0);
        assert_eq!(told.iter().map(|commit| commit.records).sum::<u64>(), count as u64);
        assert_eq!(told.last().map(|commit| commit.last), done.last);
        match error {
            None => {
                assert!(expected.is_empty(), "{items:?} must be refused: {expected:?}");
                assert_eq!(count, items.len());
            }
            Some(error) => {
                assert!(!expected.is_empty(), "{items:?}: {error}");
                self.model.check_refusal(&error, items, &expected);
                let mut refusals = self.model.refusals(prefix);
                refusals.retain(|r| !matches!(r, Refusal::MixedBatch | Refusal::SpansFiles));
                assert!(refusals.is_empty(), "{prefix:?} must not be done: {refusals:?}");
            }
        }
        self.model.commit(prefix);
        self.check_writer(items);
    }

    /// What the writer says of itself after an operation on `items`.
    pub(crate) fn check_writer(&mut self, items: &[Item]) {
        let highest = self.model.highest().map(Slot);
        let present: Vec<(Slot, bool)> = items
            .iter()
            .map(|(slot, _)| (*slot, self.model.records().contains_key(&slot.0)))
            .filter(|(slot, _)| slot.0 != u64::MAX)
            .collect();
        let writer = self.writer();
        assert!(!writer.is_poisoned());
        assert_eq!(writer.highest_written_slot(), highest);
        for (slot, is_there) in present {
            assert_eq!(writer.contains(slot).unwrap(), is_there, "slot {slot}");
        }
        self.check_conf();
    }

    /// The conf is that of the last commit, and the named files end where it says.
    pub(crate) fn check_conf(&mut self) {
        let path = self.column.join("column.conf");
        let bytes = fs::read(&path).unwrap();
        let conf = Conf::decode(&path, &bytes).unwrap();
        assert_eq!(bytes.len(), if self.model.backfill { 52 } else { 36 });
        assert_eq!(conf.highest.map(|slot| slot.0), self.model.highest());
        assert_eq!(conf.spec.max_value_bytes, self.model.bound);
        assert_eq!(*self.writer().conf(), conf);
        for file in FILES {
            if let Some(len) = conf.named_len(FileId(file)) {
                let found = fs::metadata(self.column.join(format!("data_{file:05}")));
                assert_eq!(found.map_or(0, |found| found.len()), len, "file {file}");
            }
        }
    }

    /// Both readers show what the model has.
    pub(crate) fn refresh(&mut self) {
        for reader in [&self.apart, &self.own] {
            let view = reader.refresh().unwrap();
            self.check_latest(view);
        }
        let safe = self.safe.refresh().unwrap();
        let shown = safe.range(..).map(|record| record.map(|record| (record.slot().0, record)));
        let shown: BTreeMap<u64, _> = shown.collect::<Result<_, _>>().unwrap();
        assert!(shown.keys().eq(self.model.records().keys()), "scanned without maps");
        for (slot, value) in self.model.records() {
            assert_eq!(*shown[slot], **value, "slot {slot}");
            assert_eq!(safe.get(Slot(*slot)).unwrap().as_deref(), Some(&**value), "slot {slot}");
        }
        assert_eq!(
            self.apart.view().highest_written_slot(),
            self.model.highest().map(Slot),
            "the latest view is kept"
        );
    }

    pub(crate) fn check_latest(&self, view: View) {
        let mut held = Held::new(view, &self.model);
        held.check(&self.model);
    }

    pub(crate) fn query(&self, query: &Query) {
        let view = self.apart.refresh().unwrap();
        let records = self.model.records();
        let edge = |(pick, edge): &(Pick, Edge)| {
            let slot = Slot(self.model.resolve(pick));
            match edge {
                Edge::Open => Bound::Unbounded,
                Edge::At => Bound::Included(slot),
                Edge::Beside => Bound::Excluded(slot),
            }
        };
        let range = (edge(&query.from), edge(&query.to));
        let within = |slot: u64| std::ops::RangeBounds::contains(&range, &Slot(slot));
        let mut expected: std::collections::VecDeque<u64> =
            records.keys().copied().filter(|slot| within(*slot)).collect();
        let mut owned = [view.owned_range(range), self.safe.refresh().unwrap().range(range)];
        let mut found = view.range(range);
        for from_back in query.ends.iter().copied().chain(std::iter::repeat_n(false, 40)) {
            let (record, slot) = if from_back {
                (found.next_back(), expected.pop_back())
            } else {
                (found.next(), expected.pop_front())
            };
            let record = record.map(Result::unwrap);
            assert_eq!(record.map(|record| record.slot().0), slot, "in {range:?}");
            for owned in &mut owned {
                let record = if from_back { owned.next_back() } else { owned.next() };
                let record = record.map(Result::unwrap);
                assert_eq!(record.as_ref().map(|record| record.slot().0), slot, "in {range:?}");
                assert_eq!(record.as_deref(), slot.map(|slot| &*records[&slot]));
            }
            if let Some(record) = record {
                assert_eq!(*record.value().unwrap(), *records[&record.slot().0]);
            }
        }
        for slot in [self.model.resolve(&query.from.0), self.model.resolve(&query.to.0)] {
            for slot in [slot.saturating_sub(1), slot, slot + 1, u64::MAX] {
                let before = view.at_or_before(Slot(slot)).unwrap();
                let after = view.at_or_after(Slot(slot)).unwrap();
                assert_eq!(
                    before.map(|record| record.slot().0),
                    records.range(..=slot).next_back().map(|(slot, _)| *slot),
                    "at or before {slot}"
                );
                assert_eq!(
                    after.map(|record| record.slot().0),
                    records.range(slot..).next().map(|(slot, _)| *slot),
                    "at or after {slot}"
                );
                let first = view.range(Slot(slot)..).next().map(|record| record.unwrap().slot());
                assert_eq!(first, after.map(|record| record.slot()));
            }
        }
    }

    pub(crate) fn close(&mut self) -> BTreeMap<String, Vec<u8>> {
        self.writer = None;
        files_of(&self.column)
    }

    /// Opens the writer again. Afterwards every file is what it was before the crash, `clean`, but
    /// for the conf where that was changed on purpose.
    pub(crate) fn open(&mut self, how: Reopen, clean: &BTreeMap<String, Vec<u8>>, dirty: bool) {
        if how.raise_bound {
            self.model.bound += 7;
        }
        let upgraded = how.ask_for_backfill && !self.model.backfill;
        self.model.backfill |= how.ask_for_backfill;
        let found = files_of(&self.column);
        let dry = coldstore::inspect(&self.column).unwrap();
        assert_same_files(&found, &files_of(&self.column), "an inspection");
        let options = options(self.compression, &self.model, how.ask_for_backfill);
        let writer = Writer::open(&self.column, options).unwrap();
        let report = writer.heal_report();
        // A file that was named before it was made is no longer named.
        let is_drop = |action: &&coldstore::HealAction| {
            matches!(action.change, coldstore::HealChange::DroppedBackfillFile)
        };
        let dropped = report.actions.iter().filter(is_drop).count();
        let is_past = |action: &&coldstore::HealAction| {
            matches!(action.change, coldstore::HealChange::RemovedAside(_))
        };
        let past = report.actions.iter().filter(is_past).count();
        assert_eq!(report.actions.len() == dropped + past, !dirty, "{report:?}");
        let told = |report: &coldstore::HealReport| -> Vec<String> {
            report.actions.iter().map(ToString::to_string).collect()
        };
        assert_eq!(told(&dry), told(report), "what the dry run said, and what was done");
        assert_eq!(writer.conf().spec.max_value_bytes, self.model.bound);
        let mut after = files_of(&self.column);
        // Entries behind garbage lead to nothing that lies there, and are copied before they go.
        after.retain(|name, _| !name.starts_with("aside-"));
        let mut clean = clean.clone();
        clean.retain(|name, _| !name.starts_with("aside-"));
        if how.raise_bound || upgraded || dropped > 0 {
            after.remove("column.conf");
            clean.remove("column.conf");
        }
        assert_same_files(&clean, &after, "after healing");
        self.own = reader_of(&writer);
        self.writer = Some(writer);
        self.check_conf();
    }

    /// Leaves on disk what a writer leaves that stops in the middle of something, looks at it as a
    /// reader, and heals it.
    pub(crate) fn crash(&mut self, leftovers: &[Leftover], how: Reopen) {
        let mut clean = self.close();
        let mut dirty = false;
        for leftover in leftovers {
            dirty |= self.leave(leftover, &mut clean);
        }
        self.check_latest(reader(&self.column).view());
        self.check_latest(self.apart.refresh().unwrap());
        for held in &mut self.held {
            held.check(&self.model);
        }
        self.open(how, &clean, dirty);
        self.check_latest(reader(&self.column).view());
        // What healing did once it need not do again.
        let mut before = self.close();
        before.retain(|name, _| !name.starts_with("aside-"));
        let nothing = Reopen { ask_for_backfill: false, raise_bound: false };
        self.open(nothing, &before, false);
    }

    /// One leftover. `clean` is what the files should be after healing; says whether there is
    /// something to heal.
    pub(crate) fn leave(&self, leftover: &Leftover, clean: &mut BTreeMap<String, Vec<u8>>) -> bool {
        let current = self.model.highest().map(file_of);
        let conf_path = self.column.join("column.conf");
        let conf = Conf::decode(&conf_path, &fs::read(&conf_path).unwrap()).unwrap();
        match leftover {
            Leftover::Garbage(byte_len) => {
                let Some(current) = current else { return false };
                append_to(&self.data_path(current), &bytes_from(1, *byte_len));
                true
            }
            Leftover::Record { entry_for, cut } => {
                let Some(current) = current else { return false };
                let offset = fs::metadata(self.data_path(current)).unwrap().len();
                let mut record = vec![0x77, 0, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4];
                record.truncate(12 - cut % 12);
                append_to(&self.data_path(current), &record);
                // Without backfill no entry is written at or below the highest slot.
                let slot = entry_for.as_ref().map(|pick| self.model.resolve(pick));
                if let Some(slot) = slot
                    && file_of(slot) == current
                    && !self.model.records().contains_key(&slot)
                    && (self.model.backfill || self.model.is_above(slot))
                {
                    self.write_entry(slot, offset);
                }
                true
            }
            Leftover::ConfTmp(byte_len) => {
                let mut bytes = conf.encode();
                bytes.truncate(*byte_len);
                fs::write(self.column.join("column.conf.tmp"), bytes).unwrap();
                true
            }
            Leftover::NextFile { ahead, data_len, entries } => {
                let file = current.map_or(ahead - 1, |current| current + ahead);
                if let Some(data_len) = data_len {
                    let mut bytes = vec![0x65, 0x32, 0, 0, 0, 0, 0, 0];
                    bytes.extend_from_slice(&[0x77, 0, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
                    bytes.truncate(*data_len);
                    fs::write(self.data_path(file), bytes).unwrap();
                }
                if let Some(entries) = entries {
                    let mut bytes = vec![0_u8; 65_536];
                    bytes[..8].copy_from_slice(&8_u64.to_le_bytes());
                    bytes.truncate([65_536, 8, 100, 0][entries % 4]);
                    fs::write(self.offset_path(file), bytes).unwrap();
                }
                data_len.is_some() || entries.is_some()
            }
            Leftover::Intent { file, garbage, entry, table_len } => self.leave_intent(
                conf,
                FILES[file % FILES.len()],
                *garbage,
                *entry,
                *table_len,
                clean,
            ),
            Leftover::ShortTable => {
                let Some(highest) = self.model.highest() else {
                    return false;
                };
                // In a crash that follows another one there may be entries behind the highest.
                let path = self.offset_path(file_of(highest));
                let table = fs::read(&path).unwrap();
                let used = table.iter().rposition(|byte| *byte != 0).unwrap() / 8 * 8 + 8;
                self.replace(&path, &table[..used]);
                used < 65_536
            }
        }
    }

    /// The intent step of a backfill, and what came after it.
    pub(crate) fn leave_intent(
        &self,
        mut conf: Conf,
        file: u64,
        garbage: usize,
        entry: Option<usize>,
        table_len: usize,
        clean: &mut BTreeMap<String, Vec<u8>>,
    ) -> bool {
        let sealed = self.model.highest().is_some_and(|highest| file < file_of(highest));
        let named = conf.backfill_target();
        let Some(backfill) = conf.backfill.as_mut().filter(|_| sealed) else {
            return false;
        };
        let data_path = self.data_path(file);
        // A file that an earlier leftover of this crash was about to make is not there yet.
        let known = named.filter(|target| target.file_id.0 == file).map(|target| target.data_len);
        let data_len =
            known.unwrap_or_else(|| fs::metadata(&data_path).map_or(0, |found| found.len()));
        // A writer that names a file has sealed the one before as it stood. This one crashed there.
        if named.is_some_and(|target| target.file_id.0 != file && self.is_dirty(target)) {
            return false;
        }
        backfill.target = Some(BackfillTarget { file_id: FileId(file), data_len });
        let bytes = conf.encode();
        clean.insert("column.conf".to_owned(), bytes.clone());
        self.replace(&self.column.join("column.conf"), &bytes);

        let mut dirty = false;
        if garbage > 0 {
            let mut bytes = Vec::new();
            if !data_path.exists() {
                bytes.extend_from_slice(&[0x65, 0x32, 0, 0, 0, 0, 0, 0]);
            }
            bytes.extend_from_slice(&bytes_from(2, garbage));
            append_to(&data_path, &bytes);
            dirty = true;
        }
        if data_len == 0 && table_len > 0 {
            let byte_len = [0, 65_536, 80, 0][table_len % 4];
            fs::write(self.offset_path(file), vec![0_u8; byte_len]).unwrap();
            dirty = true;
        }
        let slot = entry.map(|place| file * SLOTS_PER_FILE + PLACES[place]);
        let table = fs::metadata(self.offset_path(file)).map_or(0, |found| found.len());
        if let Some(slot) = slot
            && garbage > 0
            && table == 65_536
            && !self.model.records().contains_key(&slot)
        {
            self.write_entry(slot, data_len.max(8));
        }
        dirty
    }

    /// Puts another file in the place of one that may be mapped.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) {
        let other = self.column.join("a file in the making");
        fs::write(&other, bytes).unwrap();
        fs::rename(other, path).unwrap();
    }

    /// Whether there is something to heal in the file that the conf names.
    pub(crate) fn is_dirty(&self, target: BackfillTarget) -> bool {
        let found = fs::metadata(self.data_path(target.file_id.0)).map_or(0, |found| found.len());
        let table = self.offset_path(target.file_id.0).exists();
        found != target.data_len || (target.data_len == 0 && table)
    }

    pub(crate) fn data_path(&self, file: u64) -> PathBuf {
        self.column.join(format!("data_{file:05}"))
    }

    pub(crate) fn offset_path(&self, file: u64) -> PathBuf {
        self.column.join(format!("data_{file:05}.off"))
    }

    pub(crate) fn write_entry(&self, slot: u64, entry: u64) {
        use std::os::unix::fs::FileExt as _;
        let path = self.offset_path(file_of(slot));
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&entry.to_le_bytes(), slot % SLOTS_PER_FILE * 8).unwrap();
    }

    pub(crate) fn check_tables(&self, files: &BTreeMap<String, Vec<u8>>) {
        let view = reader(&self.column).view();
        let (mut slots, mut bounds) = (Vec::new(), Vec::new());
        let highest = view.highest_written_slot();
        let is_committed = |id: &FileId| Some(*id) <= highest.map(Slot::file_id);
        for file_id in view.file_ids().unwrap().into_iter().filter(is_committed) {
            let table = view.table(file_id).unwrap();
            slots.extend(table.records(file_id, highest.unwrap()).map(|(slot, _)| slot.0));
            bounds.push(table.bound);
            assert!(view.has_both_files(file_id));
        }
        assert_eq!(slots, self.model.records().keys().copied().collect::<Vec<_>>());
        let is_data = |name: &str| name.starts_with("data_") && !name.ends_with(".off");
        let data = files.iter().filter(|(name, _)| is_data(name));
        assert_eq!(bounds, data.map(|(_, bytes)| bytes.len() as u64).collect::<Vec<_>>());
    }

    pub(crate) fn finish(mut self) {
        self.refresh();
        for held in &mut self.held {
            held.check(&self.model);
        }
        let before = self.close();
        for held in &mut self.held {
            held.check(&self.model);
        }
        let fresh = open_reader(
            &self.column,
            ReaderOptions::default().expect(spec(self.compression, self.model.bound)),
        );
        self.check_latest(fresh.unwrap().view());
        self.check_tables(&before);
        let mut findings = Vec::new();
        let summary = verify_column(
            &self.column,
            None,
            &VerifyOptions::default().deep(true),
            &mut |finding| {
                findings.push(format!("{finding:?}"));
            },
        )
        .unwrap();
        assert_eq!(summary.damages, 0, "{findings:?}");
        assert_eq!(summary.records, self.model.records().len() as u64);
        assert_same_files(&before, &files_of(&self.column), "reading and verifying");
    }
}
