//! What a reader takes on before it believes anything (FORMAT section 12). Named, reasoned, tested.

/// A seal file: 16 recipients need 2 KiB of header, a seal's text 300 bytes.
pub const SEAL_FILE: u64 = 64 * 1024;
/// A seal's text.
pub const SEAL_TEXT: u64 = 2048;
/// An age header: parsing one takes time quadratic in its length.
pub const AGE_HEADER: usize = 16 * 1024;
/// Stanzas of an age header.
pub const AGE_STANZAS: usize = 64;
/// scrypt work factor of what lies on a drive, as a power of two: 20 takes 1 GiB and some seconds. No pouch wrote
/// more than 18.
pub const WORK_FACTOR: u8 = 20;
/// The same of a key file that the user names: 22 takes 4 GiB.
pub const KEY_WORK_FACTOR: u8 = 22;
/// A tar: more than 100,000 parts hold.
pub const TAR: u64 = 1 << 60;
/// A head, sealed or as text: 100,000 parts need 45 MiB.
pub const HEAD: u64 = 64 << 20;
/// A list, as text: some 15 million files.
pub const LIST: u64 = 4 << 30;
/// What is kept of a list while it is read, in bytes: [`ENTRY_KEPT`] for each entry, its path and target, and
/// [`HOLE_KEPT`] for each hole. 10 million files with paths of 65 bytes: with all else a run stays below 2 GiB.
pub const LIST_KEPT: u64 = 2_000 << 20;
/// What an entry takes beside its names: its record and what allocating takes.
pub const ENTRY_KEPT: u64 = 144;
/// What a hole takes.
pub const HOLE_KEPT: u64 = 16;
/// The same of a tar without a list, its manifests included.
pub const TAR_KEPT: u64 = 4 << 30;
/// A line of the list: a path of 32 KiB, each byte escaped, and 65,536 holes.
pub const LIST_LINE: usize = 4 << 20;
/// Holes of one file.
pub const HOLES: usize = 65_536;
/// Parts of a bundle.
pub const PARTS: u32 = 100_000;
/// Volumes of a bundle.
pub const VOLUMES: u16 = 1_000;
/// SHA256SUMS of a volume.
pub const SUMS_FILE: u64 = 16 << 20;
/// An identity file or a recipients file.
pub const KEY_FILE: u64 = 1 << 20;
/// Entries of a folder that is looked at for volumes: more is no drive of ours.
pub const FOLDER: usize = 250_000;
/// Levels below a folder given that are searched for volumes.
pub const DEPTH: usize = 4;
/// Folders below a folder given that are searched for volumes: a drive that is full of somebody's files
/// may hold a hundred times as many, and a slow one takes a hundredth of a second for each.
pub const FOLDERS: usize = 20_000;
/// Names that are read in them.
pub const NAMES: usize = 2_000_000;
/// Files that all their SHA256SUMS list: those of ten bundles of 100,000 parts.
pub const LISTED: u64 = 1_000_000;
/// Copies of one part, under names that are not its own, that are tried whole.
pub const COPIES: usize = 32;
/// The same of those of which one chunk is tried.
pub const CROWD: usize = 10_000;
/// The pax records of a member: a path and a link's target of 32 KiB each, and some digits.
pub const RECORDS: u64 = 128 * 1024;
/// Names of folders that are made because something stands in them: one path can name 16,000, of
/// 16 KiB each.
pub const MADE_FOLDERS: usize = 16 << 20;
/// Recipients of a bundle.
pub const RECIPIENTS: usize = 16;
/// The largest window that a part's zstd frames may ask for, as a power of two: 8 MiB.
pub const WINDOW_LOG: u32 = 23;
