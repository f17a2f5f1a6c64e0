//! A reader of the format, from `FORMAT.md` sections 3, 4, 7 and 8, as naive as can be and without the
//! library: tests compare the library's reads with it.

use std::borrow::Cow;
use std::io::Read as _;
use std::rc::Rc;

use super::*;

/// A column: its conf, and its files by id.
pub struct Reference<'a> {
    pub conf: RawConf,
    pub files: BTreeMap<u64, ColumnFile<'a>>,
}

/// The files of an id.
#[derive(Clone, Debug, Default)]
pub struct ColumnFile<'a> {
    pub data: Option<Data<'a>>,
    pub table: Option<Rc<Table>>,
    pub sums: Option<Rc<Sums>>,
}

/// A data file: bytes, then a hole.
#[derive(Clone, Debug, Default)]
pub struct Data<'a> {
    pub bytes: Cow<'a, [u8]>,
    pub hole: u64,
}

/// An offset file.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// By index. What the length cuts off counts as zero.
    pub entries: BTreeMap<u16, u64>,
    pub byte_len: usize,
}

/// What is at a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    /// A payload: where it starts in its data file and how long it is.
    Payload {
        at: u64,
        byte_len: u64,
    },
    /// The entry leads to no record.
    Damage,
    /// No slot of the file can be read.
    FileDamage,
}

/// Why no slot of a file can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileDamage {
    /// The data file is shorter than the conf says.
    TooShort,
    NoOffsets,
    TooManyOffsets,
    /// Entries that are not zero, without a data file.
    NoData,
}

/// A file that can be read, up to its bound; without a table there is no record in it.
#[derive(Clone, Copy, Default)]
pub struct Readable<'a> {
    pub table: Option<&'a Table>,
    pub data: &'a [u8],
    pub bound: u64,
}

/// Index and value of the 8-byte words that are not zero; a word that is cut off ends in zeros.
pub fn nonzero_words(bytes: &[u8]) -> impl Iterator<Item = (usize, u64)> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let blocks = bytes.chunks(ZEROS.len()).enumerate();
    let blocks = blocks.filter(|(_, block)| **block != ZEROS[..block.len()]);
    let words = blocks.flat_map(|(nth, block)| {
        block.chunks(8).enumerate().map(move |(index, word)| (nth * ZEROS.len() / 8 + index, word))
    });
    let words = words.map(|(index, word)| {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        (index, u64::from_le_bytes(padded))
    });
    words.filter(|(_, word)| *word != 0)
}

impl Data<'_> {
    pub fn byte_len(&self) -> u64 {
        self.bytes.len() as u64 + self.hole
    }
}

impl Table {
    pub fn parse(bytes: &[u8]) -> Self {
        let entries = nonzero_words(bytes)
            .filter_map(|(index, entry)| Some((u16::try_from(index).ok()?, entry)))
            .collect();
        Self { entries, byte_len: bytes.len() }
    }

    /// The entry as the file has it.
    pub fn entry(&self, index: u16) -> u64 {
        let entry = self.entries.get(&index).copied().unwrap_or(0);
        let mut bytes = entry.to_le_bytes();
        bytes[self.byte_len.saturating_sub(usize::from(index) * 8).min(8)..].fill(0);
        u64::from_le_bytes(bytes)
    }

    /// The indices of the entries that are not zero.
    pub fn indices(&self) -> impl Iterator<Item = u16> {
        self.entries.keys().copied().filter(|index| self.entry(*index) != 0)
    }
}

/// The id in the name of a data file, an offset file or a checksum file.
pub fn id_of(name: &str) -> Option<u64> {
    let name = name.strip_prefix("data_")?;
    name.strip_suffix(".off").or(name.strip_suffix(".sum")).unwrap_or(name).parse().ok()
}

impl<'a> Reference<'a> {
    /// `None` without a valid conf.
    pub fn of(files: &'a Files) -> Option<Self> {
        let conf = RawConf::valid(files.get("column.conf")?)?;
        let mut found: BTreeMap<u64, ColumnFile<'a>> = BTreeMap::new();
        for (name, bytes) in files {
            let Some(id) = id_of(name) else { continue };
            let file = found.entry(id).or_default();
            match name.rsplit_once('.') {
                None => file.data = Some(Data { bytes: Cow::Borrowed(bytes), hole: 0 }),
                Some((_, "off")) => file.table = Some(Rc::new(Table::parse(bytes))),
                Some(_) => file.sums = Some(Rc::new(Sums::parse(bytes))),
            }
        }
        Some(Self { conf, files: found })
    }

