//! What must be true of every state that a power cut leaves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use coldstore::{ColumnSpec, Writer, WriterOptions};

use crate::disk::{CrashDisk, Phase};
use crate::drive::Driver;
use crate::expect::Expect;
use crate::lies::Lie;
use crate::look::{look, stray_sums};
use crate::medium::{Medium, Op, Target};
use crate::scripts::COLUMN;

/// A state that was healed.
pub(crate) struct Healed {
    /// What was healed, without the lengths.
    pub(crate) kind: String,
    /// What the medium holds then, as processes see it.
    pub(crate) hash: u64,
    /// The disk, with the healing in its log.
    pub(crate) driver: Driver,
    /// Operations of the opening that healed.
    pub(crate) healing: usize,
}

/// A panic is a failure like others.
fn guard<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("of some kind")))
    })
}

/// Looks at a state, opens the column, and looks again.
pub(crate) fn heal(
    medium: &Medium,
    expect: &Arc<Expect>,
    spec: ColumnSpec,
    lie: Option<Lie>,
) -> Result<Healed, String> {
    guard(|| {
        let before = look(medium, COLUMN.as_ref()).map_err(|error| format!("unhealed: {error}"))?;
        expect.check(before.as_ref()).map_err(|error| format!("unhealed: {error}"))?;

        let disk = CrashDisk::new(medium.clone(), lie);
        disk.fs().exchanges = expect.exchanges;
        let mut driver = Driver { disk, spec, writer: None, expect: Expect::clone(expect) };
        driver.note();
        let writer =
            open(&driver, before.is_some()).map_err(|error| format!("does not open: {error}"))?;
        let after = look(&driver.disk.fs().cache, COLUMN.as_ref())
            .map_err(|error| format!("healed: {error}"))?;
        // A backfill file in which nothing was committed is no longer named.
        let before = before.map(|mut before| {
            if let Some((id, 0)) = &mut before.conf.backfill {
                *id = u64::MAX;
            }
            before
        });
        if before.is_some() && before != after {
            return Err(format!("healing changed what is seen: {before:?} to {after:?}"));
        }
        expect.check(after.as_ref()).map_err(|error| format!("healed: {error}"))?;
        stray_sums(&driver.disk.fs().cache, COLUMN.as_ref())?;
        let after = after.ok_or("there is no conf after opening")?;
        driver.expect.exists = true;
        driver.expect.acked = Arc::new(after.content);
        driver.expect.next = None;
        driver.note();
        let mut kind: Vec<String> = Vec::new();
        for action in &writer.heal_report().actions {
            let text = format!("{action:?}");
            let name = action.file.file_name().unwrap_or_default().to_string_lossy();
            kind.push(format!("{} {name}", text.split(' ').next().unwrap_or_default()));
        }
        kind.push(format!("step {}", expect.at));
        let (healing, hash) = {
            let fs = driver.disk.fs();
            (fs.log.len(), fs.cache.hash())
        };
        Ok(Healed { kind: kind.join(", "), hash, driver, healing })
    })
}

/// Opens the column again, which changes nothing, and does again what was interrupted.
pub(crate) fn go_on(healed: &mut Healed) -> Result<(), String> {
    guard(|| {
        let driver = &mut healed.driver;
        let writer = open(driver, true).map_err(|error| format!("does not open again: {error}"))?;
        if !writer.heal_report().is_clean() {
            return Err(format!("healed twice: {:?}", writer.heal_report()));
        }
        if driver.disk.fs().of_step().any(Op::changes) {
            return Err("a clean opening changed something".to_owned());
        }
        let (backfill, max) =
            (writer.conf().backfill.is_some(), writer.conf().spec.max_value_bytes);
        driver.writer = Some(writer);
        if driver.expect.step().is_none() {
            return Ok(());
        }
        let asked = driver.expect.asked;
        if (asked.backfill, asked.max) != (backfill, max) {
            driver.open(asked).map_err(|error| format!("reopening: {}", String::from(error)))?;
        }
        driver.step().map_err(|error| format!("put again: {}", String::from(error)))
    })
}

/// Opens the column as it is, or makes it.
fn open(driver: &Driver, exists: bool) -> coldstore::Result<Writer> {
    let options = match exists {
        true => WriterOptions::default().checksums(driver.expect.asked.checksums()),
        false => driver.expect.asked.options(driver.spec),
    };
    driver.disk.begin(Phase::Open);
    Writer::open_on(driver.disk.shared(), COLUMN, options)
}

/// The state in a real directory, for the real reader, before healing: it sees the same.
pub(crate) fn check_real_reader(medium: &Medium, expect: &Expect) -> Result<(), String> {
    let Some(dir) = medium.dir(COLUMN.as_ref()) else { return Ok(()) };
    let seen = look(medium, COLUMN.as_ref())?;
    let real = test_support::scratch();
    for (name, target) in medium.names(dir) {
        if let Target::File(ino) = target {
            std::fs::write(real.path().join(&**name), medium.file(*ino).get())
                .map_err(|error| format!("cannot write {name} for the reader: {error}"))?;
        }
    }
    let reader = match (test_support::try_reader(real.path()), seen) {
        (Err(coldstore::Error::NoSuchColumn { .. }), None) => return Ok(()),
        (Err(error), _) => return Err(format!("a reader does not open: {error}")),
        (Ok(_), None) => return Err("a reader opens what has no conf".to_owned()),
        (Ok(reader), Some(seen)) => {
            let view = reader.view();
            let mut shown = test_support::Content::new();
            for record in view.range(..) {
                let record = record.map_err(|error| format!("a reader: {error}"))?;
                let value = record.value().map_err(|error| format!("a reader: {error}"))?;
                shown.insert(record.slot().0, value.into_owned());
            }
            if shown != seen.content {
                let slots: Vec<_> = shown.keys().collect();
                return Err(format!("a reader is shown {slots:?} and not the same"));
            }
            reader
        }
    };
    // What is not there is not found either, and without an error.
    let view = reader.view();
    for slot in expect.next.iter().flat_map(|next| next.keys()) {
        view.contains(coldstore::Slot(*slot)).map_err(|error| format!("a reader: {error}"))?;
    }
    Ok(())
}
