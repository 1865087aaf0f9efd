//! A small bundle without parity for the unit tests of what opens bundles: two volumes on one drive, each with a part
//! of 1 MiB. All seals, heads, lists and parts are real.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::base::digest::{Digest, sha256};
use crate::base::entry::Entry;
use crate::base::secret::{Secret, SecretText};
use crate::flow::bundle::index_files::{Sealable, head_of, list_of, seals, write_index};
use crate::flow::bundle::open::{Bundle, open};
use crate::format::head::tests::striped;
use crate::format::head::{Head, Part, PartKind, parts_hash};
use crate::format::part::{Class, HEADER, Lead, PartBuf, SEALED_CHUNK};
use crate::format::seal::{Mode, Seal, commitment};
use crate::format::volume_number::VolumeNumber;
use crate::plan::layout::tests::dir;
use crate::stage::seal::{Identity, Keyring, Recipient, header_for, part_header};
use crate::stage::stream::{PartSealer, Sealer};
use crate::stage::volume::{Volume, Writer, folder, read};

pub(crate) const CLASS: Class = Class::ALL[0];
/// Bytes of the bundle's tar: half of it in each part.
pub(crate) const TAR: u64 = 1024;

pub(crate) struct TestBundle {
    pub(crate) drive: TempDir,
    /// The only recipient of the seals.
    pub(crate) owner: Identity,
    /// The bundle's own key.
    pub(crate) key: Identity,
    pub(crate) head: Head,
    /// The list.
    pub(crate) entries: Vec<Entry>,
}

impl TestBundle {
    pub(crate) fn new() -> Self {
        Self::of([1; 16], &Secret::random(), |_| ())
    }

    /// A bundle with that name and key, and with what `change` makes of its head.
    pub(crate) fn of(name: [u8; 16], secret: &Secret, change: impl FnOnce(&mut Head)) -> Self {
        let drive = tempfile::tempdir().unwrap();
        let owner = Identity::generate();
        let key = Identity::from_secret(secret);
        let entries = vec![dir("clips")];
        let (list, list_hash) = list_of(&entries, TAR).unwrap();
        let mut head = striped(2, 1, 1);
        head.parts.retain(|part| part.kind != PartKind::Parity);
        let files: Vec<PartBuf> = head.parts.iter_mut().map(|part| seal_part(part, name, &key.recipient())).collect();
        let kcommit = commitment(&name, secret.expose());
        name_parts(&mut head, name, kcommit, list_hash);
        change(&mut head);
        let seal = Seal { bundle: name, mode: Mode::Normal, kcommit, cards: None, identity: key.to_text() };
        pack_volumes(drive.path(), (&seal, &key.recipient()), &owner.recipient(), (&head, &files), &list);
        Self { drive, owner, key, head, entries }
    }

    /// Both volumes, as they are now.
    pub(crate) fn volumes(&self) -> Vec<Volume> {
        [1, 2].map(|number| self.volume(number)).into()
    }

    pub(crate) fn volume(&self, number: u16) -> Volume {
        read(&folder(self.drive.path(), VolumeNumber::new(number))).unwrap()
    }

    /// The recipient's keys, which open the seals.
    pub(crate) fn keyring(&self) -> Keyring {
        keyring(&[&self.owner])
    }

    /// The bundle's own key, which opens all the rest.
    pub(crate) fn own_keyring(&self) -> Keyring {
        keyring(&[&self.key])
    }

    /// The bundle, opened from the volumes as they are now.
    pub(crate) fn open(&self) -> Bundle {
        open(self.volumes(), &self.keyring(), None).unwrap()
    }

    pub(crate) fn path(&self, volume: u16, name: &str) -> PathBuf {
        folder(self.drive.path(), VolumeNumber::new(volume)).join(name)
    }

    pub(crate) fn remove(&self, volume: u16, name: &str) {
        fs::remove_file(self.path(volume, name)).unwrap();
    }

    /// Removes all files of a volume except `kept`.
    pub(crate) fn keep_only(&self, volume: u16, kept: &[&str]) {
        for found in self.volume(volume).files.iter().filter(|found| !kept.contains(&&*found.name)) {
            self.remove(volume, &found.name);
        }
    }

