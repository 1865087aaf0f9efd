//! What a repair wrote, or why it could write nothing. It has the exit code and the JSON document. Not told here: that
//! the new volumes are stored, because their parts are not read back.

use std::path::{Path, PathBuf};

use crate::base::json::{Value, json};
use crate::base::path::show;
use crate::flow::Outcome;
use crate::format::head::{Part, PartKind};
use crate::format::volume_number::VolumeNumber;
use crate::plan::repair::Verdict;
use crate::stage::volume;

/// What a repair did, or would do in a dry run.
#[derive(Debug, Clone)]
pub(crate) struct RepairReport {
    /// The numbers of the volumes to be written.
    pub(crate) volumes: Vec<VolumeNumber>,
    /// The folder in which the new volumes are made.
    pub(crate) target: PathBuf,
    /// What can be had of the bundle with the drives given.
    pub(crate) verdict: Verdict,
    /// Whether too many parts are missing, even if all that are here were whole. Then more drives would help.
    pub(crate) short: bool,
    /// How many parts were rebuilt. The others were copied.
    pub(crate) rebuilt: usize,
    /// The numbers of data parts of these volumes that cannot be had. Then nothing was written.
    pub(crate) lost: Vec<u32>,
    /// The numbers of parity parts of these volumes that cannot be had. Then nothing was written.
    pub(crate) lost_parity: Vec<u32>,
    /// The folders of the new volumes.
    pub(crate) written: Vec<PathBuf>,
    /// Folders in the target that an earlier repair finished.
    pub(crate) already: Vec<PathBuf>,
}

impl RepairReport {
    /// A report before anything was looked at, for the volumes of these numbers.
    pub(super) fn of(volumes: Vec<VolumeNumber>, target: &Path) -> Self {
        Self {
            volumes,
            target: target.to_path_buf(),
            verdict: Verdict::Complete,
            short: false,
            rebuilt: 0,
            lost: Vec::new(),
            lost_parity: Vec::new(),
            written: Vec::new(),
            already: Vec::new(),
        }
    }

    /// Takes volumes off the list that an earlier repair finished.
    pub(super) fn pass_over(&mut self, finished: &[VolumeNumber]) {
        self.already = finished.iter().map(|number| volume::folder(&self.target, *number)).collect();
        self.volumes.retain(|number| !finished.contains(number));
    }

    /// Records which parts cannot be had, in place of those recorded before.
    pub(super) fn set_lost(&mut self, parts: &[&Part]) {
        let (parity, data): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| part.kind == PartKind::Parity);
        self.lost = data.into_iter().map(|part| part.number).collect();
        self.lost_parity = parity.into_iter().map(|part| part.number).collect();
    }

    /// Incomplete if more drives are needed; damaged if what is here is too damaged.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.is_possible() {
            Outcome::Ok
        } else if self.short {
            Outcome::Incomplete
        } else {
            Outcome::Damaged
        }
    }

    /// Whether all parts of the volumes can be had.
    pub(crate) fn is_possible(&self) -> bool {
        self.lost.is_empty() && self.lost_parity.is_empty()
    }

    /// The document for `--json`.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "command": "repair", "volumes": self.volumes, "target": show(&self.target), "rebuilt": self.rebuilt,
            "lost": self.lost, "lost_parity": self.lost_parity, "verdict": self.verdict.to_json(),
            "written": show_all(&self.written), "read_back": false, "already": show_all(&self.already),
        })
    }
}

fn show_all(folders: &[PathBuf]) -> Value {
    folders.iter().map(|folder| show(folder)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::head::tests::striped;
    use crate::format::volume_number::tests::volumes;

    #[test]
    fn lost_parts_decide_and_whether_more_drives_would_help() {
        let head = striped(2, 2, 1);
        let mut report = RepairReport::of(volumes([1, 3]), Path::new("/t"));
        assert_eq!(report.outcome(), Outcome::Ok);
        report.set_lost(&[&head.parts[2]]);
        assert_eq!((report.lost.len(), &report.lost_parity[..]), (0, &[1][..]));
        assert_eq!(report.outcome(), Outcome::Damaged, "lost parity keeps its volume from being written, too");
        report.short = true;
        assert_eq!(report.outcome(), Outcome::Incomplete);
    }

    #[test]
    fn lost_parts_are_those_of_the_last_look() {
        let head = striped(2, 2, 1);
        let mut report = RepairReport::of(volumes([1, 2]), Path::new("/t"));
        report.set_lost(&[&head.parts[0], &head.parts[1]]);
        assert_eq!(report.lost, [1, 2]);
        report.set_lost(&[]);
        assert!(report.is_possible());
    }

    #[test]
    fn a_volume_that_was_finished_before_is_named_and_not_written() {
        let mut report = RepairReport::of(volumes([1, 3, 4]), Path::new("/t"));
        report.pass_over(&volumes([3]));
        assert_eq!(report.volumes, [1, 4]);
        assert_eq!(report.already, [PathBuf::from("/t/volume-3")]);
    }
}
