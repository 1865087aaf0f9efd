//! What somebody wants packed, and whether it makes sense.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::secret::SecretText;
use crate::flow::FlowError;
use crate::flow::drives::folders::check_is_folder;
use crate::format::limits;
use crate::plan::parity::Wish;
use crate::plan::placement::Fill;
use crate::stage::compress::Level;
use crate::stage::seal::Recipient;
use crate::stage::walk::source_around;

/// What somebody wants packed.
pub struct PackRequest {
    /// Files and folders.
    pub sources: Vec<PathBuf>,
    /// Who can open it.
    pub recipients: Vec<Recipient>,
    /// A passphrase that opens it.
    pub passphrase: Option<SecretText>,
    /// One per drive, or one folder in which `volumes` are staged.
    pub outputs: Vec<PathBuf>,
    /// How many volumes to stage in the one output.
    pub volumes: Option<u16>,
    /// The most that a volume may take, in bytes.
    pub volume_size: Option<u64>,
    /// In which order volumes are filled.
    pub fill: Fill,
    /// How hard to compress.
    pub level: Level,
    /// What may be lost or damaged.
    pub parity: Wish,
    /// Read everything back from the drives; if not said, from those that can be pulled out.
    pub verify: Option<bool>,
    /// A drive that had parts of an interrupted run is gone, and another is in its place.
    pub replaced: bool,
    /// Begin anew where an interrupted run left something.
    pub restart: bool,
}

impl PackRequest {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), FlowError> {
        let usage = |text: String| Err(FlowError::Usage(text));
        if self.recipients.is_empty() && self.passphrase.is_none() {
            return usage("nobody could open it: give a recipient (-r age1...) or a passphrase (-p)".into());
        }
        if self.recipients.len() > limits::RECIPIENTS {
            return usage(format!(
                "{} recipients are given, at most {} fit into a seal",
                self.recipients.len(),
                limits::RECIPIENTS
            ));
        }
        if self.volumes.is_some() && self.outputs.len() != 1 {
            return usage(format!(
                "--volumes stages volumes in one folder, and {} are given with -o",
                self.outputs.len()
            ));
        }
        if self.parity.lose > 0 && self.fill == Fill::Sequential {
            return usage(
                "--fill sequential keeps files together on one drive, --lose must not: leave one of them out".into(),
            );
        }
        let volumes = self.volumes.map_or(self.outputs.len(), usize::from);
        if volumes == 0 || volumes > usize::from(limits::VOLUMES) {
            return usage(format!("{volumes} volumes are asked for; 1 to {} are possible", limits::VOLUMES));
        }
        Ok(())
    }

    /// The folder each volume's folder is made in; they exist and lie outside the sources.
    pub fn target_paths(&self) -> Result<Vec<PathBuf>, FlowError> {
        let paths: Vec<PathBuf> = match self.volumes {
            Some(volumes) => vec![self.outputs[0].clone(); usize::from(volumes)],
            None => self.outputs.clone(),
        };
        for path in &paths {
            check_is_folder(path)?;
            if let Some(source) = source_around(&self.sources, path)? {
                let text = format!(
                    "{} lies in {}, which is to be packed: the bundle would contain itself",
                    show(path),
                    show(source)
                );
                return Err(FlowError::Usage(text));
            }
        }
        Ok(paths)
    }
}
