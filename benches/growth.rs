//! Cost of operations as a column grows: 10 to 10,000 sealed files.
//!
//! `cargo bench --bench growth` prints a table with medians of 21 rounds, in which the sizes alternate.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use coldstore::{Column, MappedReader, ReaderOptions, SLOTS_PER_FILE, Slot, Writer, WriterOptions};
use support::{Random, digest, open, open_with, root_of};
use tempfile::TempDir;

/// One column, open for reading and writing.
struct Subject {
    files: u64,
    directory: TempDir,
    reader: MappedReader,
    writer: Writer,
    random: Random,
    times: [Vec<f64>; NAMES.len()],
}

const NAMES: [&str; 6] = [
    "open, µs",
    "first get in a file, µs",
    "warm get, ns",
    "refresh without a commit, µs",
    "refresh after a commit and get, µs",
    "commit of a root, ms",
];

/// Measured after a record of every file was touched in one view.
struct Touched {
    /// Resident bytes per file.
    bytes: u64,
    /// Number of maps.
    maps: usize,
    /// Refresh after a commit, in µs.
    refresh: f64,
}

fn main() {
    let quick = !std::env::args().any(|argument| argument == "--bench");
    let (sizes, rounds): (&[u64], usize) =
        if quick { (&[10, 100], 2) } else { (&[10, 100, 1000, 10_000], 21) };
    let mut subjects: Vec<Subject> = sizes.iter().map(|files| Subject::new(*files)).collect();
    for _ in 0..rounds {
        subjects.iter_mut().for_each(Subject::round);
    }
    print!("{:<36}", "sealed files");
    subjects.iter().for_each(|subject| print!("{:>10}", subject.files));
    for (index, name) in NAMES.iter().enumerate() {
        print!("\n{name:<36}");
        for subject in &mut subjects {
            subject.times[index].sort_by(f64::total_cmp);
            print!("{:>10.2}", subject.times[index][rounds / 2]);
        }
    }
    print!("\n{:<36}", "memory for each file touched, bytes");
    let touched: Vec<Touched> =
        subjects.iter_mut().map(|subject| subject.touch_all(rounds)).collect();
    touched.iter().for_each(|all| print!("{:>10}", all.bytes));
    print!("\n{:<36}", "maps when all were touched");
    touched.iter().for_each(|all| print!("{:>10}", all.maps));
    print!("\n{:<36}", "refresh after a commit then, µs");
    touched.iter().for_each(|all| print!("{:>10.2}", all.refresh));
    println!();
}

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

impl Subject {
    fn new(files: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let writer = grow(directory.path(), files);
        // All files may stay mapped.
        let options = ReaderOptions::default().max_mapped_files(usize::MAX);
        let reader = open_with(directory.path(), options);
        let random = Random::new();
        Self { files, directory, reader, writer, random, times: Default::default() }
    }

    fn any_file(&mut self) -> Slot {
        Slot(self.random.next() % self.files * SLOTS_PER_FILE)
    }

    fn round(&mut self) {
        let mut times = [0.0; NAMES.len()];
        let start = Instant::now();
        let fresh = open(self.directory.path());
        times[0] = micros(start);

        let (view, slot) = (fresh.view(), self.any_file());
        let start = Instant::now();
        black_box(view.get_stored(slot).unwrap().unwrap());
        times[1] = micros(start);

        const GETS: u64 = 1000;
        let start = Instant::now();
        for _ in 0..GETS {
            black_box(digest(view.get_stored(slot).unwrap().unwrap()));
        }
        times[2] = micros(start);

        let start = Instant::now();
        for _ in 0..GETS {
            black_box(self.reader.refresh().unwrap());
        }
        times[3] = micros(start) / 1e3;

        let start = Instant::now();
        let next = self.put_next();
        times[5] = micros(start) / 1e3;
        let start = Instant::now();
        let view = self.reader.refresh().unwrap();
        black_box(view.get_stored(next).unwrap().unwrap());
        times[4] = micros(start);
        self.times.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
    }

    fn put_next(&mut self) -> Slot {
        let next = Slot(self.writer.highest_written_slot().unwrap().0 + 1);
        self.writer.put(next, &root_of(next)).unwrap();
        next
    }

    fn touch_all(&mut self, rounds: usize) -> Touched {
        let view = self.reader.view();
        let before = status("RssAnon:");
        for file in 0..self.files {
            black_box(view.get_stored(Slot(file * SLOTS_PER_FILE)).unwrap().unwrap());
        }
        let bytes = (status("RssAnon:") - before) * 1024 / self.files;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path = self.directory.path().to_str().unwrap();
        let maps = maps.lines().filter(|line| line.contains(path)).count();
        drop(view);
        let mut times: Vec<f64> = (0..rounds)
            .map(|_| {
                self.put_next();
                let start = Instant::now();
                black_box(self.reader.refresh().unwrap());
                micros(start)
            })
            .collect();
        times.sort_by(f64::total_cmp);
        Touched { bytes, maps, refresh: times[rounds / 2] }
    }
}

/// A number of KiB from `/proc/self/status`.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A column with one record in each of `files` sealed files and one in the current file. The sealed
/// ones are copies of a file that the writer made, sparse where it has no entries.
fn grow(directory: &Path, files: u64) -> Writer {
    let options = WriterOptions::create(Column::BlockRoots.spec());
    let mut writer = Writer::open(directory, options).unwrap();
    let last = Slot(files * SLOTS_PER_FILE);
    writer.put(last, &root_of(Slot(0))).unwrap();
    let name = |id: u64| directory.join(format!("data_{id:05}"));
    let data = std::fs::read(name(files)).unwrap();
    let entry = &std::fs::read(name(files).with_extension("off")).unwrap()[..8];
    for id in 0..files {
        std::fs::write(name(id), &data).unwrap();
        let offsets = name(id).with_extension("off");
        std::fs::write(&offsets, entry).unwrap();
        std::fs::File::options().write(true).open(&offsets).unwrap().set_len(65_536).unwrap();
    }
    writer
}
