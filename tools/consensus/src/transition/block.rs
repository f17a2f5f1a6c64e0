//! The parts of an encoded block, found by the layouts in `containers`.
//!
//! The block was hashed before, which checks that its bytes are canonical: offsets, limits, the marks of
//! bitlists, and the length of every part.

use super::containers::{AttestationData, Fields, Fixed, Withdrawal};
use super::error::{Result, refused};
use crate::block::{BODY_AT, BlockFault, BlockHasher, HashedBlock};
use crate::containers::Layouts;
use crate::fork::Fork;
use crate::hash::{Hasher, offset_at};
use crate::header::BlockHeader;
use crate::preset::Preset;
use crate::root::Root;
use crate::sha256::Node;
use crate::ssz::{Field, Kind, OFFSET_BYTES, Type};

/// A block whose encoding is checked.
#[derive(Clone, Copy, Debug)]
pub struct Block<'b> {
    pub(crate) hashed: HashedBlock,
    body: Value<'b>,
    preset: Preset,
    /// The root of the payload's transactions; their hashing is half of a block's, and the payload's header
    /// needs it too.
    transactions_root: Option<Node>,
}

/// The execution payload of a block or, in a blinded block, its header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'b> {
    pub(crate) value: Value<'b>,
    pub(crate) is_blinded: bool,
    preset: Preset,
    fork: Fork,
}

/// An encoded value and its type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'b> {
    of: &'static Type,
    pub(crate) bytes: &'b [u8],
}

impl<'b> Block<'b> {
    /// Hashes the bytes of a `SignedBeaconBlock` and finds its parts.
    ///
    /// # Errors
    /// [`BlockFault`]
    pub fn parse(preset: Preset, signed_block: &'b [u8]) -> Result<Self, BlockFault> {
        let mut hasher = BlockHasher::keeping(preset, "transactions");
        let hashed = hasher.hash(signed_block)?;
        let of = body_type(preset, hashed.fork, hashed.is_blinded).unwrap_or(&crate::ssz::ROOT);
        let bytes = signed_block.get(BODY_AT..).unwrap_or_default();
        let (body, transactions_root) = (Value { of, bytes }, hasher.kept());
        Ok(Self { hashed, body, preset, transactions_root })
    }

    /// The block's header.
    #[must_use]
    pub fn header(&self) -> BlockHeader {
        self.hashed.header
    }

    /// Its `hash_tree_root`, without the signature.
    #[must_use]
    pub fn root(&self) -> Root {
        self.hashed.root
    }

    /// A block of this layout belongs to this fork.
    pub(crate) fn is_of(&self, fork: Fork) -> bool {
        self.hashed.fork == fork.min(Fork::Electra)
    }

    pub(crate) fn part(&self, name: &str) -> Value<'b> {
        self.body.field(name)
    }

    pub(crate) fn is_blinded(&self) -> bool {
        self.hashed.is_blinded
    }

    /// The root of the payload's transactions; a blinded block has none.
    pub(crate) fn transactions_root(&self) -> Option<Node> {
        self.transactions_root.filter(|_| !self.is_blinded())
    }

    pub(crate) fn payload(&self) -> Payload<'b> {
        let is_blinded = self.is_blinded();
        let name = if is_blinded { "execution_payload_header" } else { "execution_payload" };
        let (preset, fork) = (self.preset, self.hashed.fork);
        Payload { value: self.part(name), is_blinded, preset, fork }
    }
}

impl<'b> Payload<'b> {
    #[cfg(test)]
    pub(crate) fn full(value: Value<'b>, preset: Preset, fork: Fork) -> Self {
        Self { value, is_blinded: false, preset, fork }
    }

    pub(crate) fn withdrawals(&self) -> Vec<Withdrawal> {
        Fixed::read_list(self.value.field("withdrawals").bytes)
    }

    /// The root of a list of withdrawals.
    pub(crate) fn withdrawals_root(
        &self,
        list: &[Withdrawal],
        step: &'static str,
    ) -> Result<[u8; 32]> {
        let mut encoded = Vec::new();
        list.iter().for_each(|withdrawal| withdrawal.write(&mut encoded));
        // The type of the list is in the layout of the full block.
        let of = body_type(self.preset, self.fork, false).unwrap_or(self.value.of);
        let of = Value::new(of, &[]).field("execution_payload").field("withdrawals").of;
        Value::new(of, &encoded).root(step)
    }
}

/// The type of a block's body.
pub(crate) fn body_type(preset: Preset, fork: Fork, is_blinded: bool) -> Option<&'static Type> {
    let mut layouts = Layouts::of(preset).blocks.iter();
    let layout = layouts.find(|layout| (layout.fork, layout.is_blinded) == (fork, is_blinded))?;
    Some(layout.body)
}

