//! Section 9: `archive.toml`, the manifest.

use std::num::NonZeroU64;

use coldstore::manifest::{FILE_NAME, Intent, Manifest, StatesPolicy};

use super::*;

fn directory_with(text: &str) -> tempfile::TempDir {
    let directory = scratch();
    put(directory.path(), text.as_bytes());
    directory
}

fn put(directory: &Path, bytes: &[u8]) {
    fs::write(directory.join(FILE_NAME), bytes).unwrap();
}

fn text_in(directory: &Path) -> String {
    fs::read_to_string(directory.join(FILE_NAME)).unwrap()
}

fn full() -> Manifest {
    let mut manifest = Manifest::default();
    manifest.config_name = Some("minimal".to_owned());
    manifest.genesis_validators_root = Some([0xab; 32]);
    manifest.slots_per_era = Some(64);
    manifest.preset = Some("minimal".to_owned());
    manifest.states = Some(StatesPolicy::Every(NonZeroU64::new(4).unwrap()));
    manifest.first_slot = Some(Slot(0));
    manifest.unproved_state = Some(Slot(576));
    manifest.state_layers = vec!["12,6".to_owned(), "11,6,4+3,0".to_owned()];
    manifest.state_bases = vec![Slot(64), Slot::MAX];
    manifest.state_values = Some("coldstore".to_owned());
    manifest.rebuilt = true;
    manifest.raise_highest(Column::Blocks, Some(Slot(573)));
    manifest.column_mut(Column::StateDiffs).highest = Some(Slot::MAX);
    manifest.column_mut(Column::Blocks).pruned_before = Some(Slot(64));
    manifest.push_intent(Intent {
        kind: "rewind".to_owned(),
        columns: vec!["blk".to_owned(), "bbr".to_owned()],
        slot: Some(Slot(320)),
        path: None,
    });
    manifest.push_intent(Intent {
        kind: "copy".to_owned(),
        path: Some("/a".into()),
        ..Intent::default()
    });
    manifest
}

#[test]
fn a_manifest_is_read_back_as_it_was_written() {
    let directory = scratch();
    assert_eq!(Manifest::read(directory.path()).unwrap(), None);
    let wanted = full();
    let written = Manifest::update(directory.path(), |manifest| {
        *manifest = wanted.clone();
        Ok(())
    });
    assert_eq!(written.unwrap(), wanted);
    assert_eq!(Manifest::read(directory.path()).unwrap(), Some(wanted.clone()));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no leftover beside it");
    let text = text_in(directory.path());
    assert!(text.starts_with("# What this archive is known to hold"), "{text}");
    assert!(text.contains("[columns.blk]\nhighest = 573\npruned_before = 64\n"), "{text}");
    assert!(text.contains("state_layers = [\"12,6\", \"11,6,4+3,0\"]\n"), "{text}");
    assert!(text.contains(&format!("state_bases = [64, \"{}\"]\n", Slot::MAX)), "{text}");
    assert!(text.contains(&format!("[columns.bsd]\nhighest = \"{}\"\n", Slot::MAX)), "{text}");

    let ended = Manifest::update(directory.path(), |manifest| {
        assert!(manifest.end_intent(&wanted.intents()[0]));
        assert!(!manifest.end_intent(&wanted.intents()[0]));
        Ok(())
    });
    assert_eq!(ended.unwrap().intents(), &wanted.intents()[1..]);
    let read = Manifest::read(directory.path()).unwrap().unwrap();
    assert_eq!(read.intents(), &wanted.intents()[1..]);
}

