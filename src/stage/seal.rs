//! Recipients, identities and the headers of age files: which key opens what. The only file that uses `age`.
//!
//! This file writes headers itself, without GREASE, from stanzas that the age crate wraps. The age crate opens headers,
//! but only after our own scan has refused hostile ones. Payloads are the job of `stream.rs`. No plugin ever starts.

use std::cell::RefCell;
use std::io::Read;

use age::DecryptError;
use age::secrecy::{ExposeSecret, SecretString};

use crate::base::crypto::header_mac;
use crate::base::locked;
use crate::base::memory;
use crate::base::path::escape;
use crate::base::secret::{FileKey, Secret, SecretText, shuffle};
use crate::base::size::human;
use crate::format::age::{Scanned, Stanza, scan_up_to, signed, unsigned};
use crate::format::part::HEADER;
use crate::format::{FormatError, limits};

/// scrypt work factor of the passphrases that we seal to, as a power of two: 256 MiB and about a second.
pub(crate) const OUR_WORK_FACTOR: u8 = 18;
const SECRET_PREFIX: &str = "age-secret-key-";

/// Why a key, or an age file, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key of the ring opens the file. A wrong passphrase counts as that, too.
    #[error("none of the given keys opens it")]
    Wrong,
    /// The file is damaged, or no age file.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The file breaks a rule or limit of the format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Bytes of memory that scrypt needs to try the passphrase, and that the system does not have.
    #[error("trying the passphrase takes {} of memory, which the system does not have", human(*.0))]
    NoMemory(u64),
    /// A text that is no recipient.
    #[error("\"{text}\" is no age recipient: {why}", text = escape(.text.as_bytes()))]
    NoRecipient {
        /// At most 80 characters of the text; a text with a secret key is not shown at all.
        text: String,
        why: &'static str,
    },
    /// A text that is no identity. It may be a secret with a wrong letter, so it is never repeated.
    #[error("{}{why}", if *.line == 0 { String::new() } else { format!("line {line} is no age identity: ") })]
    NoIdentity {
        /// From 1; 0 for the file as a whole.
        line: usize,
        why: &'static str,
    },
}

/// A public key (`age1...`) that files are sealed to.
#[derive(Clone)]
pub struct Recipient(age::x25519::Recipient);

impl Recipient {
    /// Parses `age1...`. The error explains the usual mistakes: an ssh key, a secret key, an unsupported kind.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        // Copied text may have blanks and a byte order mark around it.
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        text.parse().map(Recipient).map_err(|_| {
            let secret = is_secret(text);
            let shown = if secret { "AGE-SECRET-KEY-...".into() } else { text.chars().take(80).collect() };
            KeyError::NoRecipient { text: shown, why: why_no_recipient(text) }
        })
    }

    /// Parses one recipient per line; blank lines and lines that begin with `#` are ignored.
    pub(crate) fn parse_file(text: &str) -> Result<Vec<Self>, KeyError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(Self::parse).collect()
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// Whether the text contains a secret key. Messages never repeat a text that does.
fn is_secret(text: &str) -> bool {
    text.to_ascii_uppercase().contains("AGE-SECRET-KEY-")
}

fn why_no_recipient(text: &str) -> &'static str {
    if is_secret(text) {
        "it is a secret key; give the recipient that belongs to it, and consider this key seen"
    } else if text.starts_with("ssh-") {
        "ssh keys are not taken; ask for an age recipient (age1...)"
    } else if text.starts_with("age1pq") || text.starts_with("age1tag") {
        "this kind of recipient is not supported yet; ask for an X25519 one"
    } else if text.starts_with("age1") {
        "a letter is wrong or missing, or it is of a kind that is not supported; copy it again, or ask for an X25519 one"
    } else {
        "it does not begin with age1"
    }
}

/// A private key (`AGE-SECRET-KEY-1...`).
#[derive(Clone)]
pub struct Identity(age::x25519::Identity);

impl Identity {
    /// Makes a random key.
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Makes the key of these 32 bytes. The age crate takes it only as text.
    pub(crate) fn from_secret(secret: &Secret) -> Self {
        let hrp = bech32::Hrp::parse(SECRET_PREFIX).expect("a valid prefix");
        let text = SecretText::new(
            bech32::encode_upper::<bech32::Bech32>(hrp, secret.expose()).expect("32 bytes are short enough"),
        );
        Self(text.parse().expect("32 bytes are a key"))
    }

    /// Parses `AGE-SECRET-KEY-1...`. The error does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        text.parse()
            .map(Identity)
            .map_err(|_| KeyError::NoIdentity { line: 0, why: "it is no age identity, or a letter of it is wrong" })
    }

    /// The text `AGE-SECRET-KEY-1...`, wiped when dropped.
    pub fn to_text(&self) -> SecretText {
        SecretText::new(self.0.to_string().expose_secret().to_string())
    }

    /// The 32 bytes of the key: the inverse of [`Identity::from_secret`].
    pub fn secret(&self) -> Secret {
        let (_, bytes) = bech32::decode(&self.to_text()).expect("the age crate writes bech32");
        let bytes = zeroize::Zeroizing::new(bytes);
        Secret::new(bytes[..].try_into().expect("32 bytes are a key"))
    }

    /// The public key of this private key.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }
}

