//! Views, and what the model says of them.

use super::*;

/// A view that is held, and what the model says of it.
///
/// Of the current file and of the file that its conf names it shows the very state in which it was
/// taken. Of every other file it shows one committed state, the same from the first look on, at
/// least as new as the view: which one is settled by the first look at that file.
pub(crate) struct Held {
    pub(crate) view: View,
    /// The number of the commit that it was taken after.
    pub(crate) taken: usize,
    /// What was seen of each file that was looked at completely.
    pub(crate) seen: BTreeMap<u64, Records>,
}

impl Held {
    pub(crate) fn new(view: View, model: &Model) -> Self {
        Self { view, taken: model.states.len() - 1, seen: BTreeMap::new() }
    }

    #[track_caller]
    pub(crate) fn check_file(&mut self, model: &Model, file: u64) {
        let taken = &model.states[self.taken];
        let highest = taken.keys().next_back().copied();
        let of_file = |records: &Records| -> Records {
            let visible = records.iter().filter(|(slot, _)| highest.is_some_and(|h| **slot <= h));
            visible
                .filter(|(slot, _)| file_of(**slot) == file)
                .map(|(slot, value)| (*slot, value.clone()))
                .collect()
        };
        let shown = show_file(&self.view, file);
        let named = self.view.conf().named_len(FileId(file)).is_some();
        let mut states = model.states[self.taken..].iter().map(of_file);
        let permitted = if named {
            states.next() == Some(shown.clone())
        } else {
            states.any(|state| state == shown)
        };
        assert!(
            permitted,
            "file {file} in a view of commit {} of {}: shows {:?}, then it was {:?}, now it is {:?}",
            self.taken,
            model.states.len() - 1,
            shown.keys().collect::<Vec<_>>(),
            of_file(taken).keys().collect::<Vec<_>>(),
            of_file(model.records()).keys().collect::<Vec<_>>(),
        );
        if let Some(before) = self.seen.insert(file, shown.clone()) {
            assert!(
                before == shown,
                "file {file} of a held view changed: {:?} became {:?}",
                before.keys().collect::<Vec<_>>(),
                shown.keys().collect::<Vec<_>>(),
            );
        }
    }

    /// Every file, every slot, both directions.
    #[track_caller]
    pub(crate) fn check(&mut self, model: &Model) {
        let taken = &model.states[self.taken];
        let highest = taken.keys().next_back().copied();
        assert_eq!(self.view.highest_written_slot().map(|slot| slot.0), highest);
        for file in FILES {
            self.check_file(model, file);
        }
        let expected: Vec<(u64, Vec<u8>)> =
            self.seen.values().flatten().map(|(slot, value)| (*slot, value.to_vec())).collect();
        let forward = scan(&self.view, ..);
        let mut backward: Vec<(u64, Vec<u8>)> = self
            .view
            .range(..)
            .rev()
            .map(|record| record.unwrap())
            .map(|record| (record.slot().0, record.value().unwrap().into_owned()))
            .collect();
        backward.reverse();
        assert_eq!(forward, expected, "scanned, and got one by one");
        assert_eq!(forward, backward, "the two directions");
    }
}

/// What a view shows of a file, through every way of asking for one slot.
#[track_caller]
pub(crate) fn show_file(view: &View, file: u64) -> Records {
    let mut shown = Records::new();
    let mut buffer = b"what was there before".to_vec();
    for slot in all_slots().chain([file * SLOTS_PER_FILE + 77]).filter(|s| file_of(*s) == file) {
        let told = |error: Error| -> ! { panic!("slot {slot}: {error}") };
        let at = Slot(slot);
        let value = view.get(at).unwrap_or_else(|error| told(error));
        assert_eq!(view.contains(at).unwrap_or_else(|error| told(error)), value.is_some());
        assert_eq!(view.get_into(at, &mut buffer).unwrap(), value.is_some());
        let stored = view.get_stored(at).unwrap();
        assert_eq!(stored.is_some(), value.is_some());
        let owned = view.owned(at).unwrap();
        assert_eq!(owned.as_deref(), value.as_deref(), "owned, slot {slot}");
        let record = view.record(at).unwrap();
        assert_eq!(record.map(|record| record.stored()), stored);
        let Some(value) = value else {
            assert!(buffer.is_empty());
            continue;
        };
        assert_eq!(buffer, *value);
        assert_eq!(decoded(stored.unwrap(), view.conf().spec.compression), *value);
        let mut copied = Vec::new();
        assert_eq!(
            view.record(at).unwrap().unwrap().copy_value_to(&mut copied).unwrap(),
            value.len() as u64
        );
        assert_eq!(copied, *value);
        shown.insert(slot, value.into_owned().into());
    }
    shown
}

pub(crate) fn decoded(stored: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => stored.to_vec(),
        Compression::Snappy => {
            let mut value = Vec::new();
            snap::read::FrameDecoder::new(stored).read_to_end(&mut value).unwrap();
            value
        }
    }
}

pub(crate) fn encoded(value: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => value.to_vec(),
        // An empty value has two stored forms: nothing, and a stream identifier.
        Compression::Snappy if value.is_empty() => Vec::new(),
        Compression::Snappy => {
            // Two chunks, where the writer makes one: the same value in another form.
            let mut encoder = snap::write::FrameEncoder::new(Vec::new());
            encoder.write_all(&value[..value.len() / 2]).unwrap();
            encoder.flush().unwrap();
            encoder.write_all(&value[value.len() / 2..]).unwrap();
            encoder.into_inner().unwrap()
        }
    }
}
