//! Passphrases and keys. They come from the terminal, a file descriptor or a file, never from arguments or the
//! environment, which other programs can see. This is the only file that uses `bip39`, for its word list.

use std::fs::File;
use std::path::PathBuf;

use crate::base::path::show;
use crate::base::secret::{SecretText, random};
use crate::cli::args::{Keys, PassphraseFd};
use crate::cli::term::Term;
use crate::flow::bundle::scan::takes_passphrase;
use crate::flow::error::KeyringError;
use crate::flow::{FlowError, keys};
use crate::stage::seal::Keyring;

/// The fewest characters of a new passphrase. Anyone who copies a drive can guess at its passphrase for years.
const LEAST: usize = 20;
/// Words of a passphrase that Pouch chooses.
const WORDS: usize = 7;

/// A new passphrase: typed twice, chosen at random and typed once, or from a file descriptor.
///
/// # Errors
/// [`FlowError::Usage`] if it is too short, or if the two inputs differ.
pub(crate) fn new_passphrase(fd: &PassphraseFd, term: &Term) -> Result<SecretText, FlowError> {
    let passphrase = match fd.passphrase_fd {
        Some(fd) => from_fd(fd)?,
        None => {
            let typed = term.ask_secret("Passphrase (press Enter to have seven words chosen): ")?;
            if typed.is_empty() {
                return chosen_passphrase(term);
            }
            if *typed != *term.ask_secret("The same again: ")? {
                return Err(FlowError::Usage("the two passphrases differ; nothing was done".into()));
            }
            typed
        }
    };
    // Blanks at either end do not make a passphrase harder to guess.
    let length = passphrase.trim().chars().count();
    if length < LEAST {
        let text = format!(
            "the passphrase has {length} characters, at least {LEAST} are needed: whoever copies a drive can guess at it for years. Seven random words are best"
        );
        return Err(FlowError::Usage(text));
    }
    Ok(passphrase)
}

/// Chooses a passphrase, shows it, and has it typed once from what the person wrote down.
fn chosen_passphrase(term: &Term) -> Result<SecretText, FlowError> {
    let words = seven_words();
    term.show_secret(&format!(
        "The passphrase is\n\n    {}\n\nWrite it down now; it is not shown again and nothing can bring it back.\n",
        &*words
    ))?;
    if *words != *term.ask_secret("Type it once, from what you wrote: ")? {
        return Err(FlowError::Usage("that is not the passphrase that was shown; nothing was done".into()));
    }
    Ok(words)
}

/// Seven of 2,048 words: 77 bits. 65,536 is a multiple of 2,048, so all words are equally likely.
fn seven_words() -> SecretText {
    let list = bip39::Language::English.word_list();
    let words = (0..WORDS).map(|_| list[usize::from(u16::from_le_bytes(random())) % list.len()]);
    SecretText::new(words.collect::<Vec<_>>().join("-"))
}

/// Reads a passphrase from a file descriptor that the caller of the program opened.
fn from_fd(fd: u32) -> Result<SecretText, FlowError> {
    // Reads one line and no more: the program at the other end may keep it open.
    match File::open(format!("/dev/fd/{fd}")).and_then(SecretText::read_line) {
        Err(error) => Err(FlowError::Usage(format!("file descriptor {fd} cannot be read: {error}"))),
        Ok(line) if line.is_empty() => {
            Err(FlowError::Key(KeyringError::Refused(format!("no passphrase came from file descriptor {fd}"))))
        }
        Ok(line) => Ok(line),
    }
}

/// The keys from the command line. Asks for the bundle's passphrase only if no identity was named and a volume has a
/// seal for a passphrase.
pub(crate) fn keyring(keys: &Keys, volumes: &[PathBuf], term: &Term) -> Result<Keyring, FlowError> {
    let mut ring = Keyring::new();
    for path in &keys.identities {
        keys::load(&mut ring, path, |path| ask(&keys.fd, &format!("Passphrase of {}: ", show(path)), term))?;
    }
    if keys.identities.is_empty() && takes_passphrase(volumes)? {
        ring.add_passphrase(&ask(&keys.fd, "Passphrase of the bundle: ", term)?);
    }
    Ok(ring)
}

/// Asks for a passphrase that exists already, so it is typed once and may be short.
pub(crate) fn ask(fd: &PassphraseFd, prompt: &str, term: &Term) -> Result<SecretText, FlowError> {
    match fd.passphrase_fd {
        Some(fd) => from_fd(fd),
        None => term.ask_secret(prompt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does `work` with a file descriptor from which these bytes come.
    fn with_fd<R>(bytes: &[u8], work: impl FnOnce(&PassphraseFd) -> R) -> R {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        std::fs::write(&path, bytes).unwrap();
        let file = File::open(&path).unwrap();
        let passphrase_fd = Some(std::os::fd::AsRawFd::as_raw_fd(&file) as u32);
        work(&PassphraseFd { passphrase_fd })
    }

    #[test]
    fn a_file_descriptor_gives_its_first_line() {
        let asked = |bytes: &[u8]| with_fd(bytes, |fd| ask(fd, "Passphrase: ", &Term::new()));
        assert_eq!(&*asked(b"short\nmore\n").unwrap(), "short");
        assert!(matches!(asked(b"\nmore\n"), Err(FlowError::Key(KeyringError::Refused(_)))));
        assert!(matches!(asked(b""), Err(FlowError::Key(KeyringError::Refused(_)))));
    }

    #[test]
    fn a_file_descriptor_that_is_not_open_is_a_usage_error() {
        let closed = PassphraseFd { passphrase_fd: Some(1_000_000) };
        assert!(matches!(ask(&closed, "Passphrase: ", &Term::new()), Err(FlowError::Usage(_))));
    }

    #[test]
    fn a_new_passphrase_has_twenty_characters_without_blanks_at_its_ends() {
        let made = |bytes: &[u8]| with_fd(bytes, |fd| new_passphrase(fd, &Term::new()));
        assert!(made(&[b'x'; LEAST]).is_ok());
        assert!(made("\u{fc}".repeat(LEAST).as_bytes()).is_ok(), "characters count, not bytes");
        for short in [&[b'x'; LEAST - 1][..], b"   short   and    wide   "] {
            assert!(matches!(made(short), Err(FlowError::Usage(_))), "{}", short.escape_ascii());
        }
    }

    #[test]
    fn seven_words_are_long_enough() {
        let words = seven_words();
        assert_eq!(words.split('-').count(), WORDS);
        assert!(words.chars().count() >= LEAST);
        assert_ne!(*words, *seven_words());
    }
}