/// The first lines are those of a file that an earlier version wrote.
#[test]
fn keys_and_comments_of_others_stay() {
    let root = "ab".repeat(32);
    let directory = directory_with(&format!(
        "config_name = \"minimal\" # ours\ngenesis_validators_root = \"0x{root}\"\n\
         slots_per_era = 64\nowner = \"me\"\n\n# of the indexer\n[columns.idx]\nhighest = 7\n\
         [columns.blk]\nhighest = 0x10\nnote = 1\n\n[[intents]]\nkind = \"x\"\nmine = 2\n"
    ));
    let known = Manifest::read(directory.path()).unwrap().unwrap();
    assert_eq!(known.config_name.as_deref(), Some("minimal"));
    assert_eq!(known.slots_per_era, Some(64));
    assert_eq!(known.column(Column::Blocks).highest, Some(Slot(16)));
    let before = text_in(directory.path());
    Manifest::update(directory.path(), |_| Ok(())).unwrap();
    assert_eq!(text_in(directory.path()), before, "nothing changed");

    Manifest::update(directory.path(), |manifest| {
        manifest.config_name = Some("other".to_owned());
        manifest.raise_highest(Column::Blocks, Some(Slot(9)));
        manifest.raise_highest(Column::StateRoots, Some(Slot(9)));
        manifest.push_intent(Intent { kind: "y".to_owned(), ..Intent::default() });
        Ok(())
    })
    .unwrap();
    let after = text_in(directory.path());
    let wanted = before
        .replace("\"minimal\"", "\"other\"")
        .replace("mine = 2\n", "mine = 2\n\n[[intents]]\nkind = \"y\"\n");
    let (head, tail) = wanted.split_at(wanted.find("\n[[intents]]").unwrap());
    let new = "\n[columns.bsr]\nhighest = 9\n";
    assert!(after == format!("{wanted}{new}") || after == format!("{head}{new}{tail}"), "{after}");
    for policy in ["all", "none", "every:4", "layered", "unknown"] {
        let directory = directory_with(&format!("states = \"{policy}\"\n"));
        let known = Manifest::read(directory.path()).unwrap().unwrap().states.unwrap();
        assert_eq!(known.to_string(), policy);
    }
    let rest = "a policy of a later version stays";
    put(directory.path(), b"states = \"sparse\"\n");
    Manifest::update(directory.path(), |manifest| {
        assert_eq!(manifest.states, Some(StatesPolicy::Unknown));
        manifest.first_slot = Some(Slot(1));
        Ok(())
    })
    .unwrap();
    assert_eq!(text_in(directory.path()), "states = \"sparse\"\nfirst_slot = 1\n", "{rest}");
}

#[test]
fn a_file_that_is_no_manifest_says_what_to_do() {
    let cases: [(&[u8], &str); 15] = [
        (b"", "found an empty file: remove it to rebuild it"),
        (&[0; 4096], "a blank file: remove it to rebuild it"),
        (b"config_name = \"mini", "at offset"),
        (b"config_name = \"mini", "remove it to rebuild it"),
        (b"config_name = \"\xff\"", "at offset 15: corrupt manifest"),
        (b"[package]\nname = \"x\"\n", "none of its keys: the file belongs to other software"),
        (
            b"genesis_validators_root = \"0x12\"\n",
            "wanted 0x and 64 hex digits as genesis_validators_root",
        ),
        (b"# What this archive is kno", "no key at all: remove it to rebuild it"),
        (b"slots_per_era = 0\n", "wanted a number above 0 as slots_per_era, found 0"),
        (b"slots_per_era = \"0\"\n", "wanted a number above 0 as slots_per_era"),
        (b"[columns.blk]\nhighest = -1\n", "wanted a number as columns.blk.highest, found -1"),
        (b"[[intents]]\nslot = 1\n", "wanted text as intents.kind"),
        (b"state_layers = \"18\"\n", "wanted an array of texts as state_layers"),
        (b"state_layers = [18]\n", "wanted an array of texts as state_layers, found [18]"),
        (b"state_bases = [-1]\n", "wanted an array of slots as state_bases, found [-1]"),
    ];
    for (bytes, wanted) in cases {
        let directory = scratch();
        put(directory.path(), bytes);
        for read in [
            Manifest::read(directory.path()).map(drop),
            Manifest::update(directory.path(), |_| Ok(())).map(drop),
        ] {
            let message = read.unwrap_err().to_string();
            assert!(message.contains(wanted) && message.contains(FILE_NAME), "{message}");
        }
        assert_eq!(fs::read(directory.path().join(FILE_NAME)).unwrap(), bytes, "untouched");
    }
    let directory = scratch();
    put(directory.path(), &vec![b'#'; 1 << 20 | 1]);
    let message = Manifest::read(directory.path()).unwrap_err().to_string();
    assert!(message.contains("longer than 1048576 bytes"), "{message}");
}

