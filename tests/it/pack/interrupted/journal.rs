//! A damaged journal costs only the parts that its lost lines are about, and neither sources nor recipients are blamed.

use std::fs;
use std::path::Path;

use pouch::internals::format::checked_lines::Checks;

use crate::common::{Desk, Run, put, volumes};
use crate::pack::interrupted::{BARE, again, clip, is_whole, packed_and_verified};

const RESTART: [&str; 3] = ["--mend", "0", "--restart"];

/// The lines of a journal without their checks.
pub fn lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.rsplit_once(' ').unwrap().0)).collect()
}

/// Adds its check to each line.
pub fn checked(lines: &str) -> String {
    Checks::default().add(lines)
}

/// A killed packing, the path of its journal, and the journal's bytes.
fn killed() -> (Desk, std::path::PathBuf, Vec<u8>) {
    let desk = clip(30);
    crate::pack::interrupted::killed(&desk, &BARE, 12);
    let journal = desk.volume(1).join("journal");
    let text = fs::read(&journal).unwrap();
    (desk, journal, text)
}

/// Where the first line with this start begins.
fn line(text: &[u8], start: &str) -> usize {
    let start = format!("\n{start}");
    text.windows(start.len()).position(|window| window == start.as_bytes()).unwrap() + 1
}

/// Checks that the message is about the journal and says what to do.
#[track_caller]
fn says_damaged(said: &Run, journal: &Path, hint: &str) {
    assert!(said.err.contains(&*journal.to_string_lossy()) && said.err.contains("cannot be used"), "{}", said.err);
    assert!(said.err.contains("nothing is wrong with the sources") && said.err.contains(hint), "{}", said.err);
    assert!(!said.err.contains("source changed") && !said.err.contains("other recipients"), "{}", said.err);
}

/// Changes the last digit of the hash in the line with this start, or its LF.
fn damage(text: &mut [u8], start: &str, line_end: bool) {
    let at = line(text, start);
    let len = text[at..].iter().position(|byte| *byte == b'\n').unwrap();
    let words: Vec<&[u8]> = text[at..at + len].split(|byte| *byte == b' ').take(4).collect();
    let digit = at + words.join(&b' ').len() - 1;
    match line_end {
        true => text[at + len] ^= 1,
        false => text[digit] = if text[digit] == b'0' { b'1' } else { b'0' },
    }
}

#[test]
fn a_flipped_byte_behind_its_opening_costs_what_the_line_told_of() {
    for start in ["r 0 ", "m 7 ", "d 7 "] {
        for line_end in [false, true] {
            let (desk, journal, mut text) = killed();
            damage(&mut text, start, line_end);
            fs::write(&journal, text).unwrap();
            // A recipe is needed only for a part that is gone.
            let seventh = |part: &std::path::PathBuf| start == "m 7 " && part.ends_with("000007.age");
            volumes::parts(&desk.drives())
                .iter()
                .filter(|part| seventh(part))
                .for_each(|part| fs::remove_file(part).unwrap());
            again(&desk, &BARE, 0);
            is_whole(&desk, &desk.drives());
        }
    }
}

#[test]
fn a_part_whose_line_is_damaged_is_made_again_and_the_others_stay() {
    let (desk, journal, mut text) = killed();
    let at = line(&text, "d 7 ");
    text[at + 20] ^= 1;
    fs::write(&journal, text).unwrap();
    let said = again(&desk, &BARE, 0);
    assert!(packed_and_verified(&said) && said.out.contains("packed again"), "{}", said.out);
    is_whole(&desk, &desk.drives());
}

#[test]
fn a_flipped_byte_in_its_opening_is_said_and_begun_anew_only_when_asked() {
    for start in ["whom ", "STAMPS ", "options ", "2 seal.age ", "BEGUN", "volumes "] {
        let (desk, journal, mut text) = killed();
        let at = line(&text, start) + start.len() + 1;
        text[at] ^= 1;
        fs::write(&journal, text).unwrap();
        let before = crate::common::tree::look(&desk.drive(1));
        says_damaged(&again(&desk, &BARE, 2), &journal, "--restart");
        assert!(before == crate::common::tree::look(&desk.drive(1)), "nothing is changed");
        let said = again(&desk, &RESTART, 0);
        assert!(!packed_and_verified(&said), "{}", said.out);
        is_whole(&desk, &desk.drives());
    }
}

#[test]
fn without_a_line_that_tells_whose_the_volumes_are_nothing_is_removed() {
    let (desk, journal, text) = killed();
    for bad in [vec![], vec![0; text.len()], b"\0\0\0\n".to_vec()] {
        fs::write(&journal, &bad).unwrap();
        let before = desk.drives().iter().map(|drive| crate::common::tree::look(drive)).collect::<Vec<_>>();
        for more in [&BARE[..], &RESTART] {
            says_damaged(&again(&desk, more, 2), &journal, "remove it");
        }
        let now = desk.drives().iter().map(|drive| crate::common::tree::look(drive)).collect::<Vec<_>>();
        assert!(before == now, "nothing is changed");
    }
    // With a damaged journal, volumes whose seals differ are not ours to remove either.
    let other = volumes::parts(&desk.drives()[1..2])[0].parent().unwrap().to_path_buf();
    let mut text = text;
    let at = line(&text, "whom ") + 9;
    text[at] ^= 1;
    fs::write(&journal, &text).unwrap();
    for seal in ["seal.age", "seal2.age"] {
        fs::write(other.join(seal), "of another bundle").unwrap();
    }
    says_damaged(&again(&desk, &RESTART, 2), &journal, "remove it");
    assert!(!volumes::parts(&desk.drives()).is_empty());
}

#[test]
fn a_journal_that_was_not_kept_before_anything_else_was_there_is_none() {
    let desk = clip(3);
    for lost in [vec![], vec![0; 700], vec![0xff; 700]] {
        put(desk.volume(1).join("journal"), &lost);
        put(desk.volume(3).join("journal"), &lost);
        put(desk.volume(2).join("unfinished.tmp"), "");
        let said = again(&desk, &BARE, 0);
        assert!(!packed_and_verified(&said), "{}", said.out);
        is_whole(&desk, &desk.drives());
        desk.drives().iter().for_each(|drive| fs::remove_dir_all(volumes::files(drive).pop().unwrap()).unwrap());
    }
}

#[test]
fn what_is_no_journal_of_ours_is_left_alone() {
    let desk = clip(3);
    let journal = desk.volume(1).join("journal");
    for mine in ["\0\0\0\n", "Dear diary"] {
        put(&journal, mine);
        for more in [&BARE[..], &RESTART] {
            says_damaged(&again(&desk, more, 2), &journal, "remove it");
            assert_eq!(fs::read_to_string(&journal).unwrap(), mine);
        }
    }
    put(&journal, checked("pouch-journal 2\n"));
    let said = again(&desk, &BARE, 2);
    assert!(said.err.contains("newer pouch"), "{}", said.err);
    assert!(!packed_and_verified(&again(&desk, &RESTART, 0)));
}
