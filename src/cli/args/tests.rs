//! Command lines that parse, and such that do not.

use super::*;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
    assert!(man_pages().iter().all(|(name, page)| name.starts_with("pouch") && !page.is_empty()));
    assert!(completions_for(clap_complete::Shell::Bash).contains("rehearse"));
}

#[test]
fn a_percentage_is_from_0_to_100_with_or_without_its_sign() {
    for (text, number) in [("10%", 10.0), ("10", 10.0), ("2.5 %", 2.5), ("0", 0.0), ("100", 100.0)] {
        assert_eq!(percent(text), Ok(number), "{text}");
    }
    assert_eq!(percent("100.1"), Err("0 to 100 percent are possible".into()));
    assert_eq!(percent("NaN"), Err("0 to 100 percent are possible".into()));
    assert_eq!(percent("ten"), Err("it is no percentage, such as 10%".into()));
}

#[test]
fn of_contrary_options_the_last_counts() {
    let verify = |line: &str| match Cli::try_parse_from(line.split(' ')).unwrap().command {
        Command::Pack(args) => (args.verify, args.no_verify),
        other => panic!("{other:?}"),
    };
    assert_eq!(verify("pouch pack a -r age1x -o d --no-verify --verify"), (true, false));
    assert_eq!(verify("pouch pack a -r age1x -o d --verify --no-verify"), (false, true));
}

#[test]
fn what_belongs_together_is_asked_for_together() {
    let parse = |line: &str| Cli::try_parse_from(line.split(' '));
    assert!(parse("pouch pack a -r age1x -o d").is_ok());
    assert!(parse("pouch list d --bundle yaqim-oni").is_ok());
    assert!(parse("pouch pack a -r age1x -o d --volumes 3 --volume-size 32GB").is_ok());
    for wrong in [
        "pouch",
        "pouch pack -r age1x -o d",
        "pouch pack a -r age1x",
        "pouch pack a -r age1x -o d --volumes 3",
        "pouch pack a -r age1x -o d --level 20",
        "pouch pack a -r age1x -o d --volume-size many",
        "pouch unpack d",
        "pouch list d --bundle YAQIM-ON1",
        "pouch list d --bundle YAQIM-ON",
        "pouch rehearse a",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
