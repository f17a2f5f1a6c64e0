//! What lies on a medium: files by inode, and directories that name them.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash as _, Hasher};
use std::path::{Component, Path};
use std::sync::{Arc, OnceLock};

use test_support::mix;

/// Number of a file.
pub(crate) type Ino = usize;
/// Number of a directory; 0 is the root.
pub(crate) type DirNo = usize;
pub(crate) type Name = Arc<str>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    File(Ino),
    Dir(DirNo),
}

/// One change that a file system was asked for.
#[derive(Clone)]
pub(crate) enum Op {
    /// `old_len` is the file's length before, as the process saw it.
    Write {
        ino: Ino,
        at: usize,
        bytes: Arc<[u8]>,
        old_len: usize,
    },
    SetLen {
        ino: Ino,
        len: usize,
    },
    /// A file or directory was made.
    Link {
        dir: DirNo,
        name: Name,
        target: Target,
    },
    Rename {
        dir: DirNo,
        from: Name,
        to: Name,
        ino: Ino,
    },
    /// Two directories have exchanged their names, or one of them has got the name of none.
    RenameDir {
        dir: DirNo,
        names: [Name; 2],
        targets: [Option<DirNo>; 2],
    },
    Unlink {
        dir: DirNo,
        name: Name,
    },
    Sync(Ino),
    SyncDir(DirNo),
}

impl Op {
    /// False for flushes.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Op::Sync(_) | Op::SyncDir(_))
    }

    /// Whether a flush of this file settles it.
    pub(crate) fn is_of_file(&self, file: Ino) -> bool {
        matches!(self, Op::Write { ino, .. } | Op::SetLen { ino, .. } if *ino == file)
    }

    /// Whether a flush of this directory settles it.
    pub(crate) fn is_of_dir(&self, of: DirNo) -> bool {
        matches!(self, Op::Link { dir, .. } | Op::Rename { dir, .. } | Op::RenameDir { dir, .. } | Op::Unlink { dir, .. } if *dir == of)
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Write { ino, at, bytes, .. } => {
                write!(f, "write of {} bytes at {at} to file {ino}", bytes.len())
            }
            Op::SetLen { ino, len } => write!(f, "length of file {ino} set to {len}"),
            Op::Link { name, target, .. } => write!(f, "{name} made as {target:?}"),
            Op::Rename { from, to, .. } => write!(f, "{from} renamed to {to}"),
            Op::RenameDir { names: [one, other], targets, .. } => match targets {
                [Some(_), Some(_)] => write!(f, "{one} and {other} exchanged"),
                _ => write!(f, "directory {one} renamed to {other}"),
            },
            Op::Unlink { name, .. } => write!(f, "{name} removed"),
            Op::Sync(ino) => write!(f, "flush of file {ino}"),
            Op::SyncDir(dir) => write!(f, "flush of directory {dir}"),
        }
    }
}

/// How much of an unflushed change a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Left {
    Nothing,
    Whole,
    /// So many bytes of a write.
    First(usize),
    /// So many bytes of an append; the length has grown by all of it, and the rest are zeros.
    Zeros(usize),
    /// The same with garbage.
    Garbage(usize),
    /// A write without these bytes.
    Without(usize, usize),
    /// These bytes of a write alone.
    Only(usize, usize),
    /// A rename after which the old name is there as well.
    BothNames,
}

/// The bytes of a file, with their hash once somebody has asked.
#[derive(Clone, Default)]
pub(crate) struct Bytes {
    bytes: Vec<u8>,
    hash: OnceLock<u64>,
}

impl Bytes {
    pub(crate) fn get(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn hash(&self) -> u64 {
        *self.hash.get_or_init(|| {
            let mut hash = mix(self.bytes.len() as u64);
            for (nth, block) in self.bytes.chunks(BLOCK).enumerate() {
                if is_zero(block) {
                    continue;
                }
                hash = mix(hash ^ nth as u64);
                for word in block.chunks(8) {
                    let mut padded = [0; 8];
                    padded[..word.len()].copy_from_slice(word);
                    hash = mix(hash ^ u64::from_le_bytes(padded));
                }
            }
            hash
        })
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.bytes.len() < at {
            self.set_len(at);
        }
        let over = bytes.len().min(self.bytes.len() - at);
        self.bytes[at..at + over].copy_from_slice(&bytes[..over]);
        self.bytes.extend_from_slice(&bytes[over..]);
    }

    /// `Vec::resize` goes byte by byte where nothing is optimized.
    fn set_len(&mut self, len: usize) {
        self.bytes.truncate(len);
        while self.bytes.len() < len {
            let zeros = (len - self.bytes.len()).min(ZEROS.len());
            self.bytes.extend_from_slice(&ZEROS[..zeros]);
        }
    }
}

static ZEROS: [u8; 4096] = [0; 4096];
/// Bytes that are looked at together: most of a table is empty, and comparing is fast in any build.
pub(crate) const BLOCK: usize = 256;

/// For at most 4096 bytes.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    *bytes == ZEROS[..bytes.len()]
}

type Names = BTreeMap<Name, Target>;

/// Everything that is there. Clones share what neither changes.
#[derive(Clone)]
pub(crate) struct Medium {
    files: Vec<Arc<Bytes>>,
    dirs: Vec<Arc<Names>>,
}

impl Medium {
    pub(crate) fn empty() -> Medium {
        Medium { files: Vec::new(), dirs: vec![Arc::default()] }
    }

    pub(crate) fn new_file(&mut self) -> Ino {
        self.files.push(Arc::default());
        self.files.len() - 1
    }

    pub(crate) fn new_dir(&mut self) -> DirNo {
        self.dirs.push(Arc::default());
        self.dirs.len() - 1
    }

