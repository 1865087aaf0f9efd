//! The sources looked at once more before the list is made, when all of them has been read: what changed
//! meanwhile is named, and a folder to which something came that is not packed says so to its receiver.

use std::os::unix::fs::MetadataExt;

use crate::base::entry::Flag;
use crate::base::monitor::Monitor;
use crate::base::path::as_bytes;
use crate::flow::FlowError;
use crate::flow::pack::plan::{Planned, VolumeTarget};
use crate::stage::volume;
use crate::stage::walk::{OwnNames, SecondLook};

/// Looks at every entry again that was not found changed while it was read.
pub fn look_again(planned: &mut Planned, monitor: &dyn Monitor) -> Result<(), FlowError> {
    let (walk, own) = (&planned.walk, own_names(&planned.targets));
    let is_named = |index: usize| walk.entries[index].sha256.is_some() && walk.entries[index].flag != Flag::Clean;
    let SecondLook { notes, incomplete } = walk.look_again(is_named, &own, monitor)?;
    for index in incomplete {
        planned.walk.entries[index].flag = Flag::Unreadable;
    }
    notes.iter().for_each(|note| monitor.note(note));
    planned.notes.extend(notes);
    Ok(())
}

/// What this packing makes in the folders it writes to. They lie outside of the sources, but one of them may
/// be mounted inside a source as well.
fn own_names(targets: &[VolumeTarget]) -> OwnNames {
    let mut own = OwnNames::new();
    for (number, target) in (1..).zip(targets) {
        let folder = volume::folder(&target.path, number);
        let (Ok(meta), Some(name)) = (target.path.metadata(), folder.file_name()) else { continue };
        own.entry((meta.dev(), meta.ino())).or_default().insert(as_bytes(name.as_ref()).to_vec());
    }
    own
}
