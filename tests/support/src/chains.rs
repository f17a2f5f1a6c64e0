//! The chains of `tests/data`: their files, and what their columns hold after an import.

use std::ops::RangeInclusive;

use sha2::Digest as _;

use super::*;

/// Eras of 64 slots, every fork.
pub const MINIMAL: &str = "chain-minimal";
/// Eras of 8192 slots.
pub const MAINNET: &str = "chain-mainnet-preset";

/// A path below `tests/data`.
pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(path)
}

/// The `.era` files of a chain, by era.
pub fn era_files(chain: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(data(chain).join("era")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}

/// `lines` are those of `scan --format sha256`: slot, length and sha256 of each value. Panics unless they
/// are what `column` holds after an import of these eras, and no more.
#[track_caller]
pub fn assert_imported(chain: &str, column: &str, eras: RangeInclusive<u64>, lines: &str) {
    let mut wanted = expected_digests(chain, column);
    wanted.retain(|era, _| eras.contains(era));
    assert_eq!(
        digests(chain, column, lines),
        wanted,
        "{column} of {chain}: lines and digest by era"
    );
}

/// By era, the number of lines and the sha256 of their text.
type Digests = BTreeMap<u64, (usize, String)>;

fn digests(chain: &str, column: &str, lines: &str) -> Digests {
    let slots_per_era = if chain == MINIMAL { 64 } else { PER_FILE };
    let mut texts: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for line in lines.lines() {
        let slot: u64 = line.split('\t').next().unwrap().parse().unwrap();
        // The file of an era has the blocks and roots before the era's state.
        let era = slot / slots_per_era + u64::from(column != "bss");
        texts.entry(era).or_default().push(line);
    }
    let digest = |lines: Vec<&str>| (lines.len(), sha256((lines.join("\n") + "\n").as_bytes()));
    texts.into_iter().map(|(era, lines)| (era, digest(lines))).collect()
}

fn expected_digests(chain: &str, column: &str) -> Digests {
    let text = fs::read_to_string(data(chain).join("digests.tsv")).unwrap();
    text.lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|cells| cells[0] == column)
        .map(|cells| (cells[1].parse().unwrap(), (cells[2].parse().unwrap(), cells[3].to_owned())))
        .collect()
}
