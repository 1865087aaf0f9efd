//! Decides which part goes to which volume: drives are filled to what they hold, and no volume gets more of a stripe
//! than the scheme allows (FORMAT section 8). It counts room in whole parts; a drive may still fill up earlier.

use crate::format::part::Class;
use crate::format::stripe::Scheme;
use crate::format::volume_number::VolumeNumber;

/// The order in which volumes are filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fill {
    /// All at once, in proportion to their room. This is the fastest, because every drive is written in parallel.
    #[default]
    Spread,
    /// One after the other, so that whole files stay together on a drive.
    Sequential,
}

/// What is known of a volume's drive before anything is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DriveRoom {
    /// Identifies the file system. Volumes on one file system share its room.
    pub(crate) device: u64,
    /// Free bytes of that file system.
    pub(crate) free: u64,
    /// The unit in which its files take room, in bytes.
    pub(crate) cluster: u64,
    /// The most that the volume may take, in bytes, from `--volume-size`.
    pub(crate) cap: Option<u64>,
    /// Bytes that are kept free for everything except parts.
    pub(crate) reserve: u64,
}

impl DriveRoom {
    /// Bytes of a part, in whole clusters.
    fn cost_of_part(&self, class: Class) -> u64 {
        (class.file_len() as u64).next_multiple_of(self.cluster)
    }
}

/// Deals parts to volumes: data parts as they come, a stripe's parity when the stripe is closed.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    fill: Fill,
    scheme: Option<Scheme>,
    volumes: Vec<Slots>,
    /// Parts that each file system can still take.
    devices: Vec<u64>,
    stripe: StripeShards,
}

/// The stripe whose data is being dealt.
#[derive(Debug, Clone, Default)]
struct StripeShards {
    /// From 0.
    number: usize,
    /// Data parts that were dealt to it so far.
    data: u16,
    /// The volumes (from 0) of all its shards, taken when it began; empty if each shard is placed on its own.
    shards: Vec<usize>,
}

/// What one volume takes, in parts.
#[derive(Debug, Clone)]
struct Slots {
    /// Index of its file system.
    device: usize,
    /// Bytes of one part, in whole clusters.
    cost: u64,
    total: u64,
    used: u64,
}

impl Placement {
    /// Begins with volumes 1, 2, ... on these drives.
    pub(crate) fn new(drives: &[DriveRoom], class: Class, fill: Fill, scheme: Option<Scheme>) -> Self {
        let mut ids: Vec<u64> = drives.iter().map(|drive| drive.device).collect();
        ids.sort_unstable();
        ids.dedup();
        let devices: Vec<u64> = ids
            .iter()
            .map(|id| {
                let on_it: Vec<&DriveRoom> = drives.iter().filter(|drive| drive.device == *id).collect();
                let reserved: u64 = on_it.iter().map(|drive| drive.reserve).sum();
                spared(on_it[0].free).saturating_sub(reserved) / on_it[0].cost_of_part(class)
            })
            .collect();
        let volumes = drives
            .iter()
            .map(|drive| {
                let device = ids.binary_search(&drive.device).expect("it was listed above");
                let cost = drive.cost_of_part(class);
                let cap = drive.cap.map_or(u64::MAX, |cap| cap.saturating_sub(drive.reserve) / cost);
                Slots { device, cost, total: cap.min(devices[device]), used: 0 }
            })
            .collect();
        Self { fill, scheme, volumes, devices, stripe: StripeShards::default() }
    }

    /// Goes on behind `stripes` stripes that the earlier run wrote.
    pub(crate) fn after(mut self, stripes: u32) -> Self {
        self.stripe.number = stripes as usize;
        self
    }

    /// Data parts that all volumes can still take together, with the parity that they need.
    pub(crate) fn capacity(&self) -> u64 {
        let Some(scheme) = self.scheme else { return self.free(u64::MAX) };
        let k = u64::from(scheme.k);
        let shards = scheme.shards() as u64;
        if self.is_dealt_whole() {
            return k * self.stripes(scheme);
        }
        let free = self.free(u64::MAX);
        free / shards * k + (free % shards).saturating_sub(scheme.m.into())
    }

