//! Journals written, damaged byte by byte, and parsed again.

use super::*;
use crate::format::checked_lines::Checks;
use crate::format::recipe::FrameRecipe;

fn journal() -> Journal {
    let seal = |volume, byte| VolumeSeal {
        volume: VolumeNumber::new(volume),
        name: "seal.age".into(),
        sha256: Digest([byte; 32]),
    };
    let opening = Opening {
        bundle: [3; 16],
        recipient: "age1x".into(),
        kcommit: Digest([4; 32]),
        class: Class::ALL[1],
        scheme: Scheme::new(4, 2, 1),
        options: Digest([5; 32]),
        whom: Digest([9; 32]),
        volumes: 2,
        seals: vec![seal(1, 6), seal(2, 7)],
        stamps: vec![1, u64::MAX],
    };
    let data = PartKind::Data { offset: 0, length: 512 };
    let part = |number, kind| WrittenPart { number, kind, volume: VolumeNumber::new(2), sha256: Digest([8; 32]) };
    let parts = vec![part(1, data), part(1, PartKind::Parity)];
    let recipes = BTreeMap::from([(1, Recipe::new(0, 5, vec![FrameRecipe::Stored(512)]))]);
    let reads = vec![ReadRange { start: 0, len: 512, hash: 1 << 127 }];
    Journal { opening, reads, parts, recipes, is_clean: true, lost: 0 }
}

fn encode(journal: &Journal) -> String {
    let reads: String = journal.reads.iter().map(ReadRange::encode).collect();
    let parts: String = journal.parts.iter().map(WrittenPart::encode).collect();
    let recipes: String = journal.recipes.iter().map(|(number, made)| recipe(*number, made)).collect();
    journal.opening.encode() + &reads + if journal.is_clean { ALL_CLEAN } else { "" } + &recipes + &parts
}

fn parse(lines: &str) -> Result<Journal, FormatError> {
    Journal::parse(Checks::default().add(lines).as_bytes())
}

#[test]
fn a_journal_comes_back() {
    let mut journal = journal();
    assert_eq!(parse(&encode(&journal)), Ok(journal.clone()));
    (journal.opening.scheme, journal.is_clean) = (None, false);
    assert_eq!(parse(&encode(&journal)), Ok(journal));
}

#[test]
fn stamps_are_whole() {
    let text = encode(&journal());
    let line = |text: &str| text.lines().find(|line| line.starts_with("STAMPS ")).unwrap().to_string();
    let stamps = line(&text);
    for bytes in [0, 8, 24] {
        let other = format!("STAMPS {}", base64(&vec![7; bytes]));
        assert_eq!(parse(&text.replace(&stamps, &other)).unwrap().opening.stamps.len(), bytes / 8);
    }
    for bytes in [1, 7, 15] {
        let other = format!("STAMPS {}", base64(&vec![7; bytes]));
        assert!(parse(&text.replace(&stamps, &other)).is_err(), "{bytes} bytes");
    }
}

#[test]
fn nothing_stands_between_its_stamps_and_its_beginning() {
    let text = encode(&journal());
    for other in ["BEGUN\u{0}\nBEGUN\n", "BEGUN and more\nBEGUN\n", "\nBEGUN\n"] {
        assert!(parse(&text.replace("BEGUN\n", other)).is_err(), "{other:?}");
    }
}

#[test]
fn it_ends_at_a_torn_or_strange_line() {
    let journal = journal();
    let text = encode(&journal);
    let checked = Checks::default().add(&text);
    let begun = checked.find("BEGUN").unwrap() + "BEGUN 0123456789abcdef\n".len();
    for cut in 0..checked.len() {
        match Journal::parse(&checked.as_bytes()[..cut]) {
            Ok(cut_short) => {
                assert!(cut >= begun && cut_short.opening == journal.opening && cut_short.parts.len() < 2)
            }
            Err(_) => assert!(cut < begun),
        }
    }
    let zeros = "0".repeat(64);
    let huge = format!("r 0 {} {}\n", u64::MAX, "0".repeat(32));
    let far = format!("d 2 1 {zeros} {} 512\n", u64::MAX);
    let nowhere = format!("p 1 0 {zeros}\n");
    for name in ["../seal.age", "head.age", ""] {
        let wrong = text.replacen("1 seal.age", &format!("1 {name}"), 1);
        assert!(parse(&wrong).is_err(), "{name:?}");
    }
    assert!(parse(&text.replacen("1 seal.age", "0 seal.age", 1)).is_err());
    for strange in ["x 1 2\n", "c 1\n", "r 1\n", "d 0 1 00\n", "\n", "m 0 0 00 s1\n", &huge, &far, &nowhere] {
        let more = format!("{text}{strange}{}", journal.parts[0].encode());
        assert_eq!(parse(&more), Ok(journal.clone()), "it ends before {strange:?}");
    }
}

/// Whether `these` are all among `those`, in the same order.
fn among<T: PartialEq>(these: &[T], those: &[T]) -> bool {
    let mut those = those.iter();
    these.iter().all(|one| those.any(|other| other == one))
}

#[test]
fn what_a_drive_makes_of_a_byte_is_never_another_journal() {
    let journal = journal();
    let whole = Checks::default().add(&encode(&journal)).into_bytes();
    let begun = whole.windows(6).position(|six| six == b"BEGUN ").unwrap() + "BEGUN 0123456789abcdef\n".len();
    for at in 0..whole.len() {
        for other in 0..=255 {
            let mut text = whole.clone();
            text[at] = other;
            match Journal::parse(&text) {
                _ if other == whole[at] => {}
                Ok(found) => {
                    assert!(at >= begun, "byte {at} of the opening");
                    let noted = |journal: &Journal| {
                        let lines = journal.reads.len() + journal.parts.len() + journal.recipes.len();
                        lines + usize::from(journal.is_clean)
                    };
                    assert!(found.opening == journal.opening && noted(&found) < noted(&journal), "byte {at}");
                    assert!(among(&found.reads, &journal.reads) && among(&found.parts, &journal.parts));
                    assert!(found.recipes.iter().all(|(number, made)| journal.recipes.get(number) == Some(made)));
                    assert!(found.lost > 0 || at == whole.len() - 1, "without its LF it is a torn line");
                }
                Err(FormatError::Malformed { what: WHAT, line: 1.., .. }) => assert!(at < begun),
                Err(other) => panic!("{other}"),
            }
            let (seals, volumes) = remains(&text);
            assert!(among(&seals, &journal.opening.seals) && [0, 2].contains(&volumes));
        }
    }
    assert_eq!(remains(&whole), (journal.opening.seals, 2));
}
