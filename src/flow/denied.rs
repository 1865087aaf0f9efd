//! Volumes of which this user may not read everything: nothing is known about that, so it is neither damaged nor
//! missing. What is not seen: a file that opens and cannot be read.

use std::path::PathBuf;

use crate::base::fault::IoFault;
use crate::stage::volume::{ScanError, Volume};

/// Whether the system refuses this user the volume's folder or a file in it.
pub fn is_denied(volume: &Volume) -> bool {
    let folder = matches!(&volume.fault, Some(ScanError::Io(fault)) if fault.is_denied());
    let mut files = volume.files.iter().filter(|found| found.regular);
    folder || files.any(|found| volume.open(&found.name).is_err_and(|fault: IoFault| fault.is_denied()))
}

/// The folders of those volumes.
pub fn among(volumes: &[Volume]) -> Vec<PathBuf> {
    volumes.iter().filter(|volume| is_denied(volume)).map(|volume| volume.dir.clone()).collect()
}