    /// Stripes of that shape that the volumes can still take.
    pub(crate) fn stripes(&self, scheme: Scheme) -> u64 {
        let shards = scheme.shards() as u64;
        // Where n stripes fit, fewer fit too: the most is found by halving.
        let mut least = 0;
        let mut most = self.free(u64::MAX) / shards;
        while least < most {
            let middle = least + (most - least).div_ceil(2);
            let fit = self.free(middle.saturating_mul(scheme.c.into())) / shards >= middle;
            if fit { least = middle } else { most = middle - 1 }
        }
        least
    }

    /// Closes a volume: it takes nothing more, except shards of the open stripe that have their place there already.
    pub(crate) fn close(&mut self, volume: VolumeNumber) {
        let slots = &mut self.volumes[volume.index()];
        slots.total = slots.used;
    }

    /// Parts that a volume still takes.
    pub(crate) fn left(&self, volume: VolumeNumber) -> u64 {
        self.left_at(volume.index())
    }

    /// The same for a volume by its index, from 0.
    fn left_at(&self, volume: usize) -> u64 {
        let slots = &self.volumes[volume];
        (slots.total - slots.used).min(self.devices[slots.device])
    }

    /// Puts one part on a volume, whatever stripe it is of; `false` if the volume takes none.
    pub(crate) fn put(&mut self, volume: VolumeNumber) -> bool {
        let room = self.left(volume) > 0;
        if room {
            self.take(volume.index());
        }
        room
    }

    /// Parts that the volumes can take together, each at most `most`.
    fn free(&self, most: u64) -> u64 {
        (0..self.devices.len())
            .map(|device| {
                let volumes = self.volumes.iter().filter(|slots| slots.device == device);
                let total = volumes.map(|slots| (slots.total - slots.used).min(most)).fold(0, u64::saturating_add);
                total.min(self.devices[device])
            })
            .sum()
    }

    /// Whether all shards of a stripe are placed together, which it takes where a volume may hold only some of them.
    pub(crate) fn is_dealt_whole(&self) -> bool {
        self.scheme.is_some_and(|scheme| usize::from(scheme.c) < scheme.shards())
    }

    /// The volume for the next data part; `None` when all are full.
    pub(crate) fn data(&mut self) -> Option<VolumeNumber> {
        if self.stripe.data == 0 && self.is_dealt_whole() {
            self.stripe.shards = self.begin_stripe()?;
        }
        let volume = match self.stripe.shards.get(usize::from(self.stripe.data)) {
            Some(volume) => *volume,
            None => self.one()?,
        };
        self.stripe.data += 1;
        Some(VolumeNumber::from_index(volume))
    }

    /// Whether the open stripe has all its data parts.
    pub(crate) fn stripe_is_full(&self) -> bool {
        self.scheme.is_some_and(|scheme| self.stripe.data == scheme.k)
    }

    /// Ends the stripe. Returns the volumes for its parity parts: an empty list if it has no data, and `None` when all
    /// volumes are full.
    pub(crate) fn parity(&mut self) -> Option<Vec<VolumeNumber>> {
        let StripeShards { number, data, shards } = std::mem::take(&mut self.stripe);
        self.stripe.number = number + 1;
        let Some(scheme) = self.scheme.filter(|_| data > 0) else { return Some(Vec::new()) };
        if shards.is_empty() {
            return (0..scheme.m).map(|_| self.one().map(VolumeNumber::from_index)).collect();
        }
        // A short stripe gives back the places of data parts that it does not have.
        for volume in &shards[usize::from(data)..usize::from(scheme.k)] {
            self.volumes[*volume].used -= 1;
            self.devices[self.volumes[*volume].device] += 1;
        }
        Some(shards[usize::from(scheme.k)..].iter().copied().map(VolumeNumber::from_index).collect())
    }

