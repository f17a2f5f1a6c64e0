//! The files of a column out of the bytes of an input, and back.
//!
//! ```text
//! flags u8 | options u8 | conf 52 | 1 to 4 × file 24 | entries | data | probed slots
//! file:  id u64 | data kind u8 | table kind u8 | table length u16 | tail u8 | entry count u8
//!        | data length u16 | checksums 8, see `sums.rs`
//! entry: index u16 | offset u64
//! ```
//!
//! Tables are mostly zero and files may have holes, so a small input makes a large column.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;

use coldstore::{Checksums, FileId};
use test_support::{ColumnFile, Data, OFFSETS_LEN, RawConf, Reference, Table, id_of};

use super::super::scratch::Bytes;
use super::sums::{self, Recipe};

const TABLE_BYTES: usize = OFFSETS_LEN as usize;

const CONF_BYTES: usize = 52;
const CONF_V2_BYTES: usize = 36;

const CONF_IS_V3: u8 = 1;
const CONF_TMP: u8 = 2;
const FILES_SHIFT: u8 = 2;

/// What is in the directory, and what is done to it.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    pub conf: Vec<u8>,
    /// A conf that was not renamed lies beside.
    pub tmp: bool,
    pub files: BTreeMap<u64, Files>,
    /// Asks for backfill when the column is opened for writing.
    pub allow_backfill: bool,
    /// How a reader goes about it, see `open_reader_with`.
    pub access: u8,
    /// Whether the writer keeps checksums: a choice of [`Self::checksums`].
    pub keeps: u8,
    /// Slots to look at besides those that the tables name.
    pub probes: Vec<u64>,
}

/// The files of an id.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub column: ColumnFile<'static>,
    /// What the checksums are made by.
    pub recipe: Recipe,
}

impl Layout {
    pub fn parse(data: &[u8]) -> Self {
        let mut bytes = Bytes(data);
        let (flags, options) = (bytes.u8(), bytes.u8());
        let conf = bytes.array::<CONF_BYTES>();
        let conf_len = if flags & CONF_IS_V3 == 0 { CONF_V2_BYTES } else { CONF_BYTES };
        let heads: Vec<[u8; 24]> =
            (0..=(flags >> FILES_SHIFT) % 4).map(|_| bytes.array()).collect();
        let tables: Vec<BTreeMap<u16, u64>> = heads
            .iter()
            .map(|head| (0..head[13]).map(|_| (bytes.u16() % 8192, bytes.u64())).collect())
            .collect();
        let mut files = BTreeMap::new();
        for (head, entries) in heads.iter().zip(tables) {
            let mut head = Bytes(head);
            let id = head.u64().min(FileId::MAX.0);
            let (data_kind, table_kind, table_len) = (head.u8(), head.u8(), head.u16());
            let (tail, _, data_len) = (head.u8(), head.u8(), head.u16());
            let recipe = head.array();
            let data = (data_kind % 4 != 0).then(|| Data {
                bytes: bytes.take(usize::from(data_len)).to_vec().into(),
                hole: if data_kind % 4 == 3 { 1 << (tail % 48) } else { 0 },
            });
            let byte_len = match table_kind % 4 {
                0 => None,
                1 => Some(usize::from(table_len)),
                2 => Some(TABLE_BYTES),
                _ => Some(TABLE_BYTES + 1 + usize::from(table_len) % 16),
            };
            let table = byte_len.map(|byte_len| Rc::new(Table { entries, byte_len }));
            files.insert(id, Files { column: ColumnFile { data, table, sums: None }, recipe });
        }
        let mut probes = Vec::new();
        while !bytes.is_empty() && probes.len() < 8 {
            probes.push(bytes.u64());
        }
        let layout = Self {
            conf: conf[..conf_len].to_vec(),
            tmp: flags & CONF_TMP != 0,
            files,
            allow_backfill: options & 1 != 0,
            access: options >> 1 & 31,
            keeps: options >> 6,
            probes,
        };
        layout.with_sums()
    }

    /// The same with the checksum files, for which the records must be known.
    fn with_sums(mut self) -> Self {
        let Some(reference) = self.reference() else { return self };
        for (id, files) in &mut self.files {
            files.column.sums = sums::make(&reference, *id, files.recipe).map(Rc::new);
        }
        self
    }

