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
use crate::slot::{FileId, Slot};
use crate::write::batch::Committed;
use crate::write::commit::Record;
use crate::write::door::Door;
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
    /// The commits that must be durable before it is answered, ascending.
    pub(super) commits: Vec<usize>,
}

/// One commit with the records of several jobs.
pub(super) struct GroupCommit<'a> {
    pub(super) fills: Fills,
    pub(super) records: BTreeMap<Slot, &'a [u8]>,
}

/// The file in which a commit fills gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fills {
    Sealed(FileId),
    /// The current file alone.
    Current,
    /// None: all slots are above the highest.
    Nothing,
}

impl Fills {
    pub(super) fn sealed(self) -> Option<FileId> {
        match self {
            Fills::Sealed(file_id) => Some(file_id),
            Fills::Current | Fills::Nothing => None,
        }
    }
}

/// The commits for the queued jobs, in order.
pub(super) struct GroupPlan<'a> {
    pub(super) commits: Vec<GroupCommit<'a>>,
    pub(super) jobs: Vec<JobPlan>,
    /// The highest slot of the column once the jobs planned so far are committed.
    highest: Option<Slot>,
}

/// Plans the commits for `jobs`. `holds` returns whether the column holds a value, or
/// [`Error::Conflict`] if it holds another one. `same` compares two payloads in stored form. `admits`
/// fails if a job must not be written to a column with this highest slot.
pub(super) fn plan<'a>(
    conf: &Conf,
    jobs: &'a [RecordJob<'a>],
    mut holds: impl FnMut(Slot, &[u8]) -> Result<bool>,
    same: impl Fn(&[u8], &[u8]) -> bool,
    mut admits: impl FnMut(&RecordJob<'a>, Option<Slot>) -> Result<()>,
) -> GroupPlan<'a> {
    let mut plan = GroupPlan { commits: Vec::new(), jobs: Vec::new(), highest: conf.highest };
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    if jobs.iter().any(|job| job.door.is_some()) {
        order.sort_by_key(|position| jobs[*position].slots().next());
    }
    let refused = |error| JobPlan { outcome: Err(error), commits: Vec::new() };
    let mut planned: Vec<(usize, JobPlan)> = Vec::with_capacity(jobs.len());
    for position in order {
        let job = admits(&jobs[position], plan.highest)
            .and_then(|()| plan.add(conf, &jobs[position], &mut holds, &same));
        planned.push((position, job.unwrap_or_else(refused)));
    }
    planned.sort_by_key(|(position, _)| *position);
    plan.jobs = planned.into_iter().map(|(_, job)| job).collect();
    plan.sort();
    for (_, job) in jobs.iter().zip(&mut plan.jobs).filter(|(job, _)| job.records.is_empty()) {
        job.commits = (0..plan.commits.len()).collect();
    }
    plan
}

