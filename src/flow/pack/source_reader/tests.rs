//! Sources in a real folder, read after they were changed or removed.

use super::*;
use crate::base::digest::sha256;
use crate::base::monitor::fake::Heard;
use crate::base::pool::Pool;
use crate::plan::layout::lay_out;
use crate::stage::walk::walk;
use tempfile::TempDir;

/// A folder `source` with these files, walked and laid out. Entry 0 is the folder; the files follow by name.
struct Sources {
    folder: PathBuf,
    walk: Walk,
    layout: Layout,
    heard: Heard,
    _desk: TempDir,
}

impl Sources {
    fn of(files: &[(&str, &[u8])]) -> Self {
        let desk = tempfile::tempdir().unwrap();
        let folder = desk.path().join("source");
        std::fs::create_dir(&folder).unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        Self::walked(folder, desk)
    }

    fn walked(folder: PathBuf, desk: TempDir) -> Self {
        let heard = Heard::default();
        let mut walk = walk(std::slice::from_ref(&folder), &heard).unwrap();
        let layout = lay_out(&mut walk.entries, &mut Vec::new());
        Self { folder, walk, layout, heard, _desk: desk }
    }

    fn reader(&self) -> SourceReader<'_> {
        SourceReader::new(&self.walk, &self.layout, &self.heard)
    }

    /// Tar offset of the content of an entry.
    fn content(&self, entry: usize) -> u64 {
        self.walk.entries[entry].at
    }

    fn overwrite(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.join(name), bytes).unwrap();
    }
}

fn filled(reader: &SourceReader, range: Range<u64>) -> Result<Filling, WalkError> {
    let len = (range.end - range.start) as usize;
    reader.range(range.start, Pool::new(1, move || vec![0xee; len]).take().unwrap())
}

fn fault(entry: u32, flag: Flag) -> Fault {
    Fault { entry, flag, why: "it is at fault".into(), errno: None }
}

fn kinds(notes: &[Note]) -> Vec<NoteKind> {
    notes.iter().map(|note| note.kind).collect()
}

#[test]
fn files_that_lie_in_a_range_whole_are_hashed_with_it() {
    let sources = Sources::of(&[("a", &[b'a'; 700]), ("b", b"abc"), ("empty", b"")]);
    let reader = sources.reader();
    let Filling { raw, pieces, clean } = filled(&reader, 0..sources.layout.tail_start).unwrap();
    assert!(clean && pieces.is_empty());
    let at = sources.content(2) as usize;
    assert_eq!((&raw[..9], &raw[at..at + 4]), (&sources.layout.front[..9], &b"abc\0"[..]));
    let (files, notes) = reader.finish().unwrap();
    assert_eq!(files[1..], [&[b'a'; 700][..], b"abc", b""].map(|bytes| (sha256(bytes), Flag::Clean)));
    assert!(notes.is_empty());
}

#[test]
fn a_file_longer_than_its_ranges_is_hashed_in_order() {
    let bytes: Vec<u8> = (0..5000u32).map(|at| (at * 7) as u8).collect();
    let sources = Sources::of(&[("clip", &bytes)]);
    let reader = sources.reader();
    let middle = sources.content(1) + 1024;
    for (range, digest) in [(middle..sources.layout.tail_start, Digest::ZERO), (0..middle, sha256(&bytes))] {
        let Filling { raw, pieces, .. } = filled(&reader, range).unwrap();
        assert_eq!(pieces.len(), 1);
        reader.hash(&raw, pieces);
        assert_eq!(reader.digests()[1], (digest, Flag::Clean));
    }
}

#[test]
fn a_file_that_was_not_hashed_is_a_defect() {
    let sources = Sources::of(&[("clip", b"frames"), ("empty", b"")]);
    let Err(FlowError::Defect(text)) = sources.reader().finish() else { panic!("it has no digest") };
    assert_eq!(text, format!("{} was not hashed", show(&sources.folder.join("clip"))));
    let sources = Sources::of(&[("empty", b"")]);
    assert!(sources.reader().finish().is_ok(), "nothing has content");
}

#[test]
fn a_file_that_grew_since_the_walk_is_flagged_and_noted_once() {
    let sources = Sources::of(&[("clip", b"frames"), ("other", b"frames")]);
    sources.overwrite("clip", b"frames and more");
    let reader = sources.reader();
    for _ in 0..2 {
        assert!(!filled(&reader, 0..sources.layout.tail_start).unwrap().clean);
    }
    assert!(!reader.is_clean());
    assert_eq!(sources.heard.paths(), ["source/clip"]);
    let (files, notes) = reader.finish().unwrap();
    assert_eq!(files[1], (sha256(b"frames"), Flag::Changed), "the digest is that of what was packed");
    assert_eq!((files[2].1, kinds(&notes)), (Flag::Clean, vec![NoteKind::Changed]));
}

#[test]
fn a_file_that_is_missing_is_packed_as_zeros() {
    let sources = Sources::of(&[("clip", b"frames")]);
    std::fs::remove_file(sources.folder.join("clip")).unwrap();
    let reader = sources.reader();
    let raw = filled(&reader, 0..sources.layout.tail_start).unwrap().raw;
    assert_eq!(raw[sources.content(1) as usize..][..7], [0; 7]);
    let (files, notes) = reader.finish().unwrap();
    assert_eq!((files[1].1, kinds(&notes)), (Flag::Unreadable, vec![NoteKind::Unreadable]));
}

