//! A vector as a file: fields, a blank line, a body.

use std::path::{Path, PathBuf};

use pouch::internals::base::path::escape;

const VECTORS: &str = "tests/vectors";

pub struct Vector {
    pub kind: String,
    pub name: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Vector {
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let end = bytes.windows(2).position(|two| two == b"\n\n").expect("a blank line ends the fields");
        let text = String::from_utf8(bytes[..end].to_vec()).expect("fields are text");
        let field = |line: &str| line.split_once(": ").map(|(key, value)| (key.to_string(), value.to_string()));
        let fields: Vec<_> = text.lines().map(|line| field(line).unwrap_or_else(|| panic!("{line:?}"))).collect();
        let kind = path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let name = format!("{kind}/{}", path.file_stem().unwrap().to_string_lossy());
        let mut vector = Vector { kind, name, fields, body: Vec::new() };
        vector.body = vector.body_of(&bytes[end + 2..]);
        vector
    }

    pub fn body_of(&self, stored: &[u8]) -> Vec<u8> {
        let how: Vec<&str> = self.get("body").split(' ').collect();
        match how[..] {
            ["text"] => stored.to_vec(),
            ["hex"] => unhex(std::str::from_utf8(stored).unwrap()),
            // A body that is merely long is kept as a prefix, a byte, and how often the byte repeats.
            ["repeat", byte, times] => {
                let mut body = self.find("prefix").map(unhex).unwrap_or_default();
                body.resize(body.len() + times.parse::<usize>().unwrap(), unhex(byte)[0]);
                body
            }
            _ => panic!("{}: no such body", self.name),
        }
    }

    pub fn find(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub fn get(&self, key: &str) -> &str {
        self.find(key).unwrap_or_else(|| panic!("{} has no {key}", self.name))
    }

    pub fn number<T: std::str::FromStr>(&self, key: &str) -> T {
        self.get(key).parse().unwrap_or_else(|_| panic!("{}: {key} is no number", self.name))
    }

    pub fn bytes(&self, key: &str) -> Vec<u8> {
        unhex(self.get(key))
    }

    pub fn array<const N: usize>(&self, key: &str) -> [u8; N] {
        self.bytes(key).try_into().unwrap_or_else(|_| panic!("{}: {key} has another length", self.name))
    }

    pub fn wants(&self) -> Vec<&str> {
        self.fields.iter().filter(|(key, _)| key == "want").map(|(_, value)| value.as_str()).collect()
    }

    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.get("rule").split(", ").filter(|rule| *rule != "-")
    }

    /// Checks that the encoder wrote the body. A failure shows both as text where they are text.
    pub fn is_body(&self, made: &[u8]) {
        let show = |bytes: &[u8]| escape(bytes).chars().take(2000).collect::<String>();
        assert!(made == self.body, "{}:\n made {}\n want {}", self.name, show(made), show(&self.body));
    }

    pub fn is(&self, key: &str, found: impl ToString) {
        assert_eq!(found.to_string(), self.get(key), "{}: {key}", self.name);
    }
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |two: &[char]| u8::from_str_radix(&two.iter().collect::<String>(), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

/// All vectors, sorted by path.
pub fn vectors() -> Vec<Vector> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for kind in std::fs::read_dir(VECTORS).unwrap().map(|entry| entry.unwrap().path()) {
        let of_bundles = ["bundle-v1", "bundles-0.1.0", "bundles-forged"].iter().any(|name| kind.ends_with(name));
        if kind.is_dir() && !of_bundles {
            paths.extend(std::fs::read_dir(kind).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    paths.sort();
    paths.iter().map(|path| Vector::read(path)).collect()
}
