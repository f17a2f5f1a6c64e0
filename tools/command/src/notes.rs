//! Notes for the operator that several verbs print.

use std::path::Path;

use anyhow::Result;
use coldstore::{Manifest, manifest};
use coldstore_consensus::Preset;

use crate::open;
use crate::output::{self, count, name_of};

/// Refuses a directory that is not an archive; prints what the archive lacks.
pub(crate) fn tell_lacking(root: &Path) -> Result<()> {
    for lacking in open::lacking(root)? {
        output::tell(&format!("{}: {lacking}", name_of(lacking.severity)));
    }
    Ok(())
}

/// Prints what is unknown because the manifest is missing, or was lost and rebuilt.
pub(crate) fn tell_unknown(root: &Path) -> Result<()> {
    let fate = match Manifest::read(root)? {
        None => "is missing; the next command that writes rebuilds it",
        Some(manifest) if manifest.rebuilt => "was lost and rebuilt",
        Some(_) => return Ok(()),
    };
    output::tell(&format!(
        "note: {} {fate}; which states were to be kept, what was pruned and what was unfinished is \
         unknown",
        manifest::FILE_NAME
    ));
    Ok(())
}

/// Warns about the gnosis preset, which was never tested with a file of a Gnosis network.
pub(crate) fn tell_of_preset(preset: Preset) {
    if preset == Preset::Gnosis {
        output::tell(
            "the gnosis preset follows its published table and was never tested with files of such a \
             network",
        );
    }
}

/// Reports how many blocks are blinded.
pub(crate) fn tell_of_blinded(blocks: u64) {
    if blocks > 0 {
        let blocks = count(blocks, "block");
        output::tell(&format!("{blocks} with the header of the payload in place of the payload"));
    }
}

/// Warns that the newest state is unproved and may be replaced.
pub(crate) fn unproved_state(manifest: &Manifest) -> Option<String> {
    manifest.unproved_state.map(|slot| {
        format!(
            "the state of slot {slot} is not proved yet: the next era proves it, or a trusted state \
             root"
        )
    })
}
