//! Every way of reading a damaged store.

use super::*;

/// An error says which file of the column it is about, and no other than the damaged one's or the
/// conf.
pub(crate) fn assert_names_the_place(store: &Store, damage: &Damage, error: &Error) {
    let file: PathBuf = match error {
        Error::Corrupt(corruption) => {
            assert!(!corruption.wanted.is_empty() && !corruption.found.is_empty(), "{error}");
            corruption.file.clone()
        }
        Error::Unsupported { file, .. } | Error::ConfMismatch { file, .. } => file.to_path_buf(),
        Error::Io(error) => error.path.clone(),
        Error::NoSuchColumn { directory } => {
            assert!(matches!(damage, Damage::Gone { .. }) && damage.file() == CONF);
            assert_eq!(**directory, *store.path());
            return;
        }
        other => panic!("{other:?} names no place"),
    };
    assert_eq!(file.parent(), Some(store.path()), "{error}");
    let name = file.file_name().unwrap().to_str().unwrap();
    if let Some(id) = id_of(damage.file()) {
        assert!(name == CONF || id_of(name) == Some(id), "{error}");
    }
}

/// What the library reads, by slot; of an open that fails, its error.
pub(crate) fn read(
    store: &Store,
    damage: &Damage,
    options: ReaderOptions,
) -> Result<BTreeMap<u64, Reading>, Error> {
    let safe = coldstore::Reader::open(store.path(), options);
    let reader: MappedReader = open_reader(store.path(), options).inspect_err(|error| {
        assert_names_the_place(store, damage, error);
        assert_eq!(safe.as_ref().unwrap_err().to_string(), error.to_string());
    })?;
    let safe = safe.unwrap().view();
    let view = reader.view();
    let mut shown = BTreeMap::new();
    let mut buffer = Vec::new();
    for slot in store.slots(damage) {
        let at = Slot(slot);
        let reading = match view.get(at) {
            Ok(Some(value)) => Reading::Value(value.into_owned()),
            Ok(None) => Reading::Nothing,
            Err(error) => {
                assert_names_the_place(store, damage, &error);
                Reading::Refused
            }
        };
        // The other ways to one slot.
        match view.get_into(at, &mut buffer) {
            Ok(true) => assert_eq!(reading, Reading::Value(buffer.clone())),
            Ok(false) => assert_eq!(reading, Reading::Nothing),
            Err(_) => assert_eq!(reading, Reading::Refused),
        }
        if let Ok(Some(stored)) = view.get_stored(at) {
            assert!(stored.len() < 10_000);
        }
        if view.contains(at).is_err() {
            assert_eq!(reading, Reading::Refused);
        }
        assert_eq!(safe.contains(at).ok(), view.contains(at).ok());
        match safe.get(at) {
            Ok(value) => assert_eq!(value.map_or(Reading::Nothing, Reading::Value), reading),
            Err(error) => assert_eq!(error.to_string(), view.get(at).unwrap_err().to_string()),
        }
        shown.insert(slot, reading);
    }
    let forward = scanned(store, damage, view.range(..));
    let backward = scanned(store, damage, view.range(..).rev());
    let one_by_one: BTreeMap<u64, Vec<u8>> = shown
        .iter()
        .filter_map(|(slot, reading)| match reading {
            Reading::Value(value) => Some((*slot, value.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(forward.0, one_by_one, "scanned, and got one by one");
    assert_eq!(backward.0, one_by_one, "scanned backwards, and got one by one");
    let refused = shown.values().any(|reading| *reading == Reading::Refused);
    assert_eq!(forward.1, backward.1, "errors of the two directions");
    let mut safely = (BTreeMap::new(), 0);
    for record in safe.range(..) {
        match record {
            Ok(record) => drop(safely.0.insert(record.slot().0, record.to_vec())),
            Err(error) => {
                assert_names_the_place(store, damage, &error);
                safely.1 += 1;
            }
        }
    }
    assert_eq!(safely, forward, "scanned without maps");
    assert_eq!(forward.1 > 0, refused, "a scan passes over what a get refuses");
    Ok(shown)
}

pub(crate) fn scanned<'v>(
    store: &Store,
    damage: &Damage,
    records: impl Iterator<Item = coldstore::Result<coldstore::Record<'v>>>,
) -> (BTreeMap<u64, Vec<u8>>, u64) {
    let (mut values, mut errors) = (BTreeMap::new(), 0);
    for record in records {
        match record.and_then(|record| Ok((record.slot().0, record.value()?.into_owned()))) {
            Ok((slot, value)) => assert_eq!(values.insert(slot, value), None),
            Err(error) => {
                assert_names_the_place(store, damage, &error);
                errors += 1;
            }
        }
        assert!(errors < 100_000, "a scan that does not end");
    }
    (values, errors)
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) cases: u64,
    pub(crate) refused_at_open: u64,
    pub(crate) slots_right: u64,
    pub(crate) slots_refused: u64,
    pub(crate) unnoticed: BTreeMap<Unnoticed, u64>,
    pub(crate) verified_clean: u64,
    pub(crate) writer_refused: u64,
    pub(crate) writer_opened: u64,
    pub(crate) writer_healed: u64,
}

impl Store {
    pub(crate) fn right(&self, slot: u64) -> Reading {
        self.records.get(&slot).map_or(Reading::Nothing, |value| Reading::Value(value.clone()))
    }

    /// Reads everything and holds it against the reference; gives what went unnoticed.
    pub(crate) fn check_reads(
        &self,
        damage: &Damage,
        damaged: &Files,
        options: ReaderOptions,
        counts: &mut Counts,
    ) -> Option<BTreeMap<u64, Reading>> {
        let Ok(shown) = read(self, damage, options) else {
            counts.refused_at_open += 1;
            return None;
        };
        let reference = reference(damaged);
        for (&slot, reading) in &shown {
            let right = self.right(slot);
            let predicted = predicted(&reference, slot);
            if *reading == right {
                counts.slots_right += 1;
                continue;
            }
            if *reading == Reading::Refused {
                counts.slots_refused += 1;
                // One damaged place in a sealed file does not take the other slots along.
                let local = matches!(damage, Damage::Flip { file, .. } if file != CONF);
                assert!(!local || predicted != right, "slot {slot} could be read");
                continue;
            }
            assert_eq!(*reading, predicted, "slot {slot}, which was {right:?}");
            let cause = classify(self, damage, damaged, slot, &right, reading);
            *counts.unnoticed.entry(cause).or_default() += 1;
        }
        Some(shown)
    }

    /// Whether entry and record of a slot are as they were written.
    pub(crate) fn is_intact(&self, slot: u64, files: &Files) -> bool {
        let before = entry(&self.files, slot);
        let at = usize::try_from(before).unwrap();
        let name = data_name(slot / PER_FILE);
        let record = record_at(&self.files[&name], at);
        let there = files.get(&name).and_then(|data| data.get(at..at + record.len()));
        entry(files, slot) == before && there == Some(record)
    }

    pub(crate) fn verify(&self, deep: bool) -> coldstore::Result<(Summary, Vec<Finding>)> {
        let expected = spec(self.compression, 1_000);
        let mut findings = Vec::new();
        let summary = verify_column(
            self.path(),
            Some(expected),
            &VerifyOptions::default().deep(deep),
            &mut |found| {
                findings.push(found);
            },
        )?;
        assert_eq!(summary.unreadable, 0, "{findings:?}");
        assert_eq!(summary.damages + summary.notes, findings.len() as u64, "{findings:?}");
        Ok((summary, findings))
    }

    /// Verification ends, names places, and finds something wherever a read went wrong unnoticed.
    pub(crate) fn check_verification(&self, damage: &Damage, must_find: bool, counts: &mut Counts) {
        for deep in [true, false] {
            // The quick one must find what the reads got wrong, too.
            if !deep && !must_find {
                continue;
            }
            match self.verify(deep) {
                Ok((_, findings)) => {
                    for finding in &findings {
                        assert!(finding.file.starts_with(self.path()), "{finding:?}");
                    }
                    let clean = findings == self.findings;
                    assert!(!must_find || !clean, "verification (deep: {deep}) finds nothing");
                    counts.verified_clean += u64::from(deep && clean);
                }
                Err(error) => assert_names_the_place(self, damage, &error),
            }
        }
    }

    /// A writer refuses and leaves every byte, or opens and then everything is as the reference
    /// says of the files as they are now; what a reader could read before it can read after.
    pub(crate) fn check_writer(
        &self,
        damage: &Damage,
        damaged: &Files,
        readable: Option<&BTreeMap<u64, Reading>>,
        counts: &mut Counts,
    ) {
        let writer = match Writer::open(self.path(), WriterOptions::default()) {
            Ok(writer) => writer,
            Err(error) => {
                assert_names_the_place(self, damage, &error);
                assert_same_files(damaged, &files_of(self.path()), "a writer that refuses");
                counts.writer_refused += 1;
                return;
            }
        };
        counts.writer_opened += 1;
        counts.writer_healed += u64::from(!writer.heal_report().is_clean());
        let clean = writer.heal_report().is_clean();
        drop(writer);
        let healed = files_of(self.path());
        let differing = differing_files(damaged, &healed);
        assert_eq!(clean, differing.is_empty(), "reported and done: {differing:?}");
        // Copies of what healing removes.
        let changed = differing.iter().filter(|name| !name.starts_with("aside-"));
        for name in changed {
            let id = id_of(name).unwrap_or_else(|| panic!("healing changed {name}"));
            assert!(id >= CURRENT || (self.backfill && id == 1), "healing touched {name}");
        }
        let after = read(self, damage, ReaderOptions::default())
            .unwrap_or_else(|error| panic!("after healing: {error}"));
        let lost = self
            .records
            .keys()
            .filter(|slot| self.is_intact(**slot, damaged) && !self.is_intact(**slot, &healed));
        for slot in lost {
            let of_target = matches!(damage, Damage::Flip { file, at: 36..52, .. } if file == CONF);
            assert!(of_target, "healing destroyed slot {slot}");
            *counts.unnoticed.entry(Unnoticed::HealedByConfTarget).or_default() += 1;
        }
        let reference = reference(&healed);
        for (&slot, reading) in &after {
            let right = self.right(slot);
            let before = readable.and_then(|readable| readable.get(&slot));
            if *reading == right || before == Some(reading) {
                continue;
            }
            assert_ne!(before, Some(&right), "healing took slot {slot}");
            if *reading == Reading::Refused {
                continue;
            }
            // The reader called this one corrupt, or the whole store.
            assert_eq!(*reading, predicted(&reference, slot));
            let entry = entry(damaged, slot);
            let bound = self.files[&data_name(slot / PER_FILE)].len();
            assert!(
                damage.entry_slot() == Some(slot) && entry >= bound as u64,
                "after healing slot {slot} is {reading:?} and was {right:?}"
            );
            *counts.unnoticed.entry(Unnoticed::HealedEntry).or_default() += 1;
        }
    }
}

/// Says what was being done when something panics.
pub(crate) struct Context<'a>(pub(crate) &'a Damage);

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the damage: {:?}", self.0);
        }
    }
}

