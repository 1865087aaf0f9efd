//! A part as far as it was loaded and rebuilt: which of its chunks can be used, and what proves that they are right. A
//! chunk from a drive is proved by its tag. A rebuilt chunk is proved only if the part is whole and has the digest of
//! the head. `part_rebuilder.rs` does the rebuilding.
//!
//! Not guaranteed: that a rebuilt chunk of a part that is not whole is what was packed; see [`RebuiltPart::readable`].

use crate::flow::bundle::part_finder::Loaded;
use crate::format::head::Part;
use crate::format::part::{CHUNK, HEADER, PartBuf, SEALED_CHUNK};

/// A part as far as it could be loaded and rebuilt.
pub(crate) struct RebuiltPart<'a> {
    pub(crate) part: &'a Part,
    /// The plaintext; the bytes of missing chunks must not be used.
    pub(crate) buf: PartBuf,
    /// How much the drives had.
    pub(crate) found: Loaded,
    /// Indices of the chunks that the drives did not have and that are not rebuilt, ascending.
    pub(crate) missing: Vec<usize>,
    /// Indices of all chunks that the drives did not have, ascending.
    pub(super) lost: Vec<usize>,
    pub(super) state: PartProof,
}

/// What is known of the rebuilt chunks of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartProof {
    /// The part is what the head names; or the drives had all of it, and nothing was rebuilt.
    Right,
    /// The part is being rebuilt.
    Open,
    /// Some chunks cannot be rebuilt, so nothing proves the others that were.
    Short,
    /// All chunks were rebuilt, and the part is not what the head names. They count as missing again.
    Wrong,
}

impl RebuiltPart<'_> {
    /// Whether no chunk is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether no drive had the part, and no chunk before its last missing one could be rebuilt.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.found, Loaded::Missing | Loaded::Unread { .. })
            && self.missing.last().is_some_and(|last| last + 1 == self.missing.len())
    }

    /// Whether its stripe gave other bytes than those that the head names.
    pub(crate) fn is_wrong(&self) -> bool {
        self.state == PartProof::Wrong
    }

    /// How many chunks at the beginning of the part can be read. Nothing proves rebuilt chunks of a part that is not
    /// whole, so they count only if the caller checks their content in another way (`has_digests`).
    pub(crate) fn readable(&self, has_digests: bool) -> usize {
        let absent = if has_digests || self.state == PartProof::Right { &self.missing } else { &self.lost };
        absent.first().copied().unwrap_or(self.buf.chunks())
    }

    /// Whether the chunks that can be read with digests include rebuilt ones that nothing proves.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.state == PartProof::Short && self.lost.first() != self.missing.first()
    }

    /// Whether a chunk is proved, by its tag or by the digest of the whole part.
    pub(super) fn has(&self, chunk: usize) -> bool {
        self.state == PartProof::Right || self.lost.binary_search(&chunk).is_err()
    }

    /// Begins again with what the drives had.
    pub(super) fn reopen(&mut self) {
        self.missing = self.lost.clone();
        self.state = PartProof::Open;
    }

    /// The place of a chunk's plaintext.
    pub(super) fn chunk_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.buf.file_mut()[HEADER + index * SEALED_CHUNK..][..CHUNK]
    }

    /// Its position in its stripe, from 0; 0 in a bundle without parity.
    pub(super) fn position(&self) -> u16 {
        self.part.shard.map_or(0, |shard| shard.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::head::Head;
    use crate::format::head::tests::striped;
    use crate::format::part::Class;

    const PARTLY: Loaded = Loaded::Partly { bad: Vec::new(), why: String::new() };

    /// The second part of a stripe, which has 15 chunks.
    fn part<'a>(head: &'a Head, found: Loaded, lost: &[usize], missing: &[usize], state: PartProof) -> RebuiltPart<'a> {
        let buf = PartBuf::new(Class::ALL[0]);
        RebuiltPart { part: &head.parts[1], buf, found, missing: missing.to_vec(), lost: lost.to_vec(), state }
    }

    #[test]
    fn rebuilt_chunks_of_a_short_part_are_read_only_if_digests_prove_them() {
        let head = striped(2, 2, 1);
        let short = part(&head, PARTLY, &[2, 5], &[5], PartProof::Short);
        assert_eq!((short.readable(true), short.readable(false)), (5, 2));
        assert!(short.is_doubtful());
        let right = part(&head, PARTLY, &[2, 5], &[], PartProof::Right);
        assert_eq!((right.readable(true), right.readable(false)), (15, 15));
        assert!(!right.is_doubtful());
    }

    #[test]
    fn a_part_is_not_doubtful_if_its_first_lost_chunk_is_missing() {
        let head = striped(2, 2, 1);
        let short = part(&head, PARTLY, &[2, 5], &[2], PartProof::Short);
        assert_eq!((short.readable(true), short.readable(false)), (2, 2));
        assert!(!short.is_doubtful());
    }

    #[test]
    fn a_wrong_part_is_read_up_to_the_first_chunk_that_was_lost() {
        let head = striped(2, 2, 1);
        let wrong = part(&head, PARTLY, &[3], &[3], PartProof::Wrong);
        assert!(wrong.is_wrong() && !wrong.is_doubtful() && !wrong.is_whole());
        assert_eq!((wrong.readable(true), wrong.readable(false)), (3, 3));
    }

    #[test]
    fn a_part_is_absent_if_no_drive_had_it_and_its_beginning_is_missing() {
        let head = striped(2, 2, 1);
        let all: Vec<usize> = (0..15).collect();
        let is_absent = |found, missing: &[usize]| part(&head, found, &all, missing, PartProof::Short).is_absent();
        assert!(is_absent(Loaded::Missing, &all) && is_absent(Loaded::Unread { why: "no".into() }, &all));
        assert!(is_absent(Loaded::Missing, &[0, 1]), "only chunks behind these are rebuilt");
        assert!(!is_absent(Loaded::Missing, &[1, 2]), "the first chunk is rebuilt");
        assert!(!is_absent(Loaded::Missing, &[]) && !is_absent(PARTLY, &all));
    }

    #[test]
    fn a_rebuilt_chunk_is_proved_with_the_whole_part() {
        let head = striped(2, 2, 1);
        let has = |state| [1, 2].map(|chunk| part(&head, PARTLY, &[2], &[], state).has(chunk));
        assert_eq!(has(PartProof::Open), [true, false]);
        assert_eq!(has(PartProof::Right), [true, true]);
    }

    #[test]
    fn a_part_that_is_rebuilt_again_begins_with_what_the_drives_had() {
        let head = striped(2, 2, 1);
        let mut wrong = part(&head, PARTLY, &[2, 5], &[], PartProof::Wrong);
        wrong.reopen();
        assert_eq!((&wrong.missing[..], wrong.state), (&[2, 5][..], PartProof::Open));
    }
}
