//! A desk with simulated drives, which can be made to fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use sha2::{Digest, Sha256};

use crate::common::drive::{Cache, Drive};
use crate::common::tree::{Tree, look, same};
use crate::common::{Desk, Run, midway, noise, pouch, pouch_raw, put, run, volumes};

pub const MIB: u64 = 1 << 20;

/// A desk with drives plugged in at its drive folders, and, if asked for, staged volumes.
pub struct Bench {
    // First, so that the drives are unmounted before their folders are removed.
    pub drives: Vec<Drive>,
    pub desk: Desk,
    sources: Tree,
}

impl Bench {
    /// Plugs in this many drives, each claiming `claimed` bytes. Returns `None`, with a message, where FUSE cannot
    /// mount.
    pub fn of(drives: u64, claimed: u64) -> Option<Self> {
        Self::with(drives, claimed, Cache::WriteBack)
    }

    pub fn with(drives: u64, claimed: u64, cache: Cache) -> Option<Self> {
        let desk = Desk::new();
        let plug = |number| Drive::plug(desk.drive(number as u32), claimed, cache);
        let drives = (1..=drives).map(plug).collect::<Option<Vec<_>>>()?;
        Some(Self { drives, desk, sources: Tree::new() })
    }

    /// One drive, and two staged volumes with `len` bytes of sources in both together.
    pub fn staged(len: u64, claimed: u64) -> Option<Self> {
        let mut bench = Self::of(1, claimed)?;
        bench.source(len, 3);
        let stage = bench.desk.path("stage");
        fs::create_dir(&stage).expect("a new folder");
        let more = ["--volumes", "2", "--volume-size", "200MB", "--mend", "0"];
        run(bench.desk.pack_cmd(&[&bench.desk.source()], &[stage], &more)).exits(0);
        Some(bench)
    }

    /// Writes the sources: a long file and some short ones.
    pub fn source(&mut self, len: u64, seed: u64) {
        put(self.desk.source().join("clip.mov"), noise(len as usize, seed));
        for name in ["a", "b", "c"] {
            put(self.desk.source().join("notes").join(name), format!("notes {name} {seed}"));
        }
        self.sources = look(&self.desk.source());
    }

