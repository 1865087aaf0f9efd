//! A journal without its checks, which the target adds because no mutation would pass them. Encoding the opening gives
//! the same bytes. The lines behind it may come in any order, so they are encoded and parsed again instead.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pouch::internals::format::checked_lines::Checks;
use pouch::internals::format::journal::{ALL_CLEAN, Journal, recipe};

fuzz_target!(|text: &str| {
    // A check covers a whole line.
    if !text.ends_with('\n') || text.contains('\r') {
        return;
    }
    let Ok(journal) = Journal::parse(Checks::default().add(text).as_bytes()) else { return };
    let opening = journal.opening.encode();
    assert!(text.starts_with(&opening), "{opening}");
    let mut again = opening;
    journal.reads.iter().for_each(|read| again += &read.encode());
    journal.recipes.iter().for_each(|(number, made)| again += &recipe(*number, made));
    if journal.is_clean {
        again += ALL_CLEAN;
    }
    journal.parts.iter().for_each(|part| again += &part.encode());
    assert_eq!(Journal::parse(Checks::default().add(&again).as_bytes()).unwrap(), journal);
});
