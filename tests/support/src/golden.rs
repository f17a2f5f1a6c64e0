//! The golden data of `tests/data/golden`.

use super::*;

/// `tests/data/golden`.
pub fn golden_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/golden")
}

/// One folder of the golden data.
#[derive(Debug)]
pub struct Golden {
    /// `v2-bss-empty`, `crash/sequential-data` …
    pub name: String,
    /// The archive.
    pub path: PathBuf,
    /// The name of its one column.
    pub column: String,
    pub sequential: Vec<(u64, Vec<u8>)>,
    pub backfill: Vec<(u64, Vec<u8>)>,
    /// Slot, length, sha256 in hex.
    pub expect: Vec<(u64, u64, String)>,
}

impl Golden {
    fn load(path: &Path, name: String) -> Golden {
        let columns: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        let [column] = &columns[..] else { panic!("{name}: one column, found {columns:?}") };
        let expect = fs::read_to_string(path.join("expect.tsv"))
            .unwrap()
            .lines()
            .map(|line| {
                let fields: Vec<&str> = line.split('\t').collect();
                let [slot, length, sha256] = fields[..] else { panic!("{name}: {line}") };
                (slot.parse().unwrap(), length.parse().unwrap(), sha256.to_owned())
            })
            .collect();
        Golden {
            column: column.clone(),
            path: path.to_owned(),
            sequential: puts(&path.join("sequential.tsv")),
            backfill: puts(&path.join("backfill.tsv")),
            expect,
            name,
        }
    }

    pub fn is_crash(&self) -> bool {
        self.name.starts_with("crash/")
    }

    pub fn column_dir(&self) -> PathBuf {
        self.path.join(&self.column)
    }

    /// The puts that were acknowledged, and the one that a crash stopped.
    pub fn interrupted(&self) -> (u64, &[u8]) {
        let puts = if self.backfill.is_empty() { &self.sequential } else { &self.backfill };
        let (slot, value) = puts.last().expect("a put that was interrupted");
        (*slot, value)
    }
}

/// Slot and value of every line; nothing where the file is missing.
fn puts(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let Ok(text) = fs::read_to_string(path) else {
        return Vec::new();
    };
    text.lines()
        .map(|line| {
            let (slot, hex) = line.split_once('\t').unwrap_or((line, ""));
            (slot.parse().unwrap(), unhex(hex))
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hex");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every folder below `tests/data/golden`, found by walking.
pub fn golden() -> Vec<Golden> {
    fn folders(path: &Path) -> Vec<(String, PathBuf)> {
        let mut found: Vec<(String, PathBuf)> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
            .collect();
        found.sort();
        found
    }
    let mut all = Vec::new();
    for (name, path) in folders(&golden_root()) {
        if name == "crash" {
            for (name, path) in folders(&path) {
                all.push(Golden::load(&path, format!("crash/{name}")));
            }
        } else {
            all.push(Golden::load(&path, name));
        }
    }
    all
}
