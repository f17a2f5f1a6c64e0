//! A thousand views at once, and processes that may have little.

use std::time::{Duration, Instant};

use coldstore::verify::{VerifyOptions, verify_column};
use coldstore::{
    ArchivePipeline, ArchiveWriter, ArchiveWriterOptions, Column, Manifest, PipelineOptions, Slot,
    View,
};

use crate::column::{SLOTS, make, open_scratch, outcome, read, run_well, say, told, value};
use crate::system::{
    limit, lowest_free_descriptor, maps, memory, open_files, removed_files, use_up_maps,
};
use test_support::{open_reader, reader};

const MIB: u64 = 1 << 20;

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_is_limited() {
    let Some((column, case)) = told() else { return };
    match &*case {
        "views" => a_thousand_views(&column),
        "files" => few_files(&column),
        "verify" => verified_with_few_files(&column),
        "address space" => little_address_space(&column),
        "maps" => no_maps(&column),
        "threads" => no_threads(&column),
        _ => unreachable!("{case}"),
    }
}

#[track_caller]
fn run(case: &str) -> Vec<String> {
    let scratch = open_scratch();
    run_well("limits::child_that_is_limited", &scratch.path().join("column"), case)
}

/// Reads a sealed and the current file.
fn reads_all(view: &View) -> bool {
    read(view, SLOTS[0]) == "value" && read(view, SLOTS[2]) == "value"
}

fn a_thousand_views(column: &std::path::Path) {
    const VIEWS: usize = 1000;
    limit(libc::RLIMIT_NOFILE, 4096);
    let mut writer = make(column, true);
    let reader = reader(column);
    assert!(reads_all(&reader.view()));
    wait_for_removed_files(0);
    let (before, mapped, resident) = (open_files(), maps(), memory("VmRSS"));
    let mut views = Vec::new();
    for n in 0..VIEWS as u64 {
        writer.put(Slot(20_001 + n), b"a little").unwrap();
        let view = reader.refresh().unwrap();
        assert!(reads_all(&view));
        // A clone is the same moment.
        views.extend([view.clone(), view]);
    }
    wait_for_removed_files(VIEWS - 1);
    let (files, mapped) = (open_files() - before, maps().saturating_sub(mapped));
    let resident = memory("VmRSS").saturating_sub(resident);
    for (n, view) in views.iter().enumerate() {
        assert!(reads_all(view));
        assert_eq!(view.highest_written_slot(), Some(Slot(20_001 + n as u64 / 2)));
    }
    say(&format!("{files} {mapped} {resident}"));
    drop(views);
    assert!(open_files() < 100, "a view that is gone holds no file");
    wait_for_removed_files(0);
}

