//! The header of an age file: its end is found in the same way again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pouch::internals::format::age::scan;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(len) = scan(bytes) {
        // The header scans alone as it did with what follows, and is refused without its last byte.
        assert_eq!(scan(&bytes[..len]).unwrap(), len);
        assert!(scan(&bytes[..len - 1]).is_err());
    }
});
