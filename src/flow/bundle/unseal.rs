//! Finds the keys of bundles in all seals that the user's keys open, on any volume. What is wrong with a seal is noted,
//! and the next one is tried, so that no bad or planted file hides a good one. The guesses of a passphrase are limited,
//! because each takes about a second.
//!
//! Not guaranteed: that anything but a seal exists of a bundle whose key is found.

use std::path::PathBuf;

use crate::flow::error::{BadCopy, CopyFault};
use crate::format::age::scan_up_to;
use crate::format::seal::{Mode, Seal, commitment};
use crate::format::{FormatError, limits};
use crate::stage::seal::{Identity, Keyring, OUR_WORK_FACTOR, Recipient};
use crate::stage::volume::{ALL_SEALS, HEADS, PASSPHRASE_SEAL, Volume};

/// Most work that one run spends on seals to a passphrase, in scrypt's unit of 2 to the work factor: that of four seals
/// of ours, each of which takes a second. The volumes of a bundle share one passphrase, so further seals were planted
/// to keep this run busy.
const MOST_WORK: u64 = 4 << OUR_WORK_FACTOR;
/// What each such seal counts at least.
const LEAST_WORK: u64 = 1 << 12;

/// The key of one bundle.
pub(crate) struct BundleKey {
    /// The first seal that holds it.
    pub(crate) seal: Seal,
    /// Opens parts, heads and lists.
    pub(crate) keyring: Keyring,
    /// The bundle's recipient, which parts, heads and lists are sealed to.
    pub(crate) recipient: Recipient,
    /// Paths of all seals that hold this key, in the order of reading.
    pub(crate) seals: Vec<PathBuf>,
}

/// The outcome of trying all seals.
#[derive(Default)]
pub(crate) struct Unlocked {
    /// The keys that were found, each once, in the order of reading.
    pub(crate) keys: Vec<BundleKey>,
    /// Seals that cannot be used, or that none of the user's keys opens.
    pub(crate) bad: Vec<BadCopy>,
    /// Folders of volumes whose seal to a passphrase was not tried, because the work for it was spent on others.
    pub(crate) untried: Vec<PathBuf>,
}

/// Opens the seals of these volumes. With a passphrase, only seals to a passphrase are tried.
pub(crate) fn unlock(volumes: &[Volume], keyring: &Keyring) -> Unlocked {
    let mut unlocked = Unlocked::default();
    if keyring.has_passphrase() {
        unlocked.guess(volumes, keyring);
        return unlocked;
    }
    for volume in volumes {
        for name in ALL_SEALS {
            unlocked.try_seal(volume, name, keyring);
        }
    }
    unlocked
}

impl Unlocked {
    /// Tries the passphrase on volumes that no key was found for yet.
    fn guess(&mut self, volumes: &[Volume], keyring: &Keyring) {
        let with_seal = volumes.iter().filter(|volume| volume.file(PASSPHRASE_SEAL).is_some());
        let guesses = with_seal.map(|volume| Guess { volume, factor: work_factor(volume) }).collect();
        let mut spent = 0;
        for Guess { volume, factor } in likeliest_first(guesses) {
            if self.keys.iter().any(|key| owns(&key.keyring, volume)) {
                continue;
            }
            let work = factor.map_or(0, work_of);
            if spent + work > MOST_WORK {
                self.untried.push(volume.dir.clone());
                continue;
            }
            if self.try_seal(volume, PASSPHRASE_SEAL, keyring) {
                spent += work;
            }
        }
    }

    /// Opens one seal and notes the outcome. Returns whether a key was tried on it, which costs work.
    fn try_seal(&mut self, volume: &Volume, name: &str, keyring: &Keyring) -> bool {
        let path = volume.path(name);
        match open_seal(volume, name, keyring) {
            None => false,
            Some(Ok((seal, identity))) => {
                match self.keys.iter_mut().find(|key| is_same(&key.seal, &seal)) {
                    Some(key) => key.seals.push(path),
                    None => self.keys.push(BundleKey::of(seal, identity, path)),
                }
                true
            }
            Some(Err(fault)) => {
                let is_tried = matches!(fault, CopyFault::Wrong | CopyFault::Broken(_) | CopyFault::Reserved(_));
                self.bad.push(BadCopy { path, fault });
                is_tried
            }
        }
    }
}

/// A volume with a seal to a passphrase.
struct Guess<'a> {
    volume: &'a Volume,
    /// The seal's work factor; `None` if the seal breaks a limit, so that no passphrase is tried on it.
    factor: Option<u8>,
}

