//! File names of `.era` files: `<config name>-<era>-<short root>.era` (e2store-format-specs,
//! `formats/era.md`).

use anyhow::{Result, ensure};
use coldstore::era::EraExport;
use coldstore_consensus::{Root, era_root};

use crate::networks::is_config_name;

/// The name of an era's file.
///
/// The short root is the first bytes of the era's entry in `historical_roots` or
/// `historical_summaries`. Each entry is the `hash_tree_root` of the two root vectors in the era's
/// state; `HistoricalBatch` and `HistoricalSummary` hash alike. The fixed fields of the state therefore
/// suffice, in every fork. For era 0 it is the genesis validators root.
pub(super) fn of(config_name: &str, export: &EraExport<'_>) -> String {
    let root = match export.roots() {
        Some(roots) => era_root(&roots.block_roots, &roots.state_roots),
        None => Root(export.state_head().genesis_validators_root),
    };
    format!("{config_name}-{:05}-{}.era", export.era(), root.short())
}

/// Refuses a name that would lead out of the directory, or that other software could not parse.
pub(super) fn check_config(name: &str) -> Result<()> {
    ensure!(
        is_config_name(name),
        "the config name '{}' cannot be part of a file's name: wanted letters a to z, digits, '_' \
         and '-'",
        name.escape_debug()
    );
    Ok(())
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
}
