//! What files and folders have that no bundle carries: extended attributes, ACLs, file flags. It is counted, and said
//! in one note. Files are looked at when they are opened to be packed, so of a file that was not opened only flags are
//! known.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::base::entry::{Entry, Kind};
use crate::base::monitor::{Note, NoteKind};
use crate::base::os::attributes::Attributes;

const LOOKED_AT: u8 = 1;
const EXTENDED: u8 = 2;
const ACL: u8 = 4;
const FLAGS: u8 = 8;

/// How each of these is counted.
const KINDS: [(u8, &str); 3] = [(EXTENDED, "extended attributes"), (ACL, "ACLs"), (FLAGS, "file flags")];

/// What one file or folder has.
#[derive(Debug, Default)]
pub(super) struct Extras(AtomicU8);

impl Extras {
    pub(super) fn new(has_flags: bool) -> Self {
        Self(AtomicU8::new(if has_flags { FLAGS } else { 0 }))
    }

    /// Adds what its attributes are, unless they are known.
    pub(super) fn add(&self, look: impl FnOnce() -> Attributes) {
        if self.0.load(Ordering::Relaxed) & LOOKED_AT == 0 {
            let found = look();
            let bits = LOOKED_AT | if found.extended { EXTENDED } else { 0 } | if found.acl { ACL } else { 0 };
            self.0.fetch_or(bits, Ordering::Relaxed);
        }
    }
}

/// One note for all; `None` if there is nothing to say.
pub(super) fn note<'a>(all: impl Iterator<Item = (&'a Entry, &'a Extras)>) -> Option<Note> {
    let mut first: Option<&Entry> = None;
    let mut counted = [0_u64; KINDS.len()];
    // Other names of a file are not counted again.
    for (entry, extras) in all.filter(|(entry, _)| matches!(entry.kind, Kind::File | Kind::Dir)) {
        let bits = extras.0.load(Ordering::Relaxed) & !LOOKED_AT;
        if bits != 0 {
            first.get_or_insert(entry);
        }
        for (counted, (kind, _)) in counted.iter_mut().zip(KINDS) {
            *counted += u64::from(bits & kind != 0);
        }
    }
    let counted = counted.iter().zip(KINDS).filter(|(counted, _)| **counted > 0);
    let counted: Vec<String> = counted.map(|(counted, (_, kind))| format!("{kind} of {counted}")).collect();
    let counted = counted.join(", ");
    let text = format!("{counted} are not packed; this is the first file or folder that has any");
    first.map(|first| Note::new(NoteKind::ExtrasDropped, first.path.as_bytes(), text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::path::BytePath;
    use crate::plan::layout::tests::{dir, file};

    #[test]
    fn all_that_is_dropped_is_one_note() {
        let mut link = file("d/link", 0);
        link.kind = Kind::Hardlink(BytePath::new(&b"d/a"[..]).unwrap());
        let entries = [dir("d"), file("d/a", 1), file("d/b", 1), link];
        let extras = [Extras::default(), Extras::new(true), Extras::new(false), Extras::new(true)];
        let said = || note(entries.iter().zip(&extras));
        extras[1].add(|| Attributes { extended: true, acl: false });
        extras[1].add(|| unreachable!("it is known"));
        extras[2].add(|| Attributes { extended: true, acl: true });
        let found = said().unwrap();
        assert_eq!((found.kind, &*found.path), (NoteKind::ExtrasDropped, &b"d/a"[..]));
        let counted = "extended attributes of 2, ACLs of 1, file flags of 1 are not packed";
        assert_eq!(found.text, format!("{counted}; this is the first file or folder that has any"));
        assert!(note(entries.iter().zip(&[Extras::default(), Extras::new(false)])).is_none());
    }
}
