//! SSZ types as constants.
//!
//! Hashing walks the bytes of a value along its type and never builds the value (`hash`). Decoded, a
//! mainnet state would be some gigabytes of small objects.

/// Bytes of an offset in the fixed part of a container or of a list.
pub(crate) const OFFSET_BYTES: usize = 4;

/// Bytes of a leaf of a Merkle tree.
pub(crate) const CHUNK_BYTES: usize = 32;

/// An SSZ type (consensus specification, `ssz/simple-serialize.md`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Type {
    pub(crate) kind: Kind,
    /// Length of every value in bytes; `None` if lengths differ.
    pub(crate) fixed_len: Option<usize>,
    /// Maximum length of a value in bytes, saturated.
    pub(crate) max_len: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// An unsigned integer.
    Uint,
    Boolean,
    /// A vector of bytes.
    Bytes,
    /// A list of bytes.
    ByteList {
        limit: u64,
    },
    Vector {
        element: &'static Type,
    },
    List {
        element: &'static Type,
        limit: u64,
    },
    Bitvector {
        bits: usize,
    },
    Bitlist {
        limit: u64,
    },
    Container(&'static [Field]),
}

/// A field of a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) of: &'static Type,
}

pub(crate) const fn field(name: &'static str, of: &'static Type) -> Field {
    Field { name, of }
}

pub(crate) const U8: Type = Type::fixed(Kind::Uint, 1);
pub(crate) const U64: Type = Type::fixed(Kind::Uint, 8);
pub(crate) const U256: Type = Type::fixed(Kind::Uint, 32);
pub(crate) const BOOLEAN: Type = Type::fixed(Kind::Boolean, 1);
pub(crate) const ROOT: Type = Type::bytes(32);

impl Type {
    const fn fixed(kind: Kind, byte_len: usize) -> Self {
        Self { kind, fixed_len: Some(byte_len), max_len: byte_len as u64 }
    }

    pub(crate) const fn bytes(byte_len: usize) -> Self {
        Self::fixed(Kind::Bytes, byte_len)
    }

    pub(crate) const fn byte_list(limit: u64) -> Self {
        Self { kind: Kind::ByteList { limit }, fixed_len: None, max_len: limit }
    }

    /// A vector of fixed-length elements. (No container has another kind.)
    pub(crate) const fn vector(element: &'static Type, length: u64) -> Self {
        let Some(byte_len) = element.fixed_len else {
            panic!("the elements of a vector have a fixed length")
        };
        Self::fixed(Kind::Vector { element }, byte_len * to_usize(length))
    }

    pub(crate) const fn list(element: &'static Type, limit: u64) -> Self {
        let per_element = match element.fixed_len {
            Some(byte_len) => byte_len as u64,
            None => element.max_len.saturating_add(OFFSET_BYTES as u64),
        };
        let max_len = limit.saturating_mul(per_element);
        Self { kind: Kind::List { element, limit }, fixed_len: None, max_len }
    }

    pub(crate) const fn bitvector(bits: u64) -> Self {
        let bits = to_usize(bits);
        Self::fixed(Kind::Bitvector { bits }, bits.div_ceil(8))
    }

    pub(crate) const fn bitlist(limit: u64) -> Self {
        Self { kind: Kind::Bitlist { limit }, fixed_len: None, max_len: limit / 8 + 1 }
    }

    pub(crate) const fn container(fields: &'static [Field]) -> Self {
        let (mut is_fixed, mut max_len) = (true, fixed_part_len(fields) as u64);
        let mut index = 0;
        while index < fields.len() {
            if fields[index].of.fixed_len.is_none() {
                is_fixed = false;
                max_len = max_len.saturating_add(fields[index].of.max_len);
            }
            index += 1;
        }
        let fixed_len = if is_fixed { Some(fixed_part_len(fields)) } else { None };
        Self { kind: Kind::Container(fields), fixed_len, max_len }
    }

    /// Whether values are leaves themselves, several per leaf if they are short.
    pub(crate) const fn is_packed(&self) -> bool {
        match self.kind {
            Kind::Uint => true,
            Kind::Bytes => matches!(self.fixed_len, Some(CHUNK_BYTES)),
            _ => false,
        }
    }
}

/// The length of a vector; evaluated at compile time.
#[expect(clippy::cast_possible_truncation, reason = "the assertion excludes it")]
const fn to_usize(length: u64) -> usize {
    assert!(length <= u32::MAX as u64);
    length as usize
}

/// Length of a container's fixed part: fixed-length values, and an offset for each other.
pub(crate) const fn fixed_part_len(fields: &[Field]) -> usize {
    let (mut byte_len, mut index) = (0, 0);
    while index < fields.len() {
        byte_len += match fields[index].of.fixed_len {
            Some(byte_len) => byte_len,
            None => OFFSET_BYTES,
        };
        index += 1;
    }
    byte_len
}

/// The depth of a tree with room for this many leaves.
pub(crate) const fn depth_for(leaves: u64) -> usize {
    match leaves.checked_next_power_of_two() {
        Some(room) => room.trailing_zeros() as usize,
        None => u64::BITS as usize,
    }
}

/// The depth of the tree of a list of packed elements.
pub(crate) const fn packed_depth(limit: u64, element_len: usize) -> usize {
    let per_chunk = (CHUNK_BYTES / element_len) as u64;
    depth_for(limit.div_ceil(per_chunk))
}
