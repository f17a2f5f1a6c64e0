//! Section 12: names of files put aside.

use coldstore::FileId;
use coldstore::format::names::{Aside, AsidePart, SlotFile};

#[test]
fn names_of_files_put_aside_round_trip() {
    let id = FileId(42);
    for (part, name) in [
        (AsidePart::Whole(SlotFile::Data(id)), "aside-7-data_00042"),
        (AsidePart::Whole(SlotFile::Offsets(id)), "aside-7-data_00042.off"),
        (AsidePart::Whole(SlotFile::Sums(id)), "aside-7-data_00042.sum"),
        (AsidePart::Tail(id, 0), "aside-7-data_00042.from-0"),
        (AsidePart::Tail(id, u64::MAX), "aside-7-data_00042.from-18446744073709551615"),
    ] {
        let aside = Aside { number: 7, part };
        assert_eq!((aside.name().as_str(), aside.file_id()), (name, id));
        assert_eq!(Aside::parse(name), Some(aside));
        assert_eq!(SlotFile::parse(name), None, "{name} is not a file of the column");
    }
    for name in
        ["aside-07-data_00042", "aside-7-data_42", "aside-7", "aside-7-data_00042.off.from-1"]
    {
        assert_eq!(Aside::parse(name), None, "{name}");
    }
}
