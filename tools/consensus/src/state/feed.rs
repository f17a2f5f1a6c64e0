//! Reads a state's fields in order, and distributes them to all cores.

use std::borrow::Cow;
use std::io::Read;
use std::num::NonZero;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::fields::settled;
use super::piece::{Done, Piece, PieceOf, PiecedList, work};
use super::prefix::roots_in;
use super::source::{StateFault, read_up_to};
use crate::accumulators::Accumulators;
use crate::containers::{
    HISTORICAL_ROOTS_FIELD, HISTORICAL_SUMMARIES_FIELD, PAYLOAD_HEADER_FIELD, StateLayout,
    VALIDATORS_FIELD,
};
use crate::fork::Fork;
use crate::hash::{Hasher, Malformed, check_count, count_of, offset_at};
use crate::root::Root;
use crate::sha256::Node;
use crate::ssz::{Field, Kind, OFFSET_BYTES, Type, fixed_part_len};

/// The rest of a state.
#[derive(Clone, Debug)]
pub struct StateBody {
    /// `hash_tree_root` of the state.
    pub root: Root,
    /// The state's fork.
    pub fork: Fork,
    /// The root of the list of validators; in the genesis state it is the genesis validators root.
    pub validators_root: Root,
    /// The roots of the eras below it.
    pub accumulators: Accumulators,
}

/// Hashes the state with the fixed part `fixed`; the variable fields come from `source`. `layouts` are
/// those with a fixed part of this length.
pub(super) fn hash_fields(
    layouts: &[&'static StateLayout],
    fixed: &[u8],
    source: &mut dyn Read,
) -> Result<StateBody, StateFault> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let (pieces, taken) = bounded(cores);
    let (emptied, spare) = bounded(2 * cores);
    let mut feed = Feed { layouts: layouts.to_vec(), fixed, source, pieces, spare, lists: vec![] };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(|| work(&taken, &emptied))).collect();
        let fed = feed.all();
        let Feed { layouts, lists, pieces, .. } = feed;
        drop(pieces);
        let mut done = Vec::new();
        for worker in workers {
            done.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        let accumulators = fed?;
        let layout = layouts[0];
        let roots = field_roots(layout.fields, done, &lists)?;
        let validators = layout.fields.iter().position(|field| field.name == VALIDATORS_FIELD);
        Ok(StateBody {
            root: Root(Hasher::default().of_fields(&roots)),
            fork: layout.fork,
            validators_root: Root(validators.map_or([0; 32], |index| roots[index])),
            accumulators,
        })
    })
}

/// The roots of all fields, from those of their pieces.
fn field_roots(
    fields: &[Field],
    mut done: Vec<Done>,
    lists: &[(usize, PiecedList, u64)],
) -> Result<Vec<Node>, Malformed> {
    done.sort_by_key(|done| (done.field, done.index));
    let mut pieces: Vec<Vec<Node>> = vec![Vec::new(); fields.len()];
    for Done { field, root, .. } in done {
        pieces[field].push(root.map_err(|malformed| malformed.inside(fields[field].name))?);
    }
    for (field, list, count) in lists {
        pieces[*field] = vec![list.root(&pieces[*field], *count)];
    }
    Ok(pieces.into_iter().map(|roots| roots[0]).collect())
}

struct Feed<'a, 's> {
    /// Layouts still possible; one, after the payload's header was read.
    layouts: Vec<&'static StateLayout>,
    fixed: &'a [u8],
    source: &'s mut dyn Read,
    pieces: Sender<Piece<'a>>,
    spare: Receiver<Vec<u8>>,
    /// The lists read in pieces, and their numbers of elements.
    lists: Vec<(usize, PiecedList, u64)>,
}