pub(crate) fn damage_everything(compression: Compression, backfill: bool) {
    let store = store(compression, backfill);
    let expected = ReaderOptions::default().expect(spec(compression, 1_000));
    let progress = Progress::watched("damage");

    // Without damage everything is right.
    let nothing = Damage::Gone { files: vec!["no file".to_owned()] };
    let mut none = Counts::default();
    store.check_reads(&nothing, &store.files, expected, &mut none).unwrap();
    assert_eq!((none.slots_refused, none.unnoticed.len()), (0, 0));
    store.check_writer(&nothing, &store.files, None, &mut none);
    assert_eq!((none.writer_opened, none.writer_healed), (1, 0));

    let mut counts = Counts::default();
    // Flips come in groups of 3 and of 9 for one byte: 1 of 7 goes through all of them in turn.
    let every = quick_or_whole(7, 1);
    let mut flips = 0;
    for damage in damages(&store) {
        if let Damage::Flip { .. } = damage {
            flips += 1;
            if flips % every != 0 {
                continue;
            }
        }
        let _context = Context(&damage);
        progress.step();
        counts.cases += 1;
        let mut damaged = store.files.clone();
        damage.apply(&mut damaged);
        damage.write(store.path(), &damaged);

        let mut here = Counts::default();
        let shown = store.check_reads(&damage, &damaged, ReaderOptions::default(), &mut here);
        if damage.file() == CONF {
            let mut with_expectation = Counts::default();
            store.check_reads(&damage, &damaged, expected, &mut with_expectation);
            let known = with_expectation.unnoticed;
            assert!(!known.contains_key(&Unnoticed::ConfCompression));
        }
        let must_find = here.unnoticed.keys().any(|cause| !cause.is_beyond_verification());
        store.check_verification(&damage, must_find, &mut here);
        let is_strict = !backfill || id_of(damage.file()) == Some(CURRENT);
        if is_strict && here.unnoticed.keys().any(|cause| cause.is_known_as_damage()) {
            let (summary, findings) = store.verify(false).unwrap();
            assert!(summary.damages > 0, "what was lost is a note: {findings:?}");
        }
        store.check_writer(&damage, &damaged, shown.as_ref(), &mut here);
        store.restore();

        counts.refused_at_open += here.refused_at_open;
        counts.slots_right += here.slots_right;
        counts.slots_refused += here.slots_refused;
        counts.verified_clean += here.verified_clean;
        counts.writer_refused += here.writer_refused;
        counts.writer_opened += here.writer_opened;
        counts.writer_healed += here.writer_healed;
        for (cause, count) in here.unnoticed {
            *counts.unnoticed.entry(cause).or_default() += count;
        }
    }
    print(&store, &counts);
    assert!(largest() < LARGEST_ALLOCATION, "an allocation of {} bytes", largest());
}

