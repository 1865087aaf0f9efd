//! A line of a list: encoding what was parsed gives the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pouch::internals::format::list;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = list::decode(bytes, 1) {
        assert_eq!(list::encode(&entry).as_bytes(), bytes);
    }
});
