//! A copy that is made while an import goes on.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::archive::{Archive, MINIMAL, Writers, data, go_on, scratch};
use coldstore::era::{ImportPlan, import_columns};
use coldstore::format::names;
use coldstore::write::copy::copy;
use coldstore::{Column, Reader, ReaderOptions, Slot, StatesPolicy, View, Writer, WriterOptions};
use test_support::{HookedDisk, Operation};

fn view(directory: &Path) -> View {
    // SAFETY: the directory is this test's own, and only writers change what is in it.
    #[expect(unsafe_code, reason = "opening a reader maps files")]
    unsafe { Reader::open_mapped(directory, ReaderOptions::default()) }.unwrap().view()
}

/// Copies the archive, and checks the copy, before every commit to it.
#[derive(Debug)]
struct CopiedBeforeCommits {
    root: PathBuf,
    /// Slots with a block in the finished archive.
    blocks: BTreeSet<u64>,
    /// Column directories, in the order of commits.
    commits: Mutex<Vec<String>>,
}

impl CopiedBeforeCommits {
    fn check(&self, conf: &Path) {
        let mut commits = self.commits.lock().unwrap();
        let copied = self.root.with_extension(format!("copy-{}", commits.len()));
        copy(&self.root, &copied, &mut |_| ControlFlow::Continue(())).unwrap();
        let shown = |column: Column| {
            let copied = copied.join(column.dir_name());
            assert!(coldstore::inspect(&copied).unwrap().is_clean(), "{column}");
            view(&copied)
        };
        let [blocks, roots @ ..] =
            [Column::Blocks, Column::BlockRoots, Column::StateRoots].map(shown);
        for roots in roots {
            let lost =
                self.blocks.iter().map(|slot| Slot(*slot)).find(|slot| {
                    roots.contains(*slot).unwrap() && !blocks.contains(*slot).unwrap()
                });
            assert_eq!(lost, None, "a root is ahead of its block, after {commits:?}");
        }
        fs::remove_dir_all(&copied).unwrap();
        let column = conf.parent().unwrap().file_name().unwrap();
        commits.push(column.to_str().unwrap().to_owned());
    }
}

/// A copy sees block roots first and blocks last; an import commits them the other way round.
#[test]
fn a_copy_made_during_an_import_has_no_root_without_its_block() {
    let whole = Archive::of(&[data(MINIMAL).join("era")]);
    let blocks =
        whole.view(Column::Blocks).range(..).map(|record| record.unwrap().slot().0).collect();
    let scratch = scratch();
    let root = scratch.path().join("archive");
    let commits = Mutex::default();
    let checked = Arc::new(CopiedBeforeCommits { root: root.clone(), blocks, commits });
    let writer = |column: Column| {
        let checked = Arc::clone(&checked);
        let disk = HookedDisk::shared(move |operation| {
            // Before the first conf there is no column.
            if let Operation::Rename { to, .. } = operation
                && to.file_name().unwrap() == names::CONF
                && to.exists()
            {
                checked.check(to);
            }
            Ok(())
        });
        let options = WriterOptions::create(column.spec());
        Writer::open_on(disk, root.join(column.dir_name()), options).unwrap()
    };
    let mut writers = Writers {
        blk: writer(Column::Blocks),
        bbr: writer(Column::BlockRoots),
        bsr: writer(Column::StateRoots),
        bss: writer(Column::StateSnapshots),
    };
    let plan = ImportPlan::scan(&[data(MINIMAL).join("era")]).unwrap();
    import_columns(&plan, writers.columns(), StatesPolicy::All, &mut go_on).unwrap();
    let commits = checked.commits.lock().unwrap();
    let of_blocks_and_roots: Vec<&str> =
        commits.iter().map(String::as_str).filter(|column| *column != "bss").collect();
    assert_eq!(of_blocks_and_roots, ["blk", "bsr", "bbr"].repeat(9));
}
