//! What the sender wants packed, and whether the request makes sense. The checks here look at the request and at the
//! folders it names.
//!
//! Not guaranteed: that the sources can be read, or that the drives have room. The walk and the plan find that out.

use std::path::PathBuf;

use crate::base::path::show;
use crate::base::secret::SecretText;
use crate::flow::FlowError;
use crate::flow::drives::folders::check_is_folder;
use crate::flow::error::RequestError;
use crate::format::limits;
use crate::plan::parity::Wish;
use crate::plan::placement::Fill;
use crate::stage::compress::Level;
use crate::stage::seal::Recipient;
use crate::stage::walk::source_around;

/// What the sender wants packed, and how.
pub(crate) struct PackRequest {
    /// Files and folders. Each is packed under the last name of its path.
    pub(crate) sources: Vec<PathBuf>,
    /// Recipients that can open the bundle; none if only the passphrase opens it.
    pub(crate) recipients: Vec<Recipient>,
    /// A passphrase that opens the bundle, besides the recipients.
    pub(crate) passphrase: Option<SecretText>,
    /// One folder for each drive, or with `volumes` the one folder in which all volumes are staged.
    pub(crate) outputs: Vec<PathBuf>,
    /// How many volumes to stage; `None` to write one volume to each output.
    pub(crate) volumes: Option<u16>,
    /// Most bytes that a volume may take; `None` for as many as its drive holds.
    pub(crate) volume_size: Option<u64>,
    pub(crate) fill: Fill,
    pub(crate) level: Level,
    pub(crate) parity: Wish,
    /// Whether parts are read back from the drives; `None` for those of removable drives.
    pub(crate) verify: Option<bool>,
    /// Whether another drive stands in the place of one that held parts of an interrupted run.
    pub(crate) replaced: bool,
    /// Whether to begin anew where an interrupted run left something.
    pub(crate) restart: bool,
}

impl PackRequest {
    /// Refuses a request that contradicts itself or a limit. Reads nothing from any drive.
    ///
    /// # Errors
    /// [`FlowError::Request`] or [`FlowError::Usage`].
    pub(crate) fn check(&self) -> Result<(), FlowError> {
        let volumes = self.volumes.map_or(self.outputs.len(), usize::from);
        if self.recipients.is_empty() && self.passphrase.is_none() {
            return Err(RequestError::NoRecipient.into());
        }
        if self.volumes.is_some() && self.outputs.len() != 1 {
            return Err(RequestError::StagedInSeveral(self.outputs.len()).into());
        }
        if self.parity.lose > 0 && self.fill == Fill::Sequential {
            return Err(RequestError::SequentialAndLoss.into());
        }
        let text = if self.recipients.len() > limits::RECIPIENTS {
            format!("{} recipients are given, at most {} fit into a seal", self.recipients.len(), limits::RECIPIENTS)
        } else if volumes == 0 || volumes > usize::from(limits::VOLUMES) {
            format!("{volumes} volumes are asked for; 1 to {} are possible", limits::VOLUMES)
        } else {
            return Ok(());
        };
        Err(FlowError::Usage(text))
    }