impl<'a> GroupPlan<'a> {
    fn add(
        &mut self,
        conf: &Conf,
        job: &'a RecordJob<'a>,
        holds: &mut impl FnMut(Slot, &[u8]) -> Result<bool>,
        same: &impl Fn(&[u8], &[u8]) -> bool,
    ) -> Result<JobPlan> {
        let mut committed = Committed::default();
        let mut commits = Vec::new();
        let mut new: Vec<(Slot, &'a [u8])> = Vec::new();
        for (slot, stored) in &job.records {
            let planned = self.commits.iter().enumerate().find_map(|(index, commit)| {
                commit.records.get(slot).map(|payload| (index, *payload))
            });
            match planned {
                Some((index, payload)) if same(payload, stored) => {
                    committed.unchanged += 1;
                    commits.push(index);
                }
                Some(_) => return Err(Error::Conflict { slot: *slot }),
                None if holds(*slot, stored)? => committed.unchanged += 1,
                None => new.push((*slot, stored)),
            }
        }
        // All parts are checked before the first is planned.
        for (fills, part) in parts(conf, &new, job.may_split)? {
            let index = self.commit(fills);
            self.commits[index].records.extend(new[part].iter().copied());
            commits.push(index);
        }
        committed.written = new.len() as u64;
        self.highest = self.highest.max(new.last().map(|(slot, _)| *slot));
        commits.sort_unstable();
        commits.dedup();
        Ok(JobPlan { outcome: Ok(committed), commits })
    }

    /// The index of the commit that fills this file; adds one if there is none.
    fn commit(&mut self, fills: Fills) -> usize {
        let found = self.commits.iter().position(|commit| commit.fills == fills);
        found.unwrap_or_else(|| {
            self.commits.push(GroupCommit { fills, records: BTreeMap::new() });
            self.commits.len() - 1
        })
    }

    /// Orders the commits: sealed files first, then slots above the highest. Gaps in the current file are
    /// merged into the first commit. Appending comes last because it changes which file is current, and the
    /// jobs were grouped by the present one.
    fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.commits.len()).collect();
        order.sort_by_key(|index| match self.commits[*index].fills {
            Fills::Sealed(_) => 0,
            Fills::Current => 1,
            Fills::Nothing => 2,
        });
        let mut moved_to = vec![0; order.len()];
        let mut commits: Vec<Option<_>> = self.commits.drain(..).map(Some).collect();
        for index in order {
            let Some(commit) = commits[index].take() else { continue };
            match self.commits.first_mut() {
                Some(first) if commit.fills == Fills::Current => {
                    first.records.extend(commit.records);
                    moved_to[index] = 0;
                }
                _ => {
                    moved_to[index] = self.commits.len();
                    self.commits.push(commit);
                }
            }
        }
        for job in &mut self.jobs {
            job.commits.iter_mut().for_each(|commit| *commit = moved_to[*commit]);
            job.commits.sort_unstable();
            job.commits.dedup();
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Column;

    type Commits = Vec<(Fills, Vec<u64>)>;

    /// The highest slot is 20,000, backfill is on, and slot 19,999 holds "held".
    fn planned<const N: usize>(
        jobs: [Vec<Record<'static>>; N],
        may_split: bool,
    ) -> (Commits, Vec<Result<Committed>>) {
        let empty = Conf::empty(Column::StateDiffs.spec(), true);
        let conf = Conf { highest: Some(Slot(20_000)), current_data_len: 100, ..empty };
        let jobs = jobs.map(|records| RecordJob { records, may_split, door: None });
        let holds = |slot: Slot, value: &[u8]| match slot.0 {
            19_999 if value != b"held" => Err(Error::Conflict { slot }),
            slot => Ok(slot == 19_999),
        };
        let plan = plan(&conf, &jobs, holds, same, admit_all);
        let commits = plan.commits.iter();
        let slots = |commit: &GroupCommit<'_>| commit.records.keys().map(|slot| slot.0).collect();
        let commits = commits.map(|commit| (commit.fills, slots(commit))).collect();
        (commits, plan.jobs.into_iter().map(|job| job.outcome).collect())
    }

    fn same(left: &[u8], right: &[u8]) -> bool {
        left == right
    }

    fn admit_all(_: &RecordJob<'_>, _: Option<Slot>) -> Result<()> {
        Ok(())
    }

    fn job<const N: usize>(items: [(u64, &'static str); N]) -> Vec<Record<'static>> {
        items.map(|(slot, value)| (Slot(slot), value.as_bytes().into())).to_vec()
    }

    #[test]
    fn producers_that_interleave_cost_one_commit_for_each_file() {
        let jobs = [
            job([(1, "a")]),
            job([(9000, "b")]),
            job([(2, "c")]),
            job([(9001, "d"), (17_000, "e")]),
            job([(20_005, "f")]),
            job([(18_000, "g")]),
            job([(20_003, "h")]),
        ];
        let (commits, outcomes) = planned(jobs, false);
        assert_eq!(
            commits,
            [
                (Fills::Sealed(FileId(0)), vec![1, 2, 18_000]),
                (Fills::Sealed(FileId(1)), vec![9000, 9001, 17_000]),
                (Fills::Nothing, vec![20_003, 20_005]),
            ]
        );
        assert!(outcomes.iter().all(Result::is_ok));
    }

    #[test]
    fn a_job_that_breaks_a_rule_fails_alone() {
        let jobs = [
            job([(1, "a")]),
            job([(1, "other")]),
            job([(2, "b"), (9000, "b")]),
            job([(3, "c"), (20_001, "c")]),
            job([(19_999, "other")]),
            job([(1, "a"), (19_999, "held")]),
        ];
        let (commits, outcomes) = planned(jobs, false);
        assert_eq!(commits, [(Fills::Sealed(FileId(0)), vec![1])]);
        assert!(matches!(outcomes[1], Err(Error::Conflict { slot: Slot(1) })));
        assert!(matches!(outcomes[2], Err(Error::SpansFiles { .. })));
        assert!(matches!(outcomes[3], Err(Error::MixedBatch { .. })));
        assert!(matches!(outcomes[4], Err(Error::Conflict { slot: Slot(19_999) })));
        assert_eq!(*outcomes[5].as_ref().unwrap(), Committed { written: 0, unchanged: 2 });
    }

    #[test]
    fn a_job_that_may_be_split_breaks_no_rule() {
        let jobs = [job([(1, "a"), (9000, "b"), (17_000, "c"), (20_001, "d"), (90_000, "e")])];
        assert!(planned(jobs.clone(), false).1[0].is_err());
        let (commits, outcomes) = planned(jobs, true);
        assert_eq!(
            commits,
            [
                (Fills::Sealed(FileId(0)), vec![1, 17_000]),
                (Fills::Sealed(FileId(1)), vec![9000]),
                (Fills::Nothing, vec![20_001, 90_000]),
            ]
        );
        assert_eq!(*outcomes[0].as_ref().unwrap(), Committed { written: 5, unchanged: 0 });
    }

    #[test]
    fn lower_slots_first_shows_each_job_the_highest_slot_of_those_before_it() {
        let conf = Conf::empty(Column::StateDiffs.spec(), false);
        let jobs = [job([(9, "c")]), job([(5, "a")]), job([(7, "b")]), job([(8, "b")])];
        let door = Some(Door::new(Column::StateDiffs));
        let jobs = jobs.map(|records| RecordJob { records, may_split: false, door });
        let mut asked = Vec::new();
        let admits = |job: &RecordJob<'_>, highest: Option<Slot>| {
            let slot = job.slots().next().unwrap().0;
            asked.push((slot, highest.map(|slot| slot.0)));
            if slot == 7 { Err(Error::InvalidSlot) } else { Ok(()) }
        };
        let plan = plan(&conf, &jobs, |_, _| Ok(false), same, admits);
        assert_eq!(asked, [(5, None), (7, Some(5)), (8, Some(5)), (9, Some(8))]);
        let refused: Vec<bool> = plan.jobs.iter().map(|job| job.outcome.is_err()).collect();
        assert_eq!(refused, [false, false, true, false]);
    }

    #[test]
    fn a_repeated_job_is_answered_only_when_the_first_is_durable() {
        let conf = Conf::empty(Column::StateDiffs.spec(), false);
        let jobs = [job([(5, "a")]), job([(5, "a")])];
        let jobs = jobs.map(|records| RecordJob { records, may_split: false, door: None });
        let plan = plan(&conf, &jobs, |_, _| Ok(false), same, admit_all);
        assert!(plan.jobs.iter().all(|job| job.commits == [0]));
    }
}
