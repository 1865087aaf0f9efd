//! Reads the tar of a bundle that has no list, to find its entries. Each part is opened in order, rebuilt if possible,
//! and read up to its first damage. Contents are not kept: the unpacking that follows reads the parts again.
//!
//! Not guaranteed: that the members are right. No digest is checked here.

use std::collections::BTreeSet;

use crate::base::monitor::{Monitor, Phase};
use crate::flow::FlowError;
use crate::flow::bundle::open::Bundle;
use crate::flow::bundle::part_decoder::{ContentFault, PartDecoder};
use crate::flow::bundle::part_finder::Finder;
use crate::flow::bundle::part_rebuilder::PartRebuilder;
use crate::flow::bundle::rebuilt_part::RebuiltPart;
use crate::flow::salvage::head_from_parts::FAR;
use crate::format::part::PartBuf;
use crate::stage::compress::Decompressor;
use crate::stage::untar::{Members, Untar};

/// What the tar holds.
#[derive(Default)]
pub(crate) struct Unlisted {
    /// Members, as far as the tar could be read.
    pub(crate) members: Members,
    /// Numbers of parts that the drives have, but not whole, and that could not be rebuilt. A part without any file is
    /// not among them.
    pub(crate) damaged: BTreeSet<u32>,
}

/// Reads the tar of all parts.
pub(crate) fn read_tar(bundle: &Bundle, monitor: &dyn Monitor) -> Result<Unlisted, FlowError> {
    let class = bundle.head.statement.class;
    let total = bundle.head.data_parts().count() as u64 * class.file_len() as u64;
    monitor.phase(Phase::Unpacking, total);
    let finder = Finder::new(bundle);
    let rebuilder = PartRebuilder::new(&bundle.head, &finder);
    let mut reader = TarReader { bundle, monitor, untar: Untar::new(), decompressor: Decompressor::new()? };
    let mut damaged = BTreeSet::new();
    let mut buf = PartBuf::new(class);
    for (part, _, _) in bundle.head.data_parts() {
        let rebuilt = rebuilder.rebuild_one(part, buf)?;
        let is_complete = reader.read(&rebuilt)?;
        let is_clean = is_complete && rebuilt.is_whole();
        if !is_clean && !rebuilt.is_absent() {
            damaged.insert(part.number);
        }
        buf = rebuilt.buf;
        monitor.advance(class.file_len() as u64);
    }
    Ok(Unlisted { members: reader.untar.finish(), damaged })
}

/// Reads parts one after the other.
struct TarReader<'a> {
    bundle: &'a Bundle,
    monitor: &'a dyn Monitor,
    untar: Untar,
    decompressor: Decompressor,
}

impl TarReader<'_> {
    /// Reads the tar of a part up to its first damage. Returns whether it is as long as the head says.
    fn read(&mut self, rebuilt: &RebuiltPart) -> Result<bool, FlowError> {
        // A salvage may have no manifest either, so that nothing would prove rebuilt chunks: they are left out.
        let chunks = rebuilt.readable(false);
        let Some(decoder) = PartDecoder::new(&self.bundle.head, rebuilt.part).filter(|_| chunks > 0) else {
            return Ok(true);
        };
        if decoder.check_lead(&rebuilt.buf).is_err() {
            return Ok(false);
        }
        let first_member = rebuilt.buf.trail(&rebuilt.missing).and_then(|trail| trail.first_member);
        let Self { monitor, untar, decompressor, .. } = self;
        untar.begin(decoder.start(), first_member);
        let fault = decoder.decode(&rebuilt.buf, chunks, decompressor, |_, bytes| {
            if monitor.cancelled() {
                return Err(FlowError::Cancelled);
            }
            Ok(untar.take(bytes)?)
        })?;
        Ok(match fault {
            None => true,
            // Nothing says where the last part of a head from leads ends.
            Some(ContentFault::Short { .. }) => decoder.end() == FAR,
            Some(ContentFault::Truncated | ContentFault::Unreadable(_)) => false,
        })
    }
}

#[cfg(test)]
mod tests;