/// A conf that was replaced is closed by a thread: by and by only those are open that views hold.
#[track_caller]
fn wait_for_removed_files(held: usize) {
    let deadline = Instant::now() + test_support::HANG;
    while removed_files() != held {
        assert!(Instant::now() < deadline, "{} are open", removed_files());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Too few descriptors are no damage: the call that failed is the answer, and no list of all files.
fn verified_with_few_files(column: &std::path::Path) {
    drop(make(column, true));
    let verify = || {
        let mut found = 0;
        let verified = verify_column(column, None, &VerifyOptions::default(), &mut |_| found += 1);
        say(&outcome(verified, |summary| format!("{} records", summary.records)));
        assert_eq!(found, 0);
    };
    // The writer's last confs may still be waiting to be closed, and would be given back during the loop.
    wait_for_removed_files(0);
    let lowest = lowest_free_descriptor();
    for free in 0..9 {
        limit(libc::RLIMIT_NOFILE, lowest + free);
        verify();
    }
}

#[test]
fn verification_reports_that_it_is_out_of_descriptors() {
    let said = run("verify");
    let (refused, whole): (Vec<_>, Vec<_>) =
        said.iter().partition(|line| line.contains("Too many open files"));
    assert!(refused.len() >= 3 && !whole.is_empty(), "{said:?}");
    assert!(refused.iter().all(|line| line.contains(": cannot ")), "{said:?}");
    assert!(refused.iter().any(|line| line.contains("data_00000")), "{said:?}");
    assert!(whole.iter().all(|line| *line == "3 records"), "{said:?}");
}

#[test]
fn a_thousand_views_share_their_maps_and_hold_one_file_each() {
    let said = run("views");
    let numbers: Vec<u64> = said[0].split(' ').map(|number| number.parse().unwrap()).collect();
    let [files, mapped, resident] = numbers[..] else { panic!("{said:?}") };
    println!("1,000 views: {files} files, {mapped} maps, {resident} bytes of memory more");
    // The conf of its moment is what a view holds open.
    assert!((999..=1001).contains(&files), "{files}");
    // The sealed file is mapped anew when the conf that names it has changed, the current one never:
    // its map reaches far ahead. The allocator has maps of its own.
    assert!(mapped < 50, "{mapped}");
    assert!(resident < 1000 * 16 * 1024, "{resident}");
}

fn few_files(column: &std::path::Path) {
    let mut writer = make(column, true);
    let reader = reader(column);
    let mut views = vec![reader.view()];
    let refused = loop {
        // The writer has files enough.
        limit(libc::RLIMIT_NOFILE, 1024);
        writer.put(Slot(20_000 + views.len() as u64), b"a little").unwrap();
        limit(libc::RLIMIT_NOFILE, 64);
        match reader.refresh() {
            Ok(view) => views.push(view),
            Err(error) => break error,
        }
        assert!(views.len() < 64);
    };
    say(&outcome::<()>(Err(refused), |()| unreachable!()));
    say(&outcome(open_reader(column, Default::default()), |_| "opened".to_owned()));
    // A writer that cannot open a file has changed nothing, or is poisoned.
    let put = writer.put(Slot(30_000), b"no file to be had");
    say(&outcome(put, |_| "put".to_owned()));
    // What is held goes on, and what is given up can be used again.
    assert!(views.iter().all(|view| read(view, SLOTS[2]) == "value"));
    views.clear();
    assert!(reads_all(&reader.refresh().unwrap()));
    drop(writer);
    let mut writer = crate::column::open(column, true).unwrap();
    writer.put(Slot(30_001), b"there are files again").unwrap();
    assert!(reader.refresh().unwrap().contains(Slot(30_001)).unwrap());
}

#[test]
fn running_out_of_descriptors_is_an_error_that_says_so() {
    for said in run("files") {
        assert!(said.starts_with("io: ") && said.contains("Too many open files"), "{said}");
    }
}

fn little_address_space(column: &std::path::Path) {
    drop(make(column, true));
    let mut writer = crate::column::open(column, true).unwrap();
    let large = vec![7; 1 << 20];
    for n in 0..32 {
        writer.put(Slot(30_000 + n), &large).unwrap();
    }
    drop((writer, large));
    // Enough for the file, too little for the room to grow that a map gets otherwise.
    limit(libc::RLIMIT_AS, memory("VmSize") + 48 * MIB);
    {
        let reader = reader(column);
        assert!(reads_sealed_and_current(&reader.view()));
    }
    limit(libc::RLIMIT_AS, memory("VmSize") + 8 * MIB);
    say(&outcome(open_reader(column, Default::default()), |_| "opened".to_owned()));
}

fn reads_sealed_and_current(view: &View) -> bool {
    read(view, SLOTS[0]) == "value" && view.get(Slot(30_031)).unwrap().unwrap().len() == 1 << 20
}

#[test]
fn reads_that_exceed_the_address_space_fail_and_the_others_succeed() {
    let said = run("address space");
    assert!(said[0].starts_with("io: ") && said[0].contains("cannot map"), "{said:?}");
    assert!(said[0].contains("data_00003") && said[0].contains("allocate memory"), "{said:?}");
}

fn no_maps(column: &std::path::Path) {
    let writer = make(column, true);
    let reader = reader(column);
    let view = reader.view();
    assert_eq!(read(&view, SLOTS[0]), "value");
    assert!(use_up_maps() > 100);
    say(&read(&view, SLOTS[1]));
    // What is mapped is still there.
    assert!(reads_all(&view));
    drop(writer);
}

#[test]
fn running_out_of_maps_is_an_error_that_says_so() {
    let said = run("maps");
    assert!(said[0].starts_with("io: ") && said[0].contains("cannot map"), "{said:?}");
}

/// What the values are is the matter of other tests; here they must be of several pages.
#[test]
fn the_values_have_several_pages() {
    assert!(value(SLOTS[0]).len() > 4 * 4096);
}

/// A thread that starts needs memory, some of it for a moment only.
fn wait_for_sleeping_threads() {
    let is_awake = |task: &std::io::Result<std::fs::DirEntry>| {
        let stat = task.as_ref().unwrap().path().join("stat");
        let stat = std::fs::read_to_string(stat).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('S'))
    };
    let deadline = Instant::now() + test_support::HANG;
    let awake =
        || std::fs::read_dir("/proc/self/task").unwrap().filter(|task| is_awake(task)).count();
    while awake() > 1 {
        assert!(Instant::now() < deadline, "threads are awake");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The stack of a thread needs 2 MiB. Less than that is left, but enough for small allocations.
fn no_threads(root: &std::path::Path) {
    let options = ArchiveWriterOptions::default().columns(Column::ALL).raw(true);
    let mut archive = ArchiveWriter::open(root, options).unwrap();
    archive.writer(Column::Blocks).unwrap().put(Slot(7), b"a block").unwrap();
    // These take the stacks that ended threads have left; the last ones those of threads that just end.
    let mut parked: Vec<_> = (0..32).map(|_| std::thread::spawn(std::thread::park)).collect();
    wait_for_sleeping_threads();
    limit(libc::RLIMIT_AS, memory("VmSize") + 7 * MIB / 4);
    let spawn = || std::thread::Builder::new().spawn(std::thread::park).ok();
    parked.extend(std::iter::from_fn(spawn));
    let started = ArchivePipeline::start(archive, |_| PipelineOptions::default());
    say(&outcome(started, |_| "started".to_owned()));
    limit(libc::RLIMIT_AS, u64::MAX);
    let manifest = Manifest::read(root).unwrap().unwrap();
    say(&format!("{:?}", manifest.column(Column::Blocks).highest));
    say(&outcome(ArchiveWriter::open(root, options), |_| "opened".to_owned()));
    parked.into_iter().for_each(|thread| thread.thread().unpark());
}

#[test]
fn an_archive_whose_pipelines_cannot_start_is_recorded_and_unlocked() {
    let said = run("threads");
    assert!(said[0].contains("blk: cannot start the writer's thread: "), "{said:?}");
    assert_eq!(said[1..], ["Some(Slot(7))", "opened"]);
}
