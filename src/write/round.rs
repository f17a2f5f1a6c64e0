//! Jobs that wait are merged into as few commits as the rules allow.
//!
//! A round takes jobs in the order in which they came. Each is held against the column, and
//! against those before it, as if it were alone: a job that breaks a rule fails alone. (With a door
//! those with the lower slots come first: roots of several producers leave no gaps.) The others
//! fall into units, each one commit: one for every sealed file that is filled, one for everything
//! above the highest slot. All records of a job are in one unit, so a job is there whole or not
//! at all.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::format::conf::Conf;
use crate::slot::{FileId, Slot};
use crate::write::plan;
use crate::write::writer::Committed;

/// What a job has to say of one slot against the column as it is committed.
pub(super) enum Held {
    /// There is no record.
    Nothing,
    /// There is a record with this value.
    Same,
}

/// How a job came out of the planning.
pub(super) struct JobPlan {
    /// What to answer when its units are committed.
    pub(super) outcome: Result<Committed>,
    /// The units that must be durable before it is answered, ascending.
    pub(super) units: Vec<usize>,
}

/// One commit.
pub(super) struct Unit<'a> {
    /// What it fills: a sealed file, gaps in the current one alone, or nothing.
    pub(super) fills: Fills,
    pub(super) records: BTreeMap<Slot, &'a [u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fills {
    Sealed(FileId),
    Current,
    /// It goes past the highest slot instead.
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

pub(super) struct Round<'a> {
    pub(super) units: Vec<Unit<'a>>,
    pub(super) jobs: Vec<JobPlan>,
    /// The highest slot of the column once the jobs that were planned so far are committed.
    highest: Option<Slot>,
}

/// The order in which the jobs of a round are planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    AsTheyCame,
    LowerSlotsFirst,
}

/// Plans a round. `held` looks a slot up in the column, `same` compares two payloads in their
/// stored form, `admits` says whether a job may be written to a column with this highest slot.
pub(super) fn plan_round<'a>(
    conf: &Conf,
    jobs: &[&'a [(Slot, Vec<u8>)]],
    order: Order,
    mut held: impl FnMut(Slot, &[u8]) -> Result<Held>,
    same: impl Fn(&[u8], &[u8]) -> bool,
    mut admits: impl FnMut(usize, Option<Slot>) -> Result<()>,
) -> Round<'a> {
    let mut round = Round { units: Vec::new(), jobs: Vec::new(), highest: conf.highest };
    let mut positions: Vec<usize> = (0..jobs.len()).collect();
    if order == Order::LowerSlotsFirst {
        positions.sort_by_key(|position| jobs[*position].first().map(|(slot, _)| *slot));
    }
    let refused = |error| JobPlan { outcome: Err(error), units: Vec::new() };
    let mut plans: Vec<(usize, JobPlan)> = Vec::with_capacity(jobs.len());
    for position in positions {
        let plan = admits(position, round.highest)
            .and_then(|()| round.admit(conf, jobs[position], &mut held, &same));
        plans.push((position, plan.unwrap_or_else(refused)));
    }
    plans.sort_by_key(|(position, _)| *position);
    round.jobs = plans.into_iter().map(|(_, plan)| plan).collect();
    round.settle();
    round
}

impl<'a> Round<'a> {
    fn admit(
        &mut self,
        conf: &Conf,
        job: &'a [(Slot, Vec<u8>)],
        held: &mut impl FnMut(Slot, &[u8]) -> Result<Held>,
        same: &impl Fn(&[u8], &[u8]) -> bool,
    ) -> Result<JobPlan> {
        let mut committed = Committed::default();
        let mut units = Vec::new();
        let mut new: Vec<(Slot, &[u8])> = Vec::new();
        for (slot, stored) in job {
            let before =
                self.units.iter().enumerate().find_map(|(index, unit)| {
                    unit.records.get(slot).map(|payload| (index, *payload))
                });
            match before {
                Some((index, payload)) if same(payload, stored) => {
                    committed.unchanged += 1;
                    units.push(index);
                }
                Some(_) => return Err(Error::Conflict { slot: *slot }),
                None => match held(*slot, stored)? {
                    Held::Same => committed.unchanged += 1,
                    Held::Nothing => new.push((*slot, stored)),
                },
            }
        }
        let groups = plan::group(conf, &new)?;
        if let Some(first) = groups.first() {
            committed.written = new.len() as u64;
            let unit = self.unit(if Some(new[0].0) > conf.highest {
                Fills::Nothing
            } else if Some(first.file_id) < conf.current_file() {
                Fills::Sealed(first.file_id)
            } else {
                Fills::Current
            });
            self.highest = self.highest.max(new.last().map(|(slot, _)| *slot));
            self.units[unit].records.extend(new);
            units.push(unit);
        }
        units.sort_unstable();
        units.dedup();
        Ok(JobPlan { outcome: Ok(committed), units })
    }

    fn unit(&mut self, fills: Fills) -> usize {
        let found = self.units.iter().position(|unit| unit.fills == fills);
        found.unwrap_or_else(|| {
            self.units.push(Unit { fills, records: BTreeMap::new() });
            self.units.len() - 1
        })
    }

