//! Every part has a place: what a drive did not take, or took and did not keep, is made again and goes
//! where there is room. Where there is none, parity may stand for it; else the run ends, to be gone on
//! with, and says how much needs a home. What this does not do: trust a drive that lied once.

use std::collections::{BTreeMap, HashSet};

use crate::base::digest::Digest;
use crate::base::entry::Flag;
use crate::base::monitor::{Note, NoteKind, Phase};
use crate::base::os;
use crate::base::path::{as_bytes, show};
use crate::flow::FlowError;
use crate::flow::engine::{Failed, Job};
use crate::flow::error::Remedy;
use crate::flow::readback::{Finding, in_words};
use crate::flow::reading::Reading;
use crate::flow::remake::Remaker;
use crate::flow::volumes::Volumes;
use crate::format::head::Part;
use crate::format::recipe::Recipe;
use crate::plan::homes::{Id, homes, id, lacking, uncovered};
use crate::plan::placement::Placement;
use crate::stage::volume::ALL_SEALS;

/// Where all parts of a bundle are.
pub struct Table<'a> {
    job: &'a Job<'a>,
    files: &'a [(Digest, Flag)],
    recipes: BTreeMap<u32, Recipe>,
    /// All parts that were ever sealed.
    parts: BTreeMap<Id, Part>,
    /// Those that are on their drives.
    there: HashSet<Id>,
    /// What the drives still take.
    room: Placement,
    volumes: u16,
}

impl<'a> Table<'a> {
    /// What is on the drives; `room` is what they took before anything was written.
    pub fn new(
        job: &'a Job<'a>,
        files: &'a [(Digest, Flag)],
        recipes: BTreeMap<u32, Recipe>,
        (written, unwritten): (Vec<Part>, Vec<Part>),
        (mut room, volumes): (Placement, u16),
    ) -> Self {
        let before: HashSet<Id> = job.before.parts.iter().map(id).collect();
        // Also what a drive did not keep lies on it until the end.
        for part in written.iter().chain(&unwritten).filter(|part| !before.contains(&id(part))) {
            room.put(part.volume);
        }
        let there = written.iter().map(id).collect();
        let parts = written.into_iter().chain(unwritten).map(|part| (id(&part), part)).collect();
        Self { job, files, recipes, parts, there, room, volumes }
    }

    /// All parts in the order of the head; those that are nowhere keep the places they should have had.
    pub fn parts(&self) -> Vec<Part> {
        self.parts.values().cloned().collect()
    }

    /// Bytes of parts on a volume.
    pub fn bytes_on(&self, volume: u16) -> u64 {
        let on = self.there.iter().filter(|id| self.parts.get(*id).is_some_and(|part| part.volume == volume));
        on.count() as u64 * self.job.class.file_len() as u64
    }

    /// A drive failed when parts were written. One that is full keeps what it has.
    ///
    /// # Errors
    /// It was the last one.
    pub fn drive_failed(&mut self, volumes: &mut Volumes, failed: Failed) -> Result<(), FlowError> {
        let Failed { drive, fault } = failed;
        if !os::is_full(&fault.source) {
            return self.give_up(volumes, drive, fault.into());
        }
        volumes.numbers(drive).iter().for_each(|number| self.room.close(*number));
        Ok(())
    }

    /// Nothing on that drive counts any more.
    ///
    /// # Errors
    /// It was the last one.
    pub fn give_up(&mut self, volumes: &mut Volumes, drive: usize, why: FlowError) -> Result<(), FlowError> {
        let numbers = volumes.numbers(drive);
        numbers.iter().for_each(|number| self.room.close(*number));
        volumes.give_up(drive, why, self.job.monitor)?;
        let parts = &self.parts;
        self.there.retain(|id| parts.get(id).is_some_and(|part| !numbers.contains(&part.volume)));
        Ok(())
    }

