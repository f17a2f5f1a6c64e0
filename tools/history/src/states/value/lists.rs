//! Vectors and lists of elements of fixed length: encodings 1 to 3 (FORMAT.md, section 3).

use super::fault::{Decoded, Wrong};
use super::packed::{Cursor, put_count, put_gaps, put_packed, put_varint, unzigzag, zigzag};

/// Elements compared at once.
const BLOCK: usize = 64;
/// Numbers compared at once.
const COMPARED: u32 = 64;

/// Encoding 1: the elements that differ, in runs.
pub(crate) fn put_runs(base: &[u8], next: &[u8], element_len: usize) -> Vec<u8> {
    let (mut runs, mut items) = (Vec::new(), Vec::new());
    let (mut count, mut end) = (0u64, 0);
    let differs = |index: usize| {
        let span = index * element_len..(index + 1) * element_len;
        base.get(span.clone()).is_none_or(|old| old != &next[span])
    };
    let elements = next.len() / element_len;
    let mut index = 0;
    while index < elements {
        // Most neighbours are the same: many are compared at once.
        let block = index * element_len..(index + BLOCK).min(elements) * element_len;
        if base.get(block.clone()).is_some_and(|old| old == &next[block]) {
            index += BLOCK;
            continue;
        }
        if !differs(index) {
            index += 1;
            continue;
        }
        let start = index;
        while index < elements && differs(index) {
            index += 1;
        }
        put_count(&mut runs, start - end);
        put_count(&mut runs, index - start);
        items.extend_from_slice(&next[start * element_len..index * element_len]);
        (count, end) = (count + 1, index);
    }
    let mut section = Vec::new();
    put_varint(&mut section, count);
    section.extend(runs);
    put_packed(&mut section, &items);
    section
}

/// Reads encoding 1, and makes of the base's field one of `byte_len` bytes.
pub(crate) fn runs(
    section: &mut Cursor<'_>,
    mut field: Vec<u8>,
    byte_len: usize,
    element_len: usize,
) -> Decoded<Vec<u8>> {
    let elements = byte_len / element_len;
    let count = section.count("runs", elements)?;
    let mut next = 0;
    let (mut spans, mut covered) = (Vec::with_capacity(count), 0);
    for _ in 0..count {
        let start = next + section.count("elements", elements - next)?;
        let length = section.count("elements", elements - start)?;
        next = start + length;
        covered += length;
        spans.push(start * element_len..next * element_len);
    }
    let items = section.packed(covered * element_len)?;
    field.resize(byte_len, 0);
    let mut items = &items[..];
    for span in spans {
        let (item, rest) = items.split_at(span.len());
        field[span].copy_from_slice(item);
        items = rest;
    }
    Ok(field)
}

/// Encoding 2: the numbers of 8 bytes that differ.
pub(crate) fn put_numbers(base: &[u8], next: &[u8]) -> Vec<u8> {
    let (mut indices, mut differences) = (Vec::new(), Vec::new());
    let mut first = 0u32;
    for (place, block) in next.chunks(8 * COMPARED as usize).enumerate() {
        let old = base.get(place * 8 * COMPARED as usize..).unwrap_or_default();
        let old = &old[..block.len().min(old.len())];
        if old != block {
            let old = old.as_chunks().0.iter().copied().map(u64::from_le_bytes);
            let old = old.chain(std::iter::repeat(0));
            let new = block.as_chunks().0.iter().copied().map(u64::from_le_bytes);
            for (index, (new, old)) in
                (first..).zip(new.zip(old)).filter(|(_, (new, old))| new != old)
            {
                indices.push(index);
                put_varint(&mut differences, zigzag(new.wrapping_sub(old).cast_signed()));
            }
        }
        first += COMPARED;
    }
    let mut section = Vec::new();
    put_count(&mut section, indices.len());
    put_gaps(&mut section, indices);
    put_count(&mut section, differences.len());
    put_packed(&mut section, &differences);
    section
}

/// Reads encoding 2, and makes of the base's field one of `byte_len` bytes.
pub(crate) fn numbers(
    section: &mut Cursor<'_>,
    mut field: Vec<u8>,
    byte_len: usize,
) -> Decoded<Vec<u8>> {
    let elements = byte_len / 8;
    let count = section.count("numbers", elements)?;
    let indices = section.gaps(count, elements)?;
    let packed_len = section.count("bytes of differences", 10 * count)?;
    let differences = section.packed(packed_len)?;
    let mut differences = Cursor::new(&differences);
    field.resize(byte_len, 0);
    let (numbers, _) = field.as_chunks_mut::<8>();
    for index in indices {
        let number = &mut numbers[index as usize];
        let difference = unzigzag(differences.varint()?).cast_unsigned();
        *number = u64::from_le_bytes(*number).wrapping_add(difference).to_le_bytes();
    }
    differences.end()?;
    Ok(field)
}

/// Encoding 3: elements that left at the front, those that stay, and elements added at the end.
pub(crate) fn put_queue(base: &[u8], next: &[u8], element_len: usize) -> Vec<u8> {
    let first = next.get(..element_len).unwrap_or_default();
    let mut old = base.chunks_exact(element_len);
    let count = old.len();
    let left = old.position(|element| element == first).unwrap_or(count);
    let staying = &base[left * element_len..];
    let pairs = staying.chunks_exact(element_len).zip(next.chunks_exact(element_len));
    let kept = pairs.take_while(|(old, new)| old == new).count();
    let mut section = Vec::new();
    put_count(&mut section, left);
    put_count(&mut section, kept);
    put_packed(&mut section, &next[kept * element_len..]);
    section
}

/// Reads encoding 3, and makes of the base's field one of `byte_len` bytes.
pub(crate) fn queue(
    section: &mut Cursor<'_>,
    mut field: Vec<u8>,
    byte_len: usize,
    element_len: usize,
) -> Decoded<Vec<u8>> {
    let count = field.len() / element_len;
    let left = section.count("elements to leave", count)?;
    let kept = section.count("elements to stay", (count - left).min(byte_len / element_len))?;
    let added = section.packed(byte_len - kept * element_len)?;
    field.truncate((left + kept) * element_len);
    field.drain(..left * element_len);
    field.extend_from_slice(&added);
    Ok(field)
}

/// Refuses a length that is not that of whole elements.
pub(crate) fn check_elements(byte_len: usize, element_len: usize) -> Decoded<()> {
    match byte_len.is_multiple_of(element_len) {
        true => Ok(()),
        false => Err(Wrong::new(
            format_args!("whole elements of {element_len} bytes"),
            format_args!("{byte_len} bytes"),
        )),
    }
}