    pub(crate) fn file(&self, ino: Ino) -> &Bytes {
        &self.files[ino]
    }

    /// The bytes of a file, none where it is not there yet.
    pub(crate) fn file_bytes(&self, ino: Ino) -> &[u8] {
        self.files.get(ino).map_or(&[], |file| file.get())
    }

    pub(crate) fn names(&self, dir: DirNo) -> &Names {
        &self.dirs[dir]
    }

    /// The directory at an absolute path.
    pub(crate) fn dir(&self, path: &Path) -> Option<DirNo> {
        let mut dir = 0;
        for part in path.components() {
            if let Component::Normal(name) = part {
                match self.dirs[dir].get(name.to_str()?)? {
                    Target::Dir(next) => dir = *next,
                    Target::File(_) => return None,
                }
            }
        }
        Some(dir)
    }

    fn change(&mut self, ino: Ino, change: impl FnOnce(&mut Bytes)) {
        while self.files.len() <= ino {
            self.files.push(Arc::default());
        }
        let file = Arc::make_mut(&mut self.files[ino]);
        file.hash = OnceLock::new();
        change(file);
    }

    fn dir_mut(&mut self, dir: DirNo) -> &mut Names {
        while self.dirs.len() <= dir {
            self.dirs.push(Arc::default());
        }
        Arc::make_mut(&mut self.dirs[dir])
    }

    /// Does so much of a change.
    pub(crate) fn apply(&mut self, op: &Op, left: Left) {
        if left == Left::Nothing {
            return;
        }
        match op {
            // All of a file is written anew: nothing is copied that is not kept.
            Op::Write { ino, at: 0, bytes, .. }
                if left == Left::Whole && self.file_bytes(*ino).len() <= bytes.len() =>
            {
                let whole = Bytes { bytes: bytes.to_vec(), hash: OnceLock::new() };
                self.put_file(*ino, Arc::new(whole));
            }
            Op::Write { ino, at, bytes, .. } => self.change(*ino, |file| {
                let rest = |from: usize| bytes.len() - from;
                match left {
                    Left::First(len) => file.put(*at, &bytes[..len]),
                    Left::Zeros(len) => {
                        file.put(*at, &bytes[..len]);
                        file.set_len(file.bytes.len().max(at + len + rest(len)));
                    }
                    Left::Garbage(len) => {
                        file.put(*at, &bytes[..len]);
                        file.put(at + len, &vec![0xa5; rest(len)]);
                    }
                    Left::Without(from, to) => {
                        file.put(*at, &bytes[..from]);
                        file.put(at + to, &bytes[to..]);
                    }
                    Left::Only(from, to) => file.put(at + from, &bytes[from..to]),
                    Left::Nothing | Left::Whole | Left::BothNames => file.put(*at, bytes),
                }
            }),
            Op::SetLen { ino, len } => self.change(*ino, |file| file.set_len(*len)),
            Op::Link { dir, name, target } => {
                match target {
                    Target::File(ino) => self.change(*ino, |_| {}),
                    Target::Dir(made) => drop(self.dir_mut(*made)),
                }
                self.dir_mut(*dir).insert(Arc::clone(name), *target);
            }
            Op::Rename { dir, from, to, ino } => {
                self.change(*ino, |_| {});
                let names = self.dir_mut(*dir);
                if left != Left::BothNames {
                    names.remove(from);
                }
                names.insert(Arc::clone(to), Target::File(*ino));
            }
            Op::RenameDir { dir, names: [one, other], targets: [of_one, of_other] } => {
                let names = self.dir_mut(*dir);
                for (name, target) in [(one, of_other), (other, of_one)] {
                    match target {
                        Some(target) => names.insert(Arc::clone(name), Target::Dir(*target)),
                        None => names.remove(name),
                    };
                }
            }
            Op::Unlink { dir, name } => drop(self.dir_mut(*dir).remove(name)),
            Op::Sync(_) | Op::SyncDir(_) => {}
        }
    }

    pub(crate) fn share(&self, ino: Ino) -> Arc<Bytes> {
        self.files.get(ino).map_or_else(Arc::default, Arc::clone)
    }

    pub(crate) fn put_file(&mut self, ino: Ino, file: Arc<Bytes>) {
        while self.files.len() <= ino {
            self.files.push(Arc::default());
        }
        self.files[ino] = file;
    }

    /// How many names lead to a file.
    pub(crate) fn links(&self, ino: Ino) -> u64 {
        let targets = self.dirs.iter().flat_map(|names| names.values());
        targets.filter(|target| **target == Target::File(ino)).count() as u64
    }

    /// The files that can be reached from the root.
    pub(crate) fn named_files(&self) -> Vec<Ino> {
        let mut found = Vec::new();
        let mut dirs = vec![0];
        while let Some(dir) = dirs.pop() {
            for target in self.dirs[dir].values() {
                match target {
                    Target::File(ino) => found.push(*ino),
                    Target::Dir(below) => dirs.push(*below),
                }
            }
        }
        found
    }

    /// A hash of all that can be reached from the root.
    pub(crate) fn hash(&self) -> u64 {
        fn walk(medium: &Medium, dir: DirNo, hasher: &mut impl Hasher) {
            for (name, target) in medium.names(dir) {
                name.hash(hasher);
                match target {
                    Target::File(ino) => medium.file(*ino).hash().hash(hasher),
                    Target::Dir(below) => {
                        "directory".hash(hasher);
                        walk(medium, *below, hasher);
                    }
                }
            }
            "end".hash(hasher);
        }
        let mut hasher = std::hash::DefaultHasher::new();
        walk(self, 0, &mut hasher);
        hasher.finish()
    }
}
