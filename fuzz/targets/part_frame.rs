//! The first and the last frame of a part: what is parsed must be what is written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pouch::internals::format::part::{Lead, Trail};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(lead) = Lead::parse(bytes) {
        assert!(bytes.starts_with(&lead.encode()));
    }
    if let Ok(trail) = Trail::parse(bytes) {
        // Behind the values stands padding, as long as the frame says.
        let made = trail.encode(0);
        assert_eq!(Trail::parse(&made).unwrap(), trail);
    }
});