/// Keys to try on a sealed file, in the order in which they were added.
pub struct Keyring {
    keys: Vec<Box<dyn age::Identity + Send + Sync>>,
    passphrase: bool,
    /// The highest scrypt work factor to try, as a power of two: a hostile header could ask for any.
    most_work: u8,
}

impl Default for Keyring {
    fn default() -> Self {
        Self { keys: Vec::new(), passphrase: false, most_work: limits::WORK_FACTOR }
    }
}

impl Keyring {
    /// An empty ring for files on drives, which anyone may have written.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty ring for a key file that the user names: it may take a higher work factor.
    pub(crate) fn for_key_file() -> Self {
        Self { most_work: limits::KEY_WORK_FACTOR, ..Self::default() }
    }

    pub fn add(&mut self, identity: Identity) {
        self.hold(identity.0);
    }

    fn hold(&mut self, identity: age::x25519::Identity) {
        // The age crate uses the key in place, in this box, so its memory is locked once for good.
        let held = Box::new(identity);
        locked::keep_value(&*held);
        self.keys.push(held);
    }

    /// Adds a passphrase, and locks the copy that the age crate keeps.
    pub fn add_passphrase(&mut self, passphrase: &SecretText) {
        let secret = SecretString::from(passphrase.to_string());
        locked::keep(secret.expose_secret().as_bytes());
        let mut identity = age::scrypt::Identity::new(secret);
        identity.set_max_work_factor(self.most_work);
        self.keys.push(Box::new(identity));
        self.passphrase = true;
    }

    pub(crate) fn has_passphrase(&self) -> bool {
        self.passphrase
    }

    /// Adds the identities of an identity file, one per line; those before a bad line stay in the ring.
    ///
    /// # Errors
    /// [`KeyError::NoIdentity`] if a line is no identity, or no line is one.
    pub fn add_file(&mut self, text: &str) -> Result<(), KeyError> {
        let mut any = false;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let why = if line.starts_with("AGE-PLUGIN-") {
                "plugins are not used; give a native identity (AGE-SECRET-KEY-1...)"
            } else if line.starts_with("age1") {
                "it is a recipient, which seals and does not open; give the identity file"
            } else {
                "an identity begins with AGE-SECRET-KEY-1"
            };
            let identity: age::x25519::Identity =
                line.parse().map_err(|_| KeyError::NoIdentity { line: at + 1, why })?;
            self.hold(identity);
            any = true;
        }
        if any { Ok(()) } else { Err(KeyError::NoIdentity { line: 0, why: "it holds no age identity" }) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Checks a header before the age crate parses it or derives a key: size, stanzas, work factor and memory.
    fn scan(&self, bytes: &[u8]) -> Result<Scanned, KeyError> {
        let scanned = scan_up_to(bytes, self.most_work)?;
        if self.passphrase && !memory::has(scanned.memory()) {
            return Err(KeyError::NoMemory(scanned.memory()));
        }
        Ok(scanned)
    }

    /// Opens the age header at the start of `bytes`. Returns the file key and the length of the header.
    pub fn open_header(&self, bytes: &[u8]) -> Result<(FileKey, usize), KeyError> {
        let len = self.scan(bytes)?.len;
        // The age crate wants a nonce behind the header. Its value does not matter: the payload is not read here.
        let with_nonce = [&bytes[..len], &[0; 16]].concat();
        let captures: Vec<Capture> =
            self.keys.iter().map(|key| Capture { key: &**key, seen: RefCell::new(None) }).collect();
        let decryptor = age::Decryptor::new_buffered(&with_nonce[..]).map_err(key_error)?;
        decryptor.decrypt(captures.iter().map(|capture| capture as &dyn age::Identity)).map_err(key_error)?;
        let seen = captures.into_iter().find_map(|capture| capture.seen.into_inner());
        Ok((seen.ok_or(KeyError::Wrong)?, len))
    }

    /// Decrypts a small age file (a seal, an identity file) of at most `limit` bytes of content.
    pub fn open_small(&self, bytes: &[u8], limit: u64) -> Result<zeroize::Zeroizing<Vec<u8>>, KeyError> {
        self.scan(bytes)?;
        let decryptor = age::Decryptor::new_buffered(bytes).map_err(key_error)?;
        let reader = decryptor.decrypt(self.keys.iter().map(|key| &**key as &dyn age::Identity)).map_err(key_error)?;
        let mut out = zeroize::Zeroizing::new(Vec::new());
        // The input is in memory, so only damage makes this fail.
        reader
            .take(limit + 1)
            .read_to_end(&mut out)
            .map_err(|_| KeyError::Damaged("its sealed bytes changed".into()))?;
        FormatError::check_limit("the size of a small file", out.len() as u64, limit)?;
        Ok(out)
    }
}

/// An identity that remembers the file key it unwrapped: the age crate does not hand file keys out.
struct Capture<'a> {
    key: &'a dyn age::Identity,
    seen: RefCell<Option<FileKey>>,
}

