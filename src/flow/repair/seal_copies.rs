//! Seals for repaired volumes. A repair cannot make any, because it does not know the recipients, so it copies them as
//! they are. A volume that still has good seals keeps its own.
//!
//! Not guaranteed: that drives stay unrelated. Where a volume gets the seal of another, both hold the same bytes, and a
//! person who sees both can tell that they belong together.

use std::cmp::Reverse;

use crate::base::digest::sha256;
use crate::flow::FlowError;
use crate::flow::bundle::open::Bundle;
use crate::flow::bundle::unseal::seal_in;
use crate::flow::check::report::CheckReport;
use crate::flow::check::survey::whole_files;
use crate::flow::error::BundleError;
use crate::format::limits;
use crate::format::volume_number::VolumeNumber;
use crate::stage::seal::Keyring;
use crate::stage::volume::{ALL_SEALS, PASSPHRASE_SEAL, Volume};

/// The good seals on the bundle's volumes, in the order of reading. There is at least one.
pub(crate) struct SealCopies(Vec<SealCopy>);

struct SealCopy {
    name: &'static str,
    bytes: Vec<u8>,
    /// Whether a key opened it. If not, only the SHA256SUMS of its volume vouches for it.
    opens: bool,
    /// The number of its volume by the name of the folder; `None` if that is none of the bundle's.
    volume: Option<VolumeNumber>,
}

impl SealCopy {
    /// The two seals to recipients may stand in for each other.
    fn is_of_kind(&self, name: &str) -> bool {
        (self.name == PASSPHRASE_SEAL) == (name == PASSPHRASE_SEAL)
    }

    fn rank(&self, number: VolumeNumber, name: &str) -> (bool, bool, bool) {
        (self.opens, self.volume == Some(number), self.name == name)
    }
}

impl SealCopies {
    /// Collects the good seals, for volumes of these numbers.
    ///
    /// # Errors
    /// No seal is whole.
    pub(crate) fn of(
        bundle: &Bundle,
        checked: &CheckReport,
        keyring: &Keyring,
        numbers: &[VolumeNumber],
    ) -> Result<Self, FlowError> {
        let mut all: Vec<SealCopy> = Vec::new();
        for volume in &bundle.volumes {
            let number = number_of(volume, bundle.head.statement.n);
            let listed = if bundle.owns(volume) { whole_files(volume, checked) } else { Default::default() };
            for name in ALL_SEALS {
                // Trying a passphrase takes a second, and one good seal of each name will do.
                let enough = all.iter().any(|copy| copy.name == name && copy.opens);
                if enough && number.is_none_or(|number| !numbers.contains(&number)) {
                    continue;
                }
                let Some(Ok(bytes)) = volume.read_small(name, limits::SEAL_FILE) else { continue };
                let opens = opens(&bytes, bundle, keyring);
                if opens || listed.get(name) == Some(&sha256(&bytes)) {
                    all.push(SealCopy { name, bytes, opens, volume: number });
                }
            }
        }
        if all.is_empty() {
            return Err(BundleError::Damaged("no seal on these volumes is whole: there is none to copy".into()).into());
        }
        Ok(Self(all))
    }

    /// The names and bytes of the seals for a volume: one under each name for which a fitting copy was found. A seal
    /// that a key opened comes before one of the volume's own, and that before one with the same name.
    pub(crate) fn for_volume(&self, number: VolumeNumber) -> impl Iterator<Item = (&'static str, &[u8])> {
        let names = ALL_SEALS.into_iter();
        names.filter_map(move |name| {
            let copies = self.0.iter().enumerate().filter(|(_, copy)| copy.is_of_kind(name));
            // Of equal ones the first is taken, so that the result does not depend on the iterator.
            let best = copies.max_by_key(|(at, copy)| (copy.rank(number, name), Reverse(*at)));
            best.map(|(_, copy)| (name, &copy.bytes[..]))
        })
    }
}

/// The number in the name of the folder; `None` if the bundle of so many volumes has no such volume.
fn number_of(volume: &Volume, volumes: u16) -> Option<VolumeNumber> {
    volume.number().filter(|number| (1..=volumes).contains(&number.get()))
}

/// Whether one of the keys opens the seal, and it is this bundle's.
fn opens(bytes: &[u8], bundle: &Bundle, keyring: &Keyring) -> bool {
    let statement = &bundle.head.statement;
    seal_in(bytes, keyring).is_ok_and(|(seal, _)| seal.bundle == statement.bundle && seal.kcommit == statement.kcommit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seals by name, content, whether a key opens it, and volume.
    fn seals(copies: &[(&'static str, &str, bool, u16)]) -> SealCopies {
        let copy = |(name, bytes, opens, volume): &(&'static str, &str, bool, u16)| SealCopy {
            name,
            bytes: bytes.as_bytes().into(),
            opens: *opens,
            volume: Some(VolumeNumber::new(*volume)),
        };
        SealCopies(copies.iter().map(copy).collect())
    }

    fn contents(all: &SealCopies, number: u16) -> Vec<String> {
        all.for_volume(VolumeNumber::new(number)).map(|(_, bytes)| String::from_utf8(bytes.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_volume_keeps_its_own_seals_if_they_are_good() {
        let all = seals(&[
            ("seal.age", "1", true, 1),
            ("seal2.age", "1b", true, 1),
            ("seal.age", "2", true, 2),
            ("seal-p.age", "1p", false, 1),
            ("seal-p.age", "2p", false, 2),
            ("seal.age", "3", false, 3),
        ]);
        assert_eq!(contents(&all, 1), ["1", "1b", "1p"]);
        assert_eq!(contents(&all, 2), ["2", "2", "2p"], "its first stands in for its second");
        assert_eq!(contents(&all, 3), ["1", "1b", "1p"], "one that opens rather than its own, which no key opened");
    }

    #[test]
    fn a_seal_to_a_passphrase_does_not_stand_in_for_one_to_recipients() {
        let passphrase = seals(&[("seal-p.age", "p", true, 1)]);
        assert!(passphrase.for_volume(VolumeNumber::new(1)).map(|(name, _)| name).eq(["seal-p.age"]));
        let recipients = seals(&[("seal.age", "1", true, 1)]);
        assert!(recipients.for_volume(VolumeNumber::new(2)).map(|(name, _)| name).eq(["seal.age", "seal2.age"]));
    }

    #[test]
    fn of_equally_good_seals_the_first_is_copied() {
        let all = seals(&[("seal.age", "2", true, 2), ("seal.age", "3", true, 3)]);
        assert_eq!(contents(&all, 1), ["2", "2"]);
    }
}
