//! Who may read and write what a writer makes.

use crate::column::{make, open_scratch, run_well, told};
use crate::system::{mode_of, set_umask};

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_makes_a_column() {
    let Some((column, umask)) = told() else { return };
    set_umask(u32::from_str_radix(&umask, 8).unwrap());
    let mut writer = make(&column, true);
    writer.put(coldstore::Slot(2), b"in a sealed file").unwrap();
    // Of a commit that was cut off in the middle, this is left.
    drop(writer);
}

/// History is public: everybody may read what the umask lets them, and nobody but the owner may ever
/// write, whatever the umask says.
#[test]
fn nobody_but_the_owner_may_write_whatever_the_umask_says() {
    for (umask, file_mode, directory_mode) in
        [("000", 0o644, 0o755), ("022", 0o644, 0o755), ("027", 0o640, 0o750), ("077", 0o600, 0o700)]
    {
        let scratch = open_scratch();
        let archive = scratch.path().join("archive");
        let column = archive.join("column");
        run_well("modes::child_that_makes_a_column", &column, umask);
        for directory in [&archive, &column] {
            assert_eq!(mode_of(directory), directory_mode, "umask {umask}");
        }
        let mut files = 0;
        for entry in std::fs::read_dir(&column).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode_of(&path), file_mode, "umask {umask}: {}", path.display());
            files += 1;
        }
        assert_eq!(files, 8, "three data files, their offsets, the conf and the lock");
    }
}
