//! What repairing wrote, or why nothing could be written.

use std::path::PathBuf;

use crate::base::json::{Value, json};
use crate::base::path::show;
use crate::flow::Outcome;
use crate::format::head::{Part, PartKind};
use crate::plan::repair::Verdict;

/// What repairing did.
#[derive(Debug, Clone)]
pub struct RepairReport {
    /// Volumes that are not whole.
    pub volumes: Vec<u16>,
    /// Where the new ones are.
    pub target: PathBuf,
    /// What could be had with the drives given.
    pub verdict: Verdict,
    /// Too much is missing, damage or not.
    pub short: bool,
    /// Parts that were rebuilt.
    pub rebuilt: usize,
    /// Data parts that cannot be: then nothing was written.
    pub lost: Vec<u32>,
    /// Parity parts that cannot be: the same.
    pub lost_parity: Vec<u32>,
    /// Folders of the new volumes.
    pub written: Vec<PathBuf>,
    /// Folders in the target that an earlier repairing finished.
    pub already: Vec<PathBuf>,
}

impl RepairReport {
    /// 3 if more drives are needed, 4 if what is there is too damaged.
    pub fn outcome(&self) -> Outcome {
        match (self.is_possible(), self.short) {
            (true, _) => Outcome::Ok,
            (false, true) => Outcome::Incomplete,
            (false, false) => Outcome::Damaged,
        }
    }

    /// Notes parts that cannot be rebuilt.
    pub fn loses(&mut self, parts: &[&Part]) {
        let (parity, data): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| part.kind == PartKind::Parity);
        let numbers = |parts: Vec<&Part>| parts.into_iter().map(|part| part.number).collect();
        (self.lost, self.lost_parity) = (numbers(data), numbers(parity));
    }

    /// Whether no part is lost.
    pub fn is_possible(&self) -> bool {
        self.lost.is_empty() && self.lost_parity.is_empty()
    }

    /// For `--json`.
    pub fn to_json(&self) -> Value {
        let folders = |folders: &[PathBuf]| folders.iter().map(|folder| show(folder)).collect::<Value>();
        json!({
            "command": "repair", "volumes": self.volumes, "target": show(&self.target), "rebuilt": self.rebuilt,
            "lost": self.lost, "lost_parity": self.lost_parity, "verdict": self.verdict.to_json(),
            "written": folders(&self.written), "read_back": false, "already": folders(&self.already),
        })
    }
}
