//! What an archive lacks is not asked of an unfinished copy.

use coldstore::write::copy::MARK;
use coldstore::{ArchiveWriter, ArchiveWriterOptions, Column, Error, Slot};
use coldstore_history::lacking;

#[test]
fn an_unfinished_copy_is_not_an_archive() {
    let scratch = test_support::scratch();
    let root = scratch.path();
    let options = ArchiveWriterOptions::default().column(Column::Blocks).raw(true);
    let mut archive = ArchiveWriter::open(root, options).unwrap();
    archive.writer(Column::Blocks).unwrap().put(Slot(1), b"block").unwrap();
    drop(archive);
    assert!(lacking::is_archive(root).unwrap());

    std::fs::write(root.join(MARK), "").unwrap();
    let refusals = [lacking::is_archive(root).map(drop), lacking::check(root).map(drop)];
    for refused in refusals {
        assert!(matches!(refused, Err(Error::UnfinishedCopy { .. })), "{refused:?}");
    }
    std::fs::remove_file(root.join(MARK)).unwrap();
    assert!(lacking::check(root).is_ok());
}
