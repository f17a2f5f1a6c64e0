//! Reads vectors: folders of files, packed or not.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The files of a vector, by name without extension. Values are SSZ, uncompressed.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A file of `tests/vectors`.
pub(crate) fn packed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name)
}

/// Calls `each` with every folder of a pack that has files, and with these.
pub(crate) fn for_each_packed(pack: &Path, mut each: impl FnMut(&str, Files)) {
    let file = std::fs::File::open(pack).unwrap_or_else(|error| panic!("{pack:?}: {error}"));
    let mut unpacked = zstd::Decoder::new(file).unwrap();
    unpacked.window_log_max(27).unwrap();
    let (mut folder, mut files) = (String::new(), Files::new());
    for entry in tar::Archive::new(unpacked).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let parent = path.parent().unwrap().to_str().unwrap();
        if parent != folder && !files.is_empty() {
            each(&folder, std::mem::take(&mut files));
        }
        parent.clone_into(&mut folder);
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), bytes);
    }
    each(&folder, files);
}

/// As [`for_each_packed`], for an unpacked tree of folders, whose files may be compressed.
pub(crate) fn for_each_unpacked(root: &Path, each: &mut impl FnMut(&str, Files)) {
    for_each_below(root, root, each);
}

fn for_each_below(folder: &Path, root: &Path, each: &mut impl FnMut(&str, Files)) {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (mut folders, paths): (Vec<PathBuf>, Vec<PathBuf>) =
        entries.partition(|path| path.is_dir());
    folders.sort();
    for folder in folders {
        for_each_below(&folder, root, each);
    }
    let files: Files = paths.iter().map(|path| read_file(path)).collect();
    if !files.is_empty() {
        each(folder.strip_prefix(root).unwrap().to_str().unwrap(), files);
    }
}

fn read_file(path: &Path) -> (String, Vec<u8>) {
    let (stem, extension) = path.file_name().unwrap().to_str().unwrap().split_once('.').unwrap();
    let bytes = std::fs::read(path).unwrap();
    let bytes = match extension {
        "ssz_snappy" => snap::raw::Decoder::new().decompress_vec(&bytes).unwrap(),
        _ => bytes,
    };
    (stem.to_owned(), bytes)
}
