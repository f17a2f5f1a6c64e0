//! Random reads of blocks with less memory than data, by each [`Access`] and by `pread`.
//!
//! The limit is set from outside, since it needs privileges: `systemd-run --scope -p MemoryMax=1G cargo
//! bench --bench short_memory`. Each subject runs in a separate process, so that none benefits from the
//! maps of another.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use coldstore::{
    Access, ColumnSpec, Compression, Reader, ReaderOptions, SLOTS_PER_FILE, Slot, View, Writer,
    WriterOptions,
};
use rustix::fs::{Advice, fadvise};
use support::Random;

const SUBJECTS: [(&str, Option<Access>); 5] = [
    ("mixed", Some(Access::Mixed)),
    ("random", Some(Access::Random)),
    ("unadvised", Some(Access::Unadvised)),
    ("mixed, pread_into", Some(Access::Mixed)),
    ("pread", None),
];

/// Number of blocks of 20 to 150 KB, time for each subject to settle and again to be measured, and
/// number of rounds.
struct Scale {
    blocks: u64,
    time: Duration,
    rounds: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let scale = if arguments.iter().any(|argument| argument == "--bench") {
        Scale { blocks: 4 * SLOTS_PER_FILE, time: Duration::from_secs(11), rounds: 3 }
    } else {
        Scale { blocks: 64, time: Duration::from_millis(20), rounds: 1 }
    };
    if let Some(at) = arguments.iter().position(|argument| argument == "--subject") {
        let [directory, subject, picks] = &arguments[at + 1..at + 4] else { unreachable!() };
        measure(Path::new(directory), subject, picks == "skewed", &scale);
        return;
    }
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    write(scratch.path(), scale.blocks);
    let names = ["mean, µs", "p50, µs", "p99, µs", "bytes read for each"];
    println!("{:<28}{}", "", names.map(|name| format!("{name:>22}")).concat());
    for picks in ["uniform", "skewed"] {
        let mut values = vec![[(); 4].map(|()| Vec::new()); SUBJECTS.len()];
        for round in 0..scale.rounds {
            for turn in 0..SUBJECTS.len() {
                let index = (round + turn) % SUBJECTS.len();
                let mut child = Command::new(std::env::current_exe().unwrap());
                child.args(arguments[1..].iter().filter(|argument| *argument == "--bench"));
                child.arg("--subject").arg(scratch.path()).args([SUBJECTS[index].0, picks]);
                let said = child.output().unwrap();
                assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
                let said = String::from_utf8(said.stdout).unwrap();
                for (values, value) in values[index].iter_mut().zip(said.split_whitespace()) {
                    values.push(value.parse::<f64>().unwrap());
                }
            }
        }
        for ((name, _), values) in SUBJECTS.iter().zip(&mut values) {
            print!("{:<28}", format!("{picks}: {name}"));
            for values in values {
                values.sort_by(f64::total_cmp);
                print!("{:>21.2}", values[values.len() / 2]);
            }
            println!();
        }
    }
}

/// Writes consecutive blocks, some hundred MB per file.
fn write(directory: &Path, blocks: u64) {
    let spec = ColumnSpec {
        record_type: [0x7E, 0],
        compression: Compression::None,
        max_value_bytes: 1 << 20,
    };
    let mut writer = Writer::open(directory, WriterOptions::create(spec)).unwrap();
    let mut random = Random::new();
    let bytes: Vec<u8> = (0..1 << 20).map(|_| random.next().to_le_bytes()[0]).collect();
    for first in (0..blocks).step_by(512) {
        let batch: Vec<(Slot, &[u8])> = (first..blocks.min(first + 512))
            .map(|slot| (Slot(slot), &bytes[..20_000 + (random.next() % 130_000) as usize]))
            .collect();
        writer.put_batch(&batch).unwrap();
    }
}

/// Reads for twice the time, and prints the measurements of the second half.
fn measure(directory: &Path, subject: &str, skewed: bool, scale: &Scale) {
    for entry in std::fs::read_dir(directory).unwrap() {
        fadvise(File::open(entry.unwrap().path()).unwrap(), 0, None, Advice::DontNeed).unwrap();
    }
    let access = SUBJECTS.iter().find(|(name, _)| *name == subject).unwrap().1;
    let options = ReaderOptions::default().access(access.unwrap_or_default());
    // SAFETY: the directory is this bench's own, and nobody writes there any more.
    let view = unsafe { Reader::open_mapped(directory, options) }.unwrap().view();
    let mut buffer = Vec::new();
    let files = Files::open(directory, scale.blocks);
    let mut get = |slot: Slot| match subject {
        "pread" => {
            files.read(slot, &mut buffer);
            touch(&buffer)
        }
        "mixed, pread_into" => {
            assert!(view.pread_stored_into(slot, &mut buffer).unwrap());
            touch(&buffer)
        }
        _ => touch(stored(&view, slot)),
    };
    let mut random = Random::new();
    // Nine in ten of the skewed reads hit an eighth of the blocks.
    let mut pick = || match random.next() {
        number if skewed && (number >> 40) % 10 < 9 => number % (scale.blocks / 8) * 8,
        number => number % scale.blocks,
    };
    let start = Instant::now();
    while start.elapsed() < scale.time {
        black_box(get(Slot(pick())));
    }
    let (mut times, mut bytes, before) = (Vec::new(), 0, bytes_read());
    let start = Instant::now();
    while start.elapsed() < scale.time {
        let slot = Slot(pick());
        let start = Instant::now();
        bytes += get(slot);
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    times.sort_by(f64::total_cmp);
    let [p50, p99] = [50, 99].map(|part| times[times.len() * part / 100]);
    println!("{mean} {p50} {p99} {}", (bytes_read() - before) as f64 / bytes as f64);
}

fn stored(view: &View, slot: Slot) -> &[u8] {
    view.get_stored(slot).unwrap().unwrap()
}

/// Reads a byte of each page, and returns the length.
fn touch(block: &[u8]) -> usize {
    black_box(block.iter().step_by(4096).fold(0_u64, |sum, byte| sum + u64::from(*byte)));
    block.len()
}

/// `read_bytes` of `/proc/self/io`.
fn bytes_read() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    line.unwrap().parse().unwrap()
}

/// The floor: entry, header and record by `pread`, without readahead.
struct Files(Vec<(File, File)>);

impl Files {
    fn open(directory: &Path, blocks: u64) -> Self {
        let open = |name: PathBuf| File::open(name).unwrap();
        let files = (0..blocks.div_ceil(SLOTS_PER_FILE)).map(|id| {
            let data = directory.join(format!("data_{id:05}"));
            let (offsets, data) = (open(data.with_extension("off")), open(data));
            fadvise(&data, 0, None, Advice::Random).unwrap();
            (offsets, data)
        });
        Self(files.collect())
    }

    #[allow(clippy::cast_possible_truncation, reason = "the length is the number's middle 32 bits")]
    fn read(&self, slot: Slot, buffer: &mut Vec<u8>) {
        let (offsets, data) = &self.0[(slot.0 / SLOTS_PER_FILE) as usize];
        let [mut entry, mut header] = [[0; 8]; 2];
        offsets.read_exact_at(&mut entry, slot.0 % SLOTS_PER_FILE * 8).unwrap();
        let entry = u64::from_le_bytes(entry);
        data.read_exact_at(&mut header, entry).unwrap();
        buffer.resize((u64::from_le_bytes(header) >> 16) as u32 as usize, 0);
        data.read_exact_at(buffer, entry + 8).unwrap();
    }
}
