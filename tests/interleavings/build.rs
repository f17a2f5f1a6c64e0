//! Copies the library's source and replaces what Shuttle must see: locks, threads, channels, and
//! the calls by which a reader looks at its directory. Nothing else is changed, so that what is
//! tried is the library itself and no model of it.
#![allow(clippy::unwrap_used, reason = "a build that fails must stop")]
#![allow(clippy::disallowed_methods, reason = "no file of a column is written here")]

use std::fs;
use std::path::{Path, PathBuf};

/// In every file.
const REPLACED: [(&str, &str); 3] = [
    ("std::sync::", "crate::interleaved::sync::"),
    ("std::thread", "crate::interleaved::thread"),
    ("crossbeam_channel", "crate::interleaved::channel"),
];

/// In one file each: these must be found.
const REPLACED_IN: [(&str, &str, &str); 4] = [
    // A look at the directory is a step of its own.
    ("files/directory.rs", "rustix::fs::", "crate::interleaved::fs::"),
    // Nobody may sleep in the kernel while the others wait for their turn.
    ("files/watch.rs", "inotify::init(", "crate::interleaved::no_inotify("),
    // Mapped memory has the system's atomics.
    ("files/map/mapping.rs", "crate::interleaved::sync::atomic::", "std::sync::atomic::"),
    ("files/map/plain.rs", "crate::interleaved::sync::atomic::", "std::sync::atomic::"),
];

/// Its thread is the process's: nobody waits for it, and nothing depends on when it closes a file.
const LEFT_ALONE: &str = "files/deferred_close.rs";

fn main() {
    let source = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../../src");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap()).join("coldstore");
    println!("cargo:rerun-if-changed={}", source.display());
    let _ = fs::remove_dir_all(&out);
    copy(&source, &out, Path::new(""));
}

fn copy(source: &Path, out: &Path, below: &Path) {
    fs::create_dir_all(out.join(below)).unwrap();
    for entry in fs::read_dir(source.join(below)).unwrap() {
        let name = below.join(entry.unwrap().file_name());
        if source.join(&name).is_dir() {
            copy(source, out, &name);
            continue;
        }
        let mut text = fs::read_to_string(source.join(&name)).unwrap();
        if name != Path::new(LEFT_ALONE) {
            for (from, to) in REPLACED {
                text = text.replace(from, to);
            }
        }
        for (file, from, to) in REPLACED_IN {
            if Path::new(file) == name {
                assert!(text.contains(from), "{file} has no {from} any more: see build.rs");
                text = text.replace(from, to);
            }
        }
        if name == Path::new("lib.rs") {
            // It becomes a part of another file, where it cannot have a documentation of its own.
            let kept = text.lines().filter(|line| !line.starts_with("//!"));
            text = kept.collect::<Vec<_>>().join("\n");
        }
        fs::write(out.join(name), text).unwrap();
    }
}