    /// The folder in which each volume gets its own folder, in the order of the volume numbers.
    ///
    /// # Errors
    /// A folder does not exist, or lies in a source, so that the bundle would contain itself.
    pub(crate) fn target_paths(&self) -> Result<Vec<PathBuf>, FlowError> {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stage::seal::Identity;

    /// A sensible request for so many outputs, with a new recipient.
    pub(crate) fn request(sources: Vec<PathBuf>, outputs: Vec<PathBuf>) -> PackRequest {
        PackRequest {
            sources,
            recipients: vec![Identity::generate().recipient()],
            passphrase: None,
            outputs,
            volumes: None,
            volume_size: None,
            fill: Fill::Spread,
            level: Level::Quick,
            parity: Wish { lose: 0, mend: Some(0.0) },
            verify: None,
            replaced: false,
            restart: false,
        }
    }

    fn onto(outputs: usize) -> PackRequest {
        request(vec!["/source".into()], vec!["/drive".into(); outputs])
    }

    fn usage(checked: Result<(), FlowError>) -> String {
        let Err(FlowError::Usage(text)) = checked else { panic!("it is refused as wrong usage: {checked:?}") };
        text
    }

    fn refused(checked: Result<(), FlowError>) -> RequestError {
        let Err(FlowError::Request(error)) = checked else { panic!("it contradicts itself: {checked:?}") };
        error
    }

    #[test]
    fn one_recipient_or_a_passphrase_is_enough() {
        let mut request = onto(1);
        assert!(request.check().is_ok());
        request.recipients.clear();
        assert_eq!(refused(request.check()), RequestError::NoRecipient);
        request.passphrase = Some(SecretText::new("open sesame".into()));
        assert!(request.check().is_ok());
    }

    #[test]
    fn a_seal_takes_sixteen_recipients() {
        let mut request = onto(1);
        request.recipients = vec![request.recipients[0].clone(); 16];
        assert!(request.check().is_ok());
        request.recipients.push(request.recipients[0].clone());
        assert_eq!(usage(request.check()), "17 recipients are given, at most 16 fit into a seal");
    }

    #[test]
    fn volumes_are_staged_in_one_folder() {
        let staged = |outputs| PackRequest { volumes: Some(3), ..onto(outputs) };
        assert!(staged(1).check().is_ok());
        assert_eq!(refused(staged(2).check()), RequestError::StagedInSeveral(2));
        assert_eq!(refused(staged(0).check()), RequestError::StagedInSeveral(0));
    }

    #[test]
    fn a_stripe_cannot_stay_on_one_drive_and_survive_its_loss() {
        let parity = Wish { lose: 1, mend: None };
        assert!(PackRequest { parity, ..onto(2) }.check().is_ok());
        assert!(PackRequest { fill: Fill::Sequential, ..onto(2) }.check().is_ok());
        let both = PackRequest { parity, fill: Fill::Sequential, ..onto(2) };
        assert_eq!(refused(both.check()), RequestError::SequentialAndLoss);
    }

    #[test]
    fn a_bundle_has_one_to_a_thousand_volumes() {
        assert_eq!(usage(onto(0).check()), "0 volumes are asked for; 1 to 1000 are possible");
        assert!(onto(1000).check().is_ok());
        assert_eq!(usage(onto(1001).check()), "1001 volumes are asked for; 1 to 1000 are possible");
        assert!(usage(PackRequest { volumes: Some(0), ..onto(1) }.check()).starts_with("0 volumes"));
    }

    #[test]
    fn staged_volumes_share_their_folder() {
        let desk = tempfile::tempdir().unwrap();
        let outputs = vec![desk.path().to_path_buf()];
        let staged = PackRequest { volumes: Some(2), ..request(vec!["/source".into()], outputs) };
        assert_eq!(staged.target_paths().unwrap(), [desk.path(), desk.path()]);
    }

    #[test]
    fn a_drive_inside_a_source_is_refused() {
        let desk = tempfile::tempdir().unwrap();
        let (source, beside) = (desk.path().join("source"), desk.path().join("beside"));
        let inside = source.join("inside");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::create_dir(&beside).unwrap();
        let onto = |outputs: Vec<PathBuf>| request(vec![source.clone()], outputs).target_paths();
        assert_eq!(onto(vec![beside.clone()]).unwrap(), std::slice::from_ref(&beside));
        for output in [&source, &inside] {
            let text = usage(onto(vec![beside.clone(), output.clone()]).map(drop));
            assert!(text.ends_with("the bundle would contain itself"), "{text}");
        }
    }

    #[test]
    fn a_drive_that_is_not_mounted_is_refused() {
        let desk = tempfile::tempdir().unwrap();
        let missing = request(vec!["/source".into()], vec![desk.path().join("missing")]);
        assert!(usage(missing.target_paths().map(drop)).contains("is no folder"));
    }
}
