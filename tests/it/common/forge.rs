//! Seals, heads and lists as an attacker makes them who knows a recipient: the receiver's, or a bundle's R.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use pouch::internals::base::digest::tagged;
use pouch::internals::format::frame;
use pouch::internals::format::head::Head;
use pouch::internals::format::seal::{Mode, Seal, commitment};
use pouch::internals::stage::compress::Decompressor;
use pouch::internals::stage::seal::{Identity, Keyring, Recipient, header_for};
use pouch::internals::stage::stream::{Opener, Sealer};

use super::Desk;

/// Encrypts to a recipient, as an age file.
pub fn sealed(to: &Recipient, plain: &[u8]) -> Vec<u8> {
    let (header, key) = header_for(std::slice::from_ref(to));
    let mut sealer = Sealer::new(Vec::new(), &header, &key).expect("writing to memory cannot fail");
    sealer.write_all(plain).expect("writing to memory cannot fail");
    sealer.finish().expect("writing to memory cannot fail")
}

/// Encrypts to the desk's key.
pub fn to_receiver(desk: &Desk, plain: &[u8]) -> Vec<u8> {
    sealed(&Recipient::parse(&desk.recipient).expect("the desk's recipient"), plain)
}

/// Wraps a text in stored zstd frames.
pub fn stored(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::store(text, |bytes| out.extend_from_slice(bytes));
    out
}

/// The text of a seal whose key belongs to no bundle, and that key's recipient.
pub fn new_seal(mode: Mode) -> (String, Recipient) {
    let (bundle, identity) = ([9; 16], Identity::generate());
    let kcommit = commitment(&bundle, identity.secret().expose());
    let cards = matches!(mode, Mode::Threshold { .. }).then(|| tagged("parts", b"cards"));
    let seal = Seal { bundle, mode, kcommit, cards, identity: identity.to_text() };
    (seal.encode().to_string(), identity.recipient())
}

/// A bundle's key and what it opens.
pub struct Known {
    pub ring: Keyring,
    pub recipient: Recipient,
    pub head: Head,
    pub list: String,
    pub seal: String,
}

impl Known {
    /// Opens the volume with the desk's key.
    pub fn of(desk: &Desk, volume: &Path) -> Self {
        let mut keys = Keyring::new();
        keys.add_file(&fs::read_to_string(desk.path("key")).expect("the key")).expect("a key");
        let sealed = fs::read(volume.join("seal.age")).expect("a seal");
        let seal = keys.open_small(&sealed, 2048).expect("it opens");
        let text = String::from_utf8(seal.to_vec()).expect("text");
        let identity = Identity::parse(&Seal::parse(&seal).expect("a seal").identity).expect("an identity");
        let (recipient, mut ring) = (identity.recipient(), Keyring::new());
        ring.add(identity);
        let open = |name| unsealed(&ring, &volume.join(name));
        let (head, list) = (Head::parse(open("head.age").as_bytes()).expect("a head"), open("list.age"));
        Self { ring, recipient, head, list, seal: text }
    }

    /// Encrypts a text to the bundle's R.
    pub fn seal_text(&self, text: &str) -> Vec<u8> {
        sealed(&self.recipient, &stored(text.as_bytes()))
    }

    /// Head and list with a file's mode changed: the same name and key, but another statement.
    pub fn twin(&self) -> (Head, String) {
        let list = self.list.replacen("\"mode\":\"0644\"", "\"mode\":\"0600\"", 1);
        assert_ne!(list, self.list, "the list has a file of mode 0644");
        let mut head = self.head.clone();
        head.statement.list_hash = tagged("list", list.as_bytes());
        (head, list)
    }
}

fn unsealed(ring: &Keyring, path: &Path) -> String {
    let bytes = fs::read(path).expect("a file");
    let (key, len) = ring.open_header(&bytes).expect("it opens");
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    Opener::new(&bytes[len..], &key).and_then(|mut opener| opener.read_to_end(&mut plain)).expect("it opens");
    let take = |bytes: &[u8]| -> Result<(), ()> {
        out.extend_from_slice(bytes);
        Ok(())
    };
    Decompressor::new().expect("zstd").decode(std::iter::once(plain), take).expect("frames");
    String::from_utf8(out).expect("text")
}
