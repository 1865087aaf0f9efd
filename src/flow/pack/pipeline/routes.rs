//! Finds the thread that writes to the drive of a volume.

use std::collections::BTreeMap;
use std::sync::mpsc;

use crate::flow::pack::part_sealer::SealedPart;
use crate::format::volume_number::VolumeNumber;
use crate::stage::volume::Writer;

/// For each volume, by number, a channel to the thread of its drive.
#[derive(Clone, Default)]
pub(super) struct Routes(BTreeMap<VolumeNumber, mpsc::Sender<SealedPart>>);

impl Routes {
    /// Routes all volumes of one drive to its thread.
    pub(super) fn add(&mut self, volumes: &[Writer], to: mpsc::Sender<SealedPart>) {
        self.0.extend(volumes.iter().map(|writer| (writer.number(), to.clone())));
    }

    /// Sends a part to the thread of its volume. A thread that has stopped has reported why, so its parts are dropped.
    pub(super) fn send(&self, sealed: SealedPart) {
        if let Some(route) = self.0.get(&sealed.part.volume) {
            let _ = route.send(sealed);
        }
    }
}
