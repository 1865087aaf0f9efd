//! Counts what files and folders have that no bundle carries: extended attributes, ACLs and file flags. One note
//! reports all of it. Attributes of a file are looked at when it is opened to be packed.
//!
//! Not guaranteed: that the count is complete. Of a file that was never opened only the flags are known.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::base::entry::{Entry, Kind};
use crate::base::monitor::{Note, NoteKind};
use crate::base::os::attributes::Attributes;

/// Bits of [`Extras`]. This one is set once the attributes were looked at.
const LOOKED_AT: u8 = 1;
const EXTENDED: u8 = 2;
const ACL: u8 = 4;
const FLAGS: u8 = 8;

/// The bits that are counted, with the word for each in the note.
const KINDS: [(u8, &str); 3] = [(EXTENDED, "extended attributes"), (ACL, "ACLs"), (FLAGS, "file flags")];

/// Which extras one file or folder has. Atomic, because several threads may open one file.
#[derive(Debug, Default)]
pub(super) struct Extras(AtomicU8);

impl Extras {
    pub(super) fn new(has_flags: bool) -> Self {
        Self(AtomicU8::new(if has_flags { FLAGS } else { 0 }))
    }

    /// Adds the attributes that `look` finds. A second call does not look again.
    pub(super) fn add(&self, look: impl FnOnce() -> Attributes) {
        if self.0.load(Ordering::Relaxed) & LOOKED_AT == 0 {
            let found = look();
            let bits = LOOKED_AT | if found.extended { EXTENDED } else { 0 } | if found.acl { ACL } else { 0 };
            self.0.fetch_or(bits, Ordering::Relaxed);
        }
    }
}

/// One note for all entries, on the path of the first that has any extras; `None` if there are none.
pub(super) fn note<'a>(all: impl Iterator<Item = (&'a Entry, &'a Extras)>) -> Option<Note> {
    let mut first: Option<&Entry> = None;
    let mut counted = [0_u64; KINDS.len()];
    // Hard links are left out, so that no file is counted twice.
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
