//! The header blocks of a tar member: encoding what was parsed gives the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pouch::internals::format::{member, ustar};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = ustar::parse(bytes) {
        let made =
            member::of_values(header.kind, &header.name, &header.link, header.size, header.mode, header.mtime);
        assert_eq!(made, bytes);
    }
});