    /// Finds a place for every part; how many are left without, and parity stands for them.
    ///
    /// # Errors
    /// There is no place, and parity does not stand for what is lost; the sources changed.
    pub fn settle(&mut self, volumes: &mut Volumes) -> Result<usize, FlowError> {
        loop {
            let lost = self.lost();
            let found = self.homes(&lost, &self.room);
            if found.is_empty() {
                // A head names all parts, also those that are to be rebuilt.
                let unknown = lost.iter().filter(|id| !self.parts.contains_key(id)).count();
                return match uncovered(self.job.scheme, &lost).max(unknown) {
                    0 => Ok(lost.len()),
                    homeless => Err(self.no_home(homeless, volumes)),
                };
            }
            let tar = |(parity, number): &Id| match parity {
                true => 0,
                false => self.recipes.get(number).map_or(0, Recipe::length),
            };
            self.job.monitor.phase(Phase::Moving, found.iter().map(|(id, _)| tar(id)).sum());
            let reading = Reading::new(self.job.walk, self.job.layout, self.job.monitor);
            let remaker = Remaker { job: self.job, files: self.files, recipes: &self.recipes, reading };
            let (made, failed) = remaker.remake(&found, &mut volumes.drives)?;
            for part in made {
                self.room.put(part.volume);
                self.there.insert(id(&part));
                self.parts.insert(id(&part), part);
            }
            for failed in failed {
                self.drive_failed(volumes, failed)?;
            }
        }
    }

    fn homes(&self, lost: &[Id], room: &Placement) -> Vec<(Id, u16)> {
        let held = self.there.iter().filter_map(|id| Some((*id, self.parts.get(id)?.volume)));
        homes(room.clone(), self.job.scheme, self.volumes, held, lost)
    }

    /// Parts that are on no drive, data first.
    fn lost(&self) -> Vec<Id> {
        lacking(self.recipes.len() as u32, self.job.scheme, &self.there)
    }

    /// So many parts find no place; why, drive by drive.
    fn no_home(&self, parts: usize, volumes: &Volumes) -> FlowError {
        let gone = volumes.given_up.iter().map(|(place, why)| format!("{} ({why})", show(place)));
        let left = (0..volumes.drives.len()).filter(|drive| !volumes.drives[*drive].is_empty()).map(|drive| {
            let has_room = volumes.numbers(drive).iter().any(|number| self.room.left(*number) > 0);
            let why = match (has_room, volumes.distrusted.contains(&drive)) {
                (true, _) => "holds as much of these stripes as one volume may",
                (false, true) => "did not keep what it was given",
                (false, false) => "is full",
            };
            format!("{} {why}", show(volumes.place(drive)))
        });
        let bytes = (parts * self.job.class.file_len()) as u64;
        let remedy = Remedy::of(volumes.lied, volumes.given_up.is_empty());
        FlowError::NoHome { parts, bytes, why: gone.chain(left).collect(), remedy }
    }

    /// Takes what was found when drives were read back: files that are not as they were written are set
    /// aside, keeping the cells they lie in, and their parts lose their places. The second time a drive is
    /// given up. `false` if nothing was found.
    pub fn take_findings(&mut self, volumes: &mut Volumes, findings: Vec<Finding>) -> Result<bool, FlowError> {
        let any = !findings.is_empty();
        let mut by_drive: BTreeMap<usize, Vec<Finding>> = BTreeMap::new();
        findings.into_iter().for_each(|found| by_drive.entry(found.drive).or_default().push(found));
        for (drive, mut found) in by_drive {
            found.sort_by(|a, b| (a.volume, &a.name).cmp(&(b.volume, &b.name)));
            let place = volumes.place(drive);
            self.job.monitor.note(&Note::new(NoteKind::Drive, as_bytes(place), in_words(&found)));
            let hopeless = |found: &Finding| found.name.as_ref().is_none_or(|name| ALL_SEALS.contains(&name.as_str()));
            if volumes.distrusted.contains(&drive) || found.iter().any(hopeless) {
                let why = found.swap_remove(0).error;
                volumes.lied = true;
                self.give_up(volumes, drive, why)?;
                continue;
            }
            for Finding { volume, name, .. } in &found {
                let Some(name) = name else { continue };
                let parts = &self.parts;
                self.there.retain(|id| parts.get(id).is_none_or(|part| part.file_name() != *name));
                self.room.put(*volume);
                if let Some(writer) = volumes.writers().find(|writer| writer.number() == *volume) {
                    writer.set_aside(name);
                }
            }
            self.distrust(volumes, drive);
        }
        Ok(any)
    }

    /// A drive did not keep what it was given: it gets nothing more, if the others can take what is lost.
    pub fn distrust(&mut self, volumes: &mut Volumes, drive: usize) {
        volumes.distrusted.insert(drive);
        volumes.lied = true;
        let mut others = self.room.clone();
        volumes.numbers(drive).iter().for_each(|number| others.close(*number));
        let lost = self.lost();
        if self.homes(&lost, &others).len() == lost.len() {
            self.room = others;
        }
    }
}
