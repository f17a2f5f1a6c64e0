//! The records that every subject is given: the same bytes under the same slots in every run.

use std::f64::consts::TAU;

/// splitmix64: the same numbers in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Above 0 and at most 1.
    fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// What is stored under the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 32 bytes each.
    Roots,
    /// Log-normal between 20 and 150 KB.
    Blocks,
    /// All of one length of megabytes.
    States,
}

/// Records: how many, under which slots, how long. Their bytes do not compress.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What the records are.
    pub kind: Kind,
    /// Slots from one record to the next.
    pub stride: u64,
    lengths: Vec<u32>,
    total: u64,
}

impl Dataset {
    /// `count` roots in consecutive slots.
    #[must_use]
    pub fn roots(count: usize) -> Self {
        Self::new(Kind::Roots, 1, vec![32; count])
    }

    /// `count` blocks in consecutive slots: log-normal, half of them below 62 KB, cut off at 20
    /// and at 150 KB.
    #[must_use]
    pub fn blocks(count: usize) -> Self {
        let mut random = Random::new(2);
        let normal =
            |random: &mut Random| (-2.0 * random.unit().ln()).sqrt() * (TAU * random.unit()).cos();
        let length = |_| (62_000.0 * (0.5 * normal(&mut random)).exp()).clamp(20e3, 150e3) as u32;
        Self::new(Kind::Blocks, 1, (0..count).map(length).collect())
    }

    /// `count` states of `byte_len` bytes, 16 in each file of 8192 slots.
    #[must_use]
    pub fn states(count: usize, byte_len: u32) -> Self {
        Self::new(Kind::States, 512, vec![byte_len; count])
    }

    /// The same records, but `stride` slots from one to the next.
    #[must_use]
    pub fn with_stride(self, stride: u64) -> Self {
        Self { stride, ..self }
    }

    fn new(kind: Kind, stride: u64, lengths: Vec<u32>) -> Self {
        let total = lengths.iter().map(|length| u64::from(*length)).sum();
        Self { kind, stride, lengths, total }
    }

    /// How many records.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lengths.len()
    }

    /// Bytes of all payloads.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.total
    }

    /// The slot of the record with this index.
    #[must_use]
    #[inline]
    pub fn slot(&self, index: usize) -> u64 {
        index as u64 * self.stride
    }

    /// The length in bytes of the record in this slot. Beyond the last record they begin again.
    #[must_use]
    #[inline]
    pub fn length(&self, slot: u64) -> usize {
        self.lengths[(slot / self.stride) as usize % self.lengths.len()] as usize
    }

    /// The bytes of the record in this slot.
    pub fn fill(&self, slot: u64, buffer: &mut Vec<u8>) {
        let length = self.length(slot);
        buffer.clear();
        buffer.reserve(length + 8);
        let mut random = Random::new(slot.wrapping_mul(0xD134_2543_DE82_EF95) ^ self.kind as u64);
        while buffer.len() < length {
            buffer.extend_from_slice(&random.next_u64().to_le_bytes());
        }
        buffer.truncate(length);
    }

    /// Some records, ready to be put. Indices may go beyond the last record.
    #[must_use]
    pub fn records(&self, indices: std::ops::Range<usize>) -> Vec<(u64, Vec<u8>)> {
        let record = |index| {
            let mut value = Vec::new();
            self.fill(self.slot(index), &mut value);
            (self.slot(index), value)
        };
        indices.map(record).collect()
    }

    /// `count` slots of records in random order.
    #[must_use]
    pub fn random_slots(&self, seed: u64, count: usize) -> Vec<u64> {
        let mut random = Random::new(seed);
        let index = |_| (random.next_u64() % self.count() as u64) as usize;
        (0..count).map(index).map(|index| self.slot(index)).collect()
    }
}

/// Needs every byte of a root. Whoever reads a root checks its length; the floor, which takes 32
/// bytes without asking, has that check for nothing.
#[inline]
#[must_use]
pub fn digest_root(root: &[u8]) -> u64 {
    let root: &[u8; 32] = root.try_into().unwrap();
    root.as_chunks::<8>().0.iter().fold(0, |sum, chunk| sum ^ u64::from_le_bytes(*chunk))
}

/// One byte of every 4096.
#[inline]
#[must_use]
pub fn touch(record: &[u8]) -> u64 {
    record.iter().step_by(4096).fold(0, |sum, byte| sum + u64::from(*byte))
}

/// The wrapping sum of all 8-byte words. Subjects hand records out at different alignments, and
/// chunks of bytes do not mind.
#[inline]
#[must_use]
pub fn sum_words(record: &[u8]) -> u64 {
    let (words, rest) = record.as_chunks::<8>();
    let sum = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}