/// Guards against a file cut at the end of a line: it is valid TOML, and its columns, intents and limits
/// would silently count as never recorded.
#[test]
fn a_manifest_that_is_cut_anywhere_is_an_error() {
    let directory = scratch();
    let write = |edit: fn(&mut Manifest)| {
        let written = Manifest::update(directory.path(), |manifest| {
            edit(manifest);
            Ok(())
        });
        written.unwrap()
    };
    write(|manifest| *manifest = full());
    let wanted = write(|manifest| manifest.raise_highest(Column::StateRoots, Some(Slot(7))));
    let text = text_in(directory.path());
    let end = text.rfind("# end").unwrap() + "# end".len();
    for len in 0..text.len() {
        put(directory.path(), &text.as_bytes()[..len]);
        match Manifest::read(directory.path()) {
            Ok(read) => assert!(len >= end && read.as_ref() == Some(&wanted), "cut to {len} bytes"),
            Err(error) => {
                let message = error.to_string();
                assert!(len < end && message.contains("remove it to rebuild it"), "{message}");
            }
        }
    }
    // What is added behind the end is valid, and may go again.
    put(directory.path(), format!("{text}[[intents]]\nkind = \"rewind\"\n").as_bytes());
    let added = Manifest::read(directory.path()).unwrap().unwrap();
    assert_eq!(added.intents().len(), wanted.intents().len() + 1);
    write(|manifest| {
        for intent in manifest.intents().to_vec() {
            manifest.end_intent(&intent);
        }
    });
    assert_eq!(Manifest::read(directory.path()).unwrap().unwrap().intents(), []);
}

/// A link whose target is not mounted: to make a new file in its place would lose what it leads to.
#[test]
fn a_link_that_leads_nowhere_is_no_missing_manifest() {
    let directory = scratch();
    std::os::unix::fs::symlink("elsewhere/archive.toml", directory.path().join(FILE_NAME)).unwrap();
    let message = Manifest::read(directory.path()).unwrap_err().to_string();
    assert!(message.contains("archive.toml: cannot read"), "{message}");
    assert!(Manifest::update(directory.path(), |_| Ok(())).is_err());
}

#[test]
fn two_writers_of_a_manifest_lose_nothing_of_each_other() {
    let directory = scratch();
    std::thread::scope(|scope| {
        for column in Column::ALL {
            let directory = directory.path();
            scope.spawn(move || {
                for slot in 0..20 {
                    Manifest::update(directory, |manifest| {
                        manifest.raise_highest(column, Some(Slot(slot)));
                        Ok(())
                    })
                    .unwrap();
                }
            });
        }
    });
    let known = Manifest::read(directory.path()).unwrap().unwrap();
    for column in Column::ALL {
        assert_eq!(known.column(column).highest, Some(Slot(19)), "{column}");
    }
}

/// Nothing is renamed before it is flushed; whatever fails, the manifest is the old one or the new one
/// as a whole, and the next change is made as if nothing had been.
#[test]
fn a_change_that_fails_anywhere_leaves_the_old_manifest_or_the_new_one() {
    let steps = ["remove", "create", "write", "flush", "rename", "flush the directory"];
    let step = |call: &Call| match call {
        Call::Remove(_) => steps[0],
        Call::Create(_) => steps[1],
        Call::Write { .. } => steps[2],
        Call::Sync(_) => steps[3],
        Call::Rename { .. } => steps[4],
        Call::SyncDir(_) => steps[5],
        other => panic!("{other:?}"),
    };
    for change in 0..=steps.len() {
        let directory = scratch();
        let raise = |slot| {
            move |manifest: &mut Manifest| {
                manifest.raise_highest(Column::Blocks, Some(Slot(slot)));
                Ok(())
            }
        };
        let before = Manifest::update(directory.path(), raise(1)).unwrap();
        let disk = TestDisk::new();
        disk.fail_at(change, Fault::Once);
        let after = Manifest::update_on(&disk, directory.path(), raise(2));
        let made: Vec<_> = disk.take_calls().iter().map(step).collect();
        assert_eq!(made, steps[..steps.len().min(change + 1)]);
        assert_eq!(after.is_ok(), change == steps.len());
        let read = Manifest::read(directory.path()).unwrap().unwrap();
        let is_renamed = change > 4;
        assert_eq!(read == before, !is_renamed, "{made:?}");
        assert_eq!(read.column(Column::Blocks).highest, Some(Slot(1 + u64::from(is_renamed))));
        Manifest::update(directory.path(), raise(3)).unwrap();
        let read = Manifest::read(directory.path()).unwrap().unwrap();
        assert_eq!(read.column(Column::Blocks).highest, Some(Slot(3)));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left over");
    }
}
