//! A file list. Whatever is read can be written and is then read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use overlaybd_format::FileList;

fuzz_target!(|data: &[u8]| {
    let Ok(list) = FileList::decode(data) else { return };
    let again = FileList::new(list.paths().iter().cloned()).expect("paths that were on lines");
    assert_eq!(again, list);
    assert_eq!(FileList::decode(&list.encode()).expect("a list that was written"), list);
});