#[test]
fn files_of_a_source_that_is_gone_are_not_called_unreadable() {
    let sources = Sources::of(&[("clip", b"frames")]);
    std::fs::remove_dir_all(&sources.folder).unwrap();
    let reader = sources.reader();
    let Err(WalkError::Gone(path)) = filled(&reader, 0..sources.layout.tail_start) else { panic!("it is gone") };
    assert_eq!(path, sources.folder);
    assert!(reader.is_clean() && sources.heard.paths().is_empty());
}

#[test]
fn the_worst_fault_of_a_file_is_kept() {
    let sources = Sources::of(&[("clip", b"frames")]);
    let reader = sources.reader();
    for flag in [Flag::Changed, Flag::Unreadable, Flag::Changed] {
        reader.note_fault(fault(1, flag));
    }
    assert_eq!(sources.heard.paths().len(), 2, "the third tells nothing new");
    let (files, notes) = reader.finish().unwrap();
    assert_eq!((files[1].1, kinds(&notes)), (Flag::Unreadable, vec![NoteKind::Unreadable]));
}

#[test]
fn behind_packed_manifests_a_change_is_noted_without_a_flag() {
    let sources = Sources::of(&[("clip", b"frames"), ("other", b"frames")]);
    let reader = sources.reader().after_manifests(true);
    reader.note_fault(fault(1, Flag::Changed));
    reader.note_fault(fault(1, Flag::Changed));
    assert!(reader.is_clean());
    reader.note_fault(fault(2, Flag::Unreadable));
    assert!(!reader.is_clean(), "what cannot be read cannot be compared with what was packed");
    assert_eq!(kinds(&lock(&reader.notes)), [NoteKind::Outdated, NoteKind::Unreadable]);
}

#[test]
fn only_a_holder_that_may_write_unseen_makes_a_file_changed() {
    let sources = Sources::of(&[("clip", b"frames"), ("other", b"frames")]);
    let holder = |is_mapped| Holder { process: 7, name: "editor".into(), is_mapped };
    let reader = sources.reader();
    reader.note_holder(1, &holder(false));
    assert!(reader.is_clean());
    reader.note_holder(2, &holder(true));
    assert_eq!(reader.digests()[1..].iter().map(|file| file.1).collect::<Vec<_>>(), [Flag::Clean, Flag::Changed]);
    let notes = lock(&reader.notes).clone();
    assert_eq!(kinds(&notes), [NoteKind::Open, NoteKind::Changed]);
    assert!(notes[0].text.starts_with("is open for writing by editor (process 7)"));
    assert!(notes[1].text.ends_with("editor (process 7); it may mix two states"));
}

#[test]
fn that_a_file_is_open_hides_no_change_of_it() {
    let sources = Sources::of(&[("clip", b"frames")]);
    let holder = Holder { process: 7, name: "editor".into(), is_mapped: false };
    let reader = sources.reader().after_manifests(true);
    reader.note_holder(1, &holder);
    reader.note_fault(fault(1, Flag::Changed));
    assert_eq!(kinds(&lock(&reader.notes)), [NoteKind::Outdated]);
    reader.note_fault(fault(1, Flag::Changed));
    reader.note_holder(1, &holder);
    assert_eq!(kinds(&lock(&reader.notes)), [NoteKind::Outdated], "said once, and not weakened");
}

#[test]
fn reading_without_notes_returns_the_fault_and_fills_the_rest() {
    let sources = Sources::of(&[("a", b"abc"), ("b", b"def")]);
    std::fs::remove_file(sources.folder.join("a")).unwrap();
    let reader = sources.reader();
    let mut buf = vec![0xee; sources.layout.tail_start as usize];
    let Err(FlowError::Io(fault)) = reader.raw(0, &mut buf) else { panic!("it is not there") };
    assert_eq!((fault.doing, fault.path), ("read", sources.folder.join("a")));
    assert_eq!(
        (&buf[sources.content(1) as usize..][..3], &buf[sources.content(2) as usize..][..3]),
        (&[0; 3][..], &b"def"[..])
    );
    assert!(reader.is_clean() && sources.heard.paths().is_empty());
}

#[test]
fn a_changed_file_can_be_read_and_a_missing_one_cannot_wherever_it_lies() {
    let desk = tempfile::tempdir().unwrap();
    let folder = desk.path().join("source");
    std::fs::create_dir(&folder).unwrap();
    // With the long file before it, the short one lies in the third MiB that is tried.
    std::fs::File::create(folder.join("a")).unwrap().set_len(2 << 20).unwrap();
    std::fs::write(folder.join("b"), b"frames").unwrap();
    let sources = Sources::walked(folder, desk);
    let reader = sources.reader();
    sources.overwrite("b", b"other");
    assert!(reader.readable(0..sources.layout.tail_start).is_ok());
    std::fs::remove_file(sources.folder.join("b")).unwrap();
    assert!(reader.readable(0..sources.content(2)).is_ok(), "it lies behind the stretch");
    assert!(matches!(reader.readable(0..sources.layout.tail_start), Err(FlowError::Io(_))));
}

#[test]
fn only_files_with_content_count_as_files_of_a_stretch() {
    let sources = Sources::of(&[("a", b"abc"), ("b", b"def"), ("empty", b"")]);
    let reader = sources.reader();
    let all = [sources.folder.join("a"), sources.folder.join("b")];
    assert_eq!(reader.files_in(&(0..sources.layout.tail_start)), all);
    let content = sources.content(2);
    assert_eq!(reader.files_in(&(content..content + 1)), all[1..]);
}
