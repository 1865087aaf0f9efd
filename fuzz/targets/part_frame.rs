//! The first and the last frame of a part: encoding what was parsed gives the same values.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pouch::internals::format::part::{Lead, Trail};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(lead) = Lead::parse(bytes) {
        assert!(bytes.starts_with(&lead.encode()));
    }
    if let Ok(trail) = Trail::parse(bytes) {
        // Padding follows the values, as long as the frame says, so only the values are compared.
        let made = trail.encode(0);
        assert_eq!(Trail::parse(&made).unwrap(), trail);
    }
});
