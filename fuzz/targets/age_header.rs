//! The header of an age file: what is parsed must be what is written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pouch::internals::format::age::scan;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(len) = scan(bytes) {
        // The header alone is scanned as before, and without its end it is none.
        assert_eq!(scan(&bytes[..len]).unwrap(), len);
        assert!(scan(&bytes[..len - 1]).is_err());
    }
});
