//! Where every part of a bundle is, and how much the volumes still take. Does no I/O: drives report what
//! they wrote and lost, and the ledger says which parts need a home, and where.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::format::head::{Part, PartId};
use crate::format::part::Class;
use crate::format::stripe::Scheme;
use crate::format::volume_number::VolumeNumber;
use crate::plan::placement::Placement;
use crate::plan::rehome::{Home, beyond_parity, missing_parts, rehome};

/// What a bundle consists of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BundleShape {
    /// How many data parts.
    pub(crate) data_parts: u32,
    /// Which parts stand in for each other.
    pub(crate) scheme: Option<Scheme>,
    /// How long a part is.
    pub(crate) class: Class,
    /// How many volumes.
    pub(crate) volumes: u16,
}

/// Where every part of a bundle is.
pub(crate) struct PartLedger {
    shape: BundleShape,
    /// All parts that were ever sealed.
    parts: BTreeMap<PartId, Part>,
    /// Those that are on their drives.
    present: HashSet<PartId>,
    /// What the volumes still take.
    room: Placement,
    /// Volumes that get parts only if the others have no room for them.
    avoided: BTreeSet<VolumeNumber>,
}

impl PartLedger {
    /// A ledger of the parts that were `written`, and of those that were sealed and are on no drive. `room` is
    /// what the volumes took before this run; it already counts the parts `from_earlier_run`.
    pub(crate) fn new(
        shape: BundleShape,
        mut room: Placement,
        from_earlier_run: &HashSet<PartId>,
        written: Vec<Part>,
        unwritten: Vec<Part>,
    ) -> Self {
        // A part that its drive did not keep still occupies the drive until the end.
        for part in written.iter().chain(&unwritten).filter(|part| !from_earlier_run.contains(&part.id())) {
            room.put(part.volume);
        }
        let present = written.iter().map(Part::id).collect();
        let parts = written.into_iter().chain(unwritten).map(|part| (part.id(), part)).collect();
        Self { shape, parts, present, room, avoided: BTreeSet::new() }
    }

    /// All parts, in the order of the head. A part that is on no drive keeps the volume it was sealed for.
    pub(crate) fn parts(&self) -> Vec<Part> {
        self.parts.values().cloned().collect()
    }

    /// Bytes of parts on a volume.
    pub(crate) fn bytes_on(&self, volume: VolumeNumber) -> u64 {
        self.bytes_of(self.present_parts().filter(|part| part.volume == volume).count())
    }

    /// Bytes of so many parts.
    pub(crate) fn bytes_of(&self, parts: usize) -> u64 {
        (parts * self.shape.class.file_len()) as u64
    }

    /// Whether a volume takes more parts.
    pub(crate) fn has_room(&self, volume: VolumeNumber) -> bool {
        self.room.left(volume) > 0
    }

    /// Parts that are on no drive, data first.
    pub(crate) fn missing(&self) -> Vec<PartId> {
        missing_parts(self.shape.data_parts, self.shape.scheme, &self.present)
    }

    /// A volume for each missing part, as far as there is room.
    pub(crate) fn find_homes(&self) -> Vec<Home> {
        let mut others = self.room.clone();
        self.avoided.iter().for_each(|volume| others.close(*volume));
        let homes = self.homes_in(&others);
        if homes.len() == self.missing().len() { homes } else { self.homes_in(&self.room) }
    }

    /// How many missing parts can neither be written anywhere nor be replaced by parity.
    pub(crate) fn homeless(&self) -> usize {
        let missing = self.missing();
        // The head names all parts, so one that was never sealed has to be.
        let never_sealed = missing.iter().filter(|part| !self.parts.contains_key(part)).count();
        beyond_parity(self.shape.scheme, &missing).max(never_sealed)
    }

    /// Records a part that was written.
    pub(crate) fn add(&mut self, part: Part) {
        self.room.put(part.volume);
        self.present.insert(part.id());
        self.parts.insert(part.id(), part);
    }

