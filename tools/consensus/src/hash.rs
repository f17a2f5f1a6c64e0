//! `hash_tree_root` of an encoded value of a given type.
//!
//! The bytes are untrusted. They are refused unless they are the canonical encoding of a value, so the
//! root covers every byte.

use crate::sha256::{Node, hash_block, hash_pair, mix_in_length, zero_root};
use crate::ssz::{
    CHUNK_BYTES, Field, Kind, OFFSET_BYTES, Type, depth_for, fixed_part_len, packed_depth,
};

/// The bytes are not a value of the requested type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}wanted {wanted}, found {found}")]
pub struct Malformed {
    /// The path of fields to the place, each followed by a colon.
    place: String,
    wanted: String,
    found: String,
}

impl Malformed {
    pub(crate) fn new(wanted: impl Into<String>, found: impl Into<String>) -> Self {
        Self { place: String::new(), wanted: wanted.into(), found: found.into() }
    }

    /// The wanted value, preceded by its place, and the found value.
    #[must_use]
    pub fn wanted_and_found(&self) -> (String, String) {
        (format!("{}{}", self.place, self.wanted), self.found.clone())
    }

    /// Prepends a field to the place.
    pub(crate) fn inside(mut self, name: &str) -> Self {
        self.place = format!("{name}: {}", self.place);
        self
    }
}

type Result<T> = std::result::Result<T, Malformed>;

/// Hashes values; keeps only its buffers between them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hasher {
    /// Nodes still to be hashed, those of the innermost value last.
    nodes: Vec<Node>,
    /// The bits of a bitlist, without the end mark.
    bits: Vec<u8>,
}

impl Hasher {
    /// The root of a value.
    pub(crate) fn root(&mut self, of: &Type, bytes: &[u8]) -> Result<Node> {
        if let Some(wanted) = of.fixed_len
            && wanted != bytes.len()
        {
            return Err(Malformed::new(
                format!("{wanted} bytes"),
                format!("{} bytes", bytes.len()),
            ));
        }
        match of.kind {
            Kind::Uint => Ok(chunk(bytes)),
            Kind::Boolean => match bytes {
                [0 | 1] => Ok(chunk(bytes)),
                _ => Err(Malformed::new("a boolean", format!("{bytes:?}"))),
            },
            Kind::Bytes => Ok(self.packed(bytes, packed_depth(bytes.len() as u64, 1))),
            Kind::ByteList { limit } => {
                check_count(bytes.len() as u64, limit)?;
                let root = self.packed(bytes, packed_depth(limit, 1));
                Ok(mix_in_length(&root, bytes.len() as u64))
            }
            Kind::Vector { element } => {
                let element_len = element.fixed_len.unwrap_or(CHUNK_BYTES);
                let length = (bytes.len() / element_len) as u64;
                self.elements(element, bytes, length).map(|(root, _)| root)
            }
            Kind::List { element, limit } => {
                let (root, count) = self.elements(element, bytes, limit)?;
                Ok(mix_in_length(&root, count))
            }
            Kind::Bitvector { bits } => {
                check_padding(bits, bytes)?;
                Ok(self.packed(bytes, depth_for(bits.div_ceil(8 * CHUNK_BYTES) as u64)))
            }
            Kind::Bitlist { limit } => self.bitlist(bytes, limit),
            Kind::Container(fields) => self.container(fields, bytes),
        }
    }

    /// The root of a part of a list that fills a subtree of this depth.
    pub(crate) fn subtree(&mut self, element: &Type, bytes: &[u8], depth: usize) -> Result<Node> {
        if element.is_packed() {
            return Ok(self.packed(bytes, depth));
        }
        let base = self.push_elements(element, bytes)?;
        Ok(self.reduce(base, 0, depth))
    }

    /// The root of a tree from its nodes at height `below`.
    pub(crate) fn of_nodes(
        &mut self,
        nodes: impl IntoIterator<Item = Node>,
        below: usize,
        depth: usize,
    ) -> Node {
        let base = self.nodes.len();
        self.nodes.extend(nodes);
        self.reduce(base, below, depth)
    }

    /// The root of a container from the roots of its fields.
    pub(crate) fn of_fields(&mut self, roots: &[Node]) -> Node {
        self.of_nodes(roots.iter().copied(), 0, depth_for(roots.len() as u64))
    }

