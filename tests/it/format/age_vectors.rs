//! The public age test vectors (C2SP CCTV), from the folder that `POUCH_CCTV` names: each opens or fails as it says,
//! and no more plaintext comes out than it allows. Also, this program and stock age open each other's files.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::common::{bash, ignored, need, noise, put};
use pouch::internals::base::secret::{FileKey, SecretText};
use pouch::internals::format::age::scan;
use pouch::internals::stage::seal::{Identity, Keyring, header_for, unarmor};
use pouch::internals::stage::stream::{Opener, Sealer};
use sha2::{Digest, Sha256};

const CHUNK: usize = 65_536;

struct Vector {
    name: String,
    fields: BTreeMap<String, Vec<String>>,
    file: Vec<u8>,
}

/// All vectors; `None`, with a message, if `POUCH_CCTV` is not set.
fn vectors() -> Option<Vec<Vector>> {
    let Some(folder) = std::env::var_os("POUCH_CCTV").map(PathBuf::from) else {
        ignored("the public age vectors, from the folder that POUCH_CCTV names");
        return None;
    };
    let folder = if folder.join("testdata").is_dir() { folder.join("testdata") } else { folder };
    let mut vectors: Vec<Vector> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "md"))
        .map(|path| parse(&path))
        .collect();
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(vectors.len() > 100, "{} holds all vectors", folder.display());
    Some(vectors)
}

