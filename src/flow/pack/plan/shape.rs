//! Decides how a bundle is cut: the size of its parts, and which parts stand in for each other. Both depend on the room
//! on the drives, which is measured here.
//!
//! Not guaranteed: that the room is still there when parts are written. Other programs may take it.

use std::path::PathBuf;

use super::VolumeTarget;
use crate::base::fault::At;
use crate::base::os;
use crate::flow::FlowError;
use crate::flow::pack::pipeline::Before;
use crate::flow::pack::request::PackRequest;
use crate::flow::pack::resume::leftover::Left;
use crate::plan::geometry::{self, Geometry};
use crate::plan::parity;
use crate::plan::placement::{DriveRoom, Placement};
use crate::stage::compress::Level;

/// What decides how the bundle is cut.
pub(super) struct Shape<'a> {
    pub(super) request: &'a PackRequest,
    /// The target of each volume.
    pub(super) paths: &'a [PathBuf],
    /// Most bytes of the list's text.
    pub(super) list_at_most: u64,
    /// Bytes of the tar.
    pub(super) tar: u64,
    /// How many entries the walk has.
    pub(super) entries: usize,
}

/// How the bundle is cut, and the drives as they are for parts of that size. One target and one drive for each volume.
pub(super) struct Shaped {
    pub(super) geometry: Geometry,
    pub(super) targets: Vec<VolumeTarget>,
    pub(super) drives: Vec<DriveRoom>,
}

impl Shape<'_> {
    /// Chooses the size of the parts and the shape of the stripes. Each depends on the other, and the room on the
    /// drives depends on both. So the stripes are chosen first, for parts as they would be without parity.
    pub(super) fn choose(&self) -> Result<Shaped, FlowError> {
        let request = self.request;
        let volumes = self.paths.len() as u16;
        let largest = match request.level {
            Level::Zstd(13..) => geometry::LARGEST_AT_HIGH_LEVELS,
            Level::Quick | Level::Zstd(_) => geometry::LARGEST,
        };
        let plain = geometry::choose(self.tar, volumes, None, largest)?;
        let room = Placement::new(&self.look_at_drives(plain)?.drives, plain.class, request.fill, None);
        let scheme =
            parity::choose(request.parity, volumes, |scheme| room.stripes(scheme)).map_err(FlowError::Usage)?;
        self.look_at_drives(geometry::choose(self.tar, volumes, scheme, largest)?)
    }

    /// The same after an interrupted run: what it chose still holds if any of its parts stays. What does not stay makes
    /// room.
    pub(super) fn after(&self, left: &Left, before: &Before) -> Result<Shaped, FlowError> {
        let mut shaped = if before.recipes.is_empty() {
            self.choose()?
        } else {
            let opening = &left.journal()?.opening;
            self.look_at_drives(geometry::of_class(self.tar, opening.class, opening.scheme))?
        };
        let part_len = shaped.geometry.class.file_len() as u64;
        shaped.drives = room_once_cleared(&shaped.drives, &left.surplus(before), before, part_len);
        Ok(shaped)
    }

    fn look_at_drives(&self, geometry: Geometry) -> Result<Shaped, FlowError> {
        let parts_at_most = geometry.parts_at_most();
        let mut targets = Vec::new();
        let mut drives = Vec::new();
        for (at, path) in self.paths.iter().enumerate() {
            let room = os::room(path).at("look at", path)?;
            let mut reserve = geometry::reserve(self.list_at_most, parts_at_most, room.cluster);
            // The first volume holds the journal.
            if at == 0 {
                reserve += geometry::journal_at_most(self.tar, parts_at_most, self.entries);
            }
            let cap = self.request.volume_size;
            targets.push(VolumeTarget { path: path.clone(), device: room.device });
            drives.push(DriveRoom { device: room.device, free: room.free, cluster: room.cluster, cap, reserve });
        }
        Ok(Shaped { geometry, targets, drives })
    }
}

