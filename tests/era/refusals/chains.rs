//! Files of another chain, and damage anywhere.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;

use coldstore::era::{ImportProgress, Phase};

use super::*;

#[test]
fn an_era_of_another_chain_is_refused_at_the_first_difference() {
    // Slot 64 has a block: its parent is the last root of the era before.
    let bytes = rebuilt(2, |parts| parts.change(0, |value| value[116] ^= 1));
    let error = Wall::before(2).refuses(&bytes, &["era 2 is of another chain", "slot 63"]);
    assert!(matches!(error, ImportError::AnotherChain { .. }));

    // Slot 128 is skipped: it repeats the last root of the era before.
    let bytes = rebuilt(3, |parts| {
        let state = parts.state();
        parts.change(state, |value| value[176] ^= 1);
        parts.change(0, |value| value[116] ^= 1);
    });
    Wall::before(3).refuses(&bytes, &["era 3 is of another chain", "slot 127"]);
}

#[test]
fn an_era_of_another_chain_inside_of_a_file_of_many_is_refused() {
    let other = rebuilt(2, |parts| parts.change(0, |value| value[116] ^= 1));
    let bytes = [original(1), other].concat();
    let error = Wall::before(1).refuses(&bytes, &["era 2 is of another chain", "slot 63"]);
    assert!(
        matches!(error, ImportError::AnotherChain { wanted, .. } if wanted.contains(" has 0x"))
    );
}