    /// Replaces a file by what `change` makes of it.
    pub(crate) fn change(&self, volume: u16, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(volume, name)).unwrap();
        self.remove(volume, name);
        change(&mut bytes);
        fs::write(self.path(volume, name), bytes).unwrap();
    }

    /// Damages single chunks of a part's file.
    pub(crate) fn damage(&self, volume: u16, name: &str, chunks: &[usize]) {
        self.change(volume, name, |bytes| {
            chunks.iter().for_each(|chunk| bytes[HEADER + chunk * SEALED_CHUNK + 5] ^= 1);
        });
    }
}

/// Writes a volume for each part, with its file, the seals, the head and the list, and leaves it without SHA256SUMS.
/// Returns the writers. `key` is the seal of the bundle's key, and the recipient that parts are sealed to.
pub(crate) fn pack_volumes(
    drive: &Path,
    key: (&Seal, &Recipient),
    owner: &Recipient,
    (head, files): (&Head, &[PartBuf]),
    list: &Sealable,
) -> Vec<Writer> {
    let sealable = head_of(head).unwrap();
    let mut writers = Vec::new();
    for (part, file) in head.parts.iter().zip(files) {
        let mut writer = Writer::create(drive, part.volume).unwrap();
        for (name, bytes) in seals(key, std::slice::from_ref(owner), None).unwrap() {
            writer.put(name, &bytes, sha256(&bytes)).unwrap();
        }
        writer.put(&part.file_name(), file.file(), part.sha256).unwrap();
        write_index(&mut writer, list, &sealable, key.1).unwrap();
        writers.push(writer);
    }
    writers
}

pub(crate) fn keyring(identities: &[&Identity]) -> Keyring {
    let mut keyring = Keyring::new();
    identities.iter().for_each(|identity| keyring.add((*identity).clone()));
    keyring
}

/// Makes the part the only one of its volume, with its own header and digest, and returns its file.
fn seal_part(part: &mut Part, bundle: [u8; 16], recipient: &Recipient) -> PartBuf {
    let lead = Lead { bundle, number: part.number, offset: u64::from(part.number - 1) * TAR / 2 };
    let (header, sha256, file) = seal_plain(&[&lead.encode()[..], &[part.number as u8; 200_000]].concat(), recipient);
    (part.shard, part.volume) = (None, VolumeNumber::new(part.number as u16));
    (part.header, part.sha256) = (Box::new(header), sha256);
    file
}

/// The file of a part with that plaintext, padded with zeros.
pub(crate) fn seal_plain(plain: &[u8], recipient: &Recipient) -> ([u8; HEADER], Digest, PartBuf) {
    let (header, key) = part_header(recipient);
    let mut file = PartBuf::new(CLASS);
    let mut sealer = PartSealer::new(&key, &header, &mut file, |_, _| {});
    sealer.append(plain);
    let sha256 = sealer.finish();
    (header, sha256, file)
}

fn name_parts(head: &mut Head, bundle: [u8; 16], kcommit: Digest, list_hash: Digest) {
    let parts_hash = parts_hash(&head.parts);
    let statement = &mut head.statement;
    (statement.bundle, statement.kcommit, statement.list_hash, statement.parts_hash) =
        (bundle, kcommit, list_hash, parts_hash);
    (statement.scheme, statement.n, statement.class, statement.parts) = (None, 2, CLASS, 2);
}

/// A small file with that content, sealed to `recipient`.
pub(crate) fn sealed_to(recipient: &Recipient, content: &[u8]) -> Vec<u8> {
    let (header, key) = header_for(std::slice::from_ref(recipient));
    let mut file = Vec::new();
    let mut sealer = Sealer::new(&mut file, &header, &key).unwrap();
    std::io::Write::write_all(&mut sealer, content).unwrap();
    sealer.finish().unwrap();
    file
}

/// The seal of a key, as it is sealed; `change` may spoil it.
pub(crate) fn seal_text(key: &Identity, change: impl FnOnce(&mut Seal)) -> SecretText {
    let kcommit = commitment(&[1; 16], key.secret().expose());
    let mut seal = Seal { bundle: [1; 16], mode: Mode::Normal, kcommit, cards: None, identity: key.to_text() };
    change(&mut seal);
    seal.encode()
}
