//! `pouch list`: prints the entries of a bundle, whose list one drive is enough to open. This is the only file that
//! uses `jiff`.

use std::fmt::Write;

use crate::base::entry::{Entry, Flag, Kind, Time};
use crate::base::path::escape;
use crate::base::size::{count, grouped, human};
use crate::cli::args::List;
use crate::cli::exit::Exit;
use crate::cli::secrets::keyring;
use crate::cli::term::Term;
use crate::flow::FlowError;
use crate::flow::list::ListReport;

/// Opens the list of the bundle and prints it.
pub(crate) fn run(args: &List, term: &Term) -> Result<Exit, FlowError> {
    let ring = keyring(&args.keys, &args.volumes, term)?;
    let report = crate::flow::list::list(&args.volumes, &ring, args.bundle.fingerprint.as_ref())?;
    for note in &report.notes {
        term.print_note(note);
    }
    if args.json.json {
        term.json_document(&report.to_json());
    } else {
        show(&report, term);
    }
    Ok(Exit::Ok)
}

/// Prints a line for each entry, in pieces of 64 KiB: the whole text of a long list would take much memory.
fn show(report: &ListReport, term: &Term) {
    let mut text = String::new();
    for entry in &report.entries {
        let _ = writeln!(text, "{}", line(entry));
        if text.len() > 1 << 16 {
            term.out(&text);
            text.clear();
        }
    }
    term.out(&text);
    let files = report.entries.iter().filter(|entry| matches!(entry.kind, Kind::File | Kind::Hardlink(_))).count();
    let bytes: u64 = report.entries.iter().map(|entry| entry.size).sum();
    term.line(&format!("{}, {}; fingerprint {}", count(files as u64, "file"), human(bytes), report.fingerprint));
}

/// One entry as `ls -l` shows it: mode, size, time in UTC, path.
fn line(entry: &Entry) -> String {
    let letter = match entry.kind {
        Kind::Dir => 'd',
        Kind::Symlink(_) => 'l',
        _ => '-',
    };
    let target = match &entry.kind {
        Kind::Symlink(to) => format!(" -> {}", escape(to)),
        Kind::Hardlink(first) => format!(" = {first}"),
        _ => String::new(),
    };
    let flag = match entry.flag {
        Flag::Clean => "",
        Flag::Changed => "  (changed while it was packed, or could have unseen)",
        Flag::Unreadable if entry.kind == Kind::Dir => "  (not all of it is in the bundle)",
        // Comes back as an empty file. A larger one is not restored.
        Flag::Unreadable if entry.size == 0 => "  (could not be read when it was packed: its size was 0)",
        Flag::Unreadable => "  (could not be read when it was packed: not in the bundle)",
    };
    let bits = (0..9).rev().zip("rwxrwxrwx".chars());
    let mode: String = bits.map(|(bit, letter)| if entry.mode >> bit & 1 == 1 { letter } else { '-' }).collect();
    format!("{letter}{mode} {:>15} {} {}{target}{flag}", grouped(entry.size), moment(entry.mtime), entry.path)
}

/// A time in UTC. If the calendar does not reach so far, the seconds since 1970.
fn moment(time: Time) -> String {
    match jiff::Timestamp::new(time.secs, 0) {
        Ok(stamp) => stamp.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("{:>23}", time.secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::layout::tests::{dir, file, symlink};

    #[test]
    fn lines_look_like_those_of_ls() {
        let mut entry = file("a\n", 1234567);
        entry.mtime.secs = 86_400;
        assert_eq!(line(&entry), "-rw-r--r--       1,234,567 1970-01-02 00:00:00 UTC a\\x0a");
        assert!(line(&dir("d")).starts_with("drw-r--r--"));
        assert!(line(&symlink("l", "x")).ends_with("l -> x"));
    }

    #[test]
    fn a_link_shows_where_it_leads_and_a_further_name_the_first() {
        let mut further = file("b", 7);
        further.kind = Kind::Hardlink(crate::base::path::BytePath::new(&b"a"[..]).unwrap());
        assert!(line(&further).starts_with("-rw-r--r--") && line(&further).ends_with("b = a"));
        assert!(line(&symlink("l", "a\n")).ends_with("l -> a\\x0a"), "a target is escaped as a path is");
    }

    #[test]
    fn a_flag_says_what_the_bundle_has_of_the_entry() {
        let flagged = |mut entry: Entry, flag| {
            entry.flag = flag;
            line(&entry).split_once("  (").map(|(_, flag)| flag.to_string()).unwrap_or_default()
        };
        assert_eq!(flagged(file("a", 1), Flag::Clean), "");
        assert_eq!(flagged(file("a", 1), Flag::Changed), "changed while it was packed, or could have unseen)");
        assert_eq!(flagged(file("a", 1), Flag::Unreadable), "could not be read when it was packed: not in the bundle)");
        assert_eq!(flagged(file("a", 0), Flag::Unreadable), "could not be read when it was packed: its size was 0)");
        assert_eq!(flagged(dir("d"), Flag::Unreadable), "not all of it is in the bundle)");
    }

    #[test]
    fn no_time_is_too_far() {
        let mut entry = file("a", 1);
        for secs in [i64::MIN, i64::MIN + 1, -(1 << 50), i64::MAX - 1, i64::MAX] {
            entry.mtime = Time { secs, nanos: 999_999_999 };
            assert!(line(&entry).contains(&format!(" {secs} a")), "{}", line(&entry));
        }
        // A time gives a line whether the calendar reaches it or not.
        for power in 0..63 {
            for secs in [1i64 << power, -(1i64 << power)] {
                entry.mtime.secs = secs;
                assert!(line(&entry).ends_with(" a"));
            }
        }
    }
}
