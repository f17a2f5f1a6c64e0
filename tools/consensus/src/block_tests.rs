use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::*;
use crate::ssz::{Field, OFFSET_BYTES};

/// The encoded fields of a container, one by one.
pub(super) fn fields_of<'b>(fields: &[Field], bytes: &'b [u8]) -> Vec<&'b [u8]> {
    let (mut at, mut spans, mut starts) = (0, Vec::new(), Vec::new());
    for field in fields {
        match field.of.fixed_len {
            Some(byte_len) => spans.push(Some(at..at + byte_len)),
            None => {
                starts.push(offset_at(bytes, at).unwrap());
                spans.push(None);
            }
        }
        at += field.of.fixed_len.unwrap_or(OFFSET_BYTES);
    }
    starts.push(bytes.len());
    let mut variable = starts.windows(2).map(|pair| pair[0]..pair[1]);
    spans.into_iter().map(|span| &bytes[span.unwrap_or_else(|| variable.next().unwrap())]).collect()
}

/// The encoding of a container with these fields.
fn container(fields: &[Field], values: &[Vec<u8>]) -> Vec<u8> {
    let (mut fixed, mut rest) = (Vec::new(), Vec::new());
    for (field, value) in fields.iter().zip(values) {
        if field.of.fixed_len.is_some() {
            fixed.extend_from_slice(value);
        } else {
            let offset = u32::try_from(fixed_part_len(fields) + rest.len()).unwrap();
            fixed.extend(offset.to_le_bytes());
            rest.extend_from_slice(value);
        }
    }
    [fixed, rest].concat()
}

pub(super) fn fields(layout: &BlockLayout) -> &'static [Field] {
    match layout.body.kind {
        Kind::Container(fields) => fields,
        other => panic!("{other:?}"),
    }
}

/// The same block with its payload's header in place of the payload.
pub(crate) fn blinded(full: &BlockLayout, bare: &BlockLayout, block: &[u8]) -> Vec<u8> {
    let (head, body) = block.split_at(BODY_AT);
    let mut hasher = Hasher::default();
    let values = fields_of(fields(full), body);
    let mut bare_values = Vec::new();
    for ((full, bare), value) in fields(full).iter().zip(fields(bare)).zip(values) {
        let (Kind::Container(of_payload), Kind::Container(of_header)) =
            (full.of.kind, bare.of.kind)
        else {
            bare_values.push(value.to_vec());
            continue;
        };
        if full.name == bare.name {
            bare_values.push(value.to_vec());
            continue;
        }
        let of_field = of_payload.iter().zip(of_header).zip(fields_of(of_payload, value));
        let header: Vec<Vec<u8>> = of_field
            .map(|((full, bare), value)| match full.name == bare.name {
                true => value.to_vec(),
                false => hasher.root(full.of, value).unwrap().to_vec(),
            })
            .collect();
        bare_values.push(container(of_header, &header));
    }
    [head, &container(fields(bare), &bare_values)].concat()
}

/// The values of `random-values` with this start and kind in their names.
pub(super) fn random_values(start: &str, kind: &str) -> Vec<(String, Vec<u8>)> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/random-values/values.tar.zst");
    let mut unpacked = zstd::Decoder::new(File::open(path).unwrap()).unwrap();
    unpacked.window_log_max(27).unwrap();
    let mut values = Vec::new();
    for entry in tar::Archive::new(unpacked).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(start) && name.contains(kind) {
            let mut value = Vec::new();
            entry.read_to_end(&mut value).unwrap();
            values.push((name, value));
        }
    }
    values
}

#[test]
fn a_blinded_block_is_recognized_and_has_the_root_of_the_full_one() {
    let mut seen = 0;
    for (name, block) in random_values("", "-block-") {
        let preset = if name.starts_with("mainnet") { Preset::Mainnet } else { Preset::Minimal };
        let mut hasher = BlockHasher::new(preset);
        let whole = hasher.hash(&block).unwrap();
        let of_fork = |is_blinded| {
            let layouts = Layouts::of(preset).blocks.iter();
            layouts
                .into_iter()
                .find(|layout| layout.fork == whole.fork && layout.is_blinded == is_blinded)
        };
        let Some((full, bare)) = of_fork(false).zip(of_fork(true)) else { continue };
        let blinded = blinded(full, bare, &block);
        assert_ne!(blinded, block);
        let hashed = hasher.hash(&blinded).unwrap();
        assert!(hashed.is_blinded && !whole.is_blinded, "{name}");
        assert_eq!(HashedBlock { is_blinded: false, ..hashed }, whole, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 2 * 5 * 3, "both presets, bellatrix to fulu");
}
