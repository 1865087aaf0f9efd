//! Finds out whether a file or folder has extended attributes or an ACL, which no bundle carries. Only names are looked
//! at, not values.

use std::fs::File;

use super::{Errno, fs};

/// Bytes for names in the first call. Most files have none, so a second call is rare.
const USUAL: usize = 256;

/// What a file or folder has that a bundle does not carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Attributes {
    /// It has extended attributes that were given to this file, rather than to every file.
    pub(crate) extended: bool,
    /// It has an ACL that says more than its mode.
    pub(crate) acl: bool,
}

impl Attributes {
    /// Looks at an open file or folder. Reports nothing if the system does not tell.
    pub(crate) fn of(file: &File) -> Self {
        let mut names = [0; USUAL];
        match fs::flistxattr(file, &mut names[..]) {
            Ok(len) => Self::named(&names[..len]),
            Err(Errno::RANGE) => Self::of_many(file),
            Err(_) => Self::default(),
        }
    }

    fn of_many(file: &File) -> Self {
        // Linux lists at most 64 KiB of names.
        let mut names = vec![0; 64 * 1024];
        fs::flistxattr(file, &mut names[..]).map_or_else(|_| Self::default(), |len| Self::named(&names[..len]))
    }

    /// Judges names that each end with NUL. Two kinds do not count, for the user did not give them to this file: the
    /// labels that a security system gives every file (such as `security.selinux`), and what a file system shows of its
    /// own accord (such as `system.nfs4_acl`, or how it compresses a file).
    fn named(names: &[u8]) -> Self {
        let mut found = Self::default();
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let is_acl = name.starts_with(b"system.posix_acl_");
            let is_of_all = [&b"security."[..], b"system.", b"btrfs."].iter().any(|space| name.starts_with(space));
            found.acl |= is_acl;
            found.extended |= !is_of_all || name == b"security.capability";
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_file_of_a_system_has_does_not_count() {
        let of = |names: &[&str]| {
            Attributes::named(names.iter().flat_map(|name| [name, "\0"]).collect::<String>().as_bytes())
        };
        for names in [&[][..], &["security.selinux", "security.ima"], &["system.nfs4_acl"], &["btrfs.compression"]] {
            assert_eq!(of(names), Attributes::default(), "{names:?}");
        }
        for name in ["user.xdg.origin.url", "trusted.note", "security.capability", "osx.com.apple.FinderInfo"] {
            assert_eq!(of(&["security.selinux", name]), Attributes { extended: true, acl: false }, "{name}");
        }
        for name in ["system.posix_acl_access", "system.posix_acl_default"] {
            assert_eq!(of(&[name]), Attributes { extended: false, acl: true }, "{name}");
        }
    }

    #[test]
    fn a_file_with_many_long_names_is_looked_at_too() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Attributes::of(&file), Attributes::default());
        for number in 0..20 {
            let name = format!("user.{number:0100}");
            match fs::fsetxattr(&file, name, b"x", fs::XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) => return eprintln!("ignored: no extended attributes in the temporary folder"),
                set => set.unwrap(),
            }
        }
        assert_eq!(Attributes::of(&file), Attributes { extended: true, acl: false });
    }
}