    /// Takes room for all shards of a stripe, from the volumes with the most room left.
    fn begin_stripe(&mut self) -> Option<Vec<usize>> {
        let scheme = self.scheme?;
        let count = self.volumes.len();
        let turn = self.stripe.number;
        let mut held = vec![0; count];
        let mut shards = Vec::with_capacity(scheme.shards());
        while shards.len() < scheme.shards() {
            let open = (0..count).filter(|at| held[*at] < scheme.c && self.left_at(*at) > 0);
            // Among equals another one comes first each time, so that parity moves around.
            let chosen = open.max_by_key(|at| (self.left_at(*at), std::cmp::Reverse((at + turn) % count)))?;
            held[chosen] += 1;
            self.take(chosen);
            shards.push(chosen);
        }
        Some(shards)
    }

    /// Takes room for one part, in the order of [`Fill`].
    fn one(&mut self) -> Option<usize> {
        let mut found = (0..self.volumes.len()).filter(|at| self.left_at(*at) > 0);
        let chosen = match self.fill {
            Fill::Sequential => found.next(),
            // The volume that will be the least full; the fractions are compared without rounding.
            Fill::Spread => found.min_by(|a, b| {
                let a = &self.volumes[*a];
                let b = &self.volumes[*b];
                let left = u128::from(a.used + 1) * u128::from(b.total);
                left.cmp(&(u128::from(b.used + 1) * u128::from(a.total)))
            }),
        }?;
        self.take(chosen);
        Some(chosen)
    }

    fn take(&mut self, volume: usize) {
        self.volumes[volume].used += 1;
        self.devices[self.volumes[volume].device] -= 1;
    }

    /// Deals `data` data parts and their parity on a copy. Returns the parts of each volume, and whether all found a
    /// place.
    pub(crate) fn simulate(&self, data: u64) -> (Vec<u64>, bool) {
        let mut trial = self.clone();
        let placed = (0..data).take_while(|_| trial.deal()).count() as u64;
        let closed = trial.parity().is_some();
        (trial.volumes.iter().map(|v| v.used).collect(), placed == data && closed)
    }

    /// Deals one data part, and the parity of its stripe if the part fills it; `false` if all volumes are full.
    fn deal(&mut self) -> bool {
        self.data().is_some() && (!self.stripe_is_full() || self.parity().is_some())
    }

    /// Bytes that a part takes on that volume.
    pub(crate) fn cost(&self, volume: VolumeNumber) -> u64 {
        self.volumes[volume.index()].cost
    }
}

