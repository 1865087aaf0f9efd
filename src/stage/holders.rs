//! Finds processes that can write to a file right now: they have it open for writing, or have mapped it so that
//! their memory is the file's content. Linux lists both under `/proc`. A write through a mapping may leave the
//! file's times as they were, so no other evidence of it exists.
//!
//! Not seen: processes that this user may not inspect (root may inspect all), processes of other containers and
//! other machines, writes by the kernel itself (to an exported or loop-mounted file), threads with open files of
//! their own, and a file that a process opens and closes between two looks.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::disk::Device;
use crate::base::os;
use crate::base::os::identity::known_identity;
use crate::base::path::{as_bytes, as_path, escape};
use crate::base::pool::side_by_side;

/// A file system's number (`st_dev`) and the file's inode number on it.
pub(crate) type FileId = (u64, u64);

/// All files that some process could write to at one moment.
pub(crate) struct Holders {
    proc: PathBuf,
    /// Keyed by inode number alone. [`Holders::of`] asks for the file system of the few holds whose inode number
    /// matches.
    by_inode: HashMap<u64, Vec<Hold>>,
}

/// A process that can write to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The process id, in the numbering of this `/proc`.
    pub(crate) process: u32,
    /// The command name (`comm`), escaped for terminals; empty if the process has ended since.
    pub(crate) name: String,
    /// Whether it can write through a mapping, which need not show in the file's times.
    pub(crate) is_mapped: bool,
}

/// One way in which one process can write to the file whose inode number is the key.
struct Hold {
    process: u32,
    way: AccessWay,
}

impl Hold {
    fn is_mapped(&self) -> bool {
        matches!(self.way, AccessWay::Mapped { .. })
    }
}

enum AccessWay {
    /// Open for writing, under this descriptor number.
    Open(String),
    /// Mapped, shared and writable: address range, device and path as `maps` lists them.
    Mapped { addresses: String, device: Device, path: PathBuf },
}

impl Holders {
    /// Looks at all processes, this one included: its own output may go into a source.
    ///
    /// # Errors
    /// `/proc` is missing, or does not list this process.
    pub(crate) fn look() -> io::Result<Self> {
        Self::look_below(Path::new("/proc"))
    }

    /// Looks at the processes below `proc`. If this process is not among them, `proc` lists other processes or
    /// none, and "no holder" would mean nothing.
    fn look_below(proc: &Path) -> io::Result<Self> {
        let names = std::fs::read_dir(proc)?.flatten().map(|name| name.file_name());
        let processes: Vec<u32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
        if !processes.contains(&std::process::id()) {
            return Err(io::Error::other("it does not list this process"));
        }
        // Each process costs some reads of /proc, and there may be thousands.
        let found = side_by_side(
            &processes,
            || (),
            |(), process| {
                let folder = proc.join(process.to_string());
                if !may_be_looked_at(&folder) {
                    return (*process, Vec::new());
                }
                let mut ways = opened(&folder);
                ways.extend(mapped(&folder));
                (*process, ways)
            },
        );
        let mut by_inode: HashMap<u64, Vec<Hold>> = HashMap::new();
        for (process, ways) in found {
            for (inode, way) in ways {
                by_inode.entry(inode).or_default().push(Hold { process, way });
            }
        }
        Ok(Self { proc: proc.into(), by_inode })
    }

    /// A process that can write to the file; `None` if none is known. If several can, one that has mapped it wins,
    /// because its writes may go unseen.
    pub(crate) fn of(&self, file: FileId) -> Option<Holder> {
        let holds = self.by_inode.get(&file.1)?.iter();
        let hold = holds.filter(|hold| self.is_of(hold, file)).max_by_key(|hold| hold.is_mapped())?;
        let name = std::fs::read(self.folder(hold).join("comm")).unwrap_or_default();
        Some(Holder {
            process: hold.process,
            name: escape(name.trim_ascii_end()).into_owned(),
            is_mapped: hold.is_mapped(),
        })
    }

    fn folder(&self, hold: &Hold) -> PathBuf {
        self.proc.join(hold.process.to_string())
    }

    /// Whether the hold is on this file, not on one with the same inode number on another file system.
    fn is_of(&self, hold: &Hold, file: FileId) -> bool {
        let folder = self.folder(hold);
        match &hold.way {
            // The process may have closed the file since, and given its number to another one.
            AccessWay::Open(number) => known_identity(&folder.join("fd").join(number)).is_ok_and(|id| id == file),
            // On some file systems (btrfs, overlays) `maps` names another device than `stat` does.
            AccessWay::Mapped { addresses, device, path } => {
                if *device == os::block(file.0) {
                    return true;
                }
                // Not every user may look into `map_files`. The path may lead elsewhere by now.
                let known = known_identity(&folder.join("map_files").join(addresses));
                known.or_else(|_| known_identity(path)).is_ok_and(|id| id == file)
            }
        }
    }
}

