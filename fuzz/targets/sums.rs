//! A volume's SHA256SUMS, in which a CR before an LF does not count: encoding what was parsed gives the same lines.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pouch::internals::format::sums;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(lines) = sums::parse(bytes) {
        let made: Vec<u8> = lines.iter().flat_map(|file| sums::line(&file.sha256, file.name.as_bytes())).collect();
        let plain = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
        assert_eq!(String::from_utf8_lossy(&made), plain);
    }
});