    /// The root of the elements and their number, at most `limit`.
    fn elements(&mut self, element: &Type, bytes: &[u8], limit: u64) -> Result<(Node, u64)> {
        let Some(element_len) = element.fixed_len else {
            return self.elements_by_offset(element, bytes, limit);
        };
        let count = count_of(bytes.len() as u64, element_len)?;
        check_count(count, limit)?;
        let root = if element.is_packed() {
            self.packed(bytes, packed_depth(limit, element_len))
        } else {
            self.subtree(element, bytes, depth_for(limit))?
        };
        Ok((root, count))
    }

    fn push_elements(&mut self, element: &Type, bytes: &[u8]) -> Result<usize> {
        let base = self.nodes.len();
        for bytes in bytes.chunks(element.fixed_len.unwrap_or(CHUNK_BYTES)) {
            let root = self.root(element, bytes);
            self.push(base, root)?;
        }
        Ok(base)
    }

    fn elements_by_offset(
        &mut self,
        element: &Type,
        bytes: &[u8],
        limit: u64,
    ) -> Result<(Node, u64)> {
        let base = self.nodes.len();
        let mut count = 0;
        if !bytes.is_empty() {
            let first = offset_at(bytes, 0)?;
            if first == 0 || first > bytes.len() || !first.is_multiple_of(OFFSET_BYTES) {
                let wanted = format!("an offset of the first of up to {limit} elements");
                return Err(Malformed::new(wanted, first.to_string()));
            }
            count = (first / OFFSET_BYTES) as u64;
            check_count(count, limit)?;
            let mut start = first;
            for next in (OFFSET_BYTES..=first).step_by(OFFSET_BYTES) {
                let end = if next == first { bytes.len() } else { offset_at(bytes, next)? };
                let root = match bytes.get(start..end) {
                    Some(bytes) => self.root(element, bytes),
                    None => Err(not_ascending(start, end, bytes.len())),
                };
                self.push(base, root)?;
                start = end;
            }
        }
        Ok((self.reduce(base, 0, depth_for(limit)), count))
    }

    fn container(&mut self, fields: &[Field], bytes: &[u8]) -> Result<Node> {
        let base = self.nodes.len();
        let mut fixed_at = 0;
        // The variable part is consumed from its start, without gaps.
        let mut variable_at = fixed_part_len(fields);
        for (index, field) in fields.iter().enumerate() {
            let bytes = match field.of.fixed_len {
                Some(byte_len) => {
                    let start = fixed_at;
                    fixed_at += byte_len;
                    bytes.get(start..fixed_at).ok_or_else(|| too_short(fields, bytes))
                }
                None => {
                    let span = variable_span(fields, index, fixed_at, variable_at, bytes);
                    fixed_at += OFFSET_BYTES;
                    span.map(|end| {
                        let start = std::mem::replace(&mut variable_at, end);
                        bytes.get(start..end).unwrap_or_default()
                    })
                }
            };
            let root = bytes.and_then(|bytes| self.root(field.of, bytes));
            self.push(base, root.map_err(|malformed| malformed.inside(field.name)))?;
        }
        Ok(self.reduce(base, 0, depth_for(fields.len() as u64)))
    }

    fn bitlist(&mut self, bytes: &[u8], limit: u64) -> Result<Node> {
        let Some((last, whole)) = bytes.split_last().filter(|(last, _)| **last != 0) else {
            let found = format!("{} bytes, the last of them 0 or none", bytes.len());
            return Err(Malformed::new("bits with a mark at their end", found));
        };
        let in_last = 7 - last.leading_zeros();
        let count = whole.len() as u64 * 8 + u64::from(in_last);
        check_count(count, limit)?;
        let mut bits = std::mem::take(&mut self.bits);
        bits.clear();
        bits.extend_from_slice(whole);
        if in_last > 0 {
            bits.push(last ^ (1 << in_last));
        }
        let root = self.packed(&bits, depth_for(limit.div_ceil(8 * CHUNK_BYTES as u64)));
        self.bits = bits;
        Ok(mix_in_length(&root, count))
    }

    /// The root of bytes packed into the leaves of a tree of this depth.
    fn packed(&mut self, bytes: &[u8], depth: usize) -> Node {
        if depth == 0 {
            return chunk(bytes);
        }
        let base = self.nodes.len();
        let (blocks, rest) = bytes.as_chunks::<64>();
        self.nodes.extend(blocks.iter().map(hash_block));
        if !rest.is_empty() {
            let mut block = [0; 64];
            block[..rest.len()].copy_from_slice(rest);
            self.nodes.push(hash_block(&block));
        }
        self.reduce(base, 1, depth)
    }