pub(crate) fn print(store: &Store, counts: &Counts) {
    println!(
        "{} {}: {} cases; refused at open {}; slots right {}, refused {}",
        store.compression,
        if store.backfill { "v3" } else { "v2" },
        counts.cases,
        counts.refused_at_open,
        counts.slots_right,
        counts.slots_refused,
    );
    println!(
        "  verified clean {}; writer refused {}, opened {}, of these healed {}",
        counts.verified_clean, counts.writer_refused, counts.writer_opened, counts.writer_healed
    );
    for (cause, count) in &counts.unnoticed {
        println!("  unnoticed: {cause:?} {count}");
    }
    println!("  largest allocation {} bytes", largest());
}

#[test]
fn damage_to_an_uncompressed_column_is_detected_or_listed() {
    damage_everything(Compression::None, false);
}

#[test]
fn damage_to_an_uncompressed_column_with_backfill_is_detected_or_listed() {
    damage_everything(Compression::None, true);
}

#[test]
fn damage_to_a_compressed_column_is_detected_or_listed() {
    damage_everything(Compression::Snappy, false);
}

#[test]
fn damage_to_a_compressed_column_with_backfill_is_detected_or_listed() {
    damage_everything(Compression::Snappy, true);
}

/// A header that promises four gigabytes, a conf that allows them, a chunk that claims to be huge:
/// nothing is reserved that is not there.
#[test]
fn a_claimed_length_reserves_no_memory() {
    for compression in [Compression::None, Compression::Snappy] {
        let store = store(compression, false);
        let mut damaged = store.files.clone();
        let conf = damaged.get_mut(CONF).unwrap();
        conf[28..36].copy_from_slice(&u64::MAX.to_le_bytes());
        fs::write(store.path().join(CONF), &*conf).unwrap();
        let data = damaged.get_mut(&data_name(0)).unwrap();
        data[10..14].copy_from_slice(&[0xFF; 4]);
        fs::write(store.path().join(data_name(0)), &*data).unwrap();
        let view = open_reader(store.path(), ReaderOptions::default()).unwrap().view();
        let error = view.get(Slot(0)).unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        drop(view);
        store.restore();
    }
    assert!(largest() < LARGEST_ALLOCATION, "an allocation of {} bytes", largest());
}

