//! Group commit: merges queued jobs into as few commits as the rules allow.
//!
//! Jobs are planned in order of arrival. (With a door, jobs with lower slots come first, so that roots
//! of several producers leave no gaps.) Each job is checked as if it were alone, against the column and
//! the jobs before it, so a job that breaks a rule fails alone. The others are merged into one commit
//! for each sealed file that is filled, and one commit for everything above the highest slot. All
//! records of a job go into one commit, which stores the job as a whole or not at all, unless its
//! producer allows splitting it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::format::conf::Conf;
use crate::read::decode;
use crate::slot::{FileId, Slot};
use crate::write::batch::{ArchiveHighest, Committed};
use crate::write::commit::Record;
use crate::write::compare::same_value;
use crate::write::door::Door;
use crate::write::open_column::OpenColumn;
use crate::write::rules;

/// A queued job.
pub(super) struct RecordJob<'a> {
    /// Its records, checked and encoded. A job without records is answered after all commits.
    pub(super) records: Vec<Record<'a>>,
    /// Whether the records may go into several commits.
    pub(super) may_split: bool,
    /// The door that checks the slots.
    pub(super) door: Option<Door>,
}

impl RecordJob<'_> {
    pub(super) fn slots(&self) -> impl DoubleEndedIterator<Item = Slot> + Clone {
        self.records.iter().map(|(slot, _)| *slot)
    }
}

/// The plan for one job.
pub(super) struct JobPlan {
    /// The answer once its commits are durable.
    pub(super) outcome: Result<Committed>,
    /// The commits that must be durable before it is answered.
    pub(super) commits: Vec<usize>,
}

/// A planned job: what its commits will do, and the files that they fill.
#[derive(Default)]
struct Planned {
    committed: Committed,
    fills: Vec<Fills>,
}

/// The file in which a commit fills gaps, in the order in which the commits are made. Appending comes last
/// because it changes which file is current, and the jobs were grouped by the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fills {
    Sealed(FileId),
    /// The current file alone.
    Current,
    /// None: all slots are above the highest.
    Nothing,
}

/// The commits for the queued jobs, in order.
pub(super) struct GroupPlan<'a> {
    /// Each with the records of several jobs.
    pub(super) commits: BTreeMap<Fills, BTreeMap<Slot, &'a [u8]>>,
    pub(super) jobs: Vec<JobPlan>,
    /// The highest slot of the column once the jobs planned so far are committed.
    highest: Option<Slot>,
}

impl<'a> GroupPlan<'a> {
    /// Plans the commits for `jobs`.
    pub(super) fn new(
        column: &OpenColumn,
        archive: &mut ArchiveHighest,
        jobs: &'a [RecordJob<'a>],
    ) -> Self {
        let highest = column.conf.highest;
        let mut plan = Self { commits: BTreeMap::new(), jobs: Vec::new(), highest };
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        if jobs.iter().any(|job| job.door.is_some()) {
            order.sort_by_key(|position| jobs[*position].slots().next());
        }
        let mut planned: Vec<_> = (0..jobs.len()).map(|_| Ok(Planned::default())).collect();
        for position in order {
            let job = &jobs[position];
            let admitted = archive.check_slots(column, plan.highest, job.door, job.slots());
            planned[position] = admitted.and_then(|()| plan.add(column, job));
        }
        // The first commit that fills a sealed file also fills the gaps in the current one.
        if let Some(first @ Fills::Sealed(_)) = plan.commits.keys().next().copied()
            && let Some(of_current) = plan.commits.remove(&Fills::Current)
        {
            plan.commits.entry(first).or_default().extend(of_current);
        }
        let commits = &plan.commits;
        let index = |fills| commits.keys().position(|other| *other == fills).unwrap_or(0);
        let job = |(job, planned): (&RecordJob<'_>, Result<Planned>)| match planned {
            Ok(planned) if job.records.is_empty() => {
                JobPlan { outcome: Ok(planned.committed), commits: (0..commits.len()).collect() }
            }
            Ok(Planned { committed, fills }) => {
                JobPlan { outcome: Ok(committed), commits: fills.into_iter().map(index).collect() }
            }
            Err(error) => JobPlan { outcome: Err(error), commits: Vec::new() },
        };
        plan.jobs = jobs.iter().zip(planned).map(job).collect();
        plan
    }

    fn add(&mut self, column: &OpenColumn, job: &'a RecordJob<'a>) -> Result<Planned> {
        let compression = column.conf.spec.compression;
        let Planned { mut committed, mut fills } = Planned::default();
        let mut new: Vec<(Slot, &'a [u8])> = Vec::new();
        for (slot, stored) in &job.records {
            let mut commits = self.commits.iter();
            match commits.find_map(|(fills, records)| Some((*fills, *records.get(slot)?))) {
                Some((earlier, payload)) if same_value(payload, stored, compression) => {
                    committed.unchanged += 1;
                    fills.push(earlier);
                }
                Some(_) => return Err(Error::Conflict { slot: *slot }),
                None if column.entry(*slot)? != 0
                    && column.holds(*slot, &mut *decode::decoder(stored, compression))? =>
                {
                    committed.unchanged += 1;
                }
                None => new.push((*slot, stored)),
            }
        }
        // All parts are checked before the first is planned.
        for (part_fills, part) in parts(&column.conf, &new, job.may_split)? {
            self.commits.entry(part_fills).or_default().extend(new[part].iter().copied());
            fills.push(part_fills);
        }
        committed.written = new.len() as u64;
        self.highest = self.highest.max(new.last().map(|(slot, _)| *slot));
        Ok(Planned { committed, fills })
    }
}

/// Divides the new records of a job into parts of one commit each.
fn parts<T>(conf: &Conf, new: &[(Slot, T)], may_split: bool) -> Result<Vec<(Fills, Range<usize>)>> {
    let split = if may_split { rules::split(new, conf.highest) } else { Vec::new() };
    let whole = (!may_split).then_some(0..new.len());
    let mut parts = Vec::new();
    for range in split.into_iter().chain(whole) {
        let groups = rules::group(conf, &new[range.clone()])?;
        let Some(first) = groups.first() else { continue };
        let fills = if Some(new[range.start].0) > conf.highest {
            Fills::Nothing
        } else if Some(first.file_id) < conf.current_file() {
            Fills::Sealed(first.file_id)
        } else {
            Fills::Current
        };
        parts.push((fills, range));
    }
    Ok(parts)
}