/// Sorts seals like ours to the beginning, then those that cost least. Among equal ones, those on volumes with the most
/// files come first: a folder with a seal and little else may have been planted to use up the guesses.
fn likeliest_first(mut guesses: Vec<Guess>) -> Vec<Guess> {
    guesses.sort_by_key(|guess| {
        let is_unlike_ours = guess.factor != Some(OUR_WORK_FACTOR);
        (is_unlike_ours, guess.factor.unwrap_or(u8::MAX), std::cmp::Reverse(guess.volume.files.len()))
    });
    guesses
}

/// What a guess costs, in the unit of [`MOST_WORK`].
fn work_of(factor: u8) -> u64 {
    LEAST_WORK.max(1 << factor)
}

fn work_factor(volume: &Volume) -> Option<u8> {
    let (start, _) = volume.read_start(PASSPHRASE_SEAL, limits::AGE_HEADER).ok()?;
    Some(scan_up_to(&start, limits::WORK_FACTOR).ok()?.work_factor)
}

impl BundleKey {
    fn of(seal: Seal, identity: Identity, path: PathBuf) -> Self {
        let recipient = identity.recipient();
        let mut keyring = Keyring::new();
        keyring.add(identity);
        Self { seal, keyring, recipient, seals: vec![path] }
    }
}

fn is_same(one: &Seal, other: &Seal) -> bool {
    one.bundle == other.bundle && one.kcommit == other.kcommit
}

/// Opens a volume's seal of that name; `None` if the volume has none.
fn open_seal(volume: &Volume, name: &str, keyring: &Keyring) -> Option<Result<(Seal, Identity), CopyFault>> {
    let sealed = volume.read_small(name, limits::SEAL_FILE)?;
    Some(sealed.map_err(CopyFault::from).and_then(|sealed| seal_in(&sealed, keyring)))
}

/// Opens the bytes of a seal with the user's keys. Returns the seal and the bundle's key in it.
///
/// # Errors
/// It does not open, or it opens and cannot be used: it breaks the format, holds no key, commits to another key, or
/// needs the cards of a later version.
pub(crate) fn seal_in(sealed: &[u8], keyring: &Keyring) -> Result<(Seal, Identity), CopyFault> {
    let text = keyring.open_small(sealed, limits::SEAL_FILE)?;
    let seal = Seal::parse(&text).map_err(CopyFault::Broken)?;
    if let Mode::Threshold { need, of } = seal.mode {
        let text = format!("it opens with the cards of {need} of {of} volumes, which this pouch cannot do yet");
        return Err(CopyFault::Reserved(text));
    }
    let identity = Identity::parse(&seal.identity).map_err(|_| broken("its key is none: its checksum is wrong"))?;
    if commitment(&seal.bundle, identity.secret().expose()) != seal.kcommit {
        return Err(broken("its key is not the one it commits to"));
    }
    Ok((seal, identity))
}

fn broken(why: &str) -> CopyFault {
    CopyFault::Broken(FormatError::malformed("the seal", 0, why))
}