    /// Records that these volumes are full. They keep what they have.
    pub(crate) fn close(&mut self, volumes: &[VolumeNumber]) {
        volumes.iter().for_each(|volume| self.room.close(*volume));
    }

    /// Records that nothing on these volumes counts any more.
    pub(crate) fn forget_volumes(&mut self, volumes: &[VolumeNumber]) {
        self.close(volumes);
        let parts = &self.parts;
        self.present.retain(|id| parts.get(id).is_some_and(|part| !volumes.contains(&part.volume)));
    }

    /// Records that a volume did not keep a file. If it was a part, the part is missing now. The file goes on
    /// occupying the volume.
    pub(crate) fn forget_file(&mut self, volume: VolumeNumber, name: &str) {
        let parts = &self.parts;
        self.present.retain(|id| parts.get(id).is_none_or(|part| part.file_name() != name));
        self.room.put(volume);
    }

    /// From now on these volumes get parts only if the others have no room for all that is missing by then.
    pub(crate) fn avoid(&mut self, volumes: &[VolumeNumber]) {
        self.avoided.extend(volumes);
    }

    fn homes_in(&self, room: &Placement) -> Vec<Home> {
        let held = self.present_parts().map(|part| Home { part: part.id(), volume: part.volume });
        rehome(room.clone(), self.shape.scheme, self.shape.volumes, held, &self.missing())
    }

