//! What the tests of `.era` files share: the two chains, archives to import into, and files taken
//! apart and put together again.

#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "the tests make and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]
#![allow(unsafe_code, reason = "opening a reader maps files")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use coldstore::era::import::{ImportColumns, States, import};
use coldstore::era::{ImportFailure, ImportReport, Observer, Plan, Progress};
use coldstore::{Column, Reader, ReaderOptions, Slot, View, Writer, WriterOptions};
use sha2::Digest as _;
use tempfile::TempDir;

pub(crate) const MINIMAL: &str = "chain-minimal";
pub(crate) const MAINNET: &str = "chain-mainnet-preset";
/// Slots per era of the minimal chain.
pub(crate) const ERA_SLOTS: u64 = 64;
/// The columns that an import writes to.
pub(crate) const COLUMNS: [Column; 4] =
    [Column::Blocks, Column::BlockRoots, Column::StateRoots, Column::StateSnapshots];

pub(crate) const VERSION: [u8; 2] = [0x65, 0x32];
pub(crate) const BLOCK: [u8; 2] = [1, 0];
pub(crate) const STATE: [u8; 2] = [2, 0];
pub(crate) const INDEX: [u8; 2] = [0x69, 0x32];

/// A directory in memory where there is one: no test here is about a power cut.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("coldstore-era-").tempdir_in(parent).unwrap()
}

pub(crate) fn data(chain: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(chain)
}

/// The files of a chain, by era.
pub(crate) fn era_files(chain: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(data(chain).join("era")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

// ------------------------------------------------------------------------------- archives

pub(crate) struct Archive {
    pub(crate) root: TempDir,
}

pub(crate) struct Writers {
    pub(crate) blk: Writer,
    pub(crate) bbr: Writer,
    pub(crate) bsr: Writer,
    pub(crate) bss: Writer,
}

impl Writers {
    pub(crate) fn columns(&mut self) -> ImportColumns<'_> {
        ImportColumns {
            blocks: &mut self.blk,
            block_roots: &mut self.bbr,
            state_roots: &mut self.bsr,
            state_snapshots: Some(&mut self.bss),
        }
    }
}

pub(crate) type Outcome = Result<ImportReport, Box<ImportFailure>>;

impl Archive {
    pub(crate) fn new() -> Self {
        Self { root: scratch() }
    }

    /// An archive that these files were imported into.
    pub(crate) fn of<P: AsRef<Path>>(paths: &[P]) -> Self {
        let archive = Self::new();
        archive.import(paths).unwrap();
        archive
    }

    pub(crate) fn writer(&self, column: Column, backfill: bool) -> Writer {
        let options = WriterOptions::create(column.spec()).allow_backfill(backfill);
        Writer::open(self.root.path().join(column.dir_name()), options).unwrap()
    }

    pub(crate) fn writers(&self) -> Writers {
        Writers {
            blk: self.writer(Column::Blocks, false),
            bbr: self.writer(Column::BlockRoots, false),
            bsr: self.writer(Column::StateRoots, false),
            bss: self.writer(Column::StateSnapshots, false),
        }
    }

    pub(crate) fn import<P: AsRef<Path>>(&self, paths: &[P]) -> Outcome {
        self.import_with(paths, States::All, &mut go_on)
    }

    pub(crate) fn import_with<P: AsRef<Path>>(
        &self,
        paths: &[P],
        states: States,
        observer: &mut (dyn Observer + Send),
    ) -> Outcome {
        let plan = Plan::scan(paths)
            .map_err(|error| Box::new(ImportFailure { done: ImportReport::default(), error }))?;
        import(&plan, self.writers().columns(), states, observer)
    }

    pub(crate) fn view(&self, column: Column) -> View {
        let directory = self.root.path().join(column.dir_name());
        // SAFETY: the directory is this test's own, and only writers change what is in it.
        unsafe { Reader::open(directory, ReaderOptions::default()) }.unwrap().view()
    }

    /// `slot length sha256` of every value of a column.
    pub(crate) fn lines(&self, column: Column) -> Vec<String> {
        let view = self.view(column);
        view.range(..)
            .map(|record| {
                let record = record.unwrap();
                let value = record.value().unwrap();
                format!("{}\t{}\t{}", record.slot(), value.len(), sha256(&value))
            })
            .collect()
    }

    /// Puts another archive's column into this one, which has none yet.
    pub(crate) fn copy_column(&self, from: &Archive, column: Column) {
        let [from, to] = [from, self].map(|archive| archive.root.path().join(column.dir_name()));
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    /// Every file of every column with its bytes, but for the locks.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for column in COLUMNS {
            let directory = self.root.path().join(column.dir_name());
            let Ok(entries) = fs::read_dir(directory) else {
                continue;
            };
            for path in entries.map(|entry| entry.unwrap().path()) {
                if path.file_name().is_some_and(|name| name != "lock") {
                    let bytes = fs::read(&path).unwrap();
                    let name = path.strip_prefix(self.root.path()).unwrap().to_path_buf();
                    files.insert(name, bytes);
                }
            }
        }
        files
    }

    /// The eras of the chain up to this one are here, with every value, and nothing else.
    #[track_caller]
    pub(crate) fn assert_holds(&self, chain: &str, eras: std::ops::RangeInclusive<u64>) {
        let slots_per_era = if chain == MINIMAL { ERA_SLOTS } else { 8192 };
        let slots = eras.start().saturating_sub(1) * slots_per_era..eras.end() * slots_per_era;
        for column in COLUMNS {
            let expected: Vec<String> = expected(chain, column)
                .into_iter()
                .filter(|(slot, _)| match column {
                    Column::StateSnapshots => eras.contains(&(slot / slots_per_era)),
                    _ => slots.contains(slot),
                })
                .map(|(_, line)| line)
                .collect();
            let held = self.lines(column);
            assert_eq!(held.len(), expected.len(), "records of {column}");
            assert!(held == expected, "{column} differs from the expected values");
        }
    }
}

