//! From a volume's number to the thread that writes to its drive.

use std::collections::BTreeMap;
use std::sync::mpsc;

use crate::flow::pack::part_sealer::Sealed;
use crate::stage::volume::Writer;

/// A channel to the thread of each volume's drive.
#[derive(Clone, Default)]
pub(super) struct Routes(BTreeMap<u16, mpsc::Sender<Sealed>>);

impl Routes {
    /// Routes these volumes to one thread.
    pub(super) fn add(&mut self, volumes: &[Writer], to: mpsc::Sender<Sealed>) {
        self.0.extend(volumes.iter().map(|writer| (writer.number(), to.clone())));
    }

    /// Sends a sealed part to its volume's thread. A thread that is gone has failed, and has said so.
    pub(super) fn send(&self, sealed: Sealed) {
        if let Some(route) = self.0.get(&sealed.part.volume) {
            let _ = route.send(sealed);
        }
    }
}
