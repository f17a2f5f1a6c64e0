//! What an `.era` file is called: `<config name>-<era>-<short root>.era` (e2store-format-specs,
//! `formats/era.md`).

use anyhow::{Result, ensure};
use coldstore::era::{EraExport, ssz};
use sha2::{Digest, Sha256};

use crate::output;

/// The name of an era's file.
///
/// The short root is the beginning of the era's entry in `historical_roots` or
/// `historical_summaries`. Both have the `hash_tree_root` of the two vectors of roots that the
/// era's state has, whatever its fork: `HistoricalBatch` and `HistoricalSummary` hash alike. So
/// what stands in the state's fixed places is enough. Era 0 has the genesis validators root.
pub(super) fn of(config_name: &str, export: &EraExport<'_>) -> String {
    let root = match export.roots() {
        Some(roots) => hash(&vector_root(&roots.block_roots), &vector_root(&roots.state_roots)),
        None => export.state_head().genesis_validators_root,
    };
    let mut name = format!("{config_name}-{:05}-", export.era());
    output::push_hex(&mut name, &root[..4]);
    name + ".era"
}

/// Whether a config name can be part of a file's name.
pub(in crate::verbs) fn is_config_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
    !name.is_empty() && name.bytes().all(fits)
}

/// Refuses a name that would lead out of the directory, or that others could not read.
pub(super) fn check_config(name: &str) -> Result<()> {
    ensure!(
        is_config_name(name),
        "the config name '{}' cannot be part of a file's name: wanted letters a to z, digits, '_' \
         and '-'",
        name.escape_debug()
    );
    Ok(())
}

/// The `hash_tree_root` of a vector of roots; its length is a power of two in both presets.
fn vector_root(roots: &[ssz::Root]) -> ssz::Root {
    let mut level = roots.to_vec();
    level.resize(roots.len().next_power_of_two(), [0; 32]);
    while level.len() > 1 {
        level = level.as_chunks().0.iter().map(|[left, right]| hash(left, right)).collect();
    }
    level.first().copied().unwrap_or_default()
}

fn hash(left: &ssz::Root, right: &ssz::Root) -> ssz::Root {
    Sha256::new().chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_configs_are_plain() {
        for name in ["mainnet", "devnet-4", "a_b", "7"] {
            assert!(check_config(name).is_ok(), "{name}");
        }
        for name in ["", "Mainnet", "a b", "a/b", "..", "a.b", "é", "a\n"] {
            assert!(check_config(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_vector_hashes_as_its_tree() {
        let [a, b, c, d] = [[1; 32], [2; 32], [3; 32], [4; 32]];
        assert_eq!(vector_root(&[a]), a);
        assert_eq!(vector_root(&[a, b]), hash(&a, &b));
        assert_eq!(vector_root(&[a, b, c, d]), hash(&hash(&a, &b), &hash(&c, &d)));
        assert_eq!(vector_root(&[a, b, c]), hash(&hash(&a, &b), &hash(&c, &[0; 32])));
    }
}