/// An observer that watches nothing.
pub(crate) fn go_on(_: &Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(crate) fn expected(chain: &str, column: Column) -> Vec<(u64, String)> {
    let path = data(chain).join("expect").join(format!("{column}.tsv"));
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| (line.split('\t').next().unwrap().parse().unwrap(), line.to_owned()))
        .collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn slot_value(archive: &Archive, column: Column, slot: u64) -> Option<Vec<u8>> {
    archive.view(column).get(Slot(slot)).unwrap().map(std::borrow::Cow::into_owned)
}

// ------------------------------------------------------------------------ files taken apart

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Rule,
    Nimbus,
    Payload,
}

/// A record of a group, without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: [u8; 2],
    pub(crate) payload: Vec<u8>,
}

/// A file of one group, taken apart: its records without version and indices.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) era: u64,
    pub(crate) slots_per_era: u64,
    pub(crate) records: Vec<Record>,
}

impl Parts {
    pub(crate) fn read(path: &Path) -> Self {
        Self::parse(&fs::read(path).unwrap())
    }

    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut records = walk(bytes);
        assert_eq!(records.remove(0).kind, VERSION);
        let states = records.pop().unwrap();
        assert_eq!(states.kind, INDEX);
        let state_slot = u64_at(&states.payload, 0);
        let slots_per_era = if state_slot == 0 {
            ERA_SLOTS
        } else {
            let blocks = records.pop().unwrap();
            assert_eq!(blocks.kind, INDEX);
            u64_at(&blocks.payload, blocks.payload.len() - 8)
        };
        Self { era: state_slot / slots_per_era, slots_per_era, records }
    }

    pub(crate) fn block(&self, slot: u64) -> Option<usize> {
        self.records.iter().position(|record| record.kind == BLOCK && record.slot() == slot)
    }

    pub(crate) fn state(&self) -> usize {
        self.records.iter().position(|record| record.kind == STATE).unwrap()
    }

    /// Rewrites the value of a record.
    pub(crate) fn change(&mut self, index: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let mut value = self.records[index].value();
        change(&mut value);
        self.records[index].payload = frames(&value);
    }

    /// The file again, with indices that follow the records.
    pub(crate) fn build(&self, encoding: Encoding) -> Vec<u8> {
        let mut bytes = Record::header(VERSION, 0).to_vec();
        let first_slot = self.era.saturating_sub(1) * self.slots_per_era;
        let mut blocks = vec![None; usize::try_from(self.slots_per_era).unwrap()];
        let mut state_at = 0;
        for record in &self.records {
            let at = i64::try_from(bytes.len()).unwrap();
            if record.kind == BLOCK {
                let place = record.try_slot().and_then(|slot| slot.checked_sub(first_slot));
                if let Some(entry) = place.and_then(|at| blocks.get_mut(usize::try_from(at).ok()?))
                {
                    *entry = Some(at);
                }
            } else if record.kind == STATE {
                state_at = at;
            }
            record.append_to(&mut bytes);
        }
        if self.era > 0 {
            let at = i64::try_from(bytes.len()).unwrap();
            let entries: Vec<i64> = blocks
                .iter()
                .map(|block| match (block, encoding) {
                    (Some(block), Encoding::Payload) => block + 8 - at,
                    (Some(block), _) => block - at,
                    (None, Encoding::Nimbus) => -at,
                    (None, _) => 0,
                })
                .collect();
            index(first_slot, &entries).append_to(&mut bytes);
        }
        let at = i64::try_from(bytes.len()).unwrap();
        index(self.era * self.slots_per_era, &[state_at - at]).append_to(&mut bytes);
        bytes
    }
}

impl Record {
    pub(crate) fn header(kind: [u8; 2], len: usize) -> [u8; 8] {
        let len = u32::try_from(len).unwrap().to_le_bytes();
        [kind[0], kind[1], len[0], len[1], len[2], len[3], 0, 0]
    }

    pub(crate) fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend(Self::header(self.kind, self.payload.len()));
        bytes.extend(&self.payload);
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        self.try_value().unwrap()
    }

    fn try_value(&self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        snap::read::FrameDecoder::new(&*self.payload).read_to_end(&mut value).ok()?;
        Some(value)
    }

    pub(crate) fn slot(&self) -> u64 {
        self.try_slot().unwrap()
    }

    fn try_slot(&self) -> Option<u64> {
        self.try_value()?.get(100..108).map(|bytes| u64_at(bytes, 0))
    }
}

pub(crate) fn index(start_slot: u64, entries: &[i64]) -> Record {
    let mut payload = start_slot.to_le_bytes().to_vec();
    payload.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    payload.extend((entries.len() as u64).to_le_bytes());
    Record { kind: INDEX, payload }
}

pub(crate) fn walk(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[2..6].try_into().unwrap()) as usize;
        records.push(Record { kind: [rest[0], rest[1]], payload: rest[8..8 + len].to_vec() });
        rest = &rest[8 + len..];
    }
    records
}

/// Where the header of each record starts.
pub(crate) fn offsets(bytes: &[u8]) -> Vec<usize> {
    walk(bytes)
        .iter()
        .scan(0, |at, record| {
            let offset = *at;
            *at += 8 + record.payload.len();
            Some(offset)
        })
        .collect()
}

pub(crate) fn frames(value: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(value).unwrap();
    encoder.into_inner().unwrap()
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Writes a file into a directory and returns its path.
pub(crate) fn write(directory: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}