    fn present_parts(&self) -> impl Iterator<Item = &Part> {
        self.present.iter().filter_map(|id| self.parts.get(id))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::PartId::{Data, Parity};
    use super::*;
    use crate::base::digest::sha256;
    use crate::format::head::PartKind;
    use crate::format::part::HEADER;
    use crate::format::volume_number::tests::volumes;
    use crate::plan::placement::{DriveRoom, Fill};

    const CLASS: Class = Class::ALL[0];

    /// A sealed part on that volume.
    pub(crate) fn part(id: PartId, volume: u16) -> Part {
        let (kind, number) = match id {
            Data(number) => (PartKind::Data { offset: 0, length: 1 }, number),
            Parity(number) => (PartKind::Parity, number),
        };
        Part {
            number,
            kind,
            shard: None,
            volume: VolumeNumber::new(volume),
            sha256: sha256(b""),
            header: Box::new([0; HEADER]),
        }
    }

    /// A ledger of volumes, each with room for so many parts, and of the parts written to them.
    pub(crate) fn ledger(
        room: &[u64],
        scheme: Option<Scheme>,
        data_parts: u32,
        written: &[(PartId, u16)],
    ) -> PartLedger {
        let drive = |(device, parts): (u64, &u64)| {
            let free = parts * CLASS.file_len() as u64 + 500_000;
            DriveRoom { device, free, cluster: 512, cap: None, reserve: 0 }
        };
        let drives: Vec<DriveRoom> = (1..).zip(room).map(drive).collect();
        let placement = Placement::new(&drives, CLASS, Fill::Spread, scheme);
        let shape = BundleShape { data_parts, scheme, class: CLASS, volumes: room.len() as u16 };
        let written = written.iter().map(|(id, volume)| part(*id, *volume)).collect();
        PartLedger::new(shape, placement, &HashSet::new(), written, Vec::new())
    }

    #[test]
    fn a_part_whose_volume_is_gone_needs_another_home() {
        let mut ledger = ledger(&[2, 2], None, 2, &[(Data(1), 1), (Data(2), 2)]);
        assert!(ledger.missing().is_empty());
        ledger.forget_volumes(&volumes([1]));
        assert_eq!(ledger.missing(), [Data(1)]);
        assert_eq!(ledger.find_homes(), [Home { part: Data(1), volume: VolumeNumber::new(2) }]);
        ledger.add(part(Data(1), 2));
        assert!(ledger.missing().is_empty());
        assert_eq!(
            (ledger.bytes_on(VolumeNumber::new(1)), ledger.bytes_on(VolumeNumber::new(2))),
            (0, ledger.bytes_of(2))
        );
    }

    #[test]
    fn a_part_that_was_sealed_and_not_kept_still_occupies_its_volume() {
        let placement = ledger(&[2], None, 0, &[]).room;
        let shape = BundleShape { data_parts: 1, scheme: None, class: CLASS, volumes: 1 };
        let ledger = PartLedger::new(shape, placement, &HashSet::new(), Vec::new(), vec![part(Data(1), 1)]);
        assert_eq!((ledger.missing(), ledger.room.left(VolumeNumber::new(1))), (vec![Data(1)], 1));
        assert_eq!(ledger.bytes_on(VolumeNumber::new(1)), 0);
    }

    #[test]
    fn a_full_volume_keeps_its_parts_and_takes_no_more() {
        let mut ledger = ledger(&[2, 2], None, 3, &[(Data(1), 1), (Data(2), 2)]);
        ledger.close(&volumes([1]));
        assert!(!ledger.has_room(VolumeNumber::new(1)));
        assert_eq!(ledger.missing(), [Data(3)]);
        assert_eq!(ledger.find_homes(), [Home { part: Data(3), volume: VolumeNumber::new(2) }]);
    }

    #[test]
    fn a_file_that_was_not_kept_still_occupies_its_volume() {
        let mut ledger = ledger(&[2], None, 1, &[(Data(1), 1)]);
        ledger.forget_file(VolumeNumber::new(1), &part(Data(1), 1).file_name());
        assert_eq!(ledger.missing(), [Data(1)]);
        assert!(!ledger.has_room(VolumeNumber::new(1)));
        assert_eq!(ledger.homeless(), 1);
    }

    #[test]
    fn a_part_from_an_earlier_run_is_not_counted_twice() {
        let placement = ledger(&[2], None, 0, &[]).room;
        let shape = BundleShape { data_parts: 2, scheme: None, class: CLASS, volumes: 1 };
        let earlier = HashSet::from([Data(1)]);
        let written = vec![part(Data(1), 1), part(Data(2), 1)];
        let ledger = PartLedger::new(shape, placement, &earlier, written, Vec::new());
        assert_eq!(ledger.room.left(VolumeNumber::new(1)), 1);
    }

    #[test]
    fn parity_stands_in_for_as_many_parts_as_a_stripe_has_parity() {
        let scheme = Scheme::new(2, 1, 1);
        let mut ledger = ledger(&[1, 1, 1], scheme, 2, &[(Data(1), 1), (Data(2), 2), (Parity(1), 3)]);
        ledger.forget_volumes(&volumes([1]));
        assert!(ledger.find_homes().is_empty());
        assert_eq!(ledger.homeless(), 0);
        ledger.forget_volumes(&volumes([2]));
        assert_eq!(ledger.homeless(), 1);
    }

    #[test]
    fn a_part_that_was_never_sealed_cannot_be_left_to_parity() {
        let scheme = Scheme::new(2, 1, 1);
        let ledger = ledger(&[1, 1], scheme, 2, &[(Data(1), 1), (Parity(1), 2)]);
        assert_eq!(ledger.missing(), [Data(2)]);
        assert_eq!(ledger.homeless(), 1);
    }

    #[test]
    fn a_volume_is_avoided_only_if_the_others_have_room() {
        let mut roomy = ledger(&[3, 3], None, 3, &[(Data(1), 1), (Data(2), 2)]);
        roomy.avoid(&volumes([1]));
        let of = |ledger: &PartLedger| ledger.find_homes().iter().map(|home| home.volume).collect::<Vec<_>>();
        assert_eq!(of(&roomy), [2]);
        let mut tight = ledger(&[3, 1], None, 3, &[(Data(1), 1), (Data(2), 2)]);
        tight.avoid(&volumes([1]));
        assert_eq!(of(&tight), [1], "volume 2 is full");
    }
}
