//! Headers open to their keys only, and wrong keys and damaged files are explained without a secret in the text.

use super::*;

/// A ring with this one key.
fn ring(identity: Identity) -> Keyring {
    let mut ring = Keyring::new();
    ring.add(identity);
    ring
}

#[test]
fn headers_open_to_their_keys_only() {
    let (one, two, other) = (Identity::generate(), Identity::generate(), Identity::generate());
    let (header, key) = header_for(&[one.recipient(), two.recipient(), one.recipient()]);
    assert_eq!(header.windows(10).filter(|w| w == b"-> X25519 ").count(), 4, "padded");
    for identity in [one, two] {
        let (opened, len) = ring(identity).open_header(&[&header[..], b"payload"].concat()).unwrap();
        assert_eq!((opened.expose(), len), (key.expose(), header.len()));
    }
    assert!(matches!(ring(other).open_header(&header), Err(KeyError::Wrong)));
}

#[test]
fn a_changed_header_does_not_open() {
    let identity = Identity::generate();
    let (header, _) = part_header(&identity.recipient());
    // The bytes lie in the stanza's type, in its wrapped key and in the MAC.
    for at in [30, 100, 160] {
        let mut wrong = header;
        wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
        assert!(ring(identity.clone()).open_header(&wrong).is_err(), "byte {at}");
    }
}

#[test]
fn secrets_and_identities_are_the_same() {
    let secret = Secret::random();
    let identity = Identity::from_secret(&secret);
    assert_eq!(identity.secret().expose(), secret.expose());
    assert_eq!(Identity::parse(&identity.to_text()).unwrap().recipient().to_string(), identity.recipient().to_string());
}

#[test]
fn a_passphrase_opens() {
    let passphrase = SecretText::new("seven words".into());
    let (header, key) = header_for_passphrase(&passphrase);
    let mut ring = Keyring::new();
    ring.add_passphrase(&passphrase);
    assert_eq!(ring.open_header(&header).unwrap().0.expose(), key.expose());
    let mut wrong = Keyring::new();
    wrong.add_passphrase(&SecretText::new("other words".into()));
    assert!(matches!(wrong.open_header(&header), Err(KeyError::Wrong)));
}

#[test]
fn what_is_no_key_is_explained() {
    let recipient = Identity::generate().recipient().to_string();
    assert!(Recipient::parse(&recipient).is_ok());
    let why = |text: &str| Recipient::parse(text).err().unwrap().to_string();
    assert!(why(&recipient.replace("age1", "age1q")).contains("copy it again"));
    assert!(why("ssh-ed25519 AAAA").contains("ssh keys"));
    assert!(why("bob").contains("age1"));
    let secret = Identity::generate().to_text();
    // A secret key may be quoted, in lower case or behind a byte order mark: no message repeats any of it.
    for wrapped in [format!(" {}", &*secret), format!("'{}'", &*secret), format!("\u{feff}{}", secret.to_lowercase())] {
        assert!(why(&wrapped).contains("secret key") && !why(&wrapped).to_uppercase().contains(&secret[16..70]));
    }
    assert!(Recipient::parse(&format!("\u{feff} {recipient}\r\n")).is_ok());
    assert!(why(&secret).contains("secret key") && !why(&secret).contains(&secret[16..70]));
    let file = format!("# friends\n\n{recipient}\n  {recipient}\n");
    assert_eq!(Recipient::parse_file(&file).unwrap().len(), 2);
    let mut ring = Keyring::new();
    assert!(ring.add_file(&format!("# me\n{}\n", &*secret)).is_ok() && !ring.is_empty());
    // No text, no key, a public key, a plugin's key, a key cut short.
    for wrong in ["", "# nothing\n", &recipient, "AGE-PLUGIN-YUBIKEY-1X", &secret[..70]] {
        let error = ring.add_file(wrong).err().unwrap().to_string();
        assert!(!error.contains(&secret[16..70]), "the file's content is not repeated");
    }
}

#[test]
fn a_key_is_called_wrong_only_where_it_may_be() {
    assert_eq!(KeyError::Wrong.to_string(), "none of the given keys opens it");
    let mut ring = Keyring::new();
    let none = ring.add_file("# nothing\n").unwrap_err().to_string();
    assert_eq!(none, "it holds no age identity", "no line is named");
    assert!(ring.add_file("\nx").unwrap_err().to_string().starts_with("line 2 is no age identity"));
    let other = Recipient::parse("age1yubikey1qqqq").err().unwrap().to_string();
    assert!(other.contains("a kind that is not supported"), "{other}");
}

#[test]
fn damage_is_said_in_our_words() {
    let identity = Identity::generate();
    let mut ring = Keyring::new();
    ring.add(identity.clone());
    let (mut header, _) = header_for(&[identity.recipient()]);
    assert!(!is_for_passphrase(&header));
    assert!(is_for_passphrase(&header_for_passphrase(&SecretText::new("words".into())).0));
    // Five bytes before the end is a letter of the MAC, which still parses when it is another letter.
    let mac = header.len() - 5;
    header[mac] = if header[mac] == b'A' { b'B' } else { b'A' };
    assert_eq!(ring.open_header(&header).err().unwrap().to_string(), "it is damaged: its header changed");
    let armor = unarmor(b"-----BEGIN AGE ENCRYPTED FILE-----\n?").err().unwrap();
    assert_eq!(armor.to_string(), "it is damaged: its ASCII armor is broken");
}
