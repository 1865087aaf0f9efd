//! How a file was when it was looked at: enough to notice that it is another now.

use std::fs::Metadata;

use crate::base::digest::quick;
use crate::base::entry::{Entry, Kind};
use crate::base::os::folder::Status;

/// What the system said of a file when it was walked: if it says otherwise after reading, the
/// file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    pub(super) dev: u64,
    pub(super) ino: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    /// Of a file as it is now.
    pub fn of(meta: &Metadata) -> Self {
        Self::new(&meta.into())
    }

    pub(super) fn new(status: &Status) -> Self {
        let Status { dev, ino, size, mtime, ctime, .. } = *status;
        Self { dev, ino, size, mtime, ctime }
    }

    /// Size and times.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let numbers = [self.size as i64, self.mtime.0, self.mtime.1, self.ctime.0, self.ctime.1];
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    /// 8 bytes of a hash of name, kind, size, mode and times: another mark, another file. Of folders
    /// and links only what is packed of them counts.
    pub(super) fn mark(&self, entry: &Entry) -> u64 {
        let mut bytes = entry.path.as_bytes().to_vec();
        bytes.push(0);
        match &entry.kind {
            Kind::Symlink(to) => bytes.extend_from_slice(to),
            Kind::Hardlink(first) => bytes.extend_from_slice(first.as_bytes()),
            Kind::File => [self.ctime.0, self.ctime.1].iter().for_each(|n| bytes.extend(n.to_be_bytes())),
            Kind::Dir => {}
        }
        bytes.push(0);
        bytes.extend_from_slice(entry.kind.word().as_bytes());
        for number in [entry.size as i64, entry.mode.into(), entry.mtime.secs, entry.mtime.nanos.into()] {
            bytes.extend(number.to_be_bytes());
        }
        quick(&bytes) as u64
    }
}