impl Capture<'_> {
    fn note(
        &self,
        found: Option<Result<age_core::format::FileKey, DecryptError>>,
    ) -> Option<Result<age_core::format::FileKey, DecryptError>> {
        if let Some(Ok(key)) = &found {
            *self.seen.borrow_mut() = Some(FileKey::new(*key.expose_secret()));
        }
        found
    }
}

impl age::Identity for Capture<'_> {
    fn unwrap_stanza(
        &self,
        stanza: &age_core::format::Stanza,
    ) -> Option<Result<age_core::format::FileKey, DecryptError>> {
        self.note(self.key.unwrap_stanza(stanza))
    }

    fn unwrap_stanzas(
        &self,
        stanzas: &[age_core::format::Stanza],
    ) -> Option<Result<age_core::format::FileKey, DecryptError>> {
        self.note(self.key.unwrap_stanzas(stanzas))
    }
}

fn key_error(error: DecryptError) -> KeyError {
    match error {
        DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            KeyError::Wrong
        }
        DecryptError::InvalidHeader => KeyError::Damaged("its header is none".into()),
        DecryptError::InvalidMac => KeyError::Damaged("its header changed".into()),
        DecryptError::UnknownFormat => KeyError::Damaged("it is of no version of age that is known".into()),
        DecryptError::ExcessiveWork { required, .. } => {
            KeyError::Damaged(format!("its passphrase is too hard to try (scrypt work factor {required})"))
        }
        other => KeyError::Damaged(other.to_string()),
    }
}

/// Whether these bytes begin like an age file, plain or in ASCII armor, and not like an identity in clear text.
pub(crate) fn is_age_file(bytes: &[u8]) -> bool {
    bytes.starts_with(b"age-encryption.org/")
        || bytes.trim_ascii_start().starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----")
}

/// Whether an age file is sealed with a passphrase: its first stanza is then scrypt's, and age allows no other.
pub(crate) fn is_for_passphrase(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').nth(1).is_some_and(|line| line.starts_with(b"-> scrypt "))
}

/// Removes the ASCII armor of an age file. A file without armor comes back as it is.
pub fn unarmor(bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut out = Vec::new();
    let start = if bytes.starts_with(b"age-encryption.org/") { bytes } else { bytes.trim_ascii_start() };
    let read = age::armor::ArmoredReader::new(start).read_to_end(&mut out);
    read.map(|_| out).map_err(|_| KeyError::Damaged("its ASCII armor is broken".into()))
}

/// Makes a header for all `recipients`, padded with decoys to 1, 2, 4, 8 or 16 stanzas in random order, which hides
/// how many recipients there are. A decoy is a stanza to a key that is thrown away.
pub fn header_for(recipients: &[Recipient]) -> (Vec<u8>, FileKey) {
    let file_key = FileKey::random();
    let mut stanzas: Vec<Stanza> = recipients.iter().map(|recipient| wrap(&recipient.0, &file_key)).collect();
    while !stanzas.len().is_power_of_two() {
        stanzas.push(wrap(&Identity::generate().recipient().0, &FileKey::random()));
    }
    shuffle(&mut stanzas);
    (finish(&stanzas, &file_key), file_key)
}

/// Makes a header that a passphrase opens. Panics with [`memory::NoMemory`] if scrypt cannot get its 256 MiB.
pub(crate) fn header_for_passphrase(passphrase: &SecretText) -> (Vec<u8>, FileKey) {
    let needed = Scanned { len: 0, work_factor: OUR_WORK_FACTOR }.memory();
    if !memory::has(needed) {
        memory::fail_for_lack_of(needed);
    }
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.to_string()));
    recipient.set_work_factor(OUR_WORK_FACTOR);
    let file_key = FileKey::random();
    (finish(&[wrap(&recipient, &file_key)], &file_key), file_key)
}

/// Makes the header of a part: one stanza for the bundle's recipient, and the nonce of the payload behind it.
pub fn part_header(recipient: &Recipient) -> ([u8; HEADER], FileKey) {
    let file_key = FileKey::random();
    let header = finish(&[wrap(&recipient.0, &file_key)], &file_key);
    let nonce: [u8; 16] = crate::base::secret::random();
    ([&header[..], &nonce].concat().try_into().expect("one stanza makes 168 bytes"), file_key)
}

fn wrap(recipient: &dyn age::Recipient, file_key: &FileKey) -> Stanza {
    let key = age_core::format::FileKey::new(Box::new(*file_key.expose()));
    let (stanzas, _) = recipient.wrap_file_key(&key).expect("native recipients do not fail");
    let stanza = stanzas.into_iter().next().expect("native recipients make one stanza");
    Stanza { tag: stanza.tag, args: stanza.args, body: stanza.body }
}

fn finish(stanzas: &[Stanza], file_key: &FileKey) -> Vec<u8> {
    let unsigned = unsigned(stanzas);
    let mac = header_mac(file_key, &unsigned);
    signed(unsigned, &mac)
}

#[cfg(test)]
mod tests;
