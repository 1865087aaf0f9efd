//! Limits that a reader enforces before it believes anything (FORMAT section 12), each with its unit and reason. Sizes
//! are in bytes.

/// A seal file: 16 recipients need 2 KiB of header, and a seal's text has 300 bytes.
pub(crate) const SEAL_FILE: u64 = 64 * 1024;
/// The text of a seal.
pub(crate) const SEAL_TEXT: u64 = 2048;
/// An age header: parsing one takes time quadratic in its length.
pub(crate) const AGE_HEADER: usize = 16 * 1024;
/// Stanzas of an age header, for the same reason.
pub(crate) const AGE_STANZAS: usize = 64;
/// The scrypt work factor of a file on a drive, as a power of two: 20 takes 1 GiB of memory and some seconds. No pouch
/// wrote more than 18.
pub(crate) const WORK_FACTOR: u8 = 20;
/// The scrypt work factor of a key file that the user names: 22 takes 4 GiB.
pub(crate) const KEY_WORK_FACTOR: u8 = 22;
/// The longest tar that is packed or resumed: 1 EiB, more than 100,000 parts hold. A head may state up to 2^63 - 1.
pub(crate) const TAR: u64 = 1 << 60;
/// A head, sealed or as text: 100,000 parts need 45 MiB.
pub(crate) const HEAD: u64 = 64 << 20;
/// The text of a list: some 15 million files.
pub(crate) const LIST: u64 = 4 << 30;
/// What is kept in memory of a list: [`ENTRY_KEPT`] for each entry, its path and target, and [`HOLE_KEPT`] for each
/// hole. 10 million files with paths of 65 bytes take it, and the whole run then stays below 2 GiB.
pub(crate) const LIST_KEPT: u64 = 2_000 << 20;
/// What an entry counts for beside its names: its record, and what allocating takes.
pub(crate) const ENTRY_KEPT: u64 = 144;
/// What a hole counts for.
pub(crate) const HOLE_KEPT: u64 = 16;
/// What is kept in memory of a tar without a list: entries count as in a list, and the manifests with all their bytes.
pub(crate) const TAR_KEPT: u64 = 4 << 30;
/// A line of the list: a path of 32 KiB with each byte escaped, and 65,536 holes.
pub(crate) const LIST_LINE: usize = 4 << 20;
/// Holes of one file.
pub(crate) const HOLES: usize = 65_536;
/// Parts of a bundle; data and parity parts together.
pub(crate) const PARTS: u32 = 100_000;
/// Volumes of a bundle.
pub(crate) const VOLUMES: u16 = 1_000;
/// The SHA256SUMS of a volume.
pub(crate) const SUMS_FILE: u64 = 16 << 20;
/// An identity file or a recipients file.
pub(crate) const KEY_FILE: u64 = 1 << 20;
/// Names that are kept of a folder, whatever they are. Beyond these only names of the format are kept, up to as many
/// again, so that no files beside a volume hide it.
pub(crate) const FOLDER: usize = 250_000;
/// Levels below a given folder that are searched for volumes.
pub(crate) const DEPTH: usize = 4;
/// Folders below a given folder that are searched for volumes; those named as volumes have 1,000 more. A drive full of
/// other files may hold a hundred times as many, and a slow drive takes a hundredth of a second for each.
pub(crate) const FOLDERS: usize = 20_000;
/// Names that this search reads in all folders together.
pub(crate) const NAMES: usize = 2_000_000;
/// Files that the SHA256SUMS of all given volumes list: ten bundles of 100,000 parts.
pub(crate) const LISTED: u64 = 1_000_000;
/// Files that begin like one part, are not named like it, and are read whole.
pub(crate) const COPIES: usize = 32;
/// Further files of that kind, of which one chunk is tried.
pub(crate) const CROWD: usize = 10_000;
/// The pax records of a member: a path and a link's target of 32 KiB each, and some digits.
pub(crate) const RECORDS: u64 = 128 * 1024;
/// Paths of folders that are made because their own member is lost: one path can name 16,000 of them, of 16 KiB each.
pub(crate) const MADE_FOLDERS: usize = 16 << 20;
/// Recipients of a bundle.
pub(crate) const RECIPIENTS: usize = 16;
/// The largest window that a part's zstd frames may ask for, as a power of two: 8 MiB, which every worker takes.
pub(crate) const WINDOW_LOG: u32 = 23;
