//! The preset of an archive's chain.

use anyhow::Result;
use coldstore::{Column, Error, MappedArchive};
use coldstore_consensus::Preset;

use super::Chain;

/// Maximum number of states tried, newest first, to recognize the preset by layout.
const STATES_LOOKED_AT: usize = 1000;

/// The preset of the archive's chain, or why it is unknown.
pub(crate) fn preset_of(chain: &Chain, archive: &MappedArchive) -> Result<Result<Preset, String>> {
    let snapshots = Error::if_sound(archive.column(Column::StateSnapshots))?;
    let view = snapshots.map(coldstore::MappedReader::view);
    let root = chain.genesis_validators_root;
    let slots = chain.slots_per_era;
    let possible = |slots, mut state: &[u8]| {
        Preset::of_chain(root.as_ref(), slots, &mut state).unwrap_or_default()
    };
    // The newest state may be damaged or of a later fork: then an older one decides.
    let mut by_layout = Vec::new();
    for record in
        view.as_ref().into_iter().flat_map(|view| view.range(..).rev()).take(STATES_LOOKED_AT)
    {
        let Some(record) = Error::if_sound(record)? else { continue };
        by_layout = possible(None, record.stored());
        if !by_layout.is_empty() {
            break;
        }
    }
    let has_such_eras = |preset: &Preset| slots.is_none_or(|slots| preset.slots_per_era() == slots);
    let by_layout = by_layout.into_iter().filter(has_such_eras);
    let possible: Vec<Preset> = by_layout.chain(possible(slots, &[])).collect();
    Ok(match (chain.preset.as_deref().map(str::parse), slots) {
        (Some(Ok(named)), None) => Ok(named),
        (Some(Ok(named)), Some(_)) if possible.contains(&named) => Ok(named),
        (Some(Ok(named)), Some(slots)) => {
            Err(format!("archive.toml contradicts itself: preset {named}, eras of {slots} slots"))
        }
        (Some(Err(unknown)), _) => Err(unknown),
        (None, Some(slots)) => possible.first().copied().ok_or_else(|| {
            let known = Preset::names();
            format!("the preset of eras of {slots} slots is unknown (known are {known})")
        }),
        (None, None) => possible.first().copied().ok_or_else(|| {
            "the preset is unknown: neither archive.toml nor a state in bss shows it".to_owned()
        }),
    })
}