fn parse(path: &Path) -> Vector {
    let bytes = fs::read(path).unwrap();
    let end = bytes.windows(2).position(|two| two == b"\n\n").expect("an empty line ends the fields");
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in std::str::from_utf8(&bytes[..end]).unwrap().lines() {
        let (key, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
        fields.entry(key.to_string()).or_default().push(value.to_string());
    }
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    Vector { name, fields, file: bytes[end + 2..].to_vec() }
}

impl Vector {
    fn field(&self, key: &str) -> Option<&str> {
        self.fields.get(key).and_then(|values| values.first()).map(String::as_str)
    }

    fn expects(&self, what: &str) -> bool {
        self.field("expect") == Some(what)
    }

    /// Whether the vector uses a post-quantum key, which the age crate does not have.
    fn is_post_quantum(&self) -> bool {
        let hybrid = self.fields.get("identity").is_some_and(|all| all.iter().any(|key| key.contains("KEY-PQ")));
        hybrid || self.name.contains("hybrid")
    }

    fn ring(&self) -> Keyring {
        let mut ring = Keyring::new();
        for identity in self.fields.get("identity").into_iter().flatten() {
            ring.add(Identity::parse(identity).expect("the vector's identity is sound"));
        }
        for passphrase in self.fields.get("passphrase").into_iter().flatten() {
            ring.add_passphrase(&SecretText::new(passphrase.clone()));
        }
        ring
    }

    /// The age file, inflated if the vector is stored deflated.
    fn bytes(&self) -> Vec<u8> {
        if self.field("compressed").is_none() {
            return self.file.clone();
        }
        let mut inflate = assert_cmd::Command::new("python3");
        inflate.args(["-c", "import sys, zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))"]);
        let output = inflate.write_stdin(self.file.clone()).output().unwrap();
        assert!(output.status.success(), "{}: {output:?}", self.name);
        output.stdout
    }

    /// Whether the plaintext that came out is what the vector allows, or the beginning of it. `known` has plaintexts by
    /// hash.
    fn may_let_out(&self, plain: &[u8], known: &BTreeMap<String, Vec<u8>>) -> bool {
        let allowed = self.field("payload").unwrap_or_default();
        plain.is_empty() || allowed == sha256(plain) || known.get(allowed).is_some_and(|whole| whole.starts_with(plain))
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens a vector with the header and payload readers. Returns the plaintext that came out, and whether all went well.
fn read(vector: &Vector) -> (Vec<u8>, Result<(), String>) {
    let bytes = vector.bytes();
    let bytes = match vector.field("armored") {
        Some(_) => match unarmor(&bytes) {
            Ok(bytes) => bytes,
            Err(error) => return (Vec::new(), Err(error.to_string())),
        },
        None => bytes,
    };
    let (key, len) = match vector.ring().open_header(&bytes) {
        Ok(opened) => opened,
        Err(error) => return (Vec::new(), Err(error.to_string())),
    };
    assert_eq!(scan(&bytes), Ok(len), "{}", vector.name);
    let mut plain = Vec::new();
    let opened = Opener::new(&bytes[len..], &key).and_then(|mut opener| opener.read_to_end(&mut plain));
    (plain, opened.map(|_| ()).map_err(|error| error.to_string()))
}

fn judge(vector: &Vector, known: &BTreeMap<String, Vec<u8>>) -> Option<String> {
    let (plain, result) = read(vector);
    let expected = vector.field("expect").unwrap_or_default();
    if vector.expects("success") != result.is_ok() {
        return Some(format!("{}: expected {expected}, got {result:?}", vector.name));
    }
    // Before the payload, no plaintext may come out; within it, only authenticated bytes, or fewer.
    let good = match expected {
        "success" => vector.field("payload") == Some(&sha256(&plain)),
        "payload failure" => vector.may_let_out(&plain, known),
        _ => plain.is_empty(),
    };
    (!good).then(|| format!("{}: let out {} bytes that it should not", vector.name, plain.len()))
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
#[cfg_attr(not(public_vectors), ignore = "needs POUCH_CCTV, the folder of the public age vectors")]
fn the_public_vectors_open_or_fail_as_they_say() {
    if !need(&["python3"]) {
        return;
    }
    let Some(vectors) = vectors() else { return };
    let (skipped, ours): (Vec<&Vector>, Vec<&Vector>) = vectors.iter().partition(|vector| vector.is_post_quantum());
    let opened = ours.iter().filter(|vector| vector.expects("success")).map(|vector| read(vector).0);
    let known = opened.map(|plain| (sha256(&plain), plain)).collect();
    let wrong: Vec<String> = ours.iter().filter_map(|vector| judge(vector, &known)).collect();
    let good = ours.iter().filter(|vector| vector.expects("success")).count();
    eprintln!("{} vectors, {good} of them open; {} post-quantum ones left out", ours.len(), skipped.len());
    assert!(good >= 10 && ours.len() > 100, "the vectors were found and understood");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
#[cfg_attr(not(public_vectors), ignore = "needs POUCH_CCTV, the folder of the public age vectors")]
fn small_files_open_or_fail_as_they_say() {
    if !need(&["python3"]) {
        return;
    }
    let Some(vectors) = vectors() else { return };
    let plain = |vector: &&Vector| !vector.is_post_quantum() && vector.field("armored").is_none();
    let other_than_expected = |vector: &&Vector| {
        let opened = vector.ring().open_small(&vector.bytes(), 64 << 20);
        opened.is_ok() != vector.expects("success")
    };
    let wrong: Vec<&str> =
        vectors.iter().filter(plain).filter(other_than_expected).map(|vector| vector.name.as_str()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn what_is_sealed_here_opens_with_stock_age() {
    if !need(&["age"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::generate();
    put(dir.path().join("key"), format!("{}\n", &*identity.to_text()));
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 5 * CHUNK + 77] {
        let plain = noise(len, len as u64);
        let (header, key) = header_for(&[identity.recipient(), Identity::generate().recipient()]);
        let mut sealer = Sealer::new(Vec::new(), &header, &key).unwrap();
        // In uneven pieces, because callers do not write whole chunks.
        plain.chunks(10_007).for_each(|piece| sealer.write_all(piece).unwrap());
        put(dir.path().join("sealed"), sealer.finish().unwrap());
        bash("age -d -i key sealed > plain", dir.path(), &[]).exits(0);
        assert!(fs::read(dir.path().join("plain")).unwrap() == plain, "{len}");
    }
}

#[test]
#[cfg_attr(not(stock_tools), ignore = "needs age, zstd, sha256sum, GNU tar, bsdtar, busybox and python3 with bagit")]
fn what_stock_age_seals_opens_here() {
    if !need(&["age", "age-keygen"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    bash("age-keygen -o key 2>/dev/null", dir.path(), &[]).exits(0);
    let mut ring = Keyring::new();
    ring.add_file(&fs::read_to_string(dir.path().join("key")).unwrap()).unwrap();
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let plain = noise(len, len as u64);
        put(dir.path().join("plain"), &plain);
        bash("age -e -i key -o sealed plain", dir.path(), &[]).exits(0);
        let sealed = fs::read(dir.path().join("sealed")).unwrap();
        let (key, at): (FileKey, usize) = ring.open_header(&sealed).unwrap();
        let mut opened = Vec::new();
        Opener::new(&sealed[at..], &key).unwrap().read_to_end(&mut opened).unwrap();
        assert!(opened == plain, "{len}");
    }
}
