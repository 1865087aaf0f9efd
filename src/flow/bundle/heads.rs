//! Finds the heads on volumes, each statement once, and so the bundles that the volumes are of. Of all copies of one
//! statement the first whole one is used; of the others only the statement is read. What is wrong with a copy is noted,
//! and the next one is tried.
//!
//! Not guaranteed: that the right bundle is found. The caller decides which of several bundles is meant.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::flow::bundle::sealed_text::{head_start, head_text, of_this_bundle};
use crate::flow::bundle::unseal::BundleKey;
use crate::flow::error::{BadCopy, CopyFault};
use crate::format::head::Head;
use crate::format::{FormatError, limits};
use crate::plan::choose::{Choice, FingerprintStart, choose};
use crate::stage::volume::{HEADS, Volume};

/// A bundle of which a whole head was found.
pub(crate) struct FoundHead {
    /// The key that opens it, by its index among the keys.
    pub(crate) key: usize,
    pub(crate) fingerprint: String,
    /// Volumes that have a head with this statement, by their indices.
    pub(crate) volumes: BTreeSet<usize>,
    /// The head's text to the end of the statement.
    start: Vec<u8>,
    /// The first whole copy.
    at: HeadCopy,
    /// The head, if it is kept in memory: only one is.
    head: Option<Head>,
}

/// Where a copy of a head is: the index of its volume, and its name.
#[derive(Clone, Copy)]
struct HeadCopy {
    volume: usize,
    name: &'static str,
}

/// All heads on some volumes.
#[derive(Default)]
pub(crate) struct Heads {
    /// Each statement once, in the order of reading.
    pub(crate) found: Vec<FoundHead>,
    /// Copies that cannot be used, in the order of reading.
    pub(crate) bad: Vec<BadCopy>,
}

/// What a copy of a head is.
enum CopyKind {
    /// A further copy of a head that was found, by its index there.
    Repeated(usize),
    /// The first copy of its statement, and the index of the key that opens it.
    First(usize, Box<Head>),
}

impl Heads {
    /// Reads all heads that `keys` open. Only a head whose fingerprint fits `wanted` is kept in memory.
    pub(crate) fn find(volumes: &[Volume], keys: &[BundleKey], wanted: Option<&FingerprintStart>) -> Self {
        let mut heads = Heads::default();
        for (index, volume) in volumes.iter().enumerate() {
            for name in HEADS.into_iter().filter(|name| volume.file(name).is_some()) {
                match heads.look_at(volume, name, keys) {
                    Ok(CopyKind::Repeated(known)) => _ = heads.found[known].volumes.insert(index),
                    Ok(CopyKind::First(key, head)) => heads.add(key, *head, HeadCopy { volume: index, name }, wanted),
                    Err(fault) => heads.bad.push(BadCopy { path: volume.path(name), fault }),
                }
            }
        }
        heads
    }

    /// Reads a copy as a whole only if its statement is not known yet.
    fn look_at(&self, volume: &Volume, name: &str, keys: &[BundleKey]) -> Result<CopyKind, CopyFault> {
        let key = key_of(volume, name, keys)?;
        if let Some(longest) = self.opened_by(key).map(|(_, found)| found.start.len()).max() {
            let start = head_start(volume, name, &keys[key].keyring, longest)?;
            if let Some((known, _)) = self.opened_by(key).find(|(_, found)| start.starts_with(&found.start)) {
                return Ok(CopyKind::Repeated(known));
            }
        }
        Ok(CopyKind::First(key, Box::new(read(volume, name, &keys[key])?)))
    }

    /// The heads that a key opens, with their indices.
    fn opened_by(&self, key: usize) -> impl Iterator<Item = (usize, &FoundHead)> {
        self.found.iter().enumerate().filter(move |(_, found)| found.key == key)
    }

    fn add(&mut self, key: usize, head: Head, at: HeadCopy, wanted: Option<&FingerprintStart>) {
        let fingerprint = head.statement.fingerprint();
        let may_be_wanted = choose([fingerprint.as_str()], wanted) == Choice::One(0);
        // Heads are large, and a hostile drive may have many of them.
        let is_kept = may_be_wanted && self.found.iter().all(|found| found.head.is_none());
        let start = head.start().into_bytes();
        let volumes = BTreeSet::from([at.volume]);
        self.found.push(FoundHead { key, fingerprint, volumes, start, at, head: is_kept.then_some(head) });
    }
}

impl FoundHead {
    /// The head: the one in memory, or else its copy is read once more.
    pub(crate) fn read(self, volumes: &[Volume], keys: &[BundleKey]) -> Result<Head, BadCopy> {
        let volume = &volumes[self.at.volume];
        let name = self.at.name;
        match self.head {
            Some(head) => Ok(head),
            None => read(volume, name, &keys[self.key]).map_err(|fault| BadCopy { path: volume.path(name), fault }),
        }
    }

    /// The folders of the volumes that have this head.
    pub(crate) fn places(&self, volumes: &[Volume]) -> Vec<PathBuf> {
        self.volumes.iter().map(|index| volumes[*index].dir.clone()).collect()
    }
}

