//! How work that takes time speaks to whoever started it: progress, notes, and the wish to stop.

use std::borrow::Cow;

use crate::base::json::{Value, json};
use crate::base::path::escape;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Looking at the sources.
    Walking,
    /// Reading, compressing, sealing, writing; bytes of the tar that are on a drive.
    Packing,
    /// Hashing files of volumes.
    Checking,
    /// Opening parts and placing files; bytes of part files.
    Unpacking,
    /// Looking at what an interrupted run left; bytes of files.
    Resuming,
    /// Reading back what was written; bytes.
    Verifying,
    /// Writing parts anew; bytes of part files.
    Repairing,
    /// Making parts again that lost their places; bytes of the tar.
    Moving,
    /// Copying a volume and reading it back; bytes of files, those written and those verified.
    Loading,
}

/// Why a note is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoteKind {
    /// A file that could not be read; its content is not in the bundle.
    Unreadable,
    /// A file that changed while it was packed, or that a program could change unseen.
    Changed,
    /// A file that a program has open for writing.
    Open,
    /// A source that is not any more what is packed of it, or of which that is not known.
    Outdated,
    /// A folder of the sources that this packing itself changed.
    OwnWork,
    /// Something that this system does not let be found out.
    NotKnown,
    /// A FIFO, socket or device: not packed.
    Skipped,
    /// A source given as a link: what it points to is packed.
    Followed,
    /// Names that a folder listed more than once: each is packed once.
    Repeated,
    /// Names that the system says are of one file, but not all of what it says agrees: each is packed as a file.
    NotLinked,
    /// setuid, setgid or sticky bits that were not packed.
    BitsDropped,
    /// Extended attributes, ACLs and file flags that were not packed.
    ExtrasDropped,
    /// A name that BagIt validators refuse or misread; it is packed exactly.
    BagName,
    /// Something about a volume that does not stop the work.
    Volume,
    /// A drive that failed, or does not keep what it is given.
    Drive,
    /// A property that the target could not take, such as an owner's mode or time.
    Property,
    /// Something of ours that could not be removed.
    Left,
}

impl NoteKind {
    /// The word for it in JSON.
    pub fn word(self) -> &'static str {
        match self {
            NoteKind::Unreadable => "unreadable",
            NoteKind::Changed => "changed",
            NoteKind::Open => "open",
            NoteKind::Outdated => "outdated",
            NoteKind::OwnWork => "own-work",
            NoteKind::NotKnown => "not-known",
            NoteKind::Skipped => "skipped",
            NoteKind::Followed => "followed",
            NoteKind::Repeated => "repeated",
            NoteKind::NotLinked => "not-linked",
            NoteKind::BitsDropped => "bits-dropped",
            NoteKind::ExtrasDropped => "extras-dropped",
            NoteKind::BagName => "bag-name",
            NoteKind::Volume => "volume",
            NoteKind::Drive => "drive",
            NoteKind::Property => "property",
            NoteKind::Left => "left",
        }
    }
}

/// Something worth saying that does not stop the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Why.
    pub kind: NoteKind,
    /// About which file or folder; bytes as they are, not yet fit for a terminal.
    pub path: Vec<u8>,
    /// In words, without the path.
    pub text: Cow<'static, str>,
}

impl Note {
    /// A note about `path`.
    pub fn new(kind: NoteKind, path: &[u8], text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, path: path.to_vec(), text: text.into() }
    }
}

/// The listener. Called from any thread, often: it must be quick.
pub trait Monitor: Send + Sync {
    /// A new phase of `total` units starts; 0 where the total is not known yet.
    fn phase(&self, phase: Phase, total: u64);
    /// `units` more of the phase are done.
    fn advance(&self, units: u64);
    /// So many bytes are to come to the volume with that number.
    fn expect(&self, _volume: u16, _bytes: u64) {}
    /// `bytes` more are written and synced on the volume with that number.
    fn on_drive(&self, volume: u16, bytes: u64);
    /// `bytes` more of the volume with that number were read back and are as they were written.
    fn verified(&self, _volume: u16, _bytes: u64) {}
    /// What became of a volume, in a few words.
    fn verdict(&self, _volume: u16, _words: &str) {}
    /// So many bytes of a copied volume are written by now, and so many verified.
    fn loaded(&self, _written: u64, _verified: u64) {}
    /// Something worth saying now.
    fn note(&self, note: &Note);
    /// Whether the work should stop at the next safe place.
    fn cancelled(&self) -> bool;
}

/// An error once the work should stop, for what reads on until there is one.
pub fn go_on(monitor: &dyn Monitor) -> std::io::Result<()> {
    if monitor.cancelled() { Err(std::io::Error::other("interrupted")) } else { Ok(()) }
}

/// Hears nothing and never stops.
pub struct Silent;

impl Monitor for Silent {
    fn phase(&self, _: Phase, _: u64) {}
    fn advance(&self, _: u64) {}
    fn on_drive(&self, _: u16, _: u64) {}
    fn note(&self, _: &Note) {}
    fn cancelled(&self) -> bool {
        false
    }
}

/// Notes for `--json`.
pub fn notes_json(notes: &[Note]) -> Value {
    notes.iter().map(note_json).collect()
}

/// One of them.
pub fn note_json(note: &Note) -> Value {
    json!({"kind": note.kind.word(), "path": escape(&note.path), "text": note.text})
}
