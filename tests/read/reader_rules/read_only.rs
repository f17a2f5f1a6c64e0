//! A reader changes nothing.

use super::*;

/// Guards against a reader that repairs, locks, creates or rewrites: it works beside a writer, after
/// a crash, without a lock file, and where nothing may be written.
#[test]
fn a_reader_takes_no_lock_and_changes_nothing() {
    let root = scratch();
    let dir = root.path().join("bss");
    let wanted = base(&dir, true);
    let len = data_len(&dir, 0);
    RawConf::edit(&dir, |conf| conf.backfill = Some((0, len)));
    write_uncommitted(&dir, 6);
    write_uncommitted(&dir, 17_011);
    write_uncommitted(&dir, 30_000);
    fs::write(dir.join("column.conf.tmp"), b"torn").unwrap();
    remove(&dir, "lock");
    let read_everything = |context: &str| {
        let before = stamps(root.path());
        let archive = open_archive(root.path());
        let reader = archive.column(coldstore::Column::StateSnapshots).unwrap();
        assert_shows(&reader.view(), &wanted, context);
        assert_shows(&reader.refresh().unwrap(), &wanted, context);
        assert_shows(&view(&dir), &wanted, context);
        assert_eq!(stamps(root.path()), before, "{context}");
    };
    read_everything("after a crash, without a lock file");

    // As far as permissions go for whoever runs this.
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for name in files_of(&dir).keys() {
        set_mode(&dir.join(name), 0o444);
    }
    set_mode(&dir, 0o555);
    set_mode(root.path(), 0o555);
    read_everything("where nothing may be written");
    set_mode(root.path(), 0o755);
    set_mode(&dir, 0o755);
    for name in files_of(&dir).keys() {
        set_mode(&dir.join(name), 0o644);
    }

    let mut writer = writer(&dir, true);
    read_everything("beside a writer");
    writer.put(Slot(30_000), &value(30_000)).unwrap();
    drop(writer);
    assert_shows(&view(&dir), &content(BASE.into_iter().chain([30_000])), "in the end");
}

/// Guards against a reader that makes a column, or takes an empty directory for an empty one.
#[test]
fn a_directory_without_a_conf_is_no_such_column() {
    let root = scratch();
    let data_only = root.path().join("data only");
    base(&data_only, false);
    remove(&data_only, "column.conf");
    let tmp_only = root.path().join("tmp only");
    fs::create_dir(&tmp_only).unwrap();
    fs::write(tmp_only.join("column.conf.tmp"), RawConf::empty(false).bytes()).unwrap();
    let empty = root.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let missing = root.path().join("missing");
    for dir in [&data_only, &tmp_only, &empty, &missing] {
        let before = stamps(root.path());
        let error = try_reader(dir).unwrap_err();
        assert!(matches!(error, Error::NoSuchColumn { .. }), "{}: {error:?}", dir.display());
        assert_eq!(stamps(root.path()), before, "{}", dir.display());
    }
}