/// Whether this user may inspect the process. A kernel thread has no program, so it counts as no.
fn may_be_looked_at(process: &Path) -> bool {
    process.join("exe").read_link().is_ok()
}

/// The files that a process has open for writing, with their inode numbers; none if it has just ended.
fn opened(process: &Path) -> Vec<(u64, AccessWay)> {
    let Ok(entries) = std::fs::read_dir(process.join("fd")) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let number = entry.file_name().to_string_lossy().into_owned();
        // Most descriptors lead to no file. The owner's bits of the link itself say what it is open for.
        let is_a_file = path.read_link().is_ok_and(|to| as_bytes(&to).starts_with(b"/"));
        if is_a_file && entry.metadata().is_ok_and(|meta| meta.mode() & 0o200 != 0) {
            let noted = noted_inode(&process.join("fdinfo").join(&number));
            let inode = noted.or_else(|| Some(known_identity(&path).ok()?.1));
            found.extend(inode.map(|inode| (inode, AccessWay::Open(number))));
        }
    }
    found
}

/// The inode number in `fdinfo`; `None` before Linux 5.14. Reading it does not ask the file system, which may hang.
fn noted_inode(info: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(info).ok()?;
    text.lines().find_map(|line| line.strip_prefix("ino:"))?.trim().parse().ok()
}

/// The files that a process has mapped shared and writable; none if it has just ended.
fn mapped(process: &Path) -> Vec<(u64, AccessWay)> {
    let text = std::fs::read(process.join("maps")).unwrap_or_default();
    text.split(|byte| *byte == b'\n').filter_map(mapping).collect()
}

/// Parses a line of `maps`: addresses, rights, offset, device, inode, path. Returns `None` for a mapping that does
/// not change its file: read-only (no `w`) or private (`p` in place of `s`).
fn mapping(line: &[u8]) -> Option<(u64, AccessWay)> {
    let mut words = line.splitn(6, |byte| *byte == b' ');
    let addresses = next_word(&mut words)?;
    let rights = next_word(&mut words)?;
    if !(rights.contains('w') && rights.ends_with('s')) {
        return None;
    }
    let _ = next_word(&mut words)?;
    let device = next_word(&mut words)?;
    let inode = next_word(&mut words)?.parse().ok()?;
    let (major, minor) = device.split_once(':')?;
    let device = Device::new(u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let path = as_path(words.next()?.trim_ascii_start()).into();
    Some((inode, AccessWay::Mapped { addresses: addresses.into(), device, path }))
}

fn next_word<'a>(words: &mut impl Iterator<Item = &'a [u8]>) -> Option<&'a str> {
    std::str::from_utf8(words.next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    /// Starts a shell that opens the file with this redirection and ends with its input. This process must not open
    /// the file for writing: a child that another test starts would inherit it for a moment.
    fn holding(path: &Path, way: &str) -> Child {
        let script = format!("exec 3{way}\"$1\"; echo ready; read line");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, "sh"]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut line = [0; 6];
        shell.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        assert_eq!(&line, b"ready\n");
        shell
    }

    fn ends(mut shell: Child) {
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }

    #[test]
    fn a_file_that_is_open_for_writing_is_told_from_one_that_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        ends(holding(&path, ">"));
        let file = known_identity(&path).unwrap();
        let holder = || Holders::look().unwrap().of(file);
        assert_eq!(holder(), None);
        for way in [">>", "<>", ">"] {
            let shell = holding(&path, way);
            let expected = Holder { process: shell.id(), name: "sh".into(), is_mapped: false };
            assert_eq!(holder(), Some(expected), "{way}");
            // The same inode number must not be enough.
            assert_eq!(Holders::look().unwrap().of((file.0 + 1, file.1)), None, "a file of another file system");
            ends(shell);
        }
        let reader = holding(&path, "<");
        assert_eq!(holder(), None);
        ends(reader);
    }

    #[test]
    fn only_shared_mappings_that_can_be_written_to_count() {
        let line = |rights: &str| format!("7f00aa-7f00bb {rights} 00000000 fd:01 4711                       /a b/c");
        for rights in ["rw-s", "-w-s", "rwxs"] {
            let (inode, way) = mapping(line(rights).as_bytes()).unwrap();
            let AccessWay::Mapped { addresses, device, path } = way else { panic!("it is mapped") };
            assert_eq!((inode, &*addresses, path), (4711, "7f00aa-7f00bb", PathBuf::from("/a b/c")));
            assert!(device == Device::new(0xfd, 1));
        }
        for other in ["r--s", "rw-p", "---p"] {
            assert!(mapping(line(other).as_bytes()).is_none(), "{other}");
        }
        // A line that is cut short or malformed is passed over.
        for bad in ["", "x", "a rw-s 0 fd:01", "a rw-s 0 fd01 5 /x", "a rw-s 0 fd:01 x /x"] {
            assert!(mapping(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_folder_that_lists_no_processes_tells_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Holders::look_below(dir.path()).is_err());
        assert!(Holders::look_below(&dir.path().join("none")).is_err());
    }
}
