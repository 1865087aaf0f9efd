//! Which part goes to which volume: drives are filled to what they hold (FORMAT section 8).

use crate::format::part::Class;

/// In which order volumes are filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fill {
    /// All at once, in proportion to their room: fastest, every drive is written in parallel.
    #[default]
    Spread,
    /// One after the other: whole files stay together.
    Sequential,
}

/// What is known of a volume's drive before anything is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// The file system it is on: volumes on one share its room.
    pub device: u64,
    /// Free bytes of that file system.
    pub free: u64,
    /// The unit in which its files take room, in bytes.
    pub cluster: u64,
    /// The most that the volume may take, in bytes, from `--volume-size`.
    pub cap: Option<u64>,
    /// What is kept for seals, heads, list and sums, in bytes.
    pub reserve: u64,
}

/// Deals parts to volumes.
#[derive(Debug, Clone)]
pub struct Placement {
    fill: Fill,
    volumes: Vec<Slots>,
    /// Parts that each file system can still take.
    devices: Vec<u64>,
}

#[derive(Debug, Clone)]
struct Slots {
    device: usize,
    cost: u64,
    total: u64,
    used: u64,
}

impl Placement {
    /// For volumes 1, 2, ... on those drives.
    pub fn new(drives: &[Drive], class: Class, fill: Fill) -> Self {
        let mut ids: Vec<u64> = drives.iter().map(|drive| drive.device).collect();
        ids.sort_unstable();
        ids.dedup();
        let cost = |drive: &Drive| (class.file_len() as u64).next_multiple_of(drive.cluster);
        let devices = ids
            .iter()
            .map(|id| {
                let mine = || drives.iter().filter(|drive| drive.device == *id);
                let (free, cost) = mine().next().map_or((0, 1), |drive| (spared(drive.free), cost(drive)));
                free.saturating_sub(mine().map(|drive| drive.reserve).sum()) / cost
            })
            .collect::<Vec<u64>>();
        let volumes = drives
            .iter()
            .map(|drive| {
                let device = ids.binary_search(&drive.device).expect("it was listed above");
                let cap = drive.cap.map_or(u64::MAX, |cap| cap.saturating_sub(drive.reserve) / cost(drive));
                Slots { device, cost: cost(drive), total: cap.min(devices[device]), used: 0 }
            })
            .collect();
        Self { fill, volumes, devices }
    }

    /// Parts that all volumes together can take.
    pub fn capacity(&self) -> u64 {
        let of_device = |at: usize| {
            let total: u64 = self.volumes.iter().filter(|v| v.device == at).map(|v| v.total - v.used).sum();
            total.min(self.devices[at])
        };
        (0..self.devices.len()).map(of_device).sum()
    }

    /// Bytes of parts that all volumes together can take.
    pub fn room(&self, class: Class) -> u64 {
        self.capacity() * class.file_len() as u64
    }

    /// The volume for the next part, from 1; `None` when all are full.
    pub fn deal(&mut self) -> Option<u16> {
        let open = |v: &&mut Slots| v.used < v.total && self.devices[v.device] > 0;
        let chosen = match self.fill {
            Fill::Sequential => self.volumes.iter_mut().enumerate().find(|(_, v)| open(v)),
            Fill::Spread => self
                .volumes
                .iter_mut()
                .enumerate()
                .filter(|(_, v)| open(v))
                // The one that will be the least full; compared as fractions, without rounding.
                .min_by(|(_, a), (_, b)| {
                    let left = u128::from(a.used + 1) * u128::from(b.total);
                    left.cmp(&(u128::from(b.used + 1) * u128::from(a.total)))
                }),
        };
        let (at, slots) = chosen?;
        slots.used += 1;
        self.devices[slots.device] -= 1;
        Some(at as u16 + 1)
    }

    /// Where `parts` parts would go: parts per volume, and whether all found a place.
    pub fn simulate(&self, parts: u64) -> (Vec<u64>, bool) {
        let mut trial = self.clone();
        let placed = (0..parts).take_while(|_| trial.deal().is_some()).count() as u64;
        (trial.volumes.iter().map(|v| v.used).collect(), placed == parts)
    }

    /// Bytes that a part takes on that volume.
    pub fn cost(&self, volume: u16) -> u64 {
        self.volumes[usize::from(volume) - 1].cost
    }
}

/// What may be planned of a file system's free bytes: its own bookkeeping (bitmaps, extents, the
/// folder's entries) takes some while files are written.
fn spared(free: u64) -> u64 {
    free - free / 500 - (free / 20).min(64 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: Class = Class::ALL[0];

    fn drive(device: u64, parts: u64, cap: Option<u64>) -> Drive {
        let part = (CLASS.file_len() as u64).next_multiple_of(4096);
        let cap = cap.map(|parts| 10_000 + parts * part);
        Drive { device, free: (10_000 + parts * part) * 1003 / 1000 + 70_000, cluster: 4096, cap, reserve: 10_000 }
    }

    #[test]
    fn unequal_drives_are_filled_in_proportion() {
        let mut placement = Placement::new(&[drive(1, 10, None), drive(2, 30, None)], CLASS, Fill::Spread);
        assert_eq!(placement.capacity(), 40);
        assert_eq!(placement.simulate(20), (vec![5, 15], true));
        assert_eq!(placement.simulate(41), (vec![10, 30], false));
        assert_eq!((0..40).filter_map(|_| placement.deal()).count(), 40);
        assert_eq!(placement.deal(), None);
    }

    #[test]
    fn sequential_fills_one_after_the_other() {
        let placement = Placement::new(&[drive(1, 10, None), drive(2, 30, None)], CLASS, Fill::Sequential);
        assert_eq!(placement.simulate(12), (vec![10, 2], true));
    }

    #[test]
    fn volumes_on_one_file_system_share_its_room() {
        let twice = [drive(1, 10, None), drive(1, 10, None)];
        let shared = Placement::new(
            &[Drive { reserve: 5_000, ..twice[0].clone() }, Drive { reserve: 5_000, ..twice[1].clone() }],
            CLASS,
            Fill::Spread,
        );
        assert_eq!(shared.capacity(), 10);
        assert_eq!(shared.simulate(10), (vec![5, 5], true));
        let capped = Placement::new(&[drive(1, 100, Some(3)), drive(1, 100, Some(4))], CLASS, Fill::Sequential);
        assert_eq!((capped.capacity(), capped.simulate(7)), (7, (vec![3, 4], true)));
    }

    #[test]
    fn a_full_drive_takes_nothing() {
        let full = Drive { free: 0, ..drive(1, 0, None) };
        let placement = Placement::new(&[full, drive(2, 2, None)], CLASS, Fill::Spread);
        assert_eq!(placement.simulate(3), (vec![0, 2], false));
    }
}
