//! Cost of a proof: hashing alone, imports with and without it, `verify --deep`, against SHA-256 of the
//! same bytes.
//!
//! `cargo bench -p coldstore-tools --bench proof` prints a table, `-- hash import deep` parts of
//! it; without `--bench` it is a quick smoke test. `COLDSTORE_BENCH_DIR` names a directory on the disk
//! to measure.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coldstore::era::EraFile;
use coldstore_consensus::transition::{BeaconState, Block, ChainRules, TransitionError};
use coldstore_consensus::{BlockHasher, Config, KnownNetwork, Preset, Root, hash_state};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Slots per era of the measured chain.
const SLOTS_PER_ERA: u64 = 8192;
/// Blocks of mainnet's size.
const FULL_BLOCKS: u64 = 1024;
/// In a signed block: `message.slot`, `message.state_root`.
const SLOT_AT: usize = 100;
const STATE_ROOT_AT: usize = SLOT_AT + 8 + 8 + 32;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let quick = !arguments.iter().any(|argument| argument == "--bench");
    let sections = ["hash", "import", "deep"];
    let all = !arguments.iter().any(|argument| sections.contains(&argument.as_str()));
    let asked = |section: &str| all || arguments.iter().any(|argument| argument == section);
    let scratch = scratch();
    let chain = Chain::new(scratch.path(), if quick { 1000 } else { 1_000_000 });
    let rounds = if quick { 1 } else { 5 };
    println!("{:<52} {:>8} {:>10} {:>10}", "median", "MB", "MB/s", "MB/s/core");
    if asked("hash") {
        hash(&chain, rounds);
    }
    if asked("import") {
        import(&chain, scratch.path(), rounds);
    }
    if asked("deep") {
        deep(&chain, scratch.path(), rounds);
    }
}

fn scratch() -> TempDir {
    let parent = env::var_os("COLDSTORE_BENCH_DIR").map_or_else(env::temp_dir, PathBuf::from);
    tempfile::Builder::new().prefix("coldstore-bench-proof-").tempdir_in(parent).unwrap()
}

/// The chain of the mainnet preset, its last era with a registry of mainnet's size, and an era with blocks
/// of mainnet's size.
struct Chain {
    eras: PathBuf,
    large: PathBuf,
    large_state: Vec<u8>,
    full: PathBuf,
    full_blocks: Vec<Vec<u8>>,
}

impl Chain {
    fn new(scratch: &Path, validators: usize) -> Self {
        let eras =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/chain-mainnet-preset/era");
        let last = files(&eras).pop().unwrap();
        let large = scratch.join("large");
        fs::create_dir(&large).unwrap();
        let large_state = with_validators(&state_of(&last), validators);
        let bytes = with_state(&fs::read(&last).unwrap(), &large_state);
        fs::write(large.join(last.file_name().unwrap()), bytes).unwrap();
        let full = scratch.join("full");
        fs::create_dir(&full).unwrap();
        let (blocks, state) =
            full_era(validators, if validators > 10_000 { FULL_BLOCKS } else { 8 });
        fs::write(full.join("full.era"), era_file(&blocks, &state)).unwrap();
        let full_blocks = blocks.into_iter().map(|(_, block)| block).collect();
        Self { eras, large, large_state, full, full_blocks }
    }