/// The room on the drives once this run has removed the parts that do not stay. `surplus` has the bytes of those for
/// each volume; all volumes of a file system share what is freed there. Parts that stay count against `--volume-size`.
fn room_once_cleared(drives: &[DriveRoom], surplus: &[u64], before: &Before, part_len: u64) -> Vec<DriveRoom> {
    let freed_on = |device: u64| -> u64 {
        drives.iter().zip(surplus).filter(|(drive, _)| drive.device == device).map(|(_, bytes)| bytes).sum()
    };
    let mut cleared = Vec::with_capacity(drives.len());
    for (number, drive) in (1..).zip(drives) {
        let kept = before.parts.iter().filter(|part| part.volume == number).count() as u64 * part_len;
        let free = drive.free + freed_on(drive.device);
        cleared.push(DriveRoom { free, cap: drive.cap.map(|cap| cap.saturating_sub(kept)), ..drive.clone() });
    }
    cleared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::pack::part_ledger::tests::part;
    use crate::flow::pack::request::tests::request;
    use crate::format::head::PartId::Data;
    use crate::plan::parity::Wish;

    /// Shapes a tar of so many bytes for these targets.
    fn shaped(request: &PackRequest, paths: &[PathBuf], tar: u64) -> Shaped {
        Shape { request, paths, list_at_most: 1000, tar, entries: 1 }.choose().unwrap()
    }

    #[test]
    fn high_levels_get_small_parts() {
        let desk = tempfile::tempdir().unwrap();
        let paths = [desk.path().to_path_buf()];
        let mut request = request(Vec::new(), paths.to_vec());
        for (level, mib) in [(Level::Quick, 64), (Level::Zstd(12), 64), (Level::Zstd(13), 4), (Level::Zstd(19), 4)] {
            request.level = level;
            assert_eq!(shaped(&request, &paths, 8 << 30).geometry.class.mib(), mib, "{level:?}");
        }
    }

    #[test]
    fn only_the_first_volume_reserves_room_for_the_journal() {
        let desk = tempfile::tempdir().unwrap();
        let paths = [desk.path().to_path_buf(), desk.path().to_path_buf()];
        let drives = shaped(&request(Vec::new(), paths.to_vec()), &paths, 1 << 20).drives;
        let parts = geometry::data_at_most(1 << 20, crate::format::part::Class::ALL[0]) as u32;
        assert_eq!(drives[0].reserve, drives[1].reserve + geometry::journal_at_most(1 << 20, parts, 1));
        assert_eq!(drives[0].device, drives[1].device);
    }

    #[test]
    fn parity_that_the_drives_cannot_have_is_refused() {
        let desk = tempfile::tempdir().unwrap();
        let paths = [desk.path().to_path_buf()];
        let mut request = request(Vec::new(), paths.to_vec());
        request.parity = Wish { lose: 1, mend: None };
        let shape = Shape { request: &request, paths: &paths, list_at_most: 0, tar: 1 << 20, entries: 1 };
        let Err(FlowError::Usage(text)) = shape.choose() else { panic!("one drive cannot be lost") };
        assert_eq!(text, "--lose 1 needs at least 2 drives, and 1 is given");
    }

    fn drive(device: u64, cap: Option<u64>) -> DriveRoom {
        DriveRoom { device, free: 1000, cluster: 512, cap, reserve: 7 }
    }

    #[test]
    fn volumes_of_one_file_system_share_what_is_freed() {
        let drives = [drive(1, None), drive(2, None), drive(1, None)];
        let cleared = room_once_cleared(&drives, &[10, 200, 3000], &Before::default(), 100);
        assert_eq!(cleared.iter().map(|drive| drive.free).collect::<Vec<_>>(), [4010, 1200, 4010]);
    }

    #[test]
    fn parts_that_stay_count_against_the_size_of_their_volume() {
        let before = Before { parts: vec![part(Data(1), 1), part(Data(2), 1), part(Data(3), 3)], ..Before::default() };
        let drives = [drive(1, Some(250)), drive(2, Some(250)), drive(3, Some(50)), drive(4, None)];
        let cleared = room_once_cleared(&drives, &[0; 4], &before, 100);
        assert_eq!(cleared.iter().map(|drive| drive.cap).collect::<Vec<_>>(), [Some(50), Some(250), Some(0), None]);
        assert!(cleared.iter().all(|drive| (drive.free, drive.reserve) == (1000, 7)));
    }
}