impl<'b> Value<'b> {
    pub(crate) fn new(of: &'static Type, bytes: &'b [u8]) -> Self {
        Self { of, bytes }
    }

    /// A field of a container; empty if there is no such field.
    pub(crate) fn field(&self, name: &str) -> Value<'b> {
        let Kind::Container(fields) = self.of.kind else { return Self::new(self.of, &[]) };
        let (mut at, mut found) = (0, None);
        for Field { name: other, of: other_of } in fields {
            if let Some((of, start)) = found {
                // The next offset is the end of a variable field.
                if other_of.fixed_len.is_none() {
                    return self.slice(of, start, self.offset(at));
                }
            } else if *other == name {
                if let Some(byte_len) = other_of.fixed_len {
                    return self.slice(other_of, at, at + byte_len);
                }
                found = Some((*other_of, self.offset(at)));
            }
            at += other_of.fixed_len.unwrap_or(OFFSET_BYTES);
        }
        match found {
            Some((of, start)) => self.slice(of, start, self.bytes.len()),
            None => Self::new(self.of, &[]),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.of.kind
    }

    /// The type of a list's elements, without a value.
    pub(crate) fn element_type(&self) -> Value<'static> {
        match self.of.kind {
            Kind::List { element, .. } => Value { of: element, bytes: &[] },
            _ => Value { of: self.of, bytes: &[] },
        }
    }

    /// Another value of this type.
    #[cfg(test)]
    pub(crate) fn with<'v>(&self, bytes: &'v [u8]) -> Value<'v> {
        Value { of: self.of, bytes }
    }

    /// A value of the type of a list's elements.
    #[cfg(test)]
    pub(crate) fn element<'v>(&self, bytes: &'v [u8]) -> Value<'v> {
        match self.of.kind {
            Kind::List { element, .. } => Value { of: element, bytes },
            _ => self.with(bytes),
        }
    }

    fn slice(&self, of: &'static Type, start: usize, end: usize) -> Value<'b> {
        Value { of, bytes: self.bytes.get(start..end).unwrap_or_default() }
    }

    fn offset(&self, at: usize) -> usize {
        offset_at(self.bytes, at).unwrap_or(usize::MAX)
    }

    /// The elements of a list.
    pub(crate) fn elements(self) -> impl ExactSizeIterator<Item = Value<'b>> {
        let (of, fixed_len) = match self.of.kind {
            Kind::List { element, .. } => (element, element.fixed_len),
            _ => (self.of, self.of.fixed_len),
        };
        let count = match fixed_len {
            Some(byte_len) => self.bytes.len() / byte_len.max(1),
            None if self.bytes.is_empty() => 0,
            None => self.offset(0) / OFFSET_BYTES,
        };
        (0..count).map(move |index| match fixed_len {
            Some(byte_len) => self.slice(of, index * byte_len, (index + 1) * byte_len),
            None => {
                let is_last = index + 1 == count;
                let next = (index + 1) * OFFSET_BYTES;
                let end = if is_last { self.bytes.len() } else { self.offset(next) };
                self.slice(of, self.offset(index * OFFSET_BYTES), end)
            }
        })
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        Fields(self.field(name).bytes).number()
    }

    pub(crate) fn read<T: Fixed>(&self) -> T {
        T::read(&mut Fields(self.bytes))
    }

    pub(crate) fn data(&self) -> AttestationData {
        self.field("data").read()
    }

    /// `hash_tree_root`
    pub(crate) fn root(&self, step: &'static str) -> Result<[u8; 32]> {
        let (of, bytes) = (self.of, self.bytes);
        Hasher::default().root(of, bytes).map_err(|malformed| {
            let (wanted, found) = malformed.wanted_and_found();
            refused(step, wanted, found)
        })
    }
}

/// The bits of a bitlist, without the mark at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bits<'b> {
    bytes: &'b [u8],
    pub(crate) count: usize,
}

impl<'b> Bits<'b> {
    pub(crate) fn of_list(bytes: &'b [u8]) -> Self {
        let unused = bytes.last().map_or(8, |last| last.leading_zeros()) as usize;
        Self { bytes, count: (bytes.len() * 8).saturating_sub(unused + 1) }
    }

    pub(crate) fn of_vector(bytes: &'b [u8]) -> Self {
        Self { bytes, count: bytes.len() * 8 }
    }

    pub(crate) fn get(&self, index: usize) -> bool {
        index < self.count && self.bytes[index / 8] >> (index % 8) & 1 == 1
    }

    /// The indices of the bits that are set.
    pub(crate) fn ones(self) -> impl Iterator<Item = usize> + 'b {
        (0..self.count).filter(move |index| self.get(*index))
    }
}
