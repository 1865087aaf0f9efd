//! The statement: what a bundle is, in eighteen lines (FORMAT section 7). The fingerprint covers its exact bytes, and
//! the signatures of a later version will. It does not say who packed the bundle.

use crate::base::digest::{Digest, tagged};
use crate::base::text::{hex, spoken, unhex};
use crate::format::lines::Lines;
use crate::format::part::Class;
use crate::format::stripe::Scheme;
use crate::format::{FormatError, check_version, limits};

/// What a bundle is. Reserved fields are `None` where they hold `-`; a reader acts on none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The bundle's random name.
    pub bundle: [u8; 16],
    /// Commits to the bundle's key, as the seal does.
    pub kcommit: Digest,
    /// `open`, or `quiet`, which is reserved and refused elsewhere.
    pub profile: String,
    /// k, m and c; `None` without parity.
    pub scheme: Option<Scheme>,
    /// Reserved: how many volumes open the bundle.
    pub t: Option<u16>,
    /// Volumes of the bundle, at most 1,000.
    pub n: u16,
    /// Size of every part.
    pub class: Class,
    /// Lines of the parts table: data and parity parts.
    pub parts: u32,
    /// Bytes of the tar.
    pub tar: u64,
    /// `H("parts", ...)` over the lines of the parts table.
    pub parts_hash: Digest,
    /// `H("list", ...)` over the text of the list.
    pub list_hash: Digest,
    /// Reserved: when it was packed.
    pub date: Option<String>,
    /// Reserved: for whom, in the sender's words.
    pub audience: Option<String>,
    /// Reserved: number in a series.
    pub seq: Option<u64>,
    /// Reserved: where a receipt goes.
    pub reply: Option<String>,
}

impl Statement {
    /// The eighteen lines: the exact bytes that the fingerprint covers.
    pub(crate) fn encode(&self) -> String {
        fn opt<T: ToString>(value: &Option<T>) -> String {
            value.as_ref().map_or("-".to_string(), T::to_string)
        }
        [
            ("format", "1".to_string()),
            ("bundle", hex(&self.bundle)),
            ("kcommit", hex(&self.kcommit.0)),
            ("profile", self.profile.clone()),
            ("k", opt(&self.scheme.map(|scheme| scheme.k))),
            ("m", opt(&self.scheme.map(|scheme| scheme.m))),
            ("c", opt(&self.scheme.map(|scheme| scheme.c))),
            ("t", opt(&self.t)),
            ("n", self.n.to_string()),
            ("class", self.class.mib().to_string()),
            ("parts", self.parts.to_string()),
            ("tar", self.tar.to_string()),
            ("parts-hash", hex(&self.parts_hash.0)),
            ("list-hash", hex(&self.list_hash.0)),
            ("date", opt(&self.date)),
            ("audience", opt(&self.audience)),
            ("seq", opt(&self.seq)),
            ("reply", opt(&self.reply)),
        ]
        .iter()
        .map(|(key, value)| format!("{key} {value}\n"))
        .collect()
    }

    /// For people to compare over a phone: 26 letters of base32 of `H("fingerprint", statement)`, in groups of five.
    pub fn fingerprint(&self) -> String {
        spoken(&tagged("fingerprint", self.encode().as_bytes()).0, 26, 5)
    }

    /// Parses the lines behind `STATEMENT 18`.
    pub(crate) fn parse(lines: &mut Lines) -> Result<Self, FormatError> {
        check_version("the statement", lines.field("format ")?)?;
        Ok(Statement {
            bundle: unhex(lines.field("bundle ")?).ok_or_else(|| lines.bad("it is no 16 bytes of hex"))?,
            kcommit: digest(lines, "kcommit ")?,
            profile: lines.one_of("profile ", &["open", "quiet"])?,
            scheme: scheme(lines)?,
            t: lines.optional_number("t ")?,
            n: lines.number("n ", limits::VOLUMES.into())?,
            class: Class::from_mib(lines.number("class ", 256)?).ok_or_else(|| lines.bad("there is no such class"))?,
            parts: lines.number("parts ", limits::PARTS.into())?,
            tar: lines.number("tar ", i64::MAX as u64)?,
            parts_hash: digest(lines, "parts-hash ")?,
            list_hash: digest(lines, "list-hash ")?,
            date: lines.optional("date ")?.map(String::from),
            audience: lines.optional("audience ")?.map(String::from),
            seq: lines.optional_number("seq ")?,
            reply: lines.optional("reply ")?.map(String::from),
        })
    }
}

fn digest(lines: &mut Lines, key: &str) -> Result<Digest, FormatError> {
    let text = lines.field(key)?;
    unhex(text).map(Digest).ok_or_else(|| lines.bad("it is no hash"))
}

/// Parses k, m and c, which are used together or not at all.
fn scheme(lines: &mut Lines) -> Result<Option<Scheme>, FormatError> {
    let [k, m, c] = [lines.optional_number("k ")?, lines.optional_number("m ")?, lines.optional_number("c ")?];
    match (k, m, c) {
        (None, None, None) => Ok(None),
        (Some(k), Some(m), Some(c)) => match Scheme::new(k, m, c) {
            Some(scheme) => Ok(Some(scheme)),
            None => Err(lines.bad("k, m and c make no stripes")),
        },
        _ => Err(lines.bad("of k, m and c some are used and some are not")),
    }
}
