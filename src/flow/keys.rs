//! Keys in files: making one, reading those that are given.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::base::fault::At;
use crate::base::os;
use crate::base::secret::SecretText;
use crate::flow::FlowError;
use crate::flow::error::KeyringError;
use crate::format::limits;
use crate::stage::seal::{
    Identity, KeyError, Keyring, Recipient, header_for_passphrase, is_age_file, is_for_passphrase, unarmor,
};
use crate::stage::stream::Sealer;

/// Writes a new identity file, for its owner's eyes only, and returns its recipient. With a
/// passphrase the file is what `age -p` would make of it.
///
/// # Errors
/// A file that exists is left alone.
pub fn generate(path: &Path, passphrase: Option<&SecretText>) -> Result<Recipient, FlowError> {
    let identity = Identity::generate();
    let recipient = identity.recipient();
    let text = SecretText::new(format!("# public key: {recipient}\n{}\n", &*identity.to_text()));
    let mut file = match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(FlowError::Key(KeyringError::FileExists(path.to_owned())));
        }
        other => other.at("create", path)?,
    };
    let written = write_key(&mut file, &text, passphrase).at("write", path);
    if written.is_err() {
        // Half a key is none, and would be in the way of the next try.
        let _ = std::fs::remove_file(path);
    }
    written?;
    // A key that is lost with the power is a bundle that is lost with it.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        os::sync_dir(folder).at("sync", folder)?;
    }
    Ok(recipient)
}

fn write_key(file: &mut File, text: &SecretText, passphrase: Option<&SecretText>) -> std::io::Result<()> {
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

/// Adds the identities of a file to `ring`; `ask` is asked for the passphrase of an encrypted one.
pub fn load(
    ring: &mut Keyring,
    path: &Path,
    ask: impl FnOnce(&Path) -> Result<SecretText, FlowError>,
) -> Result<(), FlowError> {
    let key_file = |source| FlowError::Key(KeyringError::BadFile { path: path.to_owned(), source });
    let bytes = Zeroizing::new(read_key_file(path)?);
    if !is_age_file(&bytes) {
        return ring.add_file(text_of(&bytes).map_err(key_file)?).map_err(key_file);
    }
    let sealed = unarmor(&bytes).map_err(key_file)?;
    if !is_for_passphrase(&sealed) {
        return Err(key_file(KeyError::NoIdentity { line: 0, why: "it is sealed, and not with a passphrase" }));
    }
    let mut lock = Keyring::for_key_file();
    lock.add_passphrase(&ask(path)?);
    let opened = lock.open_small(&sealed, limits::KEY_FILE).map_err(|error| match error {
        KeyError::Wrong => {
            FlowError::Key(KeyringError::Refused(format!("{}: the passphrase is wrong", crate::base::path::show(path))))
        }
        KeyError::NoMemory(bytes) => FlowError::no_memory(bytes),
        other => key_file(other),
    })?;
    ring.add_file(text_of(&opened).map_err(key_file)?).map_err(key_file)
}

/// The recipients in a recipients file.
pub fn recipients(path: &Path) -> Result<Vec<Recipient>, FlowError> {
    let wrong = |source: KeyError| FlowError::Usage(format!("{}: {source}", crate::base::path::show(path)));
    let bytes = read_key_file(path).map_err(|error| match error {
        FlowError::Key(KeyringError::Refused(_)) => {
            FlowError::Usage(format!("the recipients file {} does not exist", crate::base::path::show(path)))
        }
        FlowError::Key(KeyringError::BadFile { source, .. }) => wrong(source),
        other => other,
    });
    let bytes = Zeroizing::new(bytes?);
    let found = text_of(&bytes).and_then(Recipient::parse_file).map_err(wrong)?;
    if found.is_empty() {
        return Err(FlowError::Usage(format!("{} holds no recipient", crate::base::path::show(path))));
    }
    Ok(found)
}

/// Key files come from pipes too (`-i <(...)`), so they are not held to be regular files.
fn read_key_file(path: &Path) -> Result<Vec<u8>, FlowError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let file = match File::open(path) {
        Err(error) if missing(&error) => {
            return Err(FlowError::Key(KeyringError::Refused(format!(
                "the key file {} does not exist",
                crate::base::path::show(path)
            ))));
        }
        other => other.at("read", path)?,
    };
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        let source = KeyError::NoIdentity { line: 0, why: "it is a folder" };
        return Err(FlowError::Key(KeyringError::BadFile { path: path.to_owned(), source }));
    }
    file.take(limits::KEY_FILE + 1).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() as u64 > limits::KEY_FILE {
        let source = KeyError::NoIdentity { line: 0, why: "it is far too large to hold keys" };
        return Err(FlowError::Key(KeyringError::BadFile { path: path.to_owned(), source }));
    }
    Ok(bytes)
}

fn text_of(bytes: &[u8]) -> Result<&str, KeyError> {
    std::str::from_utf8(bytes).map_err(|_| KeyError::NoIdentity { line: 0, why: "it is no text" })
}