    /// Gaps in the current file ride along with a sealed file, and what goes past the highest slot
    /// comes last: until then the files are those that the jobs were grouped by.
    fn settle(&mut self) {
        let mut order: Vec<usize> = (0..self.units.len()).collect();
        order.sort_by_key(|index| match self.units[*index].fills {
            Fills::Sealed(_) => 0,
            Fills::Current => 1,
            Fills::Nothing => 2,
        });
        let mut moved_to = vec![0; order.len()];
        let mut units: Vec<Option<Unit<'a>>> = self.units.drain(..).map(Some).collect();
        for index in order {
            let Some(unit) = units[index].take() else { continue };
            match self.units.first_mut() {
                Some(first) if unit.fills == Fills::Current => {
                    first.records.extend(unit.records);
                    moved_to[index] = 0;
                }
                _ => {
                    moved_to[index] = self.units.len();
                    self.units.push(unit);
                }
            }
        }
        for job in &mut self.jobs {
            job.units.iter_mut().for_each(|unit| *unit = moved_to[*unit]);
            job.units.sort_unstable();
            job.units.dedup();
        }
    }

    /// For every unit the jobs that can be answered after it, by ascending position.
    pub(super) fn answered_after(&self) -> Vec<Vec<usize>> {
        let mut after = vec![Vec::new(); self.units.len()];
        for (position, job) in self.jobs.iter().enumerate() {
            if let Some(last) = job.units.last() {
                after[*last].push(position);
            }
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Column;

    type Job = Vec<(Slot, Vec<u8>)>;
    type Units = Vec<(Fills, Vec<u64>)>;

    /// The highest slot is 20,000, backfill is on, and slot 19,999 holds "held".
    fn plan(jobs: &[Job]) -> (Units, Vec<Result<Committed>>) {
        let empty = Conf::empty(Column::StateDiffs.spec(), true);
        let conf = Conf { highest: Some(Slot(20_000)), current_data_len: 100, ..empty };
        let jobs: Vec<&[(Slot, Vec<u8>)]> = jobs.iter().map(Vec::as_slice).collect();
        let held = |slot: Slot, value: &[u8]| match slot.0 {
            19_999 if value == b"held" => Ok(Held::Same),
            19_999 => Err(Error::Conflict { slot }),
            _ => Ok(Held::Nothing),
        };
        let order = Order::AsTheyCame;
        let round = plan_round(&conf, &jobs, order, held, |left, right| left == right, admit_all);
        let units = round
            .units
            .iter()
            .map(|unit| (unit.fills, unit.records.keys().map(|slot| slot.0).collect()))
            .collect();
        (units, round.jobs.into_iter().map(|job| job.outcome).collect())
    }

    fn admit_all(_: usize, _: Option<Slot>) -> Result<()> {
        Ok(())
    }

    fn job<const N: usize>(items: [(u64, &str); N]) -> Job {
        items.map(|(slot, value)| (Slot(slot), value.as_bytes().to_vec())).to_vec()
    }

    #[test]
    fn producers_that_interleave_cost_one_unit_for_each_file() {
        let jobs = [
            job([(1, "a")]),
            job([(9000, "b")]),
            job([(2, "c")]),
            job([(9001, "d"), (17_000, "e")]),
            job([(20_005, "f")]),
            job([(18_000, "g")]),
            job([(20_003, "h")]),
        ];
        let (units, outcomes) = plan(&jobs);
        assert_eq!(
            units,
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
        let (units, outcomes) = plan(&jobs);
        assert_eq!(units, [(Fills::Sealed(FileId(0)), vec![1])]);
        assert!(matches!(outcomes[1], Err(Error::Conflict { slot: Slot(1) })));
        assert!(matches!(outcomes[2], Err(Error::SpansFiles { .. })));
        assert!(matches!(outcomes[3], Err(Error::MixedBatch { .. })));
        assert!(matches!(outcomes[4], Err(Error::Conflict { slot: Slot(19_999) })));
        assert_eq!(*outcomes[5].as_ref().unwrap(), Committed { written: 0, unchanged: 2 });
    }

    #[test]
    fn lower_slots_first_shows_each_job_the_highest_slot_of_those_before_it() {
        let conf = Conf::empty(Column::StateDiffs.spec(), false);
        let jobs = [job([(9, "c")]), job([(5, "a")]), job([(7, "b")]), job([(8, "b")])];
        let jobs: Vec<&[(Slot, Vec<u8>)]> = jobs.iter().map(Vec::as_slice).collect();
        let mut asked = Vec::new();
        let admits = |job: usize, highest: Option<Slot>| {
            asked.push((job, highest.map(|slot| slot.0)));
            if job == 2 { Err(Error::InvalidSlot) } else { Ok(()) }
        };
        let (order, held) = (Order::LowerSlotsFirst, |_, _: &[u8]| Ok(Held::Nothing));
        let round = plan_round(&conf, &jobs, order, held, |left, right| left == right, admits);
        assert_eq!(asked, [(1, None), (2, Some(5)), (3, Some(5)), (0, Some(8))]);
        let refused: Vec<bool> = round.jobs.iter().map(|job| job.outcome.is_err()).collect();
        assert_eq!(refused, [false, false, true, false]);
    }

    #[test]
    fn a_repeated_job_is_answered_only_when_the_first_is_durable() {
        let conf = Conf::empty(Column::StateDiffs.spec(), false);
        let (first, again) = (job([(5, "a")]), job([(5, "a")]));
        let jobs = [first.as_slice(), again.as_slice()];
        let (order, held) = (Order::AsTheyCame, |_, _: &[u8]| Ok(Held::Nothing));
        let round = plan_round(&conf, &jobs, order, held, |left, right| left == right, admit_all);
        assert_eq!(round.answered_after(), [vec![0, 1]]);
    }
}
