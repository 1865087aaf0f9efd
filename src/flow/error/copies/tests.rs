//! The class of every fault, and which of several faults decides.

use super::*;

fn malformed() -> FormatError {
    FormatError::malformed("the seal", 1, "no")
}

fn newer() -> FormatError {
    FormatError::Newer { what: "the seal", version: 2 }
}

fn limit() -> FormatError {
    FormatError::Limit { what: "it", value: 2, limit: 1 }
}

fn outcome(faults: &[CopyFault]) -> Outcome {
    let bad = |fault: &CopyFault| BadCopy { path: PathBuf::from("seal.age"), fault: fault.clone() };
    NoCopy { what: IndexFile::Seal, bad: faults.iter().map(bad).collect() }.outcome()
}

#[test]
fn what_was_sealed_is_told_from_what_damage_explains() {
    for (fault, expected) in [
        (CopyFault::Broken(malformed()), Outcome::Hostile),
        (CopyFault::Broken(limit()), Outcome::Hostile),
        (CopyFault::Broken(newer()), Outcome::Usage),
        (CopyFault::Reserved("cards".into()), Outcome::Usage),
        (CopyFault::Refused(limit()), Outcome::Hostile),
        (CopyFault::Refused(newer()), Outcome::Usage),
        (CopyFault::Damaged("cut".into()), Outcome::Damaged),
        (CopyFault::Wrong, Outcome::Key),
        (CopyFault::Denied("no".into()), Outcome::Io),
        (CopyFault::Unread("bad sector".into()), Outcome::Io),
        (CopyFault::NoMemory(1 << 30), Outcome::Failed),
    ] {
        assert_eq!(outcome(std::slice::from_ref(&fault)), expected, "{fault:?}");
    }
    assert_eq!(outcome(&[]), Outcome::Incomplete);
}

#[test]
fn malformed_bytes_are_damage_until_they_are_authenticated() {
    assert_eq!(outcome_of(&malformed(), Proof::None), Outcome::Damaged);
    assert_eq!(outcome_of(&malformed(), Proof::Sealed), Outcome::Hostile);
    let out = FormatError::Unsafe { what: "SHA256SUMS", line: 1, why: "..".into() };
    assert_eq!(outcome_of(&out, Proof::None), Outcome::Hostile, "damage writes no path out of the folder");
}

#[test]
fn of_several_faults_the_one_that_tells_what_to_do_decides() {
    let (broken, damaged) = (CopyFault::Broken(malformed()), CopyFault::Damaged("cut".into()));
    let unread = CopyFault::Unread("bad sector".into());
    assert_eq!(outcome(&[broken.clone(), unread.clone()]), Outcome::Io, "it may be good");
    assert_eq!(outcome(&[damaged.clone(), CopyFault::Wrong]), Outcome::Key);
    assert_eq!(outcome(&[CopyFault::Wrong, CopyFault::Refused(limit())]), Outcome::Hostile);
    assert_eq!(outcome(&[CopyFault::Wrong, broken.clone()]), Outcome::Hostile);
    assert_eq!(outcome(&[broken, CopyFault::Broken(newer())]), Outcome::Hostile, "the first in reading order");
    // One flipped bit makes a version 2 of a version 3.
    assert_eq!(outcome(&[CopyFault::Refused(newer()), damaged]), Outcome::Damaged);
}

#[test]
fn an_error_without_a_code_is_about_the_file_and_not_about_the_drive() {
    let of = |error: io::Error| CopyFault::from(&error);
    assert!(matches!(of(io::Error::from_raw_os_error(13)), CopyFault::Denied(_)));
    assert!(matches!(of(io::Error::from_raw_os_error(5)), CopyFault::Unread(_)));
    assert_eq!(of(io::Error::other("not a regular file")), CopyFault::Damaged("not a regular file".into()));
}

#[test]
fn a_header_over_a_limit_is_refused_and_another_bad_one_is_damaged() {
    assert_eq!(CopyFault::from(KeyError::Wrong), CopyFault::Wrong);
    assert_eq!(CopyFault::from(KeyError::NoMemory(7)), CopyFault::NoMemory(7));
    assert_eq!(CopyFault::from(KeyError::Damaged("cut".into())), CopyFault::Damaged("cut".into()));
    assert_eq!(CopyFault::from(KeyError::Format(limit())), CopyFault::Refused(limit()));
    assert_eq!(CopyFault::from(KeyError::Format(newer())), CopyFault::Refused(newer()));
    assert!(matches!(CopyFault::from(KeyError::Format(malformed())), CopyFault::Damaged(_)));
}

#[test]
fn a_later_version_that_is_not_proven_may_be_damage() {
    assert!(CopyFault::Refused(newer()).to_string().ends_with("; or it is damaged"));
    assert!(!CopyFault::Broken(newer()).to_string().contains("damaged"));
    assert_eq!(CopyFault::Refused(limit()).to_string(), "it is 2, over the limit of 1");
}

#[test]
fn only_a_missing_head_says_that_a_volume_was_never_finished() {
    let none = |what| NoCopy { what, bad: Vec::new() }.to_string();
    assert_eq!(none(IndexFile::Seal), "there is no seal on these volumes");
    assert_eq!(none(IndexFile::List), "there is no list on these volumes");
    assert_eq!(none(IndexFile::Head), "there is no head on these volumes: they were never finished, or lost it");
}