/// Whether the header of one of the volume's heads opens with a bundle's key. The rest of the head may be damaged.
pub(crate) fn owns(keyring: &Keyring, volume: &Volume) -> bool {
    let mut starts = HEADS.into_iter().filter_map(|name| volume.read_start(name, limits::AGE_HEADER).ok());
    starts.any(|(start, _)| keyring.open_header(&start).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::SecretText;
    use crate::flow::bundle::test_bundle::{TestBundle, keyring, seal_text, sealed_to};
    use crate::stage::volume::VolumeFile;
    use std::fs;

    /// What comes of a seal that `change` may have spoilt.
    fn open_spoilt(change: impl FnOnce(&mut Seal)) -> Result<(), CopyFault> {
        let owner = Identity::generate();
        let text = seal_text(&Identity::generate(), change);
        seal_in(&sealed_to(&owner.recipient(), text.as_bytes()), &keyring(&[&owner])).map(drop)
    }

    #[track_caller]
    fn assert_broken(opened: Result<(), CopyFault>, why: &str) {
        let Err(CopyFault::Broken(error)) = opened else { panic!("{opened:?}") };
        assert!(error.to_string().contains(why), "{error}");
    }

    #[test]
    fn all_seals_of_a_bundle_hold_one_key() {
        let test = TestBundle::new();
        let unlocked = unlock(&test.volumes(), &test.keyring());
        assert_eq!((unlocked.keys.len(), unlocked.bad.len(), unlocked.untried.len()), (1, 0, 0));
        assert!(unlocked.keys[0].recipient == test.key.recipient());
        let seals = [(1, "seal.age"), (1, "seal2.age"), (2, "seal.age"), (2, "seal2.age")];
        assert_eq!(unlocked.keys[0].seals, seals.map(|(volume, name)| test.path(volume, name)));
    }

    #[test]
    fn every_bundle_gives_its_key() {
        let (one, other) = (TestBundle::new(), TestBundle::new());
        let volumes = [one.volumes(), other.volumes()].concat();
        assert_eq!(unlock(&volumes, &keyring(&[&one.owner, &other.owner])).keys.len(), 2);
        let unlocked = unlock(&volumes, &other.keyring());
        assert!(unlocked.keys[0].recipient == other.key.recipient());
        assert_eq!(unlocked.bad.len(), 4, "the seals of the other bundle");
        assert!(unlocked.bad.iter().all(|bad| bad.fault == CopyFault::Wrong));
    }

    #[test]
    fn a_damaged_seal_hides_no_good_one() {
        let test = TestBundle::new();
        test.change(1, "seal.age", |bytes| *bytes.last_mut().unwrap() ^= 1);
        let unlocked = unlock(&test.volumes(), &test.keyring());
        assert_eq!(unlocked.keys[0].seals.len(), 3);
        let [BadCopy { path, fault: CopyFault::Damaged(_) }] = &unlocked.bad[..] else { panic!("{:?}", unlocked.bad) };
        assert_eq!(*path, test.path(1, "seal.age"));
    }

    #[test]
    fn a_seal_whose_key_does_not_fit_is_broken() {
        assert_eq!(open_spoilt(|_| ()), Ok(()));
        assert_broken(open_spoilt(|seal| seal.bundle = [9; 16]), "its key is not the one it commits to");
        let other = Identity::generate().to_text();
        assert_broken(open_spoilt(|seal| seal.identity = other), "its key is not the one it commits to");
        let mistyped = SecretText::new("AGE-SECRET-KEY-1EXAMPLE".into());
        assert_broken(open_spoilt(|seal| seal.identity = mistyped), "its checksum is wrong");
    }

    #[test]
    fn a_seal_that_needs_cards_is_reserved() {
        let opened = open_spoilt(|seal| {
            (seal.mode, seal.cards) = (Mode::Threshold { need: 3, of: 5 }, Some(seal.kcommit));
        });
        let Err(CopyFault::Reserved(why)) = opened else { panic!("{opened:?}") };
        assert!(why.contains("the cards of 3 of 5 volumes"), "{why}");
    }

    #[test]
    fn a_text_that_is_no_seal_is_broken() {
        let owner = Identity::generate();
        let opened = seal_in(&sealed_to(&owner.recipient(), b"a letter"), &keyring(&[&owner])).map(drop);
        assert!(matches!(opened, Err(CopyFault::Broken(_))), "{opened:?}");
    }

    #[test]
    fn a_volume_is_owned_as_long_as_the_header_of_a_head_opens() {
        let test = TestBundle::new();
        assert!(owns(&test.own_keyring(), &test.volume(1)) && !owns(&test.keyring(), &test.volume(1)));
        test.change(1, "head2.age", |bytes| bytes.truncate(300));
        test.remove(1, "head.age");
        assert!(owns(&test.own_keyring(), &test.volume(1)));
        test.remove(1, "head2.age");
        assert!(!owns(&test.own_keyring(), &test.volume(1)));
    }

    #[test]
    fn seals_like_ours_come_first_and_costly_ones_last() {
        let volume = |files: usize| {
            let file = VolumeFile { name: "000001.age".into(), on_drive: None, len: 1, regular: true };
            Volume { dir: PathBuf::new(), files: vec![file; files], others: 0, fault: None }
        };
        let (full, planted) = (volume(9), volume(1));
        let guess = |volume, factor| Guess { volume, factor };
        let guesses = vec![
            guess(&full, None),
            guess(&full, Some(20)),
            guess(&planted, Some(18)),
            guess(&full, Some(10)),
            guess(&full, Some(18)),
        ];
        let order: Vec<(usize, Option<u8>)> =
            likeliest_first(guesses).iter().map(|guess| (guess.volume.files.len(), guess.factor)).collect();
        assert_eq!(order, [(9, Some(18)), (1, Some(18)), (9, Some(10)), (9, Some(20)), (9, None)]);
    }

    #[test]
    fn four_seals_of_ours_or_one_of_the_costliest_are_tried() {
        assert_eq!(4 * work_of(18), MOST_WORK);
        assert_eq!(work_of(20), MOST_WORK);
        assert_eq!([work_of(0), work_of(12), work_of(13)], [4096, 4096, 8192]);
    }

    #[test]
    fn a_file_that_is_no_seal_has_no_work_factor() {
        let test = TestBundle::new();
        fs::write(test.path(1, PASSPHRASE_SEAL), b"no seal").unwrap();
        assert_eq!(work_factor(&test.volume(1)), None);
        fs::copy(test.path(1, "seal.age"), test.path(2, PASSPHRASE_SEAL)).unwrap();
        assert_eq!(work_factor(&test.volume(2)), Some(0), "it takes no passphrase");
    }
}