    fn sets(&self) -> [(&'static str, &PathBuf); 3] {
        [
            ("3 eras of small blocks", &self.eras),
            ("a large state", &self.large),
            ("blocks of 115 kB", &self.full),
        ]
    }
}

/// A state and blocks made by the transition: full attestations, 100 kB of transactions. The era's other slots
/// are empty.
fn full_era(validators: usize, count: u64) -> (Vec<(u64, Vec<u8>)>, Vec<u8>) {
    let known = KnownNetwork::by_name("mainnet").unwrap();
    let rules = Arc::new(ChainRules::new(Preset::Mainnet, &Config::of_known(known)).unwrap());
    let mut state = BeaconState::synthetic(&rules, validators, 1);
    let root = Root([7; 32]);
    let given = |_: &BeaconState<'_>| Ok::<_, Box<TransitionError>>(root);
    let (first, mut blocks) = (state.slot(), Vec::new());
    for slot in first + 1..=first + count {
        state.process_slots(slot, given).unwrap();
        let mut block = state.synthetic_block(100_000).unwrap();
        block[STATE_ROOT_AT..STATE_ROOT_AT + 32].copy_from_slice(&root.0);
        state.process_block(&Block::parse(Preset::Mainnet, &block).unwrap()).unwrap();
        blocks.push((slot, block));
    }
    state.process_slots(first + SLOTS_PER_ERA, given).unwrap();
    (blocks, state.to_ssz())
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn byte_len(directory: &Path) -> u64 {
    files(directory).iter().map(|path| path.metadata().unwrap().len()).sum()
}

fn state_of(path: &Path) -> Vec<u8> {
    let mut file = EraFile::open(path).unwrap();
    let group = file.groups()[0];
    let record = file.state_head(&group).unwrap().record;
    let mut state = Vec::new();
    file.state_stream(&record).read_to_end(&mut state).unwrap();
    state
}

/// Positions of the offsets of the variable fields in a deneb state of the mainnet preset:
/// `historical_roots`, `eth1_data_votes`, `validators`, `balances`, both participations,
/// `inactivity_scores`, the payload's header, `historical_summaries`.
const OFFSETS_AT: [usize; 9] = {
    let roots_end = 176 + 2 * 32 * 8192;
    let votes = roots_end + 4 + 72;
    let validators = votes + 4 + 8;
    let participation = validators + 8 + 32 * 65536 + 8 * 8192;
    let scores = participation + 8 + 1 + 3 * 40;
    let header = scores + 4 + 2 * 513 * 48;
    let (balances, current, summaries) = (validators + 4, participation + 4, header + 4 + 16);
    [roots_end, votes, validators, balances, participation, current, scores, header, summaries]
};

/// The state with `count` validators, incompressible where mainnet's are.
fn with_validators(state: &[u8], count: usize) -> Vec<u8> {
    let offset = |at: usize| u32::from_le_bytes(state[at..at + 4].try_into().unwrap()) as usize;
    let starts = OFFSETS_AT.map(offset);
    let field =
        |index: usize| &state[starts[index]..starts.get(index + 1).copied().unwrap_or(state.len())];
    let mut numbers = 0x5eed_u64;
    let mut random = || {
        numbers = numbers.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        numbers.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    let mut fields: Vec<Vec<u8>> =
        (0..OFFSETS_AT.len()).map(|index| field(index).to_vec()).collect();
    fields[2] = Vec::with_capacity(count * 121);
    fields[3] = Vec::with_capacity(count * 8);
    for index in 0..count as u64 {
        for _ in 0..10 {
            fields[2].extend(random().to_le_bytes());
        }
        fields[2].extend(32_000_000_000_u64.to_le_bytes());
        fields[2].push(0);
        for epoch in [index / 8, index / 8 + 5, u64::MAX, u64::MAX] {
            fields[2].extend(epoch.to_le_bytes());
        }
        fields[3].extend((32_000_000_000 + random() % 20_000_000).to_le_bytes());
    }
    fields[4] = vec![7; count];
    fields[5] = vec![7; count];
    fields[6] = vec![0; 8 * count];
    let mut whole = state[..starts[0]].to_vec();
    for (at, field) in OFFSETS_AT.into_iter().zip(&fields) {
        let offset = u32::try_from(whole.len()).unwrap();
        whole[at..at + 4].copy_from_slice(&offset.to_le_bytes());
        whole.extend(field);
    }
    whole
}

/// Replaces the state of an `.era` file.
fn with_state(file: &[u8], state: &[u8]) -> Vec<u8> {
    let (mut at, mut blocks) = (0, Vec::new());
    while let Some(header) = file.get(at..at + 8) {
        let byte_len = u32::from_le_bytes(header[2..6].try_into().unwrap()) as usize;
        if header[..2] == [1, 0] {
            let payload = &file[at + 8..at + 8 + byte_len];
            let mut block = Vec::new();
            snap::read::FrameDecoder::new(payload).read_to_end(&mut block).unwrap();
            let slot = u64::from_le_bytes(block[SLOT_AT..SLOT_AT + 8].try_into().unwrap());
            blocks.push((slot, block));
        }
        at += 8 + byte_len;
    }
    era_file(&blocks, state)
}

/// An `.era` file of blocks by slot, and of the state after them.
fn era_file(blocks: &[(u64, Vec<u8>)], state: &[u8]) -> Vec<u8> {
    let record = |record_type: [u8; 2], payload: &[u8]| {
        let byte_len = u32::try_from(payload.len()).unwrap();
        [&record_type[..], &byte_len.to_le_bytes(), &[0, 0], payload].concat()
    };
    let framed = |bytes: &[u8]| {
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.into_inner().unwrap()
    };
    let relative = |target: usize, index: usize| -> [u8; 8] {
        (i64::try_from(target).unwrap() - i64::try_from(index).unwrap()).to_le_bytes()
    };
    let mut whole = record(*b"e2", &[]);
    let mut offsets = Vec::new();
    for (slot, block) in blocks {
        offsets.push((slot, whole.len()));
        whole.extend(record([1, 0], &framed(block)));
    }
    let state_at = whole.len();
    whole.extend(record([2, 0], &framed(state)));
    let slot = u64::from_le_bytes(state[40..48].try_into().unwrap());
    let index_at = whole.len();
    let mut index = (slot - SLOTS_PER_ERA).to_le_bytes().to_vec();
    index.resize(8 + 8 * 8192, 0);
    for (of, target) in offsets {
        let place = usize::try_from(of % SLOTS_PER_ERA).unwrap();
        index[8 + 8 * place..16 + 8 * place].copy_from_slice(&relative(target, index_at));
    }
    index.extend(SLOTS_PER_ERA.to_le_bytes());
    whole.extend(record(*b"i2", &index));
    let index_at = whole.len();
    let index = [slot.to_le_bytes(), relative(state_at, index_at), 1_u64.to_le_bytes()];
    whole.extend(record(*b"i2", &index.concat()));
    whole
}

/// Wall time and time on all cores.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    cores: Duration,
}

fn processor_time(children: bool) -> Duration {
    let path = Path::new("/proc/self/stat");
    let text = fs::read_to_string(path).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime, stime, cutime, cstime: fields 14 to 17 of proc(5).
    let ticks = |index: usize| fields[index - 3].parse::<u64>().unwrap();
    let ticks = if children { ticks(16) + ticks(17) } else { ticks(14) + ticks(15) };
    Duration::from_millis(ticks * 10)
}

fn timed(children: bool, work: impl FnOnce()) -> Took {
    let (started, before) = (Instant::now(), processor_time(children));
    work();
    Took { wall: started.elapsed(), cores: processor_time(children).saturating_sub(before) }
}

fn print(what: &str, bytes: u64, mut rounds: Vec<Took>) {
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64().max(1e-9)
    };
    let wall = median(rounds.iter().map(|took| took.wall).collect());
    let cores = median(rounds.drain(..).map(|took| took.cores).collect());
    let megabytes = bytes as f64 / 1e6;
    println!("{what:<52} {megabytes:>8.1} {:>10.1} {:>10.1}", megabytes / wall, megabytes / cores);
}

fn hash(chain: &Chain, rounds: usize) {
    let rounds_of = |work: &dyn Fn()| (0..rounds).map(|_| timed(false, work)).collect();
    let state = &chain.large_state;
    let sha = || {
        std::hint::black_box(Sha256::digest(state));
    };
    print("SHA-256 of a large state, one core", state.len() as u64, rounds_of(&sha));
    let root = || {
        std::hint::black_box(hash_state(Preset::Mainnet, &mut &state[..]).unwrap());
    };
    print("hash_tree_root of the same, all cores", state.len() as u64, rounds_of(&root));
    let mut blocks = Vec::new();
    for path in files(&chain.eras) {
        let mut file = EraFile::open(&path).unwrap();
        for group in file.groups().to_vec() {
            let mut walk = file.walk(&group).unwrap();
            let mut records = Vec::new();
            while let Some(block) = walk.next_block().unwrap() {
                records.push(block.record);
            }
            for record in records {
                let stored = file.stored_block(&record).unwrap();
                let mut block = Vec::new();
                snap::read::FrameDecoder::new(&stored[..]).read_to_end(&mut block).unwrap();
                blocks.push(block);
            }
        }
    }
    let bytes = blocks.iter().map(|block| block.len() as u64).sum();
    let root = || {
        let mut hasher = BlockHasher::new(Preset::Mainnet);
        for block in &blocks {
            std::hint::black_box(hasher.hash(block).unwrap());
        }
    };
    let what = format!("hash_tree_root of {} small blocks, one core", blocks.len());
    print(&what, bytes, rounds_of(&root));
    let blocks = &chain.full_blocks;
    let bytes = blocks.iter().map(|block| block.len() as u64).sum();
    let root = || {
        let mut hasher = BlockHasher::new(Preset::Mainnet);
        for block in blocks {
            std::hint::black_box(hasher.hash(block).unwrap());
        }
    };
    let what = format!("hash_tree_root of {} blocks of 115 kB, one core", blocks.len());
    print(&what, bytes, rounds_of(&root));
}

fn coldstore(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coldstore"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success(), "{arguments:?}");
}

fn import(chain: &Chain, scratch: &Path, rounds: usize) {
    let archive = scratch.join("archive");
    let archive = archive.to_str().unwrap();
    for (what, files) in chain.sets() {
        let bytes = byte_len(files);
        let read: Vec<Vec<u8>> =
            self::files(files).iter().map(|path| fs::read(path).unwrap()).collect();
        let sha = || {
            for bytes in &read {
                std::hint::black_box(Sha256::digest(bytes));
            }
        };
        let (mut hashed, mut trusted, mut proved) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            hashed.push(timed(false, sha));
            for (flags, took) in [(&["--trust-files"][..], &mut trusted), (&[][..], &mut proved)] {
                let _ = fs::remove_dir_all(archive);
                let arguments = [&["import", archive, files.to_str().unwrap()], flags].concat();
                took.push(timed(true, || coldstore(&arguments)));
            }
        }
        print(&format!("SHA-256 of {what}, one core"), bytes, hashed);
        print(&format!("import --trust-files of {what}"), bytes, trusted);
        print(&format!("import of {what}, proved"), bytes, proved);
    }
    let _ = fs::remove_dir_all(archive);
}

fn deep(chain: &Chain, scratch: &Path, rounds: usize) {
    let archive = scratch.join("archive");
    let archive = archive.to_str().unwrap();
    for (what, files) in chain.sets() {
        coldstore(&["import", archive, files.to_str().unwrap(), "--trust-files"]);
        let bytes: u64 = ["blk", "bbr", "bsr", "bss"]
            .iter()
            .map(|column| byte_len(&Path::new(archive).join(column)))
            .sum();
        let plain = (0..rounds).map(|_| timed(true, || coldstore(&["verify", archive])));
        print(&format!("verify of {what}"), bytes, plain.collect());
        let deep = (0..rounds).map(|_| timed(true, || coldstore(&["verify", archive, "--deep"])));
        print(&format!("verify --deep of {what}"), bytes, deep.collect());
        fs::remove_dir_all(archive).unwrap();
    }
}
