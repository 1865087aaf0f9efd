//! Key files in a temporary folder. Files with a passphrase are tried with the program: each takes a second.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::flow::Outcome;
use crate::stage::seal::header_for;

/// A folder with one file of this content.
fn file_of(content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn ask_nothing(path: &Path) -> Result<SecretText, FlowError> {
    panic!("{} needs no passphrase", path.display())
}

/// Why a file with this content is no key file.
fn refusal(content: impl AsRef<[u8]>) -> KeyError {
    let (_folder, path) = file_of(content);
    match load(&mut Keyring::new(), &path, ask_nothing) {
        Err(FlowError::Key(KeyringError::BadFile { path: named, source })) if named == path => source,
        other => panic!("{other:?}"),
    }
}

/// The text of a usage error, without the path.
fn usage(content: impl AsRef<[u8]>) -> String {
    let (_folder, path) = file_of(content);
    match recipients(&path) {
        Err(FlowError::Usage(text)) => text.replace(&show(&path), "FILE"),
        Err(other) => panic!("{other:?}"),
        Ok(found) => panic!("{} recipients", found.len()),
    }
}

#[test]
fn a_new_key_opens_what_is_sealed_to_it_and_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("me.key");
    let recipient = generate(&path, None).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(&format!("# public key: {recipient}\nAGE-SECRET-KEY-1")) && text.ends_with('\n'));
    let mut ring = Keyring::new();
    load(&mut ring, &path, ask_nothing).unwrap();
    let (header, _) = header_for(&[recipient]);
    assert!(ring.open_header(&header).is_ok());
}

#[test]
fn an_existing_file_is_never_replaced_by_a_key() {
    let (_folder, path) = file_of("mine");
    let Err(error) = generate(&path, None) else { panic!("it was replaced") };
    assert!(matches!(&error, FlowError::Key(KeyringError::FileExists(named)) if *named == path));
    assert_eq!(error.outcome(), Outcome::Usage);
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}

#[test]
fn a_key_needs_a_folder_to_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(generate(&folder.path().join("no/key"), None), Err(FlowError::Io(_))));
}

#[test]
fn a_key_file_that_does_not_exist_is_named() {
    let path = PathBuf::from("/nowhere/me.key");
    let Err(FlowError::Key(KeyringError::Refused(text))) = load(&mut Keyring::new(), &path, ask_nothing) else {
        panic!("it was read")
    };
    assert_eq!(text, "the key file /nowhere/me.key does not exist");
}

#[test]
fn a_folder_is_no_key_file() {
    let folder = tempfile::tempdir().unwrap();
    let Err(FlowError::Key(error)) = load(&mut Keyring::new(), folder.path(), ask_nothing) else {
        panic!("it was read")
    };
    assert_eq!(error.to_string(), format!("{}: it is a folder", show(folder.path())));
    assert_eq!(error.outcome(), Outcome::Key);
}

#[test]
fn a_file_may_be_as_long_as_the_limit_and_no_longer() {
    let limit = limits::KEY_FILE as usize;
    assert_eq!(refusal(vec![b'#'; limit]).to_string(), "it holds no age identity");
    assert_eq!(refusal(vec![b'#'; limit + 1]).to_string(), "it is far too large to hold keys");
}

#[test]
fn bytes_that_are_no_text_are_no_key() {
    assert_eq!(refusal([0xff, 0xfe]).to_string(), "it is no text");
}

#[test]
fn a_file_that_is_sealed_to_a_key_is_no_key_file() {
    let (header, _) = header_for(&[Identity::generate().recipient()]);
    assert_eq!(refusal(header).to_string(), "it is sealed, and not with a passphrase");
}

#[test]
fn broken_armor_is_damage() {
    let error = refusal("-----BEGIN AGE ENCRYPTED FILE-----\n!!!\n");
    assert!(matches!(error, KeyError::Damaged(_)), "{error}");
}

#[test]
fn a_user_who_gives_no_passphrase_ends_the_run() {
    let (_folder, path) =
        file_of("age-encryption.org/v1\n-> scrypt c2FsdA 18\nc2VhbGVkIGtleSBvZiB0aGUgZmlsZQ\n--- bWFj\n");
    let mut asked = None;
    let loaded = load(&mut Keyring::new(), &path, |path| {
        asked = Some(path.to_owned());
        Err(FlowError::Cancelled)
    });
    assert!(matches!(loaded, Err(FlowError::Cancelled)));
    assert_eq!(asked, Some(path));
}

#[test]
fn recipients_are_read_between_comments_and_blank_lines() {
    let one = Identity::generate().recipient();
    let two = Identity::generate().recipient();
    let (_folder, path) = file_of(format!("# two\n\n{one}\n  {two}\n"));
    let found: Vec<String> = recipients(&path).unwrap().iter().map(Recipient::to_string).collect();
    assert_eq!(found, [one.to_string(), two.to_string()]);
}

#[test]
fn a_recipients_file_without_recipients_is_a_usage_error() {
    assert_eq!(usage("# none\n"), "FILE holds no recipient");
    assert_eq!(usage([0xff]), "FILE: it is no text");
    assert!(usage("age1wrong\n").starts_with("FILE: \"age1wrong\" is no age recipient: "));
    let Err(error) = recipients(Path::new("/nowhere/team")) else { panic!("it was read") };
    assert_eq!(error.to_string(), "the recipients file /nowhere/team does not exist");
    assert_eq!(error.outcome(), Outcome::Usage);
}

#[test]
fn a_secret_key_in_a_recipients_file_is_not_repeated() {
    let identity = Identity::generate();
    let text = usage(&*identity.to_text());
    assert!(text.contains("AGE-SECRET-KEY-...") && !text.contains(&identity.to_text()[..20]), "{text}");
}
