//! How long-running work talks to its caller: progress, notes, and the wish to stop.

use std::borrow::Cow;

use crate::base::json::{Value, json};
use crate::base::path::escape;

/// What a run is doing. Each phase says in which unit its progress counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Looks at the sources. Counts files and folders.
    Walking,
    /// Reads, compresses, seals and writes. Counts bytes of the tar that are on a drive.
    Packing,
    /// Hashes the files of volumes, or the parts that an interrupted packing wrote. Counts bytes of files.
    Checking,
    /// Opens parts and places files. Counts bytes of part files.
    Unpacking,
    /// Looks at what an interrupted `unpack` or `load` left. Counts bytes of files.
    Resuming,
    /// Reads back what was written. Counts bytes of files.
    Verifying,
    /// Writes parts of a volume anew. Counts bytes of part files.
    Repairing,
    /// Packs parts again that a drive lost. Counts bytes of the tar.
    Moving,
    /// Copies a volume and reads it back. Counts bytes of files twice: when written and when verified.
    Loading,
}

/// Why a note is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum NoteKind {
    /// A file or folder could not be read, and is not in the bundle or not all of it.
    Unreadable,
    /// A file changed while it was packed, or a program could have changed it unseen.
    Changed,
    /// A program has a file open for writing.
    Open,
    /// A source is no longer what was packed of it, or the packer cannot tell.
    Outdated,
    /// This packing itself changed a folder of the sources.
    OwnWork,
    /// The system does not let Pouch find something out.
    NotKnown,
    /// A FIFO, socket or device, which is not packed.
    Skipped,
    /// A source was given as a link. The file or folder it leads to is packed.
    Followed,
    /// A folder listed a name more than once. The name is packed once.
    Repeated,
    /// The system says that several names belong to one file, but contradicts itself. Each name is packed as a file.
    NotLinked,
    /// setuid, setgid or sticky bits, which are not packed.
    BitsDropped,
    /// Extended attributes, ACLs and file flags, which are not packed.
    ExtrasDropped,
    /// A name that BagIt validators refuse or misread. It is packed exactly as it is.
    BagName,
    /// A finding about a volume that does not stop the run.
    Volume,
    /// A drive failed, did not keep what was written to it, or may not be the drive that was meant.
    Drive,
    /// A property, such as a mode or time, that a file did not get.
    Property,
    /// A file or folder of Pouch's own that could not be removed.
    Left,
}

impl NoteKind {
    /// The word in the JSON report.
    pub(crate) fn word(self) -> &'static str {
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

/// A finding for people that does not stop the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) kind: NoteKind,
    /// The file or folder it is about, in raw bytes that are not yet safe on a terminal. Empty if it is about none.
    pub(crate) path: Vec<u8>,
    /// The finding in words, without the path.
    pub(crate) text: Cow<'static, str>,
}

impl Note {
    pub(crate) fn new(kind: NoteKind, path: &[u8], text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, path: path.to_vec(), text: text.into() }
    }
}

/// Hears of a run. Any thread may call it, and often, so every method has to return quickly.
pub(crate) trait Monitor: Send + Sync {
    /// A phase of `total` units starts. While [`Phase::Walking`] the total is unknown and 0 is given.
    fn phase(&self, phase: Phase, total: u64);
    /// `units` more of the phase are done.
    fn advance(&self, units: u64);
    /// The volume will get about so many bytes.
    fn expect(&self, _volume: u16, _bytes: u64) {}
    /// `bytes` more are written to the volume and synced.
    fn on_drive(&self, volume: u16, bytes: u64);
    /// `bytes` more of the volume were read back and are as written.
    fn verified(&self, _volume: u16, _bytes: u64) {}
    /// What became of a volume, in a few words such as `given up`.
    fn verdict(&self, _volume: u16, _words: &str) {}
    /// How many bytes of a copied volume are written and verified by now. These are totals, unlike the other counts.
    fn loaded(&self, _written: u64, _verified: u64) {}
    /// A note for people, at the moment when it comes up.
    fn note(&self, note: &Note);
    /// Whether the run should stop at its next safe place.
    fn cancelled(&self) -> bool;
}

/// Fails once the run should stop. For a loop that reads on until it meets an error.
pub(crate) fn check_not_cancelled(monitor: &dyn Monitor) -> std::io::Result<()> {
    if monitor.cancelled() { Err(std::io::Error::other("interrupted")) } else { Ok(()) }
}

/// Ignores everything and never stops the run.
pub(crate) struct Silent;

impl Monitor for Silent {
    fn phase(&self, _: Phase, _: u64) {}
    fn advance(&self, _: u64) {}
    fn on_drive(&self, _: u16, _: u64) {}
    fn note(&self, _: &Note) {}
    fn cancelled(&self) -> bool {
        false
    }
}

/// The notes as a JSON array.
pub(crate) fn notes_json(notes: &[Note]) -> Value {
    notes.iter().map(note_json).collect()
}

pub(crate) fn note_json(note: &Note) -> Value {
    json!({"kind": note.kind.word(), "path": escape(&note.path), "text": note.text})
}

/// What unit tests give to a run in place of a terminal.
#[cfg(test)]
pub(crate) mod fake {
    use std::sync::Mutex;

    use super::{Monitor, Note, Phase};

    /// Keeps what a run tells its caller, and stops the run if `stops` is set.
    #[derive(Default)]
    pub(crate) struct Heard {
        pub(crate) notes: Mutex<Vec<Note>>,
        /// What was done, in order.
        pub(crate) progress: Mutex<Vec<String>>,
        pub(crate) verdicts: Mutex<Vec<String>>,
        pub(crate) stops: bool,
    }

    impl Heard {
        /// Of a run that the user has stopped.
        pub(crate) fn stopping() -> Self {
            Self { stops: true, ..Self::default() }
        }

        /// The paths of all notes so far, as text.
        pub(crate) fn paths(&self) -> Vec<String> {
            let notes = self.notes.lock().unwrap();
            notes.iter().map(|note| String::from_utf8(note.path.clone()).unwrap()).collect()
        }
    }

    impl Monitor for Heard {
        fn phase(&self, _: Phase, _: u64) {}
        fn advance(&self, units: u64) {
            self.progress.lock().unwrap().push(format!("advanced by {units}"));
        }
        fn on_drive(&self, volume: u16, bytes: u64) {
            self.progress.lock().unwrap().push(format!("{bytes} bytes on volume {volume}"));
        }
        fn verdict(&self, volume: u16, words: &str) {
            self.verdicts.lock().unwrap().push(format!("{volume} {words}"));
        }
        fn note(&self, note: &Note) {
            self.notes.lock().unwrap().push(note.clone());
        }
        fn cancelled(&self) -> bool {
            self.stops
        }
    }
}
