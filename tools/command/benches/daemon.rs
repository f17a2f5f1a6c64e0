//! The daemon under load, against its floor if there is one.
//!
//! `cargo bench -p coldstore-tools --bench daemon` prints a table, `-- puts flushes streams latency`
//! parts of it; without `--bench` it is a quick smoke test. Flushes are counted by `strace`, if
//! permitted. `COLDSTORE_BENCH_DIR` names a directory on the disk to measure.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use coldstore::{Column, Reader, ReaderOptions, SLOTS_PER_FILE, Slot};
use coldstore_client::blocking::Client;
use coldstore_client::slot_stream::{write_item, write_start};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const FOLLOWER: &str = "COLDSTORE_BENCH_FOLLOWER";
const COLUMN: Column = Column::StateSnapshots;
const VALUE_BYTES: usize = 1024;

fn main() {
    if let Ok(directory) = env::var(FOLLOWER) {
        return follow(Path::new(&directory));
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let quick = !arguments.iter().any(|argument| argument == "--bench");
    let sections = ["puts", "flushes", "streams", "latency", "uploads"];
    let all = !arguments.iter().any(|argument| sections.contains(&argument.as_str()));
    let asked = |section: &str| all || arguments.iter().any(|argument| argument == section);
    if asked("puts") {
        puts(if quick { 20 } else { 3000 });
    }
    if asked("flushes") {
        flushes(if quick { 64 } else { 640 });
    }
    if asked("streams") {
        streams(64 << 10, quick);
        streams(8 << 20, quick);
    }
    if asked("latency") {
        latency(if quick { 20 } else { 2000 });
    }
    if asked("uploads") {
        uploads(if quick { 24 << 20 } else { 282_000_000 }, quick);
    }
}

struct Daemon {
    child: Child,
    directory: TempDir,
    socket: PathBuf,
}

impl Daemon {
    fn start() -> Self {
        let directory = match env::var("COLDSTORE_BENCH_DIR") {
            Ok(parent) => tempfile::tempdir_in(parent),
            Err(_) => tempfile::tempdir(),
        };
        let directory = directory.unwrap();
        let socket = directory.path().join("socket");
        // Set to compare with another build.
        let binary = env::var("COLDSTORE_BENCH_BINARY");
        let child = Command::new(binary.unwrap_or(env!("CARGO_BIN_EXE_coldstore").to_owned()))
            .arg("write")
            .arg(directory.path().join("archive"))
            .arg("--socket")
            .arg(&socket)
            .args(["--backfill", "--raw", "--far"])
            .env("COLDSTORE_LOG", "warn")
            .spawn()
            .unwrap();
        while UnixStream::connect(&socket).is_err() {
            sleep(Duration::from_millis(5));
        }
        Self { child, directory, socket }
    }

    fn client(&self) -> Client {
        Client::new(&self.socket).unwrap()
    }

    /// Starts with a record in the last slot of each file, so every other put fills a gap.
    fn with_files(files: u64) -> Self {
        let daemon = Self::start();
        let mut client = daemon.client();
        for file in 1..=files {
            client.put(COLUMN, Slot(file * SLOTS_PER_FILE - 1), vec![1]).unwrap();
        }
        daemon
    }

    /// A line of `/proc/<pid>/status`, in MiB.
    fn memory(&self, name: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let kilobytes: f64 = line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().unwrap();
        kilobytes / 1024.0
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

fn value(slot: u64) -> Vec<u8> {
    slot.to_le_bytes().repeat(VALUE_BYTES / 8)
}

/// Puts `jobs` values from `clients` connections that each wait for their answers, client `n` into
/// file `n % files`.
fn put_all(daemon: &Daemon, clients: u64, files: u64, jobs: u64, skip: u64) -> Duration {
    let ready = Arc::new(Barrier::new(usize::try_from(clients).unwrap() + 1));
    let threads: Vec<_> = (0..clients)
        .map(|n| {
            let (mut client, ready) = (daemon.client(), Arc::clone(&ready));
            let (file, lane, lanes) = (n % files, n / files, clients / files);
            thread::spawn(move || {
                client.status().unwrap();
                ready.wait();
                for job in 0..jobs / clients {
                    let slot = file * SLOTS_PER_FILE + skip + job * lanes + lane;
                    assert!(client.put(COLUMN, Slot(slot), value(slot)).unwrap());
                }
            })
        })
        .collect();
    ready.wait();
    let started = Instant::now();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    started.elapsed()
}

fn puts(jobs: u64) {
    for clients in [1, 8, 64] {
        let daemon = Daemon::with_files(1);
        let jobs = jobs.max(clients);
        let (before, elapsed) = (daemon.memory("VmRSS"), put_all(&daemon, clients, 1, jobs, 0));
        let rate = (jobs / clients * clients) as f64 / elapsed.as_secs_f64();
        let memory = (daemon.memory("VmRSS"), daemon.memory("VmHWM"));
        println!(
            "durable puts of {VALUE_BYTES} B, {clients:>2} clients {rate:>10.0} /s   \
             resident {before:.0} MiB before, {:.0} after, {:.0} at most",
            memory.0, memory.1
        );
    }
}

/// Number of fsync and fdatasync calls by the daemon while `work` runs.
fn count_flushes(daemon: &Daemon, work: impl FnOnce()) -> Option<u64> {
    let report = daemon.directory.path().join("strace");
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-p", &daemon.child.id().to_string()])
        .arg("-o")
        .arg(&report)
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    sleep(Duration::from_millis(500));
    work();
    kill_process(Pid::from_child(&strace), Signal::INT).unwrap();
    strace.wait().unwrap();
    let report = fs::read_to_string(report).ok()?;
    let is_call = |line: &&str| line.contains("sync(") && !line.contains("resumed");
    Some(report.lines().filter(is_call).count() as u64)
}

fn flushes(jobs: u64) {
    let told = |what: &str, jobs: u64, per: u64, flushes: Option<u64>| match flushes {
        Some(flushes) => {
            let rate = flushes as f64 * per as f64 / jobs as f64;
            println!("{what:<52} {rate:>10.1} flushes per {per} jobs");
        }
        None => println!("{what:<52} strace may not be used here"),
    };
    let daemon = Daemon::with_files(1);
    let flushes = count_flushes(&daemon, || {
        put_all(&daemon, 64, 1, jobs, 0);
    });
    told("64 clients, one file", jobs, 64, flushes);
    for clients in [4, 64] {
        let daemon = Daemon::with_files(5);
        let jobs = if clients == 4 { jobs } else { jobs * 2 };
        let flushes = count_flushes(&daemon, || {
            put_all(&daemon, clients, 4, jobs, 0);
        });
        let what = format!("{clients} clients, four sealed files");
        told(&what, jobs, 1000, flushes);
    }
    // Four streams, each a producer with several jobs in flight.
    let daemon = Daemon::with_files(5);
    let records = if jobs < 640 { 512 } else { 8000 };
    let flushes = count_flushes(&daemon, || {
        let threads: Vec<_> = (0..4)
            .map(|file| {
                let bytes = stream((0..records).map(|n| file * SLOTS_PER_FILE + n), VALUE_BYTES);
                let socket = daemon.socket.clone();
                thread::spawn(move || post(&socket, &bytes))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let jobs = 4 * records.div_ceil(256);
    told(&format!("four streams, four sealed files, {jobs} jobs"), jobs, 1000, flushes);
}

fn stream(slots: impl Iterator<Item = u64>, byte_len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_start(&mut bytes).unwrap();
    let mut value = vec![0x5A; byte_len];
    for slot in slots {
        value[..8].copy_from_slice(&slot.to_le_bytes());
        write_item(&mut bytes, COLUMN.spec().record_type, Slot(slot), &value).unwrap();
    }
    bytes
}

/// Sends bytes held in memory, so that only the daemon is measured.
fn post(socket: &Path, bytes: &[u8]) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = bytes.len();
    let head = format!(
        "POST /v1/{COLUMN} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// MB/s of a stream, beside plain appends of the same bytes, with one fdatasync at the end or one per 8
/// MiB.
fn streams(byte_len: usize, quick: bool) {
    let (total, rounds) = if quick { (32 << 20, 1) } else { (512 << 20, 7) };
    let count = (total / byte_len) as u64;
    let daemon = Daemon::start();
    let mut rates = [const { Vec::new() }; 4];
    for round in 0..rounds {
        let bytes = stream((0..count).map(|n| round * count + n), byte_len);
        let rate = |started: Instant| bytes.len() as f64 / started.elapsed().as_secs_f64() / 1e6;
        let started = Instant::now();
        post(&daemon.socket, &bytes);
        rates[0].push(rate(started));
        for (place, each) in [(1, usize::MAX), (2, 8 << 20)] {
            // The file grows like the column: recently freed memory is faster than new memory.
            let path = daemon.directory.path().join(format!("floor-{place}"));
            let mut file = File::options().append(true).create(true).open(path).unwrap();
            let started = Instant::now();
            let mut unflushed = 0;
            for piece in bytes.chunks(byte_len) {
                file.write_all(piece).unwrap();
                unflushed += piece.len();
                if unflushed >= each {
                    file.sync_data().unwrap();
                    unflushed = 0;
                }
            }
            file.sync_data().unwrap();
            rates[place].push(rate(started));
        }
        let path = daemon.directory.path().join("floor-3");
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        let started = Instant::now();
        append_from_socket(&bytes, &mut file);
        rates[3].push(rate(started));
    }
    let ratios = |floor: usize| {
        median(rates[0].iter().zip(&rates[floor]).map(|(ours, floor)| ours / floor).collect())
    };
    let (once, often, behind) = (ratios(1), ratios(2), ratios(3));
    let [ours, floor, flushing, socket] = rates.clone().map(median);
    println!(
        "streamed values of {:>4} KiB {ours:>7.0} MB/s   append+fdatasync {floor:>6.0} MB/s \
         ({once:.2}×)   with one per 8 MiB {flushing:>6.0} MB/s ({often:.2}×)   behind a socket \
         {socket:>6.0} MB/s ({behind:.2}×)   resident at most {:.0} MiB",
        byte_len >> 10,
        daemon.memory("VmHWM")
    );
    if quick {
        return;
    }
    many_streams(byte_len);
}

/// The minimum work of any daemon: bytes arrive through a socket, go into a file, and are flushed once
/// at the end.
fn append_from_socket(bytes: &[u8], file: &mut File) {
    let (mut client, mut server) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || client.write_all(bytes).unwrap());
        let mut piece = vec![0; 1 << 20];
        loop {
            match server.read(&mut piece).unwrap() {
                0 => break,
                count => file.write_all(&piece[..count]).unwrap(),
            }
        }
        file.sync_data().unwrap();
    });
}

/// Memory for 64 concurrent streams.
fn many_streams(byte_len: usize) {
    let daemon = Daemon::with_files(1);
    // All in one file.
    const MOST: u64 = SLOTS_PER_FILE / 64 - 1;
    let each = MOST.min(((32 << 20) / byte_len) as u64);
    let ready = Barrier::new(65);
    let started = thread::scope(|scope| {
        for client in 0..64 {
            let (socket, first, ready) = (&daemon.socket, client * MOST, &ready);
            scope.spawn(move || {
                let bytes = stream(first..first + each, byte_len);
                ready.wait();
                post(socket, &bytes);
            });
        }
        ready.wait();
        Instant::now()
    });
    let rate = (64 * each) as f64 * byte_len as f64 / started.elapsed().as_secs_f64();
    println!(
        "64 streams of such values at once {:>7.0} MB/s   resident at most {:.0} MiB",
        rate / 1e6,
        daemon.memory("VmHWM")
    );
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

/// Another process: prints each slot with the time at which it was seen.
fn follow(directory: &Path) {
    // SAFETY: nobody but the daemon writes in this directory.
    #[expect(unsafe_code, reason = "a reader maps the files")]
    let reader = unsafe { Reader::open_mapped(directory, ReaderOptions::default()) }.unwrap();
    let mut follower = reader.follow_backfill(Slot(0), Slot(0)).unwrap();
    println!("ready");
    loop {
        if let Some(slot) = follower.next_slot(None).unwrap() {
            println!("{slot} {}", now());
        }
    }
}

/// Time from the answer to a put until a following process sees it.
fn latency(puts: u64) {
    for (what, backfill) in [("sequential", false), ("backfill", true)] {
        let daemon = Daemon::with_files(u64::from(backfill));
        let mut client = daemon.client();
        client.put(COLUMN, Slot(SLOTS_PER_FILE - 1), vec![1]).unwrap();
        let directory = daemon.directory.path().join("archive").join(COLUMN.dir_name());
        let mut follower = Command::new(env::current_exe().unwrap());
        follower.env(FOLLOWER, directory).stdout(Stdio::piped());
        let mut follower = follower.spawn().unwrap();
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        while lines.next().unwrap().unwrap() != "ready" {}
        let (mut behind, mut whole) = (Vec::new(), Vec::new());
        for n in 0..puts {
            let slot = if backfill { n } else { SLOTS_PER_FILE + n };
            let asked = now();
            assert!(client.put(COLUMN, Slot(slot), value(slot)).unwrap());
            let answered = now();
            let seen = loop {
                let line = lines.next().unwrap().unwrap();
                let (found, at) = line.split_once(' ').unwrap();
                if found == slot.to_string() {
                    break at.parse::<u128>().unwrap();
                }
            };
            behind.push((seen as f64 - answered as f64) / 1e6);
            whole.push((seen as f64 - asked as f64) / 1e6);
        }
        follower.kill().unwrap();
        follower.wait().unwrap();
        for (what, figures) in [("answer", &mut behind), ("request", &mut whole)] {
            figures.sort_by(f64::total_cmp);
            let at = |percent: usize| figures[figures.len() * percent / 100];
            let (p50, p99) = (at(50), at(99));
            println!("  seen after the {what:<8} p50 {p50:>7.3} ms   p99 {p99:>7.3} ms");
        }
        println!("^ {what}, a put at a time");
    }
}

/// Sends one value at this rate in bytes per second.
fn upload(socket: &Path, slot: u64, value: &[u8], rate: f64) {
    const PIECE_BYTES: usize = 64 << 10;
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = value.len();
    let head = format!(
        "PUT /v1/{COLUMN}/{slot} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let started = Instant::now();
    for (n, piece) in value.chunks(PIECE_BYTES).enumerate() {
        let due = Duration::from_secs_f64((n * PIECE_BYTES) as f64 / rate);
        sleep(due.saturating_sub(started.elapsed()));
        stream.write_all(piece).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

/// Latency of roots of 32 bytes, one every 20 ms, beside two slow and two fast uploads to another
/// column. Each is timed from its due time, so a late one delays those after it.
fn uploads(byte_len: usize, quick: bool) {
    const EVERY: Duration = Duration::from_millis(20);
    const SLOW: f64 = 3e6;
    let value = vec![0x5A; byte_len];
    let daemon = Daemon::start();
    let done = AtomicU64::new(0);
    let mut client = daemon.client();
    let mut roots = 0..;
    let mut put_for = |is_over: &dyn Fn(Duration) -> bool| {
        let (started, mut millis) = (Instant::now(), Vec::new());
        while !is_over(started.elapsed()) {
            let due = EVERY * u32::try_from(millis.len()).unwrap();
            sleep(due.saturating_sub(started.elapsed()));
            let slot = roots.next().unwrap();
            client.put(Column::BlockRoots, Slot(slot), vec![7; 32]).unwrap();
            millis.push((started.elapsed() - due).as_secs_f64() * 1e3);
        }
        millis.sort_by(f64::total_cmp);
        millis
    };
    let alone = Duration::from_secs(if quick { 1 } else { 10 });
    let rows = [put_for(&|elapsed| elapsed > alone), {
        thread::scope(|scope| {
            let (daemon, value, done) = (&daemon, &value, &done);
            for client in 0..4 {
                scope.spawn(move || {
                    let is_slow = client < 2;
                    let (times, rate) = if is_slow { (1, SLOW) } else { (3, f64::INFINITY) };
                    for n in 0..times {
                        upload(&daemon.socket, client * 10 + n, value, rate);
                        sleep(Duration::from_secs(if quick || is_slow { 0 } else { 15 }));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }
            put_for(&|_| done.load(Ordering::Relaxed) == 4)
        })
    }];
    for (what, millis) in ["alone", "beside four uploads"].into_iter().zip(rows) {
        let at = |percent: usize| millis[(millis.len() - 1) * percent / 100];
        println!(
            "roots {what:<20} p50 {:>9.2} ms   p99 {:>9.2} ms   most {:>9.2} ms   of {}",
            at(50),
            at(99),
            at(100),
            millis.len()
        );
    }
    println!(
        "two uploads of {} MB at {:.0} MB/s and six as fast as they go: resident at most {:.0} MiB",
        byte_len / 1_000_000,
        SLOW / 1e6,
        daemon.memory("VmHWM")
    );
}
