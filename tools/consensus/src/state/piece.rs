//! Pieces of a state's fields, the unit of work of one core.

use std::borrow::Cow;

use crossbeam_channel::{Receiver, Sender};

use crate::hash::{Hasher, Malformed};
use crate::sha256::{Node, mix_in_length};
use crate::ssz::{CHUNK_BYTES, Type, depth_for, packed_depth};

/// Number of elements in a piece of composite elements: 4096 validators are 484 KiB.
const PIECE_ELEMENTS_LOG2: usize = 12;
/// Number of leaves in a piece of packed elements: 512 KiB.
const PIECE_LEAVES_LOG2: usize = 14;

/// A list of fixed-length elements, hashed piece by piece; each piece but the last is a whole subtree.
#[derive(Clone, Copy, Debug)]
pub(super) struct PiecedList {
    pub(super) element: &'static Type,
    pub(super) element_len: usize,
    pub(super) limit: u64,
}

impl PiecedList {
    pub(super) fn piece_len(&self) -> usize {
        match self.element.is_packed() {
            true => CHUNK_BYTES << PIECE_LEAVES_LOG2,
            false => self.element_len << PIECE_ELEMENTS_LOG2,
        }
    }

    /// The depth of the list's tree, without the length node.
    fn depth(&self) -> usize {
        match self.element.is_packed() {
            true => packed_depth(self.limit, self.element_len),
            false => depth_for(self.limit),
        }
    }

    fn piece_depth(&self) -> usize {
        let depth = if self.element.is_packed() { PIECE_LEAVES_LOG2 } else { PIECE_ELEMENTS_LOG2 };
        depth.min(self.depth())
    }

    pub(super) fn root(&self, pieces: &[Node], count: u64) -> Node {
        let root =
            Hasher::default().of_nodes(pieces.iter().copied(), self.piece_depth(), self.depth());
        mix_in_length(&root, count)
    }
}

/// One unit of work.
pub(super) struct Piece<'a> {
    /// The field's place among the fields.
    pub(super) field: usize,
    /// The piece's place in the field.
    pub(super) index: usize,
    pub(super) of: PieceOf,
    pub(super) bytes: Cow<'a, [u8]>,
}

#[derive(Clone, Copy)]
pub(super) enum PieceOf {
    Whole(&'static Type),
    List(PiecedList),
}

pub(super) struct Done {
    pub(super) field: usize,
    pub(super) index: usize,
    pub(super) root: Result<Node, Malformed>,
}

/// Hashes pieces until there are no more, and returns their memory for reuse.
pub(super) fn work(pieces: &Receiver<Piece<'_>>, emptied: &Sender<Vec<u8>>) -> Vec<Done> {
    let mut hasher = Hasher::default();
    let mut done = Vec::new();
    for Piece { field, index, of, bytes } in pieces {
        let root = match of {
            PieceOf::Whole(of) => hasher.root(of, &bytes),
            PieceOf::List(list) => hasher.subtree(list.element, &bytes, list.piece_depth()),
        };
        done.push(Done { field, index, root });
        if let Cow::Owned(bytes) = bytes {
            // If the channel is full, the memory is freed.
            let _ = emptied.try_send(bytes);
        }
    }
    done
}