impl<'a> Feed<'a, '_> {
    fn all(&mut self) -> Result<Accumulators, StateFault> {
        let mut accumulators = Accumulators::default();
        let lens = variable_lens(self.layouts[0].fields, self.fixed)?;
        let mut fixed_at = 0;
        for index in 0..self.layouts[0].fields.len() {
            let Field { of, .. } = self.layouts[0].fields[index];
            let byte_len = of.fixed_len.unwrap_or(OFFSET_BYTES);
            if of.fixed_len.is_some() {
                let bytes = self.fixed.get(fixed_at..fixed_at + byte_len).unwrap_or_default();
                self.send(index, 0, PieceOf::Whole(of), Cow::Borrowed(bytes));
            }
            fixed_at += byte_len;
        }
        for (index, byte_len) in lens {
            let Field { name, of } = self.layouts[0].fields[index];
            self.variable(index, of, byte_len, &mut accumulators).map_err(|fault| match fault {
                StateFault::Malformed(malformed) => malformed.inside(name).into(),
                fault => fault,
            })?;
        }
        Ok(accumulators)
    }

    /// Reads a variable field; the end of the last one is unknown.
    fn variable(
        &mut self,
        index: usize,
        of: &'static Type,
        byte_len: Option<u64>,
        accumulators: &mut Accumulators,
    ) -> Result<(), StateFault> {
        let name = self.layouts[0].fields[index].name;
        if let Kind::List { element, limit } = of.kind
            && let Some(element_len) = element.fixed_len
        {
            let mut kept = Vec::new();
            let keep = [HISTORICAL_ROOTS_FIELD, HISTORICAL_SUMMARIES_FIELD].contains(&name);
            let list = PiecedList { element, element_len, limit };
            self.list(index, list, byte_len, keep.then_some(&mut kept))?;
            match name {
                HISTORICAL_ROOTS_FIELD => accumulators.historical_roots = roots_in(&kept),
                HISTORICAL_SUMMARIES_FIELD => {
                    let roots = roots_in(&kept);
                    accumulators.historical_summaries = roots.as_chunks().0.to_vec();
                }
                _ => {}
            }
            return Ok(());
        }
        // A list of variable-length elements is small, or the bytes are not a state.
        let longest = self.layouts.iter().map(|layout| layout.fields[index].of.max_len).max();
        let longest = longest.unwrap_or_default();
        let asked = byte_len.unwrap_or(longest.saturating_add(1));
        let too_long = |byte_len: u64| {
            Malformed::new(format!("at most {longest} bytes"), format!("{byte_len} or more"))
        };
        if byte_len.is_some_and(|byte_len| byte_len > longest) {
            return Err(too_long(asked).into());
        }
        let mut bytes = Vec::new();
        self.source.take(asked).read_to_end(&mut bytes)?;
        check_whole(bytes.len() as u64, byte_len)?;
        if bytes.len() as u64 > longest {
            return Err(too_long(asked).into());
        }
        let mut of = of;
        if name == PAYLOAD_HEADER_FIELD {
            let layout = settled(&self.layouts, index, &bytes)?;
            self.layouts = vec![layout];
            of = layout.fields[index].of;
        }
        self.send(index, 0, PieceOf::Whole(of), Cow::Owned(bytes));
        Ok(())
    }

    fn list(
        &mut self,
        index: usize,
        list: PiecedList,
        byte_len: Option<u64>,
        mut kept: Option<&mut Vec<u8>>,
    ) -> Result<(), StateFault> {
        if let Some(byte_len) = byte_len {
            check_count(count_of(byte_len, list.element_len)?, list.limit)?;
        }
        let mut left = byte_len.unwrap_or(u64::MAX);
        let (mut total, mut piece) = (0, 0);
        while left > 0 {
            let mut bytes = self.spare.try_recv().unwrap_or_default();
            bytes.clear();
            let asked = usize::try_from(left).unwrap_or(usize::MAX).min(list.piece_len());
            read_up_to(self.source, &mut bytes, asked)?;
            let read = bytes.len() as u64;
            total += read;
            left -= read;
            if let Some(kept) = kept.as_deref_mut() {
                kept.extend_from_slice(&bytes);
            }
            let is_last = bytes.len() < asked;
            if !bytes.is_empty() {
                count_of(read, list.element_len)?;
                self.send(index, piece, PieceOf::List(list), Cow::Owned(bytes));
                piece += 1;
            }
            if is_last {
                break;
            }
        }
        check_whole(total, byte_len)?;
        let count = count_of(total, list.element_len)?;
        check_count(count, list.limit)?;
        self.lists.push((index, list, count));
        Ok(())
    }

    fn send(&self, field: usize, index: usize, of: PieceOf, bytes: Cow<'a, [u8]>) {
        // The receivers live until this sender is dropped, unless they panicked; joining them shows
        // that.
        let _ = self.pieces.send(Piece { field, index, of, bytes });
    }
}

/// The variable fields in order with their lengths; the length of the last one is unknown.
pub(crate) fn variable_lens(
    fields: &[Field],
    fixed: &[u8],
) -> Result<Vec<(usize, Option<u64>)>, Malformed> {
    if fixed.len() < fixed_part_len(fields) {
        let wanted = format!("at least {} bytes", fixed_part_len(fields));
        return Err(Malformed::new(wanted, format!("{} bytes", fixed.len())));
    }
    let (mut at, mut offsets) = (0, Vec::new());
    for (index, field) in fields.iter().enumerate() {
        at += match field.of.fixed_len {
            Some(byte_len) => byte_len,
            None => {
                offsets.push((index, offset_at(fixed, at)?));
                OFFSET_BYTES
            }
        };
    }
    let mut lens = Vec::new();
    for (place, (index, start)) in offsets.iter().enumerate() {
        let byte_len = match offsets.get(place + 1) {
            None => None,
            Some((_, end)) if end < start => {
                let wanted = format!("an offset of {start} or more");
                let malformed = Malformed::new(wanted, end.to_string());
                return Err(malformed.inside(fields[offsets[place + 1].0].name));
            }
            Some((_, end)) => Some((end - start) as u64),
        };
        lens.push((*index, byte_len));
    }
    Ok(lens)
}

/// Checks a field's length against the offsets around it.
fn check_whole(found: u64, wanted: Option<u64>) -> Result<(), Malformed> {
    match wanted {
        Some(wanted) if wanted != found => {
            Err(Malformed::new(format!("{wanted} bytes"), format!("{found} bytes, then the end")))
        }
        _ => Ok(()),
    }
}
