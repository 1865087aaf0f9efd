//! Finds out which file a path leads to, by what the kernel knows already. `stat` may ask the file system, and never
//! returns if the system's server is gone: a network share, a FUSE, a drive that hangs.
//!
//! Not guaranteed: that no server is asked. The kernel asks for a path's folders that it does not know any more.

use std::io;
use std::path::Path;

use super::fs::{self, AtFlags, CWD, StatxFlags};

/// The file system's number (`st_dev`) and the inode number of what a path leads to. Both stay the same as long as the
/// file exists, so they need not be fresh.
pub(crate) fn known_identity(path: &Path) -> io::Result<(u64, u64)> {
    let stat = fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::INO)?;
    Ok((fs::makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_is_what_stat_says() {
        for path in ["/proc/self/exe", "/", "/dev/null"] {
            let meta = std::fs::metadata(path).unwrap();
            assert_eq!(known_identity(Path::new(path)).unwrap(), (meta.dev(), meta.ino()), "{path}");
        }
        assert!(known_identity(Path::new("/there/is/none")).is_err());
    }
}
