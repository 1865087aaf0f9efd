//! Keys in files: makes a new identity file, and reads files of identities and of recipients.
//!
//! Not guaranteed: that a new key file stays secret. Its mode keeps other users out, on file systems that have modes.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::base::fault::At;
use crate::base::os;
use crate::base::path::show;
use crate::base::secret::SecretText;
use crate::flow::FlowError;
use crate::flow::error::KeyringError;
use crate::format::limits;
use crate::stage::seal::{
    Identity, KeyError, Keyring, Recipient, header_for_passphrase, is_age_file, is_for_passphrase, unarmor,
};
use crate::stage::stream::Sealer;

/// Writes a new identity file that only its owner may read, and returns the recipient of the new key. With a
/// passphrase, the file is encrypted as `age -p` encrypts it.
///
/// # Errors
/// [`KeyringError::FileExists`]: an existing file is never replaced. A file that could not be written is removed.
pub(crate) fn generate(path: &Path, passphrase: Option<&SecretText>) -> Result<Recipient, FlowError> {
    let identity = Identity::generate();
    let recipient = identity.recipient();
    let text = SecretText::new(format!("# public key: {recipient}\n{}\n", &*identity.to_text()));
    let mut file = match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(KeyringError::FileExists(path.to_owned()).into());
        }
        created => created.at("create", path)?,
    };
    let written = write_key(&mut file, &text, passphrase).at("write", path);
    if written.is_err() {
        // Half a key is of no use, and would be in the way of the next try.
        let _ = std::fs::remove_file(path);
    }
    written?;
    // The name has to survive a power cut, too: what is sealed to a lost key is lost.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        os::sync_dir(folder).at("sync", folder)?;
    }
    Ok(recipient)
}

/// Writes the key, sealed if there is a passphrase, and waits until it is on the disk.
fn write_key(file: &mut File, text: &SecretText, passphrase: Option<&SecretText>) -> io::Result<()> {
    match passphrase {
        None => file.write_all(text.as_bytes())?,
        Some(passphrase) => {
            let (header, key) = header_for_passphrase(passphrase);
            let mut sealer = Sealer::new(&mut *file, &header, &key)?;
            sealer.write_all(text.as_bytes())?;
            sealer.finish()?;
        }
    }
    file.sync_all()
}

/// Adds the identities in a file to `ring`. `ask` gets the passphrase of an encrypted file from the user, and is called
/// for no other file.
pub(crate) fn load(
    ring: &mut Keyring,
    path: &Path,
    ask: impl FnOnce(&Path) -> Result<SecretText, FlowError>,
) -> Result<(), FlowError> {
    let bytes = Zeroizing::new(read_key_file(path)?);
    if !is_age_file(&bytes) {
        return add_identities(ring, &bytes).map_err(|source| bad_file(path, source));
    }
    let sealed = unarmor(&bytes).map_err(|source| bad_file(path, source))?;
    if !is_for_passphrase(&sealed) {
        return Err(bad_file(path, no_identity("it is sealed, and not with a passphrase")));
    }
    let mut lock = Keyring::for_key_file();
    lock.add_passphrase(&ask(path)?);
    let opened = lock.open_small(&sealed, limits::KEY_FILE).map_err(|error| match error {
        KeyError::Wrong => FlowError::Key(KeyringError::Refused(format!("{}: the passphrase is wrong", show(path)))),
        KeyError::NoMemory(bytes) => FlowError::no_memory(bytes),
        other => bad_file(path, other),
    })?;
    add_identities(ring, &opened).map_err(|source| bad_file(path, source))
}

fn add_identities(ring: &mut Keyring, bytes: &[u8]) -> Result<(), KeyError> {
    ring.add_file(text_of(bytes)?)
}

fn bad_file(path: &Path, source: KeyError) -> FlowError {
    KeyringError::BadFile { path: path.to_owned(), source }.into()
}

/// The error for a file as a whole.
fn no_identity(why: &'static str) -> KeyError {
    KeyError::NoIdentity { line: 0, why }
}

/// Reads a recipients file.
///
/// # Errors
/// A usage error if the file is missing, holds no recipient, or holds anything else.
pub(crate) fn recipients(path: &Path) -> Result<Vec<Recipient>, FlowError> {
    let bytes = read_key_file(path).map_err(|error| match error {
        FlowError::Key(KeyringError::Refused(_)) => {
            FlowError::Usage(format!("the recipients file {} does not exist", show(path)))
        }
        FlowError::Key(KeyringError::BadFile { source, .. }) => wrong_recipients(path, &source),
        other => other,
    });
    let bytes = Zeroizing::new(bytes?);
    let found = text_of(&bytes).and_then(Recipient::parse_file).map_err(|source| wrong_recipients(path, &source))?;
    if found.is_empty() {
        return Err(FlowError::Usage(format!("{} holds no recipient", show(path))));
    }
    Ok(found)
}

fn wrong_recipients(path: &Path, source: &KeyError) -> FlowError {
    FlowError::Usage(format!("{}: {source}", show(path)))
}

/// Reads a whole file of at most [`limits::KEY_FILE`] bytes. It need not be a regular file, because keys come from
/// pipes too (`-i <(...)`).
fn read_key_file(path: &Path) -> Result<Vec<u8>, FlowError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(KeyringError::Refused(format!("the key file {} does not exist", show(path))).into());
        }
        opened => opened.at("read", path)?,
    };
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(bad_file(path, no_identity("it is a folder")));
    }
    let mut bytes = Vec::new();
    file.take(limits::KEY_FILE + 1).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() as u64 > limits::KEY_FILE {
        return Err(bad_file(path, no_identity("it is far too large to hold keys")));
    }
    Ok(bytes)
}

fn text_of(bytes: &[u8]) -> Result<&str, KeyError> {
    std::str::from_utf8(bytes).map_err(|_| no_identity("it is no text"))
}

#[cfg(test)]
mod tests;