    /// Mount points of the drives.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.drives.iter().map(Drive::path).collect()
    }

    pub fn pack(&self, more: &[&str]) -> Run {
        let outputs = self.paths();
        let run = run(self.desk.pack_cmd(&[&self.desk.source()], &outputs, more));
        assert!(look(&self.desk.source()) == self.sources, "packing leaves the sources as they were");
        run
    }

    /// Loads the first staged volume onto the first drive.
    pub fn load(&self) -> Run {
        let staged = self.desk.path("stage/volume-1");
        let before = look(&staged);
        let run = run(pouch([Path::new("load"), &staged, &self.drives[0].path()]));
        assert!(look(&staged) == before, "loading leaves the staged volume as it was");
        run
    }

    /// Replaces the first drive with a new one of the same size.
    pub fn new_drive(&mut self, cache: Cache) {
        self.another_drive(0, self.drives[0].claimed(), cache);
    }

    /// Replaces drive `number`, counted from 0, with a new one.
    pub fn another_drive(&mut self, number: usize, claimed: u64, cache: Cache) {
        let at = self.drives.remove(number).path();
        self.drives.insert(number, Drive::plug(at, claimed, cache).expect("it was mounted before"));
    }

    /// Notes the sources as they are now; packing must not change them.
    pub fn keep_marks(&mut self) {
        self.sources = look(&self.desk.source());
    }

    pub fn start_pack(&self, more: &[&str]) -> Child {
        let mut pack = pouch_raw(["pack", "-r", &self.desk.recipient]);
        pack.arg(self.desk.source()).args(more);
        self.drives.iter().for_each(|drive| {
            pack.arg("-o").arg(drive.path());
        });
        pack.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("pouch starts")
    }

    /// Starts packing after removing what an earlier run left.
    pub fn start_pack_anew(&self, more: &[&str]) -> Child {
        for volume in self.paths().iter().flat_map(|drive| volumes::files(drive)) {
            fs::remove_dir_all(volume).expect("it can be removed");
        }
        self.start_pack(more)
    }

    /// Kills a packing whose journal has more than five data parts and no complete stripe.
    #[track_caller]
    pub fn kill_halfway(&self, more: &[&str]) {
        // The journal has a copy on the second drive; only that one is read here.
        let journal = || fs::read_to_string(self.desk.volume(2).join("journal")).unwrap_or_default();
        let is_halfway = || journal().matches("\nd ").count() > 5;
        midway::killed(
            || self.start_pack_anew(more),
            is_halfway,
            || {
                let mut left = self.paths().into_iter().flat_map(|drive| volumes::files(&drive));
                is_halfway() && !journal().contains("\np ") && !left.any(|volume| volume.join("SHA256SUMS").exists())
            },
        );
    }

    /// Checks the drives without a key, as a courier does.
    #[track_caller]
    pub fn check(&self, code: i32) -> Run {
        let drives = self.paths();
        run(self.desk.check_cmd(&drives, &[])).exits(code)
    }

    /// Clears all faults and replugs every drive.
    pub fn mend(&mut self) {
        self.drives.iter().for_each(|drive| drive.set(&[]));
        self.drives.iter_mut().for_each(Drive::replug);
    }

    /// Checks that every volume that looks complete is whole, and that together they deliver everything.
    #[track_caller]
    pub fn gives_back_all(&mut self) {
        self.nothing_false();
        let drives = self.paths();
        let volumes = drives.iter().flat_map(|drive| volumes::files(drive));
        let complete: Vec<_> = volumes.filter(|volume| volume.join("SHA256SUMS").exists()).collect();
        run(self.desk.check_cmd(&complete, &[])).exits(0);
        self.delivers(&complete);
    }

    /// Checks that the drives, once replugged, hold everything.
    #[track_caller]
    pub fn is_whole(&mut self) {
        self.drives.iter_mut().for_each(Drive::replug);
        let drives = self.paths();
        run(self.desk.check_cmd(&drives, &[])).exits(0);
        self.delivers(&drives);
    }

    #[track_caller]
    pub fn delivers(&self, drives: &[std::path::PathBuf]) {
        let out = tempfile::tempdir_in(self.desk.dir.path()).expect("a folder").keep();
        run(self.desk.unpack_cmd(drives, &out, &[])).exits(0);
        same(&self.desk.source(), &out.join("source"));
    }

    /// Checks that the drive, once replugged, holds the loaded volume.
    #[track_caller]
    pub fn is_loaded(&mut self) {
        self.drives[0].replug();
        run(self.desk.check_cmd(&[self.drives[0].path()], &[])).exits(0);
        self.delivers(&[self.drives[0].path(), self.desk.path("stage/volume-2")]);
    }

    /// Checks that on replugged drives every volume that looks complete is whole.
    #[track_caller]
    pub fn nothing_false(&mut self) {
        for drive in &mut self.drives {
            drive.replug();
            volumes::files(&drive.path()).iter().for_each(|volume| whole_if_it_looks_so(volume));
        }
    }
}

/// Checks a volume that has a SHA256SUMS against it.
#[track_caller]
pub fn whole_if_it_looks_so(volume: &Path) {
    let Ok(sums) = fs::read_to_string(volume.join("SHA256SUMS")) else { return };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines: BTreeMap<&str, &str> =
        sums.lines().filter_map(|line| line.split_once("  ")).map(|(s, n)| (n, s)).collect();
    assert!(lines.len() > 4, "{}: {sums}", volume.display());
    for (name, sum) in lines {
        let stored =
            fs::read(volume.join(name)).unwrap_or_else(|error| panic!("{}: {name}: {error}", volume.display()));
        assert_eq!(hex(&Sha256::digest(stored)), sum, "{}: {name} is not what it should be", volume.display());
    }
}