/// Free bytes of a file system that a plan may use. Its own bookkeeping (bitmaps, extents, the folder's entries) takes
/// some while files are written.
fn spared(free: u64) -> u64 {
    free - free / 500 - (free / 20).min(64 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: Class = Class::ALL[0];

    fn drive(device: u64, parts: u64, cap: Option<u64>) -> DriveRoom {
        let part = (CLASS.file_len() as u64).next_multiple_of(4096);
        let cap = cap.map(|parts| 10_000 + parts * part);
        DriveRoom { device, free: (10_000 + parts * part) * 1003 / 1000 + 70_000, cluster: 4096, cap, reserve: 10_000 }
    }

    #[test]
    fn unequal_drives_are_filled_in_proportion() {
        let mut placement = Placement::new(&[drive(1, 10, None), drive(2, 30, None)], CLASS, Fill::Spread, None);
        assert_eq!(placement.capacity(), 40);
        assert_eq!(placement.simulate(20), (vec![5, 15], true));
        assert_eq!(placement.simulate(41), (vec![10, 30], false));
        assert_eq!((0..40).filter_map(|_| placement.data()).count(), 40);
        assert_eq!(placement.data(), None);
    }

    #[test]
    fn sequential_fills_one_after_the_other() {
        let placement = Placement::new(&[drive(1, 10, None), drive(2, 30, None)], CLASS, Fill::Sequential, None);
        assert_eq!(placement.simulate(12), (vec![10, 2], true));
    }

    #[test]
    fn volumes_on_one_file_system_share_its_room() {
        let twice = [drive(1, 10, None), drive(1, 10, None)];
        let shared = Placement::new(
            &[DriveRoom { reserve: 5_000, ..twice[0].clone() }, DriveRoom { reserve: 5_000, ..twice[1].clone() }],
            CLASS,
            Fill::Spread,
            None,
        );
        assert_eq!(shared.capacity(), 10);
        assert_eq!(shared.simulate(10), (vec![5, 5], true));
        let capped = Placement::new(&[drive(1, 100, Some(3)), drive(1, 100, Some(4))], CLASS, Fill::Sequential, None);
        assert_eq!((capped.capacity(), capped.simulate(7)), (7, (vec![3, 4], true)));
    }

    #[test]
    fn a_full_drive_takes_nothing() {
        let full = DriveRoom { free: 0, ..drive(1, 0, None) };
        let placement = Placement::new(&[full, drive(2, 2, None)], CLASS, Fill::Spread, None);
        assert_eq!(placement.simulate(3), (vec![0, 2], false));
    }

    fn striped(drives: &[u64], k: u16, m: u16, c: u16) -> Placement {
        let drives: Vec<DriveRoom> = (1..).zip(drives).map(|(at, parts)| drive(at, *parts, None)).collect();
        Placement::new(&drives, CLASS, Fill::Spread, Scheme::new(k, m, c))
    }

    /// The volumes of each stripe's shards, for `data` data parts.
    fn stripes(mut placement: Placement, data: usize) -> Vec<Vec<VolumeNumber>> {
        let (mut all, mut open) = (Vec::new(), Vec::new());
        for _ in 0..data {
            open.extend(placement.data());
            if placement.stripe_is_full() {
                open.extend(placement.parity().unwrap());
                all.push(std::mem::take(&mut open));
            }
        }
        open.extend(placement.parity().unwrap());
        all.push(open);
        all
    }

    #[test]
    fn no_volume_holds_more_of_a_stripe_than_it_may() {
        for (drives, k, m, c) in
            [(&[20, 20, 20][..], 2, 1, 1), (&[30, 30, 10, 10], 2, 1, 1), (&[20; 5], 12, 8, 4), (&[50, 10], 1, 1, 1)]
        {
            let placement = striped(drives, k, m, c);
            let capacity = placement.capacity() as usize;
            let all = stripes(placement.clone(), capacity);
            for stripe in all.iter().filter(|stripe| !stripe.is_empty()) {
                assert_eq!(stripe.len(), usize::from(k + m));
                for volume in VolumeNumber::all(drives.len() as u16) {
                    assert!(stripe.iter().filter(|at| **at == volume).count() <= c.into(), "{stripe:?}");
                }
            }
            assert!(placement.simulate(capacity as u64).1 && !placement.simulate(capacity as u64 + 1).1, "{drives:?}");
        }
        assert_eq!(striped(&[100, 100, 50, 50], 3, 1, 1).capacity(), 150);
        assert_eq!(striped(&[100, 100, 50, 50], 2, 1, 1).capacity(), 200);
    }

    #[test]
    fn parity_is_shared_by_all_drives() {
        let all = stripes(striped(&[30; 3], 2, 1, 1), 60);
        let mut parity: Vec<VolumeNumber> = all.iter().filter_map(|stripe| stripe.last().copied()).collect();
        parity.sort_unstable();
        assert_eq!(parity, [[1; 10], [2; 10], [3; 10]].concat());
    }

    #[test]
    fn a_short_stripe_takes_no_more_than_it_needs() {
        let placement = striped(&[10; 5], 3, 2, 1);
        assert_eq!(placement.simulate(4).0.iter().sum::<u64>(), 4 + 2 * 2);
        let long = striped(&[100, 50], 40, 2, 42);
        assert_eq!(long.simulate(41).0.iter().sum::<u64>(), 41 + 2 * 2);
        assert_eq!((long.capacity(), long.simulate(142).1, long.simulate(143).1), (142, true, false));
    }
}
