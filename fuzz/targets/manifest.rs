//! The bag's two manifests: the bytes before the first zero are one, the rest is the other. A parsed manifest has no
//! more paths than lines.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pouch::internals::format::manifest::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let (manifest, sums) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    if let Ok(parsed) = Manifest::parse(manifest, sums) {
        let lines = manifest.split_inclusive(|byte| *byte == b'\n').count();
        assert!(parsed.paths_but(std::iter::empty()).count() <= lines);
    }
});
