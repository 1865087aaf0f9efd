//! The tar of a bundle without a list, read from its parts in order: each is opened, mended if it
//! can be, and read as far as it is whole. Finds entries; their contents are placed afterwards.

use std::collections::BTreeSet;

use crate::base::monitor::{Monitor, Phase};
use crate::flow::FlowError;
use crate::flow::bundle::open::Bundle;
use crate::flow::bundle::part_finder::Finder;
use crate::flow::bundle::part_rebuilder::PartRebuilder;
use crate::format::FormatError;
use crate::format::part::{Lead, PartBuf};
use crate::stage::compress::{DecodeError, Decompressor};
use crate::stage::untar::{Members, Untar};

/// What the tar holds.
#[derive(Default)]
pub struct Unlisted {
    /// As far as it could be read.
    pub members: Members,
    /// Parts of which something was found that is not whole, and could not be rebuilt.
    pub damaged: BTreeSet<u32>,
}

/// Reads the tar of all parts.
pub fn read_tar(bundle: &Bundle, monitor: &dyn Monitor) -> Result<Unlisted, FlowError> {
    let class = bundle.head.statement.class;
    let total = bundle.head.data_parts().count() as u64 * class.file_len() as u64;
    monitor.phase(Phase::Unpacking, total);
    let finder = Finder::new(bundle);
    let rebuilder = PartRebuilder::new(&bundle.head, &finder);
    let (mut untar, mut decompressor, mut out) = (Untar::new(), Decompressor::new()?, Unlisted::default());
    let mut buf = PartBuf::new(class);
    for (part, offset, length) in bundle.head.data_parts() {
        let rebuilt = rebuilder.rebuild_one(part, buf)?;
        // There may be no manifest either, and then nothing else to hold against what was rebuilt.
        let readable = rebuilt.readable(false);
        let mut is_whole = rebuilt.is_whole();
        if readable > 0 {
            let stretch = Stretch { bundle, monitor, number: part.number, offset, length };
            is_whole &= stretch.read(&rebuilt.buf, &rebuilt.missing, readable, &mut untar, &mut decompressor)?;
        }
        if !is_whole && !rebuilt.is_absent() {
            out.damaged.insert(part.number);
        }
        buf = rebuilt.buf;
        monitor.advance(class.file_len() as u64);
    }
    out.members = untar.finish();
    Ok(out)
}

/// The stretch of tar of one part.
struct Stretch<'a> {
    bundle: &'a Bundle,
    monitor: &'a dyn Monitor,
    number: u32,
    offset: u64,
    length: u64,
}

impl Stretch<'_> {
    /// Hands the tar in the first `good` chunks on; `false` if it is less than it should be.
    fn read(
        &self,
        buf: &PartBuf,
        bad: &[usize],
        good: usize,
        untar: &mut Untar,
        decompressor: &mut Decompressor,
    ) -> Result<bool, FlowError> {
        let expected = Lead { bundle: self.bundle.head.statement.bundle, number: self.number, offset: self.offset };
        if Lead::parse(buf.plain(0)) != Ok(expected) {
            return Ok(false);
        }
        untar.begin(self.offset, buf.trail(bad).and_then(|trail| trail.first_member));
        let mut seen = 0;
        let decoded = decompressor.decode((0..good).map(|index| buf.plain(index)), |bytes| {
            seen += bytes.len() as u64;
            FormatError::check_limit("the length of a part's tar", seen, self.length)?;
            if self.monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            Ok::<(), FlowError>(untar.take(bytes)?)
        });
        match decoded {
            Err(DecodeError::Sink(error)) => Err(error),
            Ok(()) => Ok(seen == self.length || self.is_open()),
            Err(_) => Ok(false),
        }
    }

    /// Nobody knows where it ends.
    fn is_open(&self) -> bool {
        self.offset + self.length == crate::flow::salvage::head_from_parts::FAR
    }
}
