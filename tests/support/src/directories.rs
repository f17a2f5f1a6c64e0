//! Directories as maps of bytes, and what has changed in them.

use super::*;

/// Sets its flag when it is dropped: a thread that goes on until then also ends when an assertion fails,
/// and the test with it.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All files of a directory with their bytes, without `lock` and `column.check`: the files that other
/// software knows, and what should not be there.
pub fn files_of(dir: &Path) -> Files {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "lock" && entry.file_name() != "column.check")
        .map(|entry| {
            let bytes = fs::read(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), bytes)
        })
        .collect()
}

/// Writes these files into a directory.
pub fn write_files(dir: &Path, files: &Files) {
    fs::create_dir_all(dir).unwrap();
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// A short text of what differs, or nothing. Whole files in an assertion message help nobody.
pub fn difference(found: &Files, wanted: &Files) -> Option<String> {
    if found == wanted {
        return None;
    }
    let mut text = String::new();
    for name in found.keys().chain(wanted.keys().filter(|name| !found.contains_key(*name))) {
        match (found.get(name), wanted.get(name)) {
            (Some(_), None) => text += &format!("{name}: should not be there; "),
            (None, Some(_)) => text += &format!("{name}: is missing; "),
            (Some(found), Some(wanted)) if found != wanted => {
                let at = found.iter().zip(wanted).position(|(a, b)| a != b);
                text += &format!(
                    "{name}: {} bytes, wanted {}, first difference {at:?}; ",
                    found.len(),
                    wanted.len()
                );
            }
            _ => {}
        }
    }
    Some(text)
}

/// The names of the files that differ.
pub fn differing_files<'a>(before: &'a Files, after: &'a Files) -> BTreeSet<&'a String> {
    let names = before.keys().chain(after.keys());
    names.filter(|name| before.get(*name) != after.get(*name)).collect()
}

/// Panics unless both have the same files with the same bytes.
#[track_caller]
pub fn assert_same_files(before: &Files, after: &Files, why: &str) {
    if let Some(text) = difference(after, before) {
        panic!("{why}: files differ: {text}");
    }
}

/// The directory holds exactly these files with these bytes.
#[track_caller]
pub fn assert_files(dir: &Path, wanted: &Files, context: &str) {
    assert_same_files(wanted, &files_of(dir), context);
}

/// What a file system tells of a file that somebody wrote to: bytes, length, times, inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub inode: u64,
    pub len: u64,
    pub modified: (i64, i64),
    pub changed: (i64, i64),
}

/// Stamps of everything in a directory, recursively, and of the directory itself (under "").
pub fn stamps(dir: &Path) -> BTreeMap<PathBuf, Stamp> {
    fn walk(root: &Path, path: &Path, into: &mut BTreeMap<PathBuf, Stamp>) {
        let meta = fs::symlink_metadata(path).unwrap();
        let stamp = Stamp {
            inode: meta.ino(),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        };
        into.insert(path.strip_prefix(root).unwrap().to_owned(), stamp);
        if meta.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                walk(root, &entry.unwrap().path(), into);
            }
        }
    }
    let mut into = BTreeMap::new();
    walk(dir, dir, &mut into);
    into
}

/// Copies a directory with everything in it.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            // Not `fs::copy`: it would carry over the permissions of a read-only checkout.
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}