#[test]
fn an_era_present_with_another_last_root_is_refused() {
    let wall = Wall::holding(0..=4);
    let bytes = rebuilt(2, |parts| {
        let state = parts.state();
        parts.change(state, |value| value[176 + 32 * 63] ^= 1);
    });
    let held = slot_value(&wall.archive, Column::BlockRoots, 127).unwrap();
    let mut found = held.clone();
    found[0] ^= 1;
    let parts =
        [format!("block root 0x{}", hex(&found)), format!("the archive has 0x{}", hex(&held))];
    wall.refuses(&bytes, &["era 2 is of another chain", "slot 127", &parts[0], &parts[1]]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Guards against a re-import that compares block roots alone.
#[test]
fn an_era_present_with_another_last_state_root_is_refused() {
    let wall = Wall::holding(0..=4);
    let bytes = rebuilt(2, |parts| {
        let state = parts.state();
        parts.change(state, |value| value[176 + 32 * 64 + 32 * 63] ^= 1);
    });
    let held = slot_value(&wall.archive, Column::StateRoots, 127).unwrap();
    let mut found = held.clone();
    found[0] ^= 1;
    let parts =
        [format!("state root 0x{}", hex(&found)), format!("the archive has 0x{}", hex(&held))];
    wall.refuses(&bytes, &["era 2 is of another chain", "slot 127", &parts[0], &parts[1]]);
}

#[test]
fn an_era_present_with_another_state_is_refused() {
    let wall = Wall::holding(0..=4);
    let bytes = rebuilt(2, |parts| {
        let state = parts.state();
        let end = parts.records[state].value().len() - 1;
        parts.change(state, |value| value[end] ^= 1);
    });
    let error = wall.refuses(&bytes, &["era 2", "another state of slot 128"]);
    assert!(matches!(error, ImportError::AnotherState { roots: None, .. }), "nobody hashes here");
}

/// Guards against an import that writes what comes first of a chain that it then refuses.
#[test]
fn another_chain_writes_nothing_where_backfill_is_allowed() {
    let archive = Archive::new();
    archive.import_with(&era_files(MINIMAL)[1..=4], StatesPolicy::None, &mut go_on).unwrap();
    let before = archive.files();
    let files = scratch();
    let other = |era: usize| {
        rebuilt(era, |parts| {
            let state = parts.state();
            parts.change(state, |value| value[8] ^= 1);
        })
    };
    let paths: Vec<PathBuf> =
        (0..=2).map(|era| write(&files, &format!("{era}.era"), &other(era))).collect();
    let options = ImportOptions::default().backfill(true);
    let failure = archive.import_with(&paths, options, &mut go_on).unwrap_err();
    assert!(failure.to_string().contains("genesis validators root 0x0b08c27f"), "{failure}");
    assert!(archive.files() == before);
}

#[test]
fn a_different_genesis_state_is_refused() {
    let wall = Wall::holding(0..=2);
    let bytes = rebuilt(0, |parts| parts.change(0, |value| value[300] ^= 1));
    wall.refuses(&bytes, &["era 0", "another state of slot 0"]);
}

#[test]
fn files_with_two_genesis_validators_roots_are_refused_together() {
    let bytes = rebuilt(2, |parts| {
        let state = parts.state();
        parts.change(state, |value| value[8] ^= 1);
    });
    let archive = Archive::of(&era_files(MINIMAL)[..=1]);
    let before = archive.files();
    let files = scratch();
    let paths = [era_files(MINIMAL)[1].clone(), write(&files, "suspect.era", &bytes)];
    let failure = archive.import(&paths).unwrap_err();
    let text = failure.to_string();
    for part in ["suspect.era", "genesis validators root 0x0b08c27f", "minimal-00001", "0x0a08c27f"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(archive.files() == before);
}

#[test]
fn eras_of_another_preset_are_refused() {
    let minimal = era_files(MINIMAL);
    let mainnet = era_files(MAINNET);
    let archive = Archive::new();
    let failure = archive.import(&[&minimal[1], &mainnet[1]]).unwrap_err();
    assert!(matches!(failure.error, ImportError::SlotsPerEra { .. }), "{failure}");
    assert!(archive.files().is_empty());

    let wall = Wall::holding(0..=4);
    wall.refuses(&fs::read(&mainnet[1]).unwrap(), &["era 1 is of another chain", "slot 255"]);
    for other in &mainnet[2..] {
        wall.refuses(&fs::read(other).unwrap(), &["cannot be imported", "ends with slot 255"]);
    }
    wall.refuses(&fs::read(&mainnet[0]).unwrap(), &["era 0", "genesis validators root 0x6d57622b"]);
}

#[test]
fn a_file_that_changed_since_the_plan_is_refused() {
    let wall = Wall::before(ERA);
    let path = write(&wall.files, "suspect.era", &original(ERA));
    let plan = ImportPlan::scan(&[&path]).unwrap();
    fs::copy(&era_files(MINIMAL)[4], &path).unwrap();
    let failure =
        import_columns(&plan, wall.archive.writers().columns(), StatesPolicy::All, &mut go_on)
            .unwrap_err();
    assert!(failure.to_string().contains("the file has changed"), "{failure}");
    assert!(wall.archive.files() == wall.before);
}

/// An import reads a file twice. What it writes is what it proved in the first reading.
#[test]
fn bytes_that_change_between_the_two_readings_of_a_file_are_not_stored() {
    const SLOT: usize = 4001;
    let paths = &era_files(MAINNET)[..=1];
    let mut parts = Parts::read(&paths[1]);
    parts.records.iter_mut().for_each(|record| record.payload = plain_frames(&record.value()));
    let whole = Archive::of(paths);
    let middle = parts.records.len() / 2;
    let (block_root, state_root) = (176 + 32 * SLOT, 176 + 32 * (8192 + SLOT));
    let state_len = parts.records[parts.state()].value().len();
    for (what, record, at, states) in [
        ("a block", middle, 400, StatesPolicy::None),
        ("a block root", parts.state(), block_root, StatesPolicy::None),
        ("a state root", parts.state(), state_root, StatesPolicy::None),
        ("a field of the state", parts.state(), state_len - 1, StatesPolicy::All),
    ] {
        let files = scratch();
        let path = write(&files, "suspect.era", &parts.build(Encoding::Nimbus));
        let mut changed = parts.clone();
        let mut value = changed.records[record].value();
        value[at] ^= 1;
        changed.records[record].payload = plain_frames(&value);
        let changed = changed.build(Encoding::Nimbus);
        let archive = Archive::of(&paths[..1]);
        let mut change_when_verified = |progress: &ImportProgress<'_>| {
            if progress.phase == Phase::Verify && progress.bytes_done == progress.bytes_total / 2 {
                fs::write(&path, &changed).unwrap();
            }
            ControlFlow::Continue(())
        };
        let failure = archive.import_with(&[&path], states, &mut change_when_verified);
        let text = failure.expect_err(what).to_string();
        assert!(text.contains("suspect.era") && text.contains("has changed"), "{what}: {text}");
        for column in COLUMNS {
            let proved = whole.lines(column);
            let proved: BTreeSet<&str> = proved.lines().collect();
            assert!(archive.lines(column).lines().all(|line| proved.contains(line)), "{what}");
        }
        archive.import(paths).unwrap();
        archive.assert_holds(MAINNET, 0..=1);
    }
}

/// Reads everything that an importer reads; the outcome is an error, or what the blocks and the
/// state are.
fn read_all(bytes: Vec<u8>) -> Option<Vec<(u64, [u8; 32])>> {
    let mut file = EraFile::of_bytes(bytes, "suspect.era").ok()?;
    let mut found = Vec::new();
    for group in file.groups().to_vec() {
        let mut walk = file.walk(&group).ok()?;
        let mut blocks = Vec::new();
        while let Some(block) = walk.next_block().ok()? {
            found.push((block.head.slot.0, block.head.parent_root));
            blocks.push(block);
        }
        walk.finish(&blocks).ok()?;
        let state = file.state_head(&group).ok()?;
        io::copy(&mut file.state_stream(&state.record), &mut io::sink()).ok()?;
        found.push((state.head.slot.0, state.head.genesis_validators_root));
    }
    Some(found)
}

#[test]
fn no_flipped_byte_makes_an_import_panic_or_brings_a_wrong_value() {
    let whole = original(1);
    let (index, _) = indices(1);
    let headers = offsets(&whole).into_iter().flat_map(|at| at..at + 30);
    let places = headers.chain(index..whole.len()).chain((0..whole.len()).step_by(41));
    let mut archive = Archive::of(&era_files(MINIMAL)[..1]);
    let mut before = archive.files();
    let files = scratch();
    let mut places: Vec<usize> = places.filter(|at| *at < whole.len()).collect();
    places.sort_unstable();
    places.dedup();
    for at in places {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let path = write(&files, "suspect.era", &bytes);
        match archive.import(&[path]) {
            Err(_) => assert!(archive.files() == before, "something was committed, flip at {at}"),
            Ok(_) => {
                archive.assert_holds(MINIMAL, 0..=1);
                archive = Archive::of(&era_files(MINIMAL)[..1]);
                before = archive.files();
            }
        }
    }
}

#[test]
fn no_patchwork_of_era_files_makes_a_reader_panic() {
    let sources: Vec<Vec<u8>> = (0..=3).map(original).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap()
    };
    for _ in 0..400 {
        let mut bytes = sources[1 + random(3)].clone();
        for _ in 0..1 + random(4) {
            let source = &sources[random(4)];
            let cuts = [offsets(source), vec![random(source.len())]].concat();
            let from = cuts[random(cuts.len())];
            let piece = &source[from..(from + random(3000)).min(source.len())];
            let own = random(bytes.len());
            match random(3) {
                0 => drop(bytes.splice(own..own, piece.iter().copied())),
                1 => bytes.truncate(own.max(40)),
                _ => {
                    let end = (own + piece.len()).min(bytes.len());
                    bytes[own..end].copy_from_slice(&piece[..end - own]);
                }
            }
        }
        // Often with indices that look right, so that what comes before them is looked at.
        if random(2) == 0 {
            let tail = &sources[1][indices(1).0..];
            bytes.extend(tail);
        }
        read_all(bytes);
    }
    assert!(read_all(sources[3].clone()).is_some_and(|found| found.len() == 61));
}
