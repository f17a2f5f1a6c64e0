//! The manifest of an archive, on a disk whose power may go: it is the old one or the new one, whole.

use std::path::Path;
use std::sync::Arc;

use coldstore::manifest::Intent;
use coldstore::{Column, Manifest, Slot};

use crate::disk::{CrashDisk, Mark};
use crate::expect::Expect;
use crate::medium::Medium;
use crate::states::{Limit, Random, State, for_each_state};

const ARCHIVE: &str = "/cold/archive";
/// All choices are tried: there are fewer at any point.
const LIMIT: Limit = Limit(24_000);

type Edit = fn(&mut Manifest);

/// What happens to a manifest: it is made, grows past a sector, an intent begins and ends.
const EDITS: [Edit; 5] = [
    |manifest| manifest.raise_highest(Column::Blocks, Some(Slot(5))),
    |manifest| manifest.config_name = Some("a name that is longer than one sector ".repeat(20)),
    |manifest| manifest.push_intent(rewind()),
    |manifest| manifest.column_mut(Column::Blocks).highest = Some(Slot(3)),
    |manifest| assert!(manifest.end_intent(&rewind())),
];

fn rewind() -> Intent {
    let columns = vec!["blk".to_owned()];
    Intent { kind: "rewind".to_owned(), columns, slot: Some(Slot(3)), path: None }
}

/// The disk with an empty archive on it.
fn empty_archive() -> CrashDisk {
    let disk = CrashDisk::new(Medium::empty(), None);
    let shared = disk.shared();
    for directory in ["/cold", ARCHIVE] {
        shared.create_dir(Path::new(directory)).unwrap();
    }
    for directory in ["/", "/cold"] {
        shared.sync_dir(Path::new(directory)).unwrap();
    }
    let end = disk.fs().log.len();
    let disk = disk.fork(end, None);
    assert!(disk.fs().log.is_empty());
    disk
}

/// What the manifest is from some point of the log on, at least.
type History = Vec<(usize, Option<Manifest>)>;

fn note(disk: &CrashDisk, history: &mut History, manifest: Option<Manifest>) {
    let mut fs = disk.fs();
    let (at, expect) = (fs.log.len(), Arc::new(Expect::new(Arc::default())));
    fs.marks.push(Mark { at, expect, digest: at as u64 });
    history.push((at, manifest));
}

fn update(disk: &CrashDisk, edit: Edit) -> Manifest {
    let apply = |manifest: &mut Manifest| {
        edit(manifest);
        Ok(())
    };
    Manifest::update_on(&*disk.shared(), Path::new(ARCHIVE), apply).unwrap()
}

fn read(disk: &CrashDisk) -> Result<Option<Manifest>, String> {
    Manifest::read_on(&*disk.shared(), Path::new(ARCHIVE)).map_err(|error| error.to_string())
}

/// The state shows what was durable, or what was on its way; and the next writer goes on from there.
fn check(state: &State<'_>, history: &History) -> Result<(), String> {
    let acked = history.partition_point(|(at, _)| *at <= state.position);
    let allowed: Vec<_> = history[acked - 1..].iter().take(2).map(|(_, known)| known).collect();
    let disk = CrashDisk::new(state.medium.clone(), None);
    let found = read(&disk).map_err(|error| format!("{error}: {}", state.describe()))?;
    if !allowed.contains(&&found) {
        return Err(format!("{found:?} instead of one of {allowed:?}: {}", state.describe()));
    }
    // Whatever the crash has left of it, the next writer finishes what was begun.
    let finished = update(&disk, |manifest| {
        manifest.end_intent(&rewind());
        manifest.first_slot = Some(Slot(1));
    });
    let mut wanted = found.unwrap_or_default();
    wanted.end_intent(&rewind());
    wanted.first_slot = Some(Slot(1));
    match finished == wanted && read(&disk)? == Some(wanted) {
        true => Ok(()),
        false => Err(format!("not finished by the next writer: {}", state.describe())),
    }
}

fn try_all(disk: &CrashDisk, from: usize, history: &History) -> Result<usize, String> {
    let (mut states, mut random) = (0, Random(1));
    let end = disk.fs().log.len();
    for_each_state(&disk.fs(), from..end + 1, LIMIT, &mut random, &mut |state| {
        states += 1;
        check(&state, history)
    })?;
    Ok(states)
}

/// Guards against a manifest that a power cut leaves empty or torn, that forgets what was acknowledged,
/// and against an intent that is lost although what it announces had begun.
#[test]
fn no_power_cut_tears_the_manifest() {
    let disk = empty_archive();
    let mut history = History::new();
    note(&disk, &mut history, None);
    for edit in EDITS {
        let manifest = update(&disk, edit);
        note(&disk, &mut history, Some(manifest));
    }
    let mut states = try_all(&disk, 0, &history).unwrap_or_else(|error| panic!("{error}"));

    // A process is killed anywhere, the next one goes on, and then the power goes.
    let end = disk.fs().log.len();
    for position in 0..=end {
        let forked = disk.fork(position, None);
        let acked = history.partition_point(|(at, _)| *at <= position);
        let mut of_fork = History::new();
        note(&forked, &mut of_fork, history[acked - 1].1.clone());
        let seen = read(&forked).unwrap();
        // What the page cache shows is durable with the next rename.
        let mut allowed = history[acked - 1..].iter().take(2);
        assert!(allowed.any(|(_, known)| *known == seen), "{position}: {seen:?}");
        let from = forked.fs().log.len();
        let manifest = update(&forked, |manifest| manifest.slots_per_era = Some(8192));
        let end = forked.fs().log.len();
        note(&forked, &mut of_fork, Some(manifest.clone()));
        let mut random = Random(1);
        let outcome =
            for_each_state(&forked.fs(), from..end + 1, LIMIT, &mut random, &mut |state| {
                states += 1;
                let shown = CrashDisk::new(state.medium.clone(), None);
                let found =
                    read(&shown).map_err(|error| format!("{error}: {}", state.describe()))?;
                let is_old = state.position < end && (found == of_fork[0].1 || found == seen);
                match is_old || found.as_ref() == Some(&manifest) {
                    true => Ok(()),
                    false => Err(format!("{found:?}: {}", state.describe())),
                }
            });
        outcome.unwrap_or_else(|error: String| {
            panic!("killed after operation {position}, then {error}")
        });
    }
    println!("manifest: {end} operations, {states} states");
    assert!(states > 1000, "{states}");
}