    /// The reference reader of these files, where the conf is valid.
    pub fn reference(&self) -> Option<Reference<'static>> {
        let conf = RawConf::valid(&self.conf)?;
        let files = self.files.iter().map(|(id, files)| (*id, files.column.clone()));
        Some(Reference { conf, files: files.collect() })
    }

    /// How the column is opened for writing.
    pub fn checksums(&self) -> Checksums {
        match self.keeps % 4 {
            0 => Checksums::Off,
            1 => Checksums::WherePresent,
            _ => Checksums::On,
        }
    }

    /// The input that makes this layout: for seeds. At most 4 files, 255 entries each.
    pub fn encode(&self) -> Vec<u8> {
        if self.files.is_empty() {
            // An input has one file at least; one of neither kind is none.
            let files = BTreeMap::from([(0, Files::default())]);
            return Self { files, ..self.clone() }.encode();
        }
        let is_v3 = if self.conf.len() == CONF_BYTES { CONF_IS_V3 } else { 0 };
        let tmp = if self.tmp { CONF_TMP } else { 0 };
        let count = self.files.len() as u8 - 1;
        let mut head = vec![
            is_v3 | tmp | count << FILES_SHIFT,
            u8::from(self.allow_backfill) | (self.access & 31) << 1 | self.keeps << 6,
        ];
        head.extend(&self.conf);
        head.resize(2 + CONF_BYTES, 0);
        let (mut tables, mut datas) = (Vec::new(), Vec::new());
        for (id, files) in &self.files {
            let table = files.column.table.as_ref();
            let (table_kind, table_len) = match table.map(|table| table.byte_len) {
                None => (0, 0),
                Some(TABLE_BYTES) => (2, 0),
                Some(byte_len) => (1, byte_len as u16),
            };
            let data = files.column.data.clone().unwrap_or_default();
            head.extend(id.to_le_bytes());
            head.extend([u8::from(files.column.data.is_some()), table_kind]);
            head.extend(table_len.to_le_bytes());
            head.extend([0, table.map_or(0, |table| table.entries.len()) as u8]);
            head.extend((data.bytes.len() as u16).to_le_bytes());
            head.extend(files.recipe);
            for (index, entry) in table.iter().flat_map(|table| &table.entries) {
                tables.extend(index.to_le_bytes());
                tables.extend(entry.to_le_bytes());
            }
            datas.extend(&*data.bytes);
        }
        let probes = self.probes.iter().flat_map(|slot| slot.to_le_bytes());
        head.into_iter().chain(tables).chain(datas).chain(probes).collect()
    }

    /// Reads a column's directory.
    pub fn of(directory: &Path) -> Self {
        let mut layout = Layout { allow_backfill: true, ..Self::default() };
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let bytes = || fs::read(&path).unwrap();
            if name == "column.conf" {
                layout.conf = bytes();
            } else if name == "column.conf.tmp" {
                layout.tmp = true;
            }
            let Some(id) = id_of(name) else { continue };
            let files = layout.files.entry(id).or_default();
            if name.ends_with(".sum") {
                files.recipe = sums::HONEST;
            } else if name.ends_with(".off") {
                files.column.table = Some(Rc::new(Table::parse(&bytes())));
            } else {
                files.column.data = Some(Data { bytes: bytes().into(), hole: 0 });
            }
        }
        layout
    }

    /// Makes the files.
    ///
    /// # Errors
    /// When the file system has no room for such holes.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        fs::write(directory.join("column.conf"), &self.conf)?;
        if self.tmp {
            fs::write(directory.join("column.conf.tmp"), &self.conf[..self.conf.len() / 2])?;
        }
        for (id, files) in &self.files {
            if let Some(data) = &files.column.data {
                let mut file = File::create(directory.join(format!("data_{id:05}")))?;
                file.write_all(&data.bytes)?;
                file.set_len(data.byte_len())?;
            }
            if let Some(table) = &files.column.table {
                let file = File::create(directory.join(format!("data_{id:05}.off")))?;
                // Holes where there is no entry: most inputs have a few entries in many bytes.
                for (index, entry) in &table.entries {
                    file.write_all_at(&entry.to_le_bytes(), u64::from(*index) * 8)?;
                }
                file.set_len(table.byte_len as u64)?;
            }
            if let Some(sums) = &files.column.sums {
                sums::write(sums, &directory.join(format!("data_{id:05}.sum")))?;
            }
        }
        Ok(())
    }

    /// Panics unless the files are still what [`Self::write`] made. `but_for_the_lock`: nothing
    /// else is there, either.
    #[track_caller]
    pub fn assert_unchanged(&self, directory: &Path, why: &str) {
        let mut wanted = vec!["column.conf".to_owned()];
        assert!(fs::read(directory.join("column.conf")).unwrap() == self.conf, "{why}: conf");
        if self.tmp {
            wanted.push("column.conf.tmp".to_owned());
        }
        for (id, files) in &self.files {
            if let Some(data) = &files.column.data {
                let name = format!("data_{id:05}");
                let file = File::open(directory.join(&name)).unwrap();
                assert_eq!(file.metadata().unwrap().len(), data.byte_len(), "{why}: {name}");
                let mut bytes = vec![0; data.bytes.len()];
                file.read_exact_at(&mut bytes, 0).unwrap();
                assert!(bytes == *data.bytes, "{why}: {name}");
                wanted.push(name);
            }
            if let Some(table) = &files.column.table {
                let name = format!("data_{id:05}.off");
                let bytes = fs::read(directory.join(&name)).unwrap();
                assert!(bytes == table_bytes(table), "{why}: {name}");
                wanted.push(name);
            }
            if let Some(sums) = &files.column.sums {
                let name = format!("data_{id:05}.sum");
                let bytes = fs::read(directory.join(&name)).unwrap();
                assert!(bytes == sums.bytes(), "{why}: {name}");
                wanted.push(name);
            }
        }
        let mut found: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "lock")
            .collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{why}");
    }
}

fn table_bytes(table: &Table) -> Vec<u8> {
    let mut bytes = vec![0; table.byte_len.max(TABLE_BYTES)];
    for (index, entry) in &table.entries {
        let at = usize::from(*index) * 8;
        bytes[at..at + 8].copy_from_slice(&entry.to_le_bytes());
    }
    bytes.truncate(table.byte_len);
    bytes
}
