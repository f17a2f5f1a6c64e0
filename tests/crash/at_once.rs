//! The flushes of a commit are outstanding at once: they may end in any order, and some may fail.

use std::collections::HashSet;
use std::sync::Arc;

use coldstore::Error;

use crate::campaign::{Campaign, Effort};
use crate::disk::CrashDisk;
use crate::drive::{Driver, Stopped};
use crate::expect::Expect;
use crate::look::look;
use crate::medium::Op;
use crate::scripts::{COLUMN, Script, Step, scripts};
use crate::states::Limit;
use crate::turns::{KINDS, Turns, What};
use test_support::size::quick_or_whole;

/// Scripts with each kind of commit; other kinds of writers flush in their own way.
fn of_commits() -> Vec<Script> {
    let mut all = scripts();
    all.retain(|script| {
        let begins =
            ["sequential", "file roll-over", "batch over files", "backfill", "file switch"];
        begins.iter().any(|begin| script.name.starts_with(begin))
    });
    assert!(all.len() >= 8, "{}", all.len());
    all
}

/// The names of the files that are flushed in a log, flush by flush.
fn flushes(disk: &CrashDisk) -> Vec<String> {
    let fs = disk.fs();
    let is_flush = |op: &&Op| !op.changes();
    fs.log.iter().map(|logged| &logged.op).filter(is_flush).map(|op| format!("{op:?}")).collect()
}

/// Guards against a commit whose conf is in force before everything that it names is flushed: with
/// every order in which the flushes may end, at every point between them the power goes; with some
/// orders the process is killed there too.
#[test]
fn flushes_at_once_may_end_in_any_order() {
    let effort =
        Effort { limit: 60, limit_after: 3, healings: 1, real_every: 64, seed: crate::seed() };
    let seen = Arc::default();
    let (mut most, mut total) = (0, 0);
    let mut orders = HashSet::new();
    // Number 1 of every 40 is among those that remain.
    let every = quick_or_whole(8, 1);
    let all = Turns::all().into_iter().enumerate();
    for (number, turns) in all.filter(|(number, _)| number % every == 1 % every) {
        let mut scripts = of_commits();
        if number % 40 != 1 {
            scripts.iter_mut().for_each(|script| script.kills = 0);
        }
        let campaign = Campaign::at_once(scripts, effort, turns).after(&seen);
        for disk in campaign.disks() {
            most = most.max(disk.fs().outstanding.most);
            orders.insert(flushes(disk));
        }
        if let Err(failure) = campaign.run(2) {
            panic!("{turns:?}: {failure}");
        }
        total += campaign.total();
    }
    println!("{total} distinct states, {} orders, {most} flushes at once", orders.len());
    assert_eq!(most, 5, "flushes at once");
    assert!(orders.len() >= 120 / every * 2, "{} orders", orders.len());
}

/// Guards against a commit that goes on when one of several flushes has failed, and against another
/// error than the flush's.
#[test]
fn any_of_the_flushes_at_once_may_fail() {
    let effort =
        Effort { limit: 40, limit_after: 3, healings: 0, real_every: 64, seed: crate::seed() };
    let scripts = of_commits();
    let campaign = Campaign::new(scripts.clone(), effort, None);
    let orders = Turns::all();
    let mut cases = 0;
    for (number, script) in scripts.iter().enumerate() {
        for mask in 1..1_usize << KINDS {
            let fails = [0, 1, 2, 3, 4].map(|bit| mask >> bit & 1 == 1);
            // Every order comes up with some of the masks.
            let turns = orders[(mask * 7 + number) % orders.len()].failing(fails);
            cases += usize::from(fail(&campaign, number, script, turns).unwrap_or_else(|error| {
                panic!("{}: {turns:?}: {error}", script.name);
            }));
        }
    }
    println!("{cases} commits with failing flushes, {} states after them", campaign.total());
    assert!(cases >= scripts.len() * 12, "{cases} cases");
}

/// Runs a script until flushes fail; false where none does.
fn fail(campaign: &Campaign, number: usize, script: &Script, turns: Turns) -> Result<bool, String> {
    let mut driver = Driver::set_up(script, None);
    driver.expect = Expect { tidy: false, ..driver.expect };
    driver.disk.fs().turns = Some(turns);
    let mut stopped = None;
    while stopped.is_none() && driver.expect.step().is_some() {
        stopped = driver.step().err();
    }
    let error = match stopped {
        // Not every commit makes files.
        None if [What::Data, What::Offsets, What::ConfTmp, What::Check]
            .iter()
            .all(|what| !turns.fails(*what)) =>
        {
            return Ok(false);
        }
        None => return Err("nobody noticed".to_owned()),
        Some(Stopped::Engine(Error::Io(error))) => error,
        Some(other) => return Err(format!("found {other:?}")),
    };
    let name = error.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let what = match error.operation {
        "flush the directory" => What::Names,
        "flush" => What::of_file(name),
        other => return Err(format!("an error of {other}")),
    };
    if !turns.fails(what) || error.source.raw_os_error() != Some(libc::EIO) {
        return Err(format!("the error is: {error}"));
    }
    if !driver.writer.as_ref().is_some_and(coldstore::Writer::is_poisoned) {
        return Err("not poisoned".to_owned());
    }
    let seen = look(&driver.disk.fs().cache, COLUMN.as_ref())?;
    driver.expect.check(seen.as_ref())?;
    // The power goes at once, or after the next process has gone on.
    driver.disk.fs().turns = None;
    let position = driver.disk.fs().log.len();
    let limit = Limit(40);
    let gone = |disk: &CrashDisk, from: usize, history: &str| {
        let len = disk.fs().log.len();
        let failed = campaign.power(number, disk, from..len + 1, limit, 0, history);
        failed.map_err(|failure| failure.to_string())
    };
    gone(&driver.disk, position, "flushes fail; ")?;
    driver.writer = None;
    let mut next = Driver { disk: driver.disk.fork(position, None), ..driver };
    let asked = next.expect.asked;
    next.open(asked).map_err(|error| format!("opened again: {}", String::from(error)))?;
    next.expect.plan = [next.expect.plan[next.expect.at].clone(), Step::Put(vec![60_001])].into();
    next.expect.at = 0;
    next.run_to_end().map_err(|error| format!("opened again: {error}"))?;
    gone(&next.disk, position, "flushes fail, opened again; ")?;
    Ok(true)
}