/// The index of the key that opens the head's header.
fn key_of(volume: &Volume, name: &str, keys: &[BundleKey]) -> Result<usize, CopyFault> {
    let (start, _) = volume.read_start(name, limits::AGE_HEADER).map_err(|fault| CopyFault::from(&fault))?;
    let mut fault = None;
    for (index, key) in keys.iter().enumerate() {
        match key.keyring.open_header(&start) {
            Ok(_) => return Ok(index),
            Err(error) => fault = Some(of_this_bundle(error)),
        }
    }
    Err(fault.unwrap_or(CopyFault::Wrong))
}

/// Reads a whole head, and checks that it is of the bundle that its key is of.
fn read(volume: &Volume, name: &str, key: &BundleKey) -> Result<Head, CopyFault> {
    let Some(sealed) = volume.read_small(name, limits::HEAD) else {
        return Err(CopyFault::Unread("it was there a moment ago".into()));
    };
    let head = Head::parse(&head_text(&sealed?, &key.keyring)?).map_err(CopyFault::Broken)?;
    if head.statement.bundle != key.seal.bundle || head.statement.kcommit != key.seal.kcommit {
        let why = "it is sealed for this bundle but names another";
        return Err(CopyFault::Broken(FormatError::malformed("the head", 0, why)));
    }
    match head.statement.profile.as_str() {
        "open" => Ok(head),
        profile => Err(CopyFault::Reserved(format!("it has the profile {profile}, which this pouch cannot read yet"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::flow::bundle::test_bundle::TestBundle;
    use crate::flow::bundle::unseal::unlock;

    fn keys(test: &TestBundle) -> Vec<BundleKey> {
        unlock(&test.volumes(), &test.keyring()).keys
    }

    fn find(test: &TestBundle) -> Heads {
        Heads::find(&test.volumes(), &keys(test), None)
    }

    #[test]
    fn all_copies_of_a_statement_are_one_find() {
        let test = TestBundle::new();
        let heads = find(&test);
        assert!(heads.bad.is_empty());
        let [found] = &heads.found[..] else { panic!("{} are found", heads.found.len()) };
        assert_eq!(found.fingerprint, test.head.statement.fingerprint());
        assert_eq!(found.volumes, BTreeSet::from([0, 1]));
        assert_eq!(found.places(&test.volumes()), [test.volume(1).dir, test.volume(2).dir]);
    }

    #[test]
    fn a_damaged_copy_is_noted_and_the_next_one_is_used() {
        let test = TestBundle::new();
        test.change(1, "head.age", |bytes| bytes[1000] ^= 1);
        let mut heads = find(&test);
        let [BadCopy { path, fault: CopyFault::Damaged(_) }] = &heads.bad[..] else { panic!("{:?}", heads.bad) };
        assert_eq!(*path, test.path(1, "head.age"));
        assert_eq!(heads.found.remove(0).read(&test.volumes(), &keys(&test)), Ok(test.head));
    }

    #[test]
    fn a_head_that_the_key_does_not_open_is_damaged_or_of_another_bundle() {
        let (one, other) = (TestBundle::new(), TestBundle::new());
        let heads = Heads::find(&one.volumes(), &keys(&other), None);
        assert!(heads.found.is_empty());
        assert_eq!(heads.bad.len(), 4);
        assert!(heads.bad.iter().all(|bad| matches!(bad.fault, CopyFault::Damaged(_))), "{:?}", heads.bad);
    }

    #[test]
    fn a_head_of_another_bundle_than_its_key_is_broken() {
        let test = TestBundle::new();
        let mut keys = keys(&test);
        keys[0].seal.bundle = [9; 16];
        let heads = Heads::find(&test.volumes(), &keys, None);
        assert!(heads.found.is_empty());
        let CopyFault::Broken(error) = &heads.bad[0].fault else { panic!("{:?}", heads.bad) };
        assert!(error.to_string().contains("names another"), "{error}");
    }

    #[test]
    fn a_profile_of_a_later_version_is_reserved() {
        let quiet = TestBundle::of([1; 16], &Secret::random(), |head| head.statement.profile = "quiet".into());
        let heads = find(&quiet);
        assert_eq!((heads.found.len(), heads.bad.len()), (0, 4));
        assert!(heads.bad.iter().all(|bad| matches!(bad.fault, CopyFault::Reserved(_))), "{:?}", heads.bad);
    }

    #[test]
    fn a_head_that_was_not_kept_is_read_again() {
        let test = TestBundle::new();
        let wanted = FingerprintStart::parse("AAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        let mut heads = Heads::find(&test.volumes(), &keys(&test), Some(&wanted));
        let found = heads.found.remove(0);
        assert!(found.head.is_none());
        test.remove(1, "head.age");
        let bad = found.read(&test.volumes(), &keys(&test)).unwrap_err();
        assert_eq!(bad.path, test.path(1, "head.age"), "the copy that was whole");
        assert_eq!(bad.fault, CopyFault::Unread("it was there a moment ago".into()));
    }
}
