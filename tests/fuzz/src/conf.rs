//! The commit marker: what decodes is what was written.

use std::path::Path;

use coldstore::format::conf::Conf;

pub fn run(data: &[u8]) {
    let path = Path::new("/archive/bss/column.conf");
    let conf = match Conf::decode(path, data) {
        Ok(conf) => conf,
        Err(error) => return super::scratch::check_error(&error, path),
    };
    assert_eq!(conf.encode(), data, "{conf:?}");
    let current = conf.current_file();
    assert_eq!(current.is_some(), conf.highest.is_some());
    assert_eq!(current.and_then(|file_id| conf.named_len(file_id)).unwrap_or(0), {
        conf.current_data_len
    });
    if let Some(target) = conf.backfill_target() {
        assert!(Some(target.file_id) < current);
        assert_eq!(conf.named_len(target.file_id), Some(target.data_len));
    }
}
