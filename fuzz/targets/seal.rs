//! The text of a seal: encoding what was parsed gives the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pouch::internals::format::seal::Seal;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(seal) = Seal::parse(bytes) {
        assert_eq!(seal.encode().as_bytes(), bytes);
    }
});
