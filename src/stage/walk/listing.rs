//! Collects the names in a folder from listings that may repeat names, miss some or break off. Some file systems list
//! folders in that way, and so does a folder in memory whose files are replaced while it is listed.
//!
//! Not guaranteed: that the names are complete. A caller that needs more lists the folder again and adds that.

use std::io;

/// The names that one or several listings of a folder gave.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Each name once, in byte order.
    pub(super) names: Vec<Box<[u8]>>,
    /// Names that one listing gave more than once; each once, in byte order.
    pub(super) repeated: Vec<Box<[u8]>>,
    /// Why the last listing broke off; `None` if it came to its end.
    pub(super) broke_off: Option<io::Error>,
}

impl Listing {
    /// Collects the names that `list` hands to its argument, in any order. The listing ends early if `go_on` says so,
    /// or at a name that no folder can hold.
    pub(super) fn hear(
        go_on: impl Fn() -> bool,
        list: impl FnOnce(&mut dyn FnMut(&[u8]) -> bool) -> io::Result<()>,
    ) -> Self {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut is_misled = false;
        let listed = list(&mut |name| {
            // A name with a slash would lead out of the folder. The kernel should let no such name pass.
            is_misled = name.is_empty() || name.contains(&b'/');
            if !is_misled {
                names.push(name.into());
            }
            !is_misled && go_on()
        });
        let broke_off = if is_misled { Some(io::Error::other("a name in it is none")) } else { listed.err() };
        names.sort_unstable();
        let repeats = names.windows(2).filter(|pair| pair[0] == pair[1]);
        let mut repeated: Vec<Box<[u8]>> = repeats.map(|pair| pair[0].clone()).collect();
        repeated.dedup();
        names.dedup();
        Self { names, repeated, broke_off }
    }

    /// Adds a later listing of the same folder, whose end replaces `broke_off`. Returns whether it gave new names.
    pub(super) fn add(&mut self, other: Self) -> bool {
        let known = self.names.len();
        merge(&mut self.names, other.names);
        merge(&mut self.repeated, other.repeated);
        self.broke_off = other.broke_off;
        self.names.len() > known
    }
}

fn merge(names: &mut Vec<Box<[u8]>>, more: Vec<Box<[u8]>>) {
    names.extend(more);
    names.sort_unstable();
    names.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listing that gives these names and then ends with `end`.
    fn heard(names: &[&str], end: io::Result<()>) -> Listing {
        Listing::hear(
            || true,
            |hear| {
                let _ = names.iter().all(|name| hear(name.as_bytes()));
                end
            },
        )
    }

    fn shown(names: &[Box<[u8]>]) -> Vec<String> {
        names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn a_name_that_is_listed_often_counts_once() {
        let listing = heard(&["b", "a", "c", "a", "b", "a"], Ok(()));
        assert_eq!(shown(&listing.names), ["a", "b", "c"]);
        assert_eq!(shown(&listing.repeated), ["a", "b"]);
        assert!(listing.broke_off.is_none());
        assert!(heard(&["a", "A", "a "], Ok(())).repeated.is_empty());
    }

    #[test]
    fn what_was_heard_before_a_listing_broke_off_is_known() {
        let listing = heard(&["b", "a"], Err(io::ErrorKind::TimedOut.into()));
        assert_eq!(shown(&listing.names), ["a", "b"]);
        assert_eq!(listing.broke_off.unwrap().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn another_listing_tells_what_the_first_missed() {
        let mut listing = heard(&["c", "a", "a"], Err(io::ErrorKind::TimedOut.into()));
        assert!(listing.add(heard(&["b", "b", "a"], Ok(()))));
        assert_eq!((shown(&listing.names), shown(&listing.repeated)), (vec_of("abc"), vec_of("ab")));
        assert!(listing.broke_off.is_none());
        assert!(!listing.add(heard(&["a", "b"], Ok(()))), "nothing new");
    }

    fn vec_of(names: &str) -> Vec<String> {
        names.chars().map(String::from).collect()
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_not_looked_at() {
        for wrong in ["", "/etc/passwd", "a/../../b"] {
            let listing = heard(&["fine", wrong, "more"], Ok(()));
            assert_eq!((shown(&listing.names), listing.broke_off.is_some()), (vec!["fine".to_string()], true));
        }
    }
}
