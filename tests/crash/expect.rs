//! What a column must show, and what it may.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use crate::look::Seen;
use crate::scripts::{Opening, Step};
use test_support::Content;

/// What is expected of a column after a crash at some point of a script.
#[derive(Clone)]
pub(crate) struct Expect {
    /// Acknowledged.
    pub(crate) acked: Arc<Content>,
    /// What the column holds when the commit in flight has happened.
    pub(crate) next: Option<Arc<Content>>,
    /// Whether the column was made, by an opening that has returned.
    pub(crate) exists: bool,
    /// Conf version and bound: what was acknowledged, and the most that was asked for.
    pub(crate) conf: Opening,
    pub(crate) asked: Opening,
    /// The script, and the step of it that is in flight, or comes next.
    pub(crate) plan: Arc<[Step]>,
    pub(crate) at: usize,
    /// Whether anything is promised yet. (Not while another kind of writer is at work.)
    pub(crate) holds: bool,
    /// Whether sealed files end with their last record.
    pub(crate) tidy: bool,
    /// Whether every record has a checksum.
    pub(crate) sums: bool,
    /// Whether the column may be away, between the two renames that replace it.
    pub(crate) away: bool,
    /// Whether the disk can exchange two names.
    pub(crate) exchanges: bool,
    /// Whether no other kind of writer replaces the conf.
    pub(crate) ours: bool,
}

impl Expect {
    pub(crate) fn new(plan: Arc<[Step]>) -> Expect {
        Expect {
            acked: Arc::default(),
            next: None,
            exists: false,
            conf: Opening::default(),
            asked: Opening::default(),
            plan,
            at: 0,
            holds: true,
            tidy: true,
            sums: false,
            away: false,
            exchanges: true,
            ours: true,
        }
    }

    /// The step in flight, or the next one.
    pub(crate) fn step(&self) -> Option<&Step> {
        self.plan.get(self.at)
    }

    /// A hash of what is acknowledged and what else is allowed.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        (&self.acked, &self.next, self.exists, self.conf, self.asked).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether this may be seen; says what is wrong.
    pub(crate) fn check(&self, seen: Option<&Seen>) -> Result<(), String> {
        let Some(seen) = seen else {
            return if self.exists && !self.away {
                Err("the column is gone".to_owned())
            } else {
                Ok(())
            };
        };
        if seen.content != *self.acked && self.next.as_deref() != Some(&seen.content) {
            return Err(self.difference(&seen.content));
        }
        if self.sums && !seen.unknown_sums.is_empty() {
            return Err(format!("slots {:?} have no checksum", seen.unknown_sums));
        }
        if let Some(standing) = seen.unwitnessed.filter(|_| self.ours) {
            return Err(format!("the conf is in no slot of the witness: {standing:?}"));
        }
        if let Some(wrong) = &seen.wrong_sums {
            return Err(wrong.clone());
        }
        if let Some(dead) = seen.dead_bytes.as_ref().filter(|_| self.tidy) {
            return Err(dead.clone());
        }
        let (least, most) = (self.conf, self.asked);
        let backfill = seen.conf.backfill.is_some();
        let found = Opening { backfill, max: seen.conf.max, sums: most.sums };
        let fits = found.max >= least.max && found.max <= most.max.max(least.max);
        if !fits || (least.backfill && !found.backfill) || (found.backfill && !most.backfill) {
            return Err(format!("conf {found:?}, acknowledged {least:?}, asked for {most:?}"));
        }
        Ok(())
    }

    fn difference(&self, found: &Content) -> String {
        let slots = |content: &Content| content.keys().copied().collect::<Vec<_>>();
        let lost: Vec<u64> = slots(&self.acked)
            .into_iter()
            .filter(|slot| found.get(slot) != self.acked.get(slot))
            .collect();
        let extra: Vec<u64> =
            slots(found).into_iter().filter(|slot| !self.acked.contains_key(slot)).collect();
        let batch: Vec<u64> = self.next.as_ref().map_or_else(Vec::new, |next| {
            slots(next).into_iter().filter(|slot| !self.acked.contains_key(slot)).collect()
        });
        if lost.is_empty() {
            format!("slots {extra:?} show; the batch in flight is {batch:?}")
        } else {
            format!("acknowledged slots {lost:?} are lost or wrong; slots {extra:?} show")
        }
    }
}
