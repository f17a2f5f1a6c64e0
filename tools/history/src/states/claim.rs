//! Records whose states an archive holds, before the first of this software's diffs.

use std::path::Path;

use coldstore::{Column, Error, Manifest, PreadView, Reader, ReaderOptions, Result};
use coldstore_consensus::Preset;

use super::hierarchy::Hierarchy;
use super::kind::{Foreign, Values, check_ours};

/// Prepares an archive for diffs, and returns its layers. The manifest then says, durably, that the values
/// are this software's, and by which layers: those of the preset if it names none.
///
/// # Errors
/// [`Foreign`] if the archive holds another's values; nothing is changed then.
pub fn claim(archive: &Path, preset: Preset) -> Result<Hierarchy, Foreign> {
    let manifest = Manifest::read(archive)?.unwrap_or_default();
    let open = |column: Column| view(&archive.join(column.dir_name()));
    let [snapshots, diffs] = [Column::StateSnapshots, Column::StateDiffs];
    let views = (open(snapshots)?, open(diffs)?);
    let columns = [(snapshots, views.0.as_ref()), (diffs, views.1.as_ref())];
    check_ours(archive, &manifest, columns)?;
    let hierarchy = Hierarchy::of_manifest(archive, &manifest, preset)?;
    if manifest.state_values.is_none() || manifest.state_layers.is_empty() {
        Manifest::update(archive, |manifest| {
            hierarchy.record(manifest);
            manifest.state_values = Some(Values::Coldstore.name().to_owned());
            Ok(())
        })?;
    }
    Ok(hierarchy)
}

/// A column; `None` if the archive lacks it.
pub(super) fn view(directory: &Path) -> Result<Option<PreadView>, Error> {
    match Reader::open(directory, ReaderOptions::default()) {
        Ok(reader) => Ok(Some(reader.view())),
        Err(Error::NoSuchColumn { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