    /// Pushes a node, or on an error truncates the nodes to `base`.
    fn push(&mut self, base: usize, root: Result<Node>) -> Result<()> {
        match root {
            Ok(root) => self.nodes.push(root),
            Err(_) => self.nodes.truncate(base),
        }
        root.map(drop)
    }

    /// Reduces the nodes from `base` on, at height `below`, to the root of their tree.
    fn reduce(&mut self, base: usize, below: usize, depth: usize) -> Node {
        let nodes = &mut self.nodes[base..];
        let mut count = nodes.len();
        if count == 0 {
            return *zero_root(depth);
        }
        for level in below..depth {
            if count == 1 {
                nodes[0] = hash_pair(&nodes[0], zero_root(level));
                continue;
            }
            for index in 0..count / 2 {
                nodes[index] = hash_pair(&nodes[2 * index], &nodes[2 * index + 1]);
            }
            if !count.is_multiple_of(2) {
                nodes[count / 2] = hash_pair(&nodes[count - 1], zero_root(level));
            }
            count = count.div_ceil(2);
        }
        let root = nodes[0];
        self.nodes.truncate(base);
        root
    }
}

/// The end of the field at `index`, whose offset is at `fixed_at`.
fn variable_span(
    fields: &[Field],
    index: usize,
    fixed_at: usize,
    wanted_start: usize,
    bytes: &[u8],
) -> Result<usize> {
    let start = offset_at(bytes, fixed_at)?;
    if start != wanted_start {
        return Err(Malformed::new(format!("offset {wanted_start}"), start.to_string()));
    }
    let mut next_at = fixed_at + OFFSET_BYTES;
    for field in &fields[index + 1..] {
        match field.of.fixed_len {
            Some(byte_len) => next_at += byte_len,
            None => {
                let end = offset_at(bytes, next_at)?;
                return match bytes.get(start..end) {
                    Some(_) => Ok(end),
                    None => Err(not_ascending(start, end, bytes.len())),
                };
            }
        }
    }
    if start > bytes.len() { Err(too_short(fields, bytes)) } else { Ok(bytes.len()) }
}

pub(crate) fn offset_at(bytes: &[u8], at: usize) -> Result<usize> {
    match bytes.get(at..).and_then(|bytes| bytes.first_chunk()) {
        Some(offset) => Ok(u32::from_le_bytes(*offset) as usize),
        None => {
            let wanted = format!("an offset at byte {at}");
            Err(Malformed::new(wanted, format!("{} bytes", bytes.len())))
        }
    }
}

/// The number of elements of this length in `byte_len` bytes.
pub(crate) fn count_of(byte_len: u64, element_len: usize) -> Result<u64> {
    let element_len = element_len as u64;
    if byte_len.is_multiple_of(element_len) {
        return Ok(byte_len / element_len);
    }
    let wanted = format!("whole elements of {element_len} bytes");
    Err(Malformed::new(wanted, format!("{byte_len} bytes")))
}

pub(crate) fn check_count(count: u64, limit: u64) -> Result<()> {
    if count <= limit {
        return Ok(());
    }
    Err(Malformed::new(format!("at most {limit} elements"), count.to_string()))
}

fn check_padding(bits: usize, bytes: &[u8]) -> Result<()> {
    let used = bits % 8;
    match bytes.last() {
        Some(last) if used != 0 && last >> used != 0 => {
            Err(Malformed::new(format!("{bits} bits followed by zeros"), "ones"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn not_ascending(start: usize, end: usize, byte_len: usize) -> Malformed {
    let wanted = format!("an offset from {start} to {byte_len}");
    Malformed::new(wanted, end.to_string())
}

fn too_short(fields: &[Field], bytes: &[u8]) -> Malformed {
    let wanted = format!("at least {} bytes", fixed_part_len(fields));
    Malformed::new(wanted, format!("{} bytes", bytes.len()))
}

fn chunk(bytes: &[u8]) -> Node {
    let mut chunk = [0; CHUNK_BYTES];
    let byte_len = bytes.len().min(CHUNK_BYTES);
    chunk[..byte_len].copy_from_slice(&bytes[..byte_len]);
    chunk
}
