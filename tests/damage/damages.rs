//! Everything that is done to a store.

use super::*;

#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Flip { file: String, at: usize, mask: u8 },
    Cut { file: String, len: usize },
    Longer { file: String },
    Gone { files: Vec<String> },
}

impl Damage {
    pub(crate) fn apply(&self, files: &mut Files) {
        match self {
            Damage::Flip { file, at, mask } => files.get_mut(file).unwrap()[*at] ^= mask,
            Damage::Cut { file, len } => files.get_mut(file).unwrap().truncate(*len),
            Damage::Longer { file } => files.get_mut(file).unwrap().push(0),
            Damage::Gone { files: gone } => files.retain(|name, _| !gone.contains(name)),
        }
    }

    /// Writes what differs to the directory.
    pub(crate) fn write(&self, directory: &Path, damaged: &Files) {
        match self {
            Damage::Flip { file, .. } | Damage::Cut { file, .. } | Damage::Longer { file } => {
                fs::write(directory.join(file), &damaged[file]).unwrap();
            }
            Damage::Gone { files } => {
                for file in files {
                    fs::remove_file(directory.join(file)).unwrap();
                }
            }
        }
    }

    pub(crate) fn file(&self) -> &str {
        match self {
            Damage::Flip { file, .. } | Damage::Cut { file, .. } | Damage::Longer { file } => file,
            Damage::Gone { files } => &files[0],
        }
    }

    /// The slot whose entry is flipped.
    pub(crate) fn entry_slot(&self) -> Option<u64> {
        match self {
            Damage::Flip { file, at, .. } if file.ends_with(".off") => {
                Some(id_of(file)? * PER_FILE + *at as u64 / 8)
            }
            _ => None,
        }
    }
}

/// Everything that is done to one store.
pub(crate) fn damages(store: &Store) -> Vec<Damage> {
    let mut damages = Vec::new();
    for (file, bytes) in &store.files {
        if file == CONF {
            conf_damages(file, bytes, &mut damages);
            target_damages(store, file, bytes, &mut damages);
        } else if file.ends_with(".off") {
            table_damages(file, bytes, &mut damages);
        } else {
            data_damages(file, bytes, &mut damages);
        }
        damages.push(Damage::Longer { file: file.clone() });
        damages.push(Damage::Gone { files: vec![file.clone()] });
    }
    for file in [0, 1, CURRENT] {
        damages.push(Damage::Gone { files: vec![data_name(file), offsets_name(file)] });
    }
    damages
}

pub(crate) const EVERY_BIT_AND_ALL: [u8; 9] =
    [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF];

pub(crate) fn conf_damages(file: &str, bytes: &[u8], damages: &mut Vec<Damage>) {
    for at in 0..bytes.len() {
        for mask in EVERY_BIT_AND_ALL {
            damages.push(Damage::Flip { file: file.to_owned(), at, mask });
        }
        damages.push(Damage::Cut { file: file.to_owned(), len: at });
    }
}

/// The flips of one byte that give the backfill file a length at which one of its records ends.
pub(crate) fn target_damages(store: &Store, file: &str, bytes: &[u8], damages: &mut Vec<Damage>) {
    let Some((id, len)) = RawConf::valid(bytes).and_then(|conf| conf.target()) else { return };
    let data = &store.files[&data_name(id)];
    let mut end = 8;
    while end < data.len() {
        let difference = (len ^ end as u64).to_le_bytes();
        let differing: Vec<usize> = (0..8).filter(|at| difference[*at] != 0).collect();
        if let [at] = differing[..] {
            let mask = difference[at];
            damages.push(Damage::Flip { file: file.to_owned(), at: 44 + at, mask });
        }
        end += record_at(data, end).len();
    }
}

pub(crate) fn table_damages(file: &str, bytes: &[u8], damages: &mut Vec<Damage>) {
    let entries: Vec<(usize, u64)> = bytes
        .chunks_exact(8)
        .map(|entry| u64::from_le_bytes(entry.try_into().unwrap()))
        .enumerate()
        .filter(|(_, entry)| *entry != 0)
        .collect();
    for (index, entry) in &entries {
        for at in index * 8..index * 8 + 8 {
            let masks: &[u8] =
                if at < index * 8 + 2 { &EVERY_BIT_AND_ALL } else { &[1, 0x80, 0xFF] };
            damages.extend(masks.iter().map(|&mask| Damage::Flip {
                file: file.to_owned(),
                at,
                mask,
            }));
        }
        // The flips of one byte that lead to another record, and to nothing.
        for other in entries.iter().map(|(_, other)| *other).chain([0, FAKE_RECORD_AT]) {
            let difference = (entry ^ other).to_le_bytes();
            let differing: Vec<usize> = (0..8).filter(|at| difference[*at] != 0).collect();
            if let [at] = differing[..] {
                let mask = difference[at];
                damages.push(Damage::Flip { file: file.to_owned(), at: index * 8 + at, mask });
            }
        }
        for len in [index * 8, index * 8 + 1, index * 8 + 2, index * 8 + 7, index * 8 + 8] {
            damages.push(Damage::Cut { file: file.to_owned(), len });
        }
    }
    // A spread over the others, each byte of an entry in turn; some become the entry of a record.
    for (count, at) in (0..TABLE_BYTES).step_by(509).enumerate() {
        let mask = [0x01, 0x80, 0xFF, 0x08][count % 4];
        damages.push(Damage::Flip { file: file.to_owned(), at, mask });
    }
    let gap = (6..).find(|index| entries.iter().all(|(used, _)| used != index)).unwrap();
    for entry in entries.iter().map(|(_, entry)| *entry).filter(|entry| *entry < 256) {
        let mask = u8::try_from(entry).unwrap();
        damages.push(Damage::Flip { file: file.to_owned(), at: gap * 8, mask });
    }
    for len in [0, 1, 7, 8, TABLE_BYTES / 2, TABLE_BYTES - 8, TABLE_BYTES - 1] {
        damages.push(Damage::Cut { file: file.to_owned(), len });
    }
}

pub(crate) fn data_damages(file: &str, bytes: &[u8], damages: &mut Vec<Damage>) {
    const MASKS: [u8; 3] = [0x01, 0x80, 0xFF];
    let mut record = 8;
    let mut header = 0..8;
    for at in 0..bytes.len() {
        if at == record {
            // With the beginning of a value, which is structure too in a compressed column.
            header = at..at + 8 + 18;
            record += record_at(bytes, record).len();
        }
        // Within a value the three take turns.
        let masks = if header.contains(&at) { &MASKS[..] } else { &MASKS[at % 3..=at % 3] };
        damages.extend(masks.iter().map(|&mask| Damage::Flip { file: file.to_owned(), at, mask }));
        damages.push(Damage::Cut { file: file.to_owned(), len: at });
    }
}
