//! From volumes to the keys of bundles: every seal that one of the given keys opens, on whichever volume. What is
//! wrong with a seal is noted, and the next one is tried, so that no bad or planted file hides a good one. What this
//! does not tell: which bundle is meant, or that there is anything else of it.

use std::path::PathBuf;

use crate::flow::error::{BadCopy, CopyFault};
use crate::format::age::scan_up_to;
use crate::format::seal::{Mode, Seal, commitment};
use crate::format::{FormatError, limits};
use crate::stage::seal::{Identity, Keyring, OUR_WORK_FACTOR, Recipient};
use crate::stage::volume::{ALL_SEALS, HEADS, PASSPHRASE_SEAL, Volume};

/// What one run spends on passphrase seals, as work factors count it: four like ours, of which each takes a second.
/// The volumes of a bundle share one passphrase; more were planted to keep us busy.
const MOST_WORK: u64 = 4 << OUR_WORK_FACTOR;
/// What each of them counts at least.
const LEAST_WORK: u64 = 1 << 12;

/// A bundle's key.
pub struct BundleKey {
    /// The seal that it came from.
    pub seal: Seal,
    /// Opens parts, heads and lists.
    pub keyring: Keyring,
    /// Whom they are sealed to.
    pub recipient: Recipient,
    /// Every seal that holds this key, in the order of reading.
    pub seals: Vec<PathBuf>,
}

/// What came of all seals.
#[derive(Default)]
pub struct Unlocked {
    /// The keys that were found, each once.
    pub keys: Vec<BundleKey>,
    /// Seals that cannot be used, or that no key opens.
    pub bad: Vec<BadCopy>,
    /// Folders of volumes with a seal to a passphrase that was not tried, for too many were before it.
    pub untried: Vec<PathBuf>,
}

/// Opens all seals of these volumes.
pub fn unlock(volumes: &[Volume], keyring: &Keyring) -> Unlocked {
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
    /// Tries the passphrase on volumes that no key was found for. Seals like ours come first, then those that cost
    /// least; of equal ones those on volumes that hold most: a folder with a seal and little else was perhaps planted,
    /// to use up the guesses.
    fn guess(&mut self, volumes: &[Volume], keyring: &Keyring) {
        let with_seal = volumes.iter().filter(|volume| volume.file(PASSPHRASE_SEAL).is_some());
        let mut order: Vec<(u8, &Volume)> = with_seal.map(|volume| (work_factor(volume), volume)).collect();
        order.sort_by_key(|(factor, volume)| {
            (Some(*factor).filter(|factor| *factor != OUR_WORK_FACTOR), std::cmp::Reverse(volume.files.len()))
        });
        let mut spent = 0;
        for (factor, volume) in order {
            if self.keys.iter().any(|key| owns(&key.keyring, volume)) {
                continue;
            }
            let work = if factor == u8::MAX { 0 } else { LEAST_WORK.max(1 << factor) };
            if spent + work > MOST_WORK {
                self.untried.push(volume.dir.clone());
                continue;
            }
            if self.try_seal(volume, PASSPHRASE_SEAL, keyring) {
                spent += work;
            }
        }
    }

    /// Whether a key was tried on the seal.
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

/// The work factor of a volume's seal to a passphrase; the highest number where it is none that is tried.
fn work_factor(volume: &Volume) -> u8 {
    let start = volume.read_start(PASSPHRASE_SEAL, limits::AGE_HEADER).ok();
    let scanned = start.and_then(|(start, _)| scan_up_to(&start, limits::WORK_FACTOR).ok());
    scanned.map_or(u8::MAX, |scanned| scanned.work_factor)
}

impl BundleKey {
    fn of(seal: Seal, identity: Identity, path: PathBuf) -> Self {
        let (recipient, mut keyring) = (identity.recipient(), Keyring::new());
        keyring.add(identity);
        Self { seal, keyring, recipient, seals: vec![path] }
    }
}

fn is_same(one: &Seal, other: &Seal) -> bool {
    one.bundle == other.bundle && one.kcommit == other.kcommit
}

/// A volume's seal of that name, and the identity in it; `None` where there is none.
fn open_seal(volume: &Volume, name: &str, keyring: &Keyring) -> Option<Result<(Seal, Identity), CopyFault>> {
    let sealed = volume.read_small(name, limits::SEAL_FILE)?;
    Some(sealed.map_err(CopyFault::from).and_then(|sealed| seal_in(&sealed, keyring)))
}

/// The seal in a sealed file, and the identity in that.
///
/// # Errors
/// Also where it opens and cannot be used.
pub fn seal_in(sealed: &[u8], keyring: &Keyring) -> Result<(Seal, Identity), CopyFault> {
    let text = keyring.open_small(sealed, limits::SEAL_FILE)?;
    let seal = Seal::parse(&text).map_err(CopyFault::Broken)?;
    if let Mode::Threshold { need, of } = seal.mode {
        let text = format!("it opens with the cards of {need} of {of} volumes, which this pouch cannot do yet");
        return Err(CopyFault::Reserved(text));
    }
    let broken = |why: &str| CopyFault::Broken(FormatError::malformed("the seal", 0, why));
    let identity = Identity::parse(&seal.identity).map_err(|_| broken("its key is none: its checksum is wrong"))?;
    match commitment(&seal.bundle, identity.secret().expose()) == seal.kcommit {
        true => Ok((seal, identity)),
        false => Err(broken("its key is not the one it commits to")),
    }
}

/// Whether one of the volume's heads opens with a bundle's key, as far as its header goes.
pub fn owns(keyring: &Keyring, volume: &Volume) -> bool {
    let mut starts = HEADS.into_iter().filter_map(|name| volume.read_start(name, limits::AGE_HEADER).ok());
    starts.any(|(start, _)| keyring.open_header(&start).is_ok())
}