/// Checksums and decoding go along with what is read.
#[test]
fn a_value_of_any_size_is_verified_in_little_memory() {
    const VALUE_BYTES: u64 = 64 << 20;
    for compression in [Compression::None, Compression::Snappy] {
        let directory = scratch();
        let options = WriterOptions::create(spec(compression, VALUE_BYTES));
        Writer::open(directory.path(), options).unwrap().put(Slot(0), b"x").unwrap();
        let path = directory.path().join(data_name(0));
        let mut data = fs::OpenOptions::new().write(true).open(&path).unwrap();
        data.seek(io::SeekFrom::Start(16)).unwrap();
        let mut value = io::repeat(7).take(VALUE_BYTES);
        match compression {
            Compression::None => drop(io::copy(&mut value, &mut data).unwrap()),
            Compression::Snappy => {
                let mut encoder = snap::write::FrameEncoder::new(&mut data);
                io::copy(&mut value, &mut encoder).unwrap();
                encoder.flush().unwrap();
            }
        }
        let data_len = data.metadata().unwrap().len();
        let length = u32::try_from(data_len - 16).unwrap().to_le_bytes();
        data.write_all_at(&length, 10).unwrap();
        let mut conf = fs::read(directory.path().join(CONF)).unwrap();
        conf[16..24].copy_from_slice(&data_len.to_le_bytes());
        fs::write(directory.path().join(CONF), conf).unwrap();
        drop(fs::remove_file(directory.path().join("column.check")));
        let mut findings = Vec::new();
        let options = VerifyOptions::default().deep(true);
        let summary =
            verify_column(directory.path(), None, &options, &mut |found| findings.push(found));
        assert_eq!((summary.unwrap().records, findings), (1, Vec::new()));
    }
    assert!(largest() < LARGEST_ALLOCATION, "an allocation of {} bytes", largest());
}
