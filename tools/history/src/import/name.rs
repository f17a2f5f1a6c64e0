//! The name of an `.era` file: `<config>-<era>-<short root>.era`.

use coldstore::era::EraAt;
use coldstore::{Error, Result};

use super::era::Era;

/// The parts of a published file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named<'a> {
    era: &'a str,
    short_root: &'a str,
}

/// Parses the end of a published file's name. A file may have any other name, which is then not
/// checked. The network's name is ignored.
fn parse(name: &str) -> Option<Named<'_>> {
    let (rest, short_root) = name.strip_suffix(".era")?.rsplit_once('-')?;
    let (_, era) = rest.rsplit_once('-')?;
    (era.len() >= 5 && short_root.len() == 8).then_some(Named { era, short_root })
}

/// Checks that the number is that of the first era, and the short root that of the last.
pub(super) fn check(at: &EraAt<'_>, era: &Era) -> Result<()> {
    let name = at.path.file_name().and_then(|name| name.to_str());
    let Some(named) = name.and_then(parse) else { return Ok(()) };
    let refuse = |wanted: String, found: &str| {
        let wanted = format!("era {}, slot {}: {wanted}", era.number, era.state_slot);
        Err(Error::corrupt(at.path, None, "file name", wanted, found))
    };
    let first = at.groups.first().map_or(era.number, |group| group.era);
    if named.era != format!("{first:05}") {
        return refuse(format!("the number {first:05} of its first era"), named.era);
    }
    if at.groups.last() != Some(at.group) {
        return Ok(());
    }
    let root = match era.slots {
        None => era.state.prefix.genesis_validators_root,
        Some(_) => era.era_root(),
    };
    let wanted = root.short();
    match wanted == named.short_root {
        true => Ok(()),
        false => refuse(format!("the short root 0x{wanted} of its last era"), named.short_root),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_published_files_are_checked() {
        let named = Named { era: "00003", short_root: "ed01c88d" };
        assert_eq!(parse("minimal-00003-ed01c88d.era"), Some(named));
        assert_eq!(parse("my-net-work-00003-ed01c88d.era"), Some(named));
        let damaged = Named { era: "0000x", short_root: "ed01c88g" };
        assert_eq!(parse("minimal-0000x-ed01c88g.era"), Some(damaged));
        for other in ["third.era", "minimal-00003.era", "minimal-00003-ed01c88d", "-1-2.era"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
