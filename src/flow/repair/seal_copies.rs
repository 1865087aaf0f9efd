//! Seals for repaired volumes: nobody here can make any, so they are copied as they are. A volume
//! that still has good ones keeps its own; else two drives come to share the bytes of one seal,
//! and whoever sees both can tell that they belong together.

use std::cmp::Reverse;

use crate::base::digest::sha256;
use crate::flow::FlowError;
use crate::flow::bundle::open::Bundle;
use crate::flow::bundle::unseal::seal_in;
use crate::flow::check::report::CheckReport;
use crate::flow::check::survey::whole_files;
use crate::flow::error::BundleError;
use crate::format::limits;
use crate::format::seal::Seal;
use crate::stage::seal::Keyring;
use crate::stage::volume::{ALL_SEALS, PASSPHRASE_SEAL, Volume};

/// Good seals of the bundle's volumes.
pub struct SealCopies(Vec<SealCopy>);

struct SealCopy {
    name: &'static str,
    bytes: Vec<u8>,
    /// It was opened; else only its volume's SHA256SUMS speaks for it.
    opens: bool,
    /// The volume that it is from, by its folder's name.
    of: Option<u16>,
}

impl SealCopies {
    /// Collects what there is, for volumes of these numbers.
    ///
    /// # Errors
    /// There is none that is whole.
    pub fn of(bundle: &Bundle, checked: &CheckReport, keyring: &Keyring, numbers: &[u16]) -> Result<Self, FlowError> {
        let mut all: Vec<SealCopy> = Vec::new();
        for volume in &bundle.volumes {
            let of = number_of(volume, bundle.head.statement.n);
            let listed = if bundle.owns(volume) { whole_files(volume, checked) } else { Default::default() };
            for name in ALL_SEALS {
                // Trying a passphrase takes a second, and one good seal of each name will do.
                let enough = all.iter().any(|copy| copy.name == name && copy.opens);
                if enough && of.is_none_or(|of| !numbers.contains(&of)) {
                    continue;
                }
                let Some(Ok(bytes)) = volume.read_small(name, limits::SEAL_FILE) else { continue };
                let opens = opens(&bytes, bundle, keyring);
                if opens || listed.get(name) == Some(&sha256(&bytes)) {
                    all.push(SealCopy { name, bytes, opens, of });
                }
            }
        }
        match all.is_empty() {
            true => Err(FlowError::Bundle(BundleError::Damaged(
                "no seal on these volumes is whole: there is none to copy".into(),
            ))),
            false => Ok(Self(all)),
        }
    }

    /// Names and bytes of the seals for a volume: one of each kind that the bundle has.
    pub fn for_volume(&self, number: u16) -> impl Iterator<Item = (&'static str, &[u8])> {
        let names = ALL_SEALS.into_iter();
        names.filter_map(move |name| {
            // The two seals to recipients may stand in for each other.
            let fits = |copy: &SealCopy| (copy.name == PASSPHRASE_SEAL) == (name == PASSPHRASE_SEAL);
            let copies = self.0.iter().enumerate().filter(|(_, copy)| fits(copy));
            let rank = |copy: &SealCopy| (copy.opens, copy.of == Some(number), copy.name == name);
            let best = copies.max_by_key(|(at, copy)| (rank(copy), Reverse(*at)));
            best.map(|(_, copy)| (name, &copy.bytes[..]))
        })
    }
}

fn number_of(volume: &Volume, volumes: u16) -> Option<u16> {
    volume.number().filter(|number| (1..=volumes).contains(number))
}

/// Whether it is a seal of this bundle that one of the keys opens.
fn opens(bytes: &[u8], bundle: &Bundle, keyring: &Keyring) -> bool {
    let statement = &bundle.head.statement;
    let is_its = |seal: &Seal| seal.bundle == statement.bundle && seal.kcommit == statement.kcommit;
    seal_in(bytes, keyring).is_ok_and(|(seal, _)| is_its(&seal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seals(copies: &[(&'static str, &str, bool, u16)]) -> SealCopies {
        let copy = |(name, bytes, opens, of): &(&'static str, &str, bool, u16)| SealCopy {
            name,
            bytes: bytes.as_bytes().into(),
            opens: *opens,
            of: Some(*of),
        };
        SealCopies(copies.iter().map(copy).collect())
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
        let of = |number| all.for_volume(number).map(|(_, bytes)| bytes.to_vec()).collect::<Vec<_>>();
        assert_eq!(of(1), [&b"1"[..], b"1b", b"1p"]);
        assert_eq!(of(2), [&b"2"[..], b"2", b"2p"], "its first stands in for its second");
        assert_eq!(of(3), [&b"1"[..], b"1b", b"1p"], "one that opens rather than its own that nobody could try");
        assert!(seals(&[("seal-p.age", "p", true, 1)]).for_volume(1).map(|(name, _)| name).eq(["seal-p.age"]));
    }
}
