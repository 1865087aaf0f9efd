//! The seal's text: a bundle's key as an age identity file that stock `age -i` takes (FORMAT section 6). The parser
//! checks the form only; a caller still has to hold kcommit against name and key.

use crate::base::digest::{Digest, Hasher};
use crate::base::secret::SecretText;
use crate::base::text::{hex, unhex};
use crate::format::lines::Lines;
use crate::format::{FormatError, check_version, limits, number};

const WHAT: &str = "the seal";
/// Names of the two copies of the seal to recipients.
pub(crate) const SEALS: [&str; 2] = ["seal.age", "seal2.age"];
/// Name of the seal to a passphrase.
pub(crate) const PASSPHRASE_SEAL: &str = "seal-p.age";
/// Every name that a seal can have.
pub(crate) const ALL_SEALS: [&str; 3] = [SEALS[0], SEALS[1], PASSPHRASE_SEAL];

/// What it takes to open the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The key in the seal opens it.
    Normal,
    /// Shares of `need` among `of` volumes are needed too. Reserved: read, and refused elsewhere.
    Threshold {
        /// At least 2.
        need: u16,
        /// From `need` to 1,000.
        of: u16,
    },
}

/// What a seal says.
pub struct Seal {
    /// The bundle's random name.
    pub bundle: [u8; 16],
    pub mode: Mode,
    /// Commits to name and key: [`commitment`].
    pub kcommit: Digest,
    /// The hash of the share commitments; `None` in mode normal.
    pub cards: Option<Digest>,
    /// B, the bundle's key: `AGE-SECRET-KEY-1...`
    pub identity: SecretText,
}

/// `kcommit = H("kcommit", bundle || B)`. It ties a seal to one key, so that a stanza which opens to another key is
/// noticed.
pub fn commitment(bundle: &[u8; 16], key: &[u8; 32]) -> Digest {
    let mut hasher = Hasher::tagged("kcommit");
    hasher.update(bundle);
    hasher.update(key);
    hasher.finish()
}

impl Seal {
    /// The text that is encrypted to recipients or to a passphrase.
    pub fn encode(&self) -> SecretText {
        let mode = match self.mode {
            Mode::Normal => "normal".to_string(),
            Mode::Threshold { need, of } => format!("threshold t={need} n={of}"),
        };
        let cards = self.cards.map_or(String::new(), |cards| format!("# cards {}\n", hex(&cards.0)));
        SecretText::new(format!(
            "# pouch-seal v1\n# bundle {}\n# mode {mode}\n# kcommit {}\n{cards}{}\n",
            hex(&self.bundle),
            hex(&self.kcommit.0),
            &*self.identity
        ))
    }

    /// Parses a decrypted seal.
    ///
    /// # Errors
    /// The text is not exactly what [`Self::encode`] makes, or a later version wrote it.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        check_not_newer(text)?;
        FormatError::check_limit("the size of a seal", text.len() as u64, limits::SEAL_TEXT)?;
        let text = std::str::from_utf8(text).map_err(|_| FormatError::malformed(WHAT, 0, "it is not text"))?;
        let mut lines = Lines::of(WHAT, text);
        check_version(WHAT, lines.field("# pouch-seal v")?)?;
        let bundle = unhex(lines.field("# bundle ")?).ok_or_else(|| lines.bad("the bundle is no 16 bytes of hex"))?;
        let mode = parse_mode(lines.field("# mode ")?).ok_or_else(|| lines.bad("the mode is not known"))?;
        let kcommit = unhex(lines.field("# kcommit ")?).ok_or_else(|| lines.bad("the commitment is no hash"))?;
        let cards = match mode {
            Mode::Normal => None,
            Mode::Threshold { .. } => {
                Some(Digest(unhex(lines.field("# cards ")?).ok_or_else(|| lines.bad("cards is no hash"))?))
            }
        };
        let identity = SecretText::new(format!("AGE-SECRET-KEY-1{}", lines.field("AGE-SECRET-KEY-1")?));
        let seal = Seal { bundle, mode, kcommit: Digest(kcommit), cards, identity };
        if *seal.encode() != *text {
            return Err(FormatError::malformed(WHAT, 0, "it is not written canonically"));
        }
        Ok(seal)
    }
}

/// Refuses a later version before anything else: its text may be longer, and need not be UTF-8.
fn check_not_newer(text: &[u8]) -> Result<(), FormatError> {
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let version = first.strip_prefix(b"# pouch-seal v").and_then(|version| number(std::str::from_utf8(version).ok()?));
    match version {
        Some(version) if version > 1 => Err(FormatError::Newer { what: WHAT, version }),
        _ => Ok(()),
    }
}

fn parse_mode(text: &str) -> Option<Mode> {
    if text == "normal" {
        return Some(Mode::Normal);
    }
    let (need, of) = text.strip_prefix("threshold t=")?.split_once(" n=")?;
    let need = number(need)?;
    let of = number(of)?;
    (need >= 2 && need <= of && of <= limits::VOLUMES).then_some(Mode::Threshold { need, of })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(mode: Mode, cards: Option<Digest>) -> Seal {
        let identity = SecretText::new("AGE-SECRET-KEY-1EXAMPLE".into());
        Seal { bundle: [3; 16], mode, kcommit: Digest([4; 32]), cards, identity }
    }

    #[test]
    fn both_modes_are_read_as_written() {
        for seal in [seal(Mode::Normal, None), seal(Mode::Threshold { need: 3, of: 5 }, Some(Digest([5; 32])))] {
            let text = seal.encode();
            let back = Seal::parse(text.as_bytes()).unwrap();
            assert_eq!(
                (back.bundle, back.mode, back.kcommit, back.cards),
                (seal.bundle, seal.mode, seal.kcommit, seal.cards)
            );
            assert_eq!(*back.encode(), *text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let text = seal(Mode::Normal, None).encode().to_string();
        for (from, to) in [
            ("normal", "special"),
            ("normal", "threshold t=3 n=2"),
            ("# bundle 03", "# bundle 0"),
            ("kcommit 04", "kcommit 0G"),
            ("EXAMPLE\n", "EXAMPLE\nmore\n"),
            ("EXAMPLE\n", "EXAMPLE\r\n"),
            ("EXAMPLE\n", "EXAMPLE"),
            ("# mode", "#mode"),
        ] {
            let wrong = text.replacen(from, to, 1);
            assert!(matches!(Seal::parse(wrong.as_bytes()), Err(FormatError::Malformed { .. })), "{to}");
        }
        let newer = text.replacen("v1", "v2", 1);
        assert!(matches!(Seal::parse(newer.as_bytes()), Err(FormatError::Newer { version: 2, .. })));
        let longer = [newer.as_bytes(), &[0xff; 4096]].concat();
        assert!(matches!(Seal::parse(&longer), Err(FormatError::Newer { version: 2, .. })));
        assert!(matches!(Seal::parse(&[b'#'; 4096]), Err(FormatError::Limit { .. })));
    }
}