    /// The slots of a file, up to its bound.
    pub fn file(&self, id: u64) -> Result<Readable<'_>, FileDamage> {
        let named = self.conf.named_len(id);
        if named == Some(0) {
            return Ok(Readable::default());
        }
        let file = self.files.get(&id);
        let data = file.and_then(|file| file.data.as_ref());
        let data_len = data.map_or(0, Data::byte_len);
        let bound = named.unwrap_or(data_len);
        if data_len < bound {
            return Err(FileDamage::TooShort);
        }
        match file.and_then(|file| file.table.as_deref()) {
            None if bound <= VERSION.len() as u64 => Ok(Readable::default()),
            None => Err(FileDamage::NoOffsets),
            Some(table) if table.byte_len as u64 > OFFSETS_LEN => Err(FileDamage::TooManyOffsets),
            Some(table) => match data {
                Some(data) => Ok(Readable { table: Some(table), data: &data.bytes, bound }),
                None if table.indices().next().is_some() => Err(FileDamage::NoData),
                None => Ok(Readable::default()),
            },
        }
    }

    pub fn shown(&self, slot: u64) -> Shown {
        let Some(highest) = self.conf.highest_slot() else { return Shown::Nothing };
        if slot > highest {
            return Shown::Nothing;
        }
        match self.file(slot / PER_FILE) {
            Err(_) => Shown::FileDamage,
            Ok(file) => self.record(&file, slot),
        }
    }

    fn record(&self, file: &Readable<'_>, slot: u64) -> Shown {
        let entry = file.table.map_or(0, |table| table.entry((slot % PER_FILE) as u16));
        if entry == 0 {
            return Shown::Nothing;
        }
        if entry >= file.bound {
            // Without backfill an entry past the bound cannot come from a crash.
            return if self.conf.is_v3() { Shown::Nothing } else { Shown::Damage };
        }
        if entry < VERSION.len() as u64 || file.bound - entry < 8 {
            return Shown::Damage;
        }
        let byte = |at| usize::try_from(at).ok().and_then(|at| file.data.get(at)).copied();
        let header: [u8; 8] =
            std::array::from_fn(|index| byte(entry + index as u64).unwrap_or_default());
        let byte_len = u64::from(u32::from_le_bytes(header[2..6].try_into().unwrap()));
        let is_record = header[..2] == self.conf.record_type && header[6..] == [0, 0];
        let fits = file.bound - entry - 8 >= byte_len;
        let is_long = self.conf.compression == 0 && byte_len > self.conf.max;
        if !is_record || !fits || is_long {
            return Shown::Damage;
        }
        Shown::Payload { at: entry + 8, byte_len }
    }

    /// The bytes of a payload, as far as they are not in the hole.
    pub fn bytes(&self, slot: u64, at: u64, byte_len: u64) -> &[u8] {
        let data = self.files.get(&(slot / PER_FILE)).and_then(|file| file.data.as_ref());
        let bytes = data.map_or(&[][..], |data| &data.bytes);
        let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        &rest[..rest.len().min(usize::try_from(byte_len).unwrap_or(usize::MAX))]
    }

    /// The value in a payload: `None` where it does not decode, or to more than the conf's bound or `limit`.
    pub fn value(&self, stored: &[u8], limit: u64) -> Option<Vec<u8>> {
        let limit = limit.min(self.conf.max);
        let mut value = Vec::new();
        if self.conf.compression == 0 {
            value.extend(stored);
        } else {
            let decoder = snap::read::FrameDecoder::new(stored);
            decoder.take(limit.saturating_add(1)).read_to_end(&mut value).ok()?;
        }
        (value.len() as u64 <= limit).then_some(value)
    }

    /// The ids of the files that the column has or should have.
    pub fn ids(&self) -> BTreeSet<u64> {
        let Some(current) = self.conf.current() else { return BTreeSet::new() };
        let target = self.conf.target().filter(|(_, len)| *len > 0);
        let there = self.files.keys().copied().chain(target.map(|(id, _)| id)).chain([current]);
        there.filter(|id| *id <= current).collect()
    }

    /// Every slot at or below the highest whose entry is not 0, in files that can be read; and how
    /// many files cannot be.
    pub fn entries(&self) -> (Vec<u64>, usize) {
        let (mut slots, mut damaged) = (Vec::new(), 0);
        for id in self.ids() {
            match self.file(id) {
                Err(_) => damaged += 1,
                Ok(file) => {
                    let indices = file.table.into_iter().flat_map(Table::indices);
                    let there = indices.map(|index| id * PER_FILE + u64::from(index));
                    slots.extend(there.filter(|slot| *slot <= self.conf.highest));
                }
            }
        }
        (slots, damaged)
    }

    /// The checksum file of a file, where it tells anything.
    pub fn whole_sums(&self, id: u64) -> Option<&Sums> {
        let sums = self.files.get(&id)?.sums.as_deref()?;
        sums.is_whole(id, self.conf.record_type).then_some(sums)
    }

    /// The sums of the record whose payload is there.
    pub fn sums_of(&self, slot: u64, at: u64, byte_len: u64) -> [u32; 2] {
        let mut header = [0; 8];
        header[..2].copy_from_slice(&self.conf.record_type);
        header[2..6].copy_from_slice(&u32::try_from(byte_len).unwrap().to_le_bytes());
        let mut payload = Cow::Borrowed(self.bytes(slot, at, byte_len));
        if (payload.len() as u64) < byte_len {
            payload.to_mut().resize(usize::try_from(byte_len).unwrap(), 0);
        }
        sums_of_record(slot, at - 8, header, &payload)
    }

    /// What the checksum of a slot tells about what is shown there.
    pub fn verdict(&self, slot: u64) -> Verdict {
        let sums = self.whole_sums(slot / PER_FILE);
        let kept = sums.map(|sums| sums.of(slot)).unwrap_or_default();
        let Shown::Payload { at, byte_len } = self.shown(slot) else { return Verdict::Unknown };
        if kept == [0, 0] {
            return Verdict::Unknown;
        }
        let right = self.sums_of(slot, at, byte_len);
        match (kept[0] == right[0], kept[1] == right[1]) {
            (true, true) => Verdict::Intact,
            (true, false) | (false, true) => Verdict::EntryDamaged,
            _ if kept[1] == sum_of_entry(slot, at - 8, kept[0]) => Verdict::Damaged,
            _ => Verdict::Misplaced,
        }
    }
}
