//! A second look at the sources, after all of them were read and before the list is made. Each entry that changed
//! meanwhile gets a note. A folder that holds names which are not packed is flagged in the list, so that the receiver
//! learns of it.
//!
//! Not guaranteed: that every change is seen. `stage/walk/second_look.rs` says what can be missed.

use std::os::unix::fs::MetadataExt;

use crate::base::entry::{Entry, Flag};
use crate::base::monitor::Monitor;
use crate::base::path::as_bytes;
use crate::flow::FlowError;
use crate::flow::pack::plan::{Planned, VolumeTarget};
use crate::format::volume_number::VolumeNumber;
use crate::stage::volume;
use crate::stage::walk::{OwnNames, SecondLook};

/// Looks again at every entry except the files that this run has already reported as changed or unreadable.
pub(crate) fn look_again(planned: &mut Planned, monitor: &dyn Monitor) -> Result<(), FlowError> {
    let walk = &planned.walk;
    let own = own_names(&planned.targets);
    let SecondLook { notes, incomplete } = walk.look_again(|index| is_reported(&walk.entries[index]), &own, monitor)?;
    for index in incomplete {
        planned.walk.entries[index].flag = Flag::Unreadable;
    }
    notes.iter().for_each(|note| monitor.note(note));
    planned.notes.extend(notes);
    Ok(())
}

/// Whether it is a file that this run reported as changed or unreadable.
fn is_reported(entry: &Entry) -> bool {
    entry.sha256.is_some() && entry.flag != Flag::Clean
}

/// The names of the volume folders, by the folders they lie in. Targets lie outside the sources, but a target may be
/// mounted inside a source as well.
fn own_names(targets: &[VolumeTarget]) -> OwnNames {
    let mut own = OwnNames::new();
    for (number, target) in VolumeNumber::numbered(targets) {
        let folder = volume::folder(&target.path, number);
        let (Ok(meta), Some(name)) = (target.path.metadata(), folder.file_name()) else { continue };
        own.entry((meta.dev(), meta.ino())).or_default().insert(as_bytes(name.as_ref()).to_vec());
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::base::monitor::{NoteKind, Silent};
    use crate::flow::pack::plan::plan;
    use crate::flow::pack::request::tests::request;
    use std::path::{Path, PathBuf};

    /// A plan for a source with one file, and the folder of that source.
    fn planned(desk: &Path) -> (Planned, PathBuf) {
        let (source, drive) = (desk.join("source"), desk.join("drive"));
        std::fs::create_dir(&source).unwrap();
        std::fs::create_dir(&drive).unwrap();
        std::fs::write(source.join("clip"), b"frames").unwrap();
        let planned = plan(&request(vec![source.clone()], vec![drive]), &Silent).unwrap();
        (planned, source)
    }

    fn flags(planned: &Planned) -> Vec<Flag> {
        planned.walk.entries.iter().map(|entry| entry.flag).collect()
    }

    #[test]
    fn sources_at_rest_get_no_note() {
        let desk = tempfile::tempdir().unwrap();
        let (mut planned, _) = planned(desk.path());
        planned.notes.clear();
        look_again(&mut planned, &Silent).unwrap();
        assert!(planned.notes.is_empty(), "{:?}", planned.notes);
        assert_eq!(flags(&planned), [Flag::Clean, Flag::Clean]);
    }

    #[test]
    fn a_folder_with_a_new_name_is_flagged() {
        let desk = tempfile::tempdir().unwrap();
        let (mut planned, source) = planned(desk.path());
        planned.notes.clear();
        std::fs::write(source.join("late"), b"").unwrap();
        look_again(&mut planned, &Silent).unwrap();
        assert_eq!(flags(&planned), [Flag::Unreadable, Flag::Clean]);
        assert_eq!(planned.notes.len(), 1);
        assert_eq!((planned.notes[0].kind, &planned.notes[0].path[..]), (NoteKind::Outdated, &b"source"[..]));
    }

    #[test]
    fn a_file_that_was_reported_gets_no_second_note() {
        let desk = tempfile::tempdir().unwrap();
        let (mut planned, source) = planned(desk.path());
        std::fs::write(source.join("clip"), b"other frames").unwrap();
        let notes_of = |planned: &mut Planned| {
            planned.notes.clear();
            look_again(planned, &Silent).unwrap();
            planned.notes.len()
        };
        assert_eq!(notes_of(&mut planned), 1);
        planned.walk.entries[1].sha256 = Some(Digest::ZERO);
        planned.walk.entries[1].flag = Flag::Changed;
        assert_eq!(notes_of(&mut planned), 0);
    }

    #[test]
    fn each_volume_folder_is_known_by_the_folder_it_lies_in() {
        let desk = tempfile::tempdir().unwrap();
        let target = |path: &Path| VolumeTarget { path: path.into(), device: 0 };
        let gone = desk.path().join("gone");
        let own = own_names(&[target(desk.path()), target(&gone), target(desk.path())]);
        let meta = desk.path().metadata().unwrap();
        let names = [b"volume-1".to_vec(), b"volume-3".to_vec()].into();
        assert_eq!(own, OwnNames::from([((meta.dev(), meta.ino()), names)]));
    }
}
