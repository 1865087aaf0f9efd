//! The text of a head: encoding what was parsed gives the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pouch::internals::format::head::Head;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(head) = Head::parse(bytes) {
        assert_eq!(head.encode().as_bytes(), bytes);
    }
});
