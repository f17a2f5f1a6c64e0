//! A copy of an archive to a disk whose power may go: the source is another disk, the real one.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coldstore::verify::{Severity, VerifyOptions, verify_column};
use coldstore::write::copy::{MARK, copy_on};
use coldstore::{ArchiveWriter, ArchiveWriterOptions, Checksums, Column, Slot};

use crate::disk::{CrashDisk, Mark};
use crate::expect::Expect;
use crate::medium::{DirNo, Medium, Target};
use crate::states::{Limit, Random, for_each_state};

const COPY: &str = "/cold/copy";
/// The most choices at one point.
const LIMIT: Limit = Limit(30);

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What is at a path, but for locks: directories end with a slash.
fn files_of(medium: &Medium, path: &Path) -> Option<Files> {
    fn walk(medium: &Medium, dir: DirNo, path: &Path, found: &mut Files) {
        for (name, target) in medium.names(dir) {
            let path = path.join(&**name);
            match target {
                Target::File(ino) => {
                    found.insert(path, medium.file_bytes(*ino).to_vec());
                }
                Target::Dir(below) => {
                    walk(medium, *below, &path, found);
                    found.insert(path.join(""), Vec::new());
                }
            }
        }
    }
    let mut found = Files::new();
    walk(medium, medium.dir(path)?, Path::new(""), &mut found);
    Some(found)
}

fn files_on_disk(root: &Path) -> Files {
    let mut found = Files::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path, bytes);
            }
        }
    }
    found
}

/// Columns with one file and with two, with and without backfill, with checksums and a manifest.
fn make_archive(root: &Path) {
    let options = ArchiveWriterOptions::default().checksums(Checksums::On).raw(true).far(true);
    let options = options.columns([Column::Blocks, Column::BlockRoots]);
    let mut archive = ArchiveWriter::open(root, options.backfill(Column::StateSnapshots)).unwrap();
    let value = |slot| (Slot(slot), test_support::value_of_len(slot, 40));
    let items = [1, 2].map(|slot| (Slot(slot), vec![7; 32]));
    archive.writer(Column::Blocks).unwrap().put_batch(&[1, 2].map(value)).unwrap();
    archive.writer(Column::BlockRoots).unwrap().put_batch(&items).unwrap();
    let states = archive.writer(Column::StateSnapshots).unwrap();
    states.put_batch(&[3, 9000].map(value)).unwrap();
    states.put_batch(&[value(1)]).unwrap();
}

fn copy(archive: &Path, disk: &CrashDisk) {
    let copied = copy_on(disk.shared(), archive, COPY, &mut |_| ControlFlow::Continue(()));
    let records: u64 = copied.unwrap().iter().map(|column| column.records).sum();
    assert_eq!(records, 2 + 2 + 3);
}

/// States are made where something is expected.
fn on(disk: &CrashDisk) {
    let expect = Arc::new(Expect::new(Arc::default()));
    disk.fs().marks.push(Mark { at: 0, expect, digest: 0 });
}

fn assert_clean(whole: &Files) {
    let root = test_support::scratch();
    for (path, bytes) in whole {
        let path = root.path().join(path);
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            std::fs::create_dir_all(path).unwrap();
        } else {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    for column in [Column::Blocks, Column::BlockRoots, Column::StateSnapshots] {
        let directory = root.path().join(column.dir_name());
        assert!(coldstore::inspect(&directory).unwrap().is_clean(), "{column}");
        let mut damages = Vec::new();
        let options = VerifyOptions::default().deep(true);
        verify_column(&directory, Some(column.spec()), &options, &mut |finding| {
            damages.extend((finding.severity == Severity::Damage).then_some(finding));
        })
        .unwrap();
        assert!(damages.is_empty(), "{damages:?}");
    }
}

/// Guards against a copy that is taken for an archive before it is one, and against one that is resumed by
/// what only the page cache held.
#[test]
fn a_copy_is_complete_or_marked_wherever_the_power_goes() {
    let scratch = test_support::scratch();
    let archive = scratch.path().join("archive");
    make_archive(&archive);
    let source = files_on_disk(&archive);
    let disk = CrashDisk::new(Medium::empty(), None);
    on(&disk);
    copy(&archive, &disk);
    let end = disk.fs().log.len();
    let whole = files_of(&disk.fs().cache, Path::new(COPY)).unwrap();
    assert!(!whole.contains_key(Path::new(MARK)) && whole.contains_key(Path::new("archive.toml")));
    assert_clean(&whole);

    let (mut complete, mut marked, mut nothing) = (0_u64, 0_u64, 0_u64);
    let mut seen = std::collections::HashSet::new();
    let mut random = Random(1);
    let outcome = for_each_state(&disk.fs(), 0..end + 1, LIMIT, &mut random, &mut |state| {
        if !seen.insert(state.medium.hash()) {
            return Ok(());
        }
        let found = files_of(&state.medium, Path::new(COPY)).unwrap_or_default();
        if found == whole {
            complete += 1;
            return Ok(());
        }
        if found.is_empty() {
            nothing += 1;
        } else if found.contains_key(Path::new(MARK)) {
            marked += 1;
        } else {
            return Err(format!("neither whole nor marked: {}", state.describe()));
        }
        if state.position == end {
            return Err(format!("lost after it was done: {}", state.describe()));
        }
        let again = CrashDisk::new(state.medium.clone(), None);
        copy(&archive, &again);
        match files_of(&again.fs().cache, Path::new(COPY)).as_ref() == Some(&whole) {
            true => Ok(()),
            false => Err(format!("not completed by a second copy: {}", state.describe())),
        }
    });
    outcome.unwrap_or_else(|error: String| panic!("{error}"));
    println!(
        "{end} operations: {complete} states complete, {marked} marked, {nothing} with nothing"
    );
    assert!(complete > 0 && marked > 200 && nothing > 0);

    // What a killed process has left in the cache, the next one flushes.
    for position in 0..=end {
        let forked = disk.fork(position, None);
        if files_of(&forked.fs().cache, Path::new(COPY)).as_ref() == Some(&whole) {
            continue;
        }
        on(&forked);
        copy(&archive, &forked);
        let end = forked.fs().log.len();
        let outcome =
            for_each_state(&forked.fs(), end..end + 1, LIMIT, &mut random, &mut |state| {
                match files_of(&state.medium, Path::new(COPY)).as_ref() == Some(&whole) {
                    true => Ok(()),
                    false => {
                        Err(format!("killed after operation {position}, then {}", state.describe()))
                    }
                }
            });
        outcome.unwrap_or_else(|error: String| panic!("{error}"));
    }
    assert!(files_on_disk(&archive) == source, "the source is only read");
}
