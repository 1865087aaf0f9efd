//! Rebuilds parts from a source in memory that lacks single chunks or whole parts, or has other bytes than were packed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::flow::bundle::part_finder::Loaded;
use crate::flow::bundle::part_source::ChunkSource;
use crate::format::head::PartId::{self, Data, Parity};
use crate::format::head::tests::striped;
use crate::format::part::CHUNK;

/// Parts in memory, without encryption.
struct FakeSource {
    /// The chunks of every part.
    plain: HashMap<PartId, Arc<Vec<Vec<u8>>>>,
    /// Single chunks that cannot be read.
    damaged: Vec<(PartId, usize)>,
    absent: Vec<PartId>,
    /// Parts whose sealed bytes do not fit the rest of their stripe.
    forged: Vec<PartId>,
    /// Parts of which single chunks were read.
    opened: Mutex<Vec<PartId>>,
}

impl FakeSource {
    /// Data parts that differ in every chunk, and the parity of each stripe.
    fn of(head: &Head) -> Self {
        let scheme = head.statement.scheme.unwrap();
        let code = Code::new(scheme.k.into(), scheme.m.into());
        let chunks = head.statement.class.chunks();
        let blank = || vec![vec![0; CHUNK]; chunks];
        let mut plain: HashMap<PartId, Vec<Vec<u8>>> = head.parts.iter().map(|part| (part.id(), blank())).collect();
        for (part, _, _) in head.data_parts() {
            let ShardPos { stripe, position } = part.shard.unwrap();
            for chunk in 0..chunks {
                let bytes: Vec<u8> = (0..CHUNK).map(|at| (at * 7 + chunk * 31 + part.number as usize) as u8).collect();
                let row = scheme.row_of(chunk, position, chunks);
                for parity in scheme.k..scheme.shards() as u16 {
                    let sum = plain.get_mut(&Parity(scheme.parity_number(stripe, parity))).unwrap();
                    let sum = &mut sum[scheme.chunk_of(row, parity, chunks)];
                    code.add(position.into(), &bytes, parity.into(), sum);
                }
                plain.get_mut(&part.id()).unwrap()[chunk] = bytes;
            }
        }
        let plain = plain.into_iter().map(|(part, chunks)| (part, Arc::new(chunks))).collect();
        Self { plain, damaged: Vec::new(), absent: Vec::new(), forged: Vec::new(), opened: Mutex::default() }
    }

    fn bad(&self, part: PartId) -> Vec<usize> {
        self.damaged.iter().filter(|(of, _)| *of == part).map(|(_, chunk)| *chunk).collect()
    }
}

impl PartSource for FakeSource {
    fn load(&self, part: &Part, buf: &mut PartBuf) -> Result<Loaded, FlowError> {
        if self.absent.contains(&part.id()) {
            return Ok(Loaded::Missing);
        }
        let bad = self.bad(part.id());
        for (index, chunk) in buf.chunks_mut().enumerate().filter(|(index, _)| !bad.contains(index)) {
            chunk[..CHUNK].copy_from_slice(&self.plain[&part.id()][index]);
        }
        Ok(if bad.is_empty() { Loaded::Whole } else { Loaded::Partly { bad, why: "is damaged".into() } })
    }

    fn chunks_of(&self, part: &Part) -> Result<Box<dyn ChunkSource>, FlowError> {
        self.opened.lock().unwrap().push(part.id());
        let absent = self.absent.contains(&part.id());
        let mut plain = self.plain[&part.id()].clone();
        if self.forged.contains(&part.id()) {
            Arc::make_mut(&mut plain).iter_mut().for_each(|chunk| chunk[7] ^= 1);
        }
        Ok(Box::new(FakeChunks { plain, bad: self.bad(part.id()), absent }))
    }

    fn is_as_packed(&self, part: &Part, plain: &PartBuf) -> Result<bool, FlowError> {
        Ok(self.plain[&part.id()].iter().enumerate().all(|(at, chunk)| plain.plain(at) == chunk))
    }
}

struct FakeChunks {
    plain: Arc<Vec<Vec<u8>>>,
    bad: Vec<usize>,
    absent: bool,
}

impl ChunkSource for FakeChunks {
    fn read(&self, index: usize, sealed: &mut [u8]) -> bool {
        sealed[..CHUNK].copy_from_slice(&self.plain[index]);
        !self.absent && !self.bad.contains(&index)
    }
}

fn find(head: &Head, id: PartId) -> &Part {
    head.parts.iter().find(|part| part.id() == id).unwrap()
}

/// Whether every chunk that is not missing is what was packed.
fn is_right(rebuilt: &RebuiltPart, source: &FakeSource) -> bool {
    let plain = &source.plain[&rebuilt.part.id()];
    let mut usable = (0..plain.len()).filter(|chunk| !rebuilt.missing.contains(chunk));
    usable.all(|chunk| rebuilt.buf.plain(chunk) == plain[chunk])
}

#[test]
fn a_whole_part_is_loaded_without_its_stripe() {
    let head = striped(6, 3, 2);
    let source = FakeSource::of(&head);
    let rebuilder = PartRebuilder::new(&head, &source);
    let rebuilt = rebuilder.rebuild_one(find(&head, Data(1)), PartBuf::new(head.statement.class)).unwrap();
    assert!(rebuilt.is_whole() && is_right(&rebuilt, &source));
    assert!(source.opened.lock().unwrap().is_empty());
}

#[test]
fn two_missing_parts_are_rebuilt_together() {
    let head = striped(6, 3, 2);
    let mut source = FakeSource::of(&head);
    source.absent = vec![Data(1), Data(3)];
    let parts = [find(&head, Data(1)), find(&head, Data(3))];
    let rebuilt = PartRebuilder::new(&head, &source).rebuild(&parts).unwrap();
    assert!(rebuilt.iter().all(|part| part.is_whole() && part.found == Loaded::Missing && is_right(part, &source)));
    assert_eq!(source.opened.lock().unwrap().len(), 3, "the rest of the stripe, once");
}

#[test]
fn a_parity_part_is_rebuilt_from_data() {
    let head = striped(6, 3, 2);
    let mut source = FakeSource::of(&head);
    source.absent = vec![Parity(2)];
    let rebuilt = PartRebuilder::new(&head, &source).rebuild(&[find(&head, Parity(2))]).unwrap();
    assert!(rebuilt[0].is_whole() && is_right(&rebuilt[0], &source));
}

#[test]
fn a_short_stripe_counts_its_missing_data_as_zeros() {
    let head = striped(4, 3, 2);
    let mut source = FakeSource::of(&head);
    source.absent = vec![Data(4), Parity(3)];
    let rebuilt = PartRebuilder::new(&head, &source).rebuild(&[find(&head, Data(4))]).unwrap();
    assert!(rebuilt[0].is_whole() && is_right(&rebuilt[0], &source));
}

#[test]
fn more_damage_in_a_row_than_parity_loses_that_row_alone() {
    let head = striped(6, 3, 2);
    let mut source = FakeSource::of(&head);
    let scheme = head.statement.scheme.unwrap();
    let chunks = head.statement.class.chunks();
    source.damaged =
        (0..3).map(|position| (Data(u32::from(position) + 1), scheme.chunk_of(2, position, chunks))).collect();
    source.damaged.push((Data(1), scheme.chunk_of(5, 0, chunks)));
    source.damaged.sort();
    let parts = [find(&head, Data(1)), find(&head, Data(2)), find(&head, Data(3))];
    let rebuilt = PartRebuilder::new(&head, &source).rebuild(&parts).unwrap();
    for (position, part) in (0..).zip(&rebuilt) {
        assert_eq!(part.missing, [scheme.chunk_of(2, position, chunks)]);
        assert!(is_right(part, &source) && !part.is_absent());
    }
}

#[test]
fn a_part_that_is_nowhere_and_cannot_be_rebuilt_is_absent() {
    let head = striped(6, 3, 2);
    let mut source = FakeSource::of(&head);
    source.absent = vec![Data(1), Data(2), Data(3)];
    let rebuilt = PartRebuilder::new(&head, &source).rebuild(&[find(&head, Data(1))]).unwrap();
    assert!(rebuilt[0].is_absent());
    assert_eq!(rebuilt[0].missing.len(), head.statement.class.chunks());
}

/// Rebuilds the first data part of two stripes of 3 + 3 without some parts, and with some that are forged. Returns
/// whether each came out whole, and which parity parts are blamed.
fn rebuild_without(absent: &[PartId], forged: &[PartId]) -> (Vec<bool>, Vec<u32>) {
    let head = striped(6, 3, 3);
    let mut source = FakeSource::of(&head);
    (source.absent, source.forged) = (absent.to_vec(), forged.to_vec());
    let rebuilder = PartRebuilder::new(&head, &source);
    let right = [1, 4].map(|number| {
        let rebuilt = rebuilder.rebuild_one(find(&head, Data(number)), PartBuf::new(head.statement.class)).unwrap();
        assert!(is_right(&rebuilt, &source), "nothing wrong is handed out");
        assert_eq!((rebuilt.is_whole(), rebuilt.readable(true)), (!rebuilt.is_wrong(), rebuilt.readable(false)));
        rebuilt.is_whole()
    });
    (right.to_vec(), rebuilder.wrong_parity().into_iter().collect())
}

const LOST: [PartId; 2] = [Data(1), Data(4)];

#[test]
fn without_a_forged_part_none_is_blamed() {
    assert_eq!(rebuild_without(&LOST, &[]), (vec![true, true], vec![]));
}

#[test]
fn parity_that_does_not_fit_is_left_out_and_blamed() {
    let expected = (vec![true, true], vec![1]);
    assert_eq!(rebuild_without(&LOST, &[Parity(1)]), expected, "parity at its place in the next stripe is not asked");
    assert_eq!(rebuild_without(&LOST, &[Parity(1), Parity(2), Parity(5)]).0, [true, true]);
}

#[test]
fn a_stripe_whose_parity_all_does_not_fit_gives_nothing_wrong() {
    let forged = [Parity(1), Parity(2), Parity(3)];
    assert_eq!(rebuild_without(&LOST, &forged), (vec![false, true], vec![1, 2, 3]));
}

#[test]
fn data_that_does_not_fit_is_left_out_after_parity() {
    assert_eq!(rebuild_without(&LOST, &[Data(2)]).0, [true, true]);
}

#[test]
fn two_lost_parts_need_two_parity_parts_that_fit() {
    let lost = [Data(1), Data(2), Data(4)];
    assert_eq!(rebuild_without(&lost, &[Parity(3)]).0, [true, true]);
    assert_eq!(rebuild_without(&lost, &[Parity(1), Parity(2)]).0, [false, true]);
}

#[test]
fn without_tries_a_wrong_part_stays_wrong() {
    let head = striped(6, 3, 3);
    let mut source = FakeSource::of(&head);
    (source.absent, source.forged) = (vec![Data(1)], vec![Parity(1)]);
    let rebuilder = PartRebuilder::new(&head, &source);
    rebuilder.tries_left.store(0, Ordering::Relaxed);
    let rebuilt = rebuilder.rebuild(&[find(&head, Data(1))]).unwrap();
    assert!(rebuilt[0].is_wrong() && rebuilt[0].missing.len() == head.statement.class.chunks());
    assert_eq!(rebuilder.wrong_parity(), BTreeSet::from([1]));
}

#[test]
fn without_parity_nothing_is_rebuilt() {
    let head = striped(6, 3, 2);
    let mut source = FakeSource::of(&head);
    source.damaged = vec![(Data(1), 4)];
    let mut plain = head.clone();
    plain.statement.scheme = None;
    let rebuilt = PartRebuilder::new(&plain, &source).rebuild(&[find(&plain, Data(1))]).unwrap();
    assert_eq!(rebuilt[0].missing, [4]);
    assert!(source.opened.lock().unwrap().is_empty());
}

#[test]
fn a_group_is_of_one_stripe_and_fits_into_memory() {
    let head = striped(6, 3, 2);
    let parts: Vec<&Part> = head.parts.iter().collect();
    let damaged = BTreeMap::from([(0, parts[..3].to_vec()), (1, parts[3..5].to_vec())]);
    let sizes = |mib| -> Vec<usize> {
        rebuild_groups(&damaged, Class::from_mib(mib).unwrap()).iter().map(|group| group.len()).collect()
    };
    assert_eq!(sizes(1), [3, 2]);
    assert_eq!(sizes(64), [1; 5]);
    assert_eq!(sizes(256), [1; 5]);
}

#[test]
fn rebuilt_chunks_that_nothing_proves_are_read_only_with_digests() {
    let head = striped(3, 3, 1);
    let mut source = FakeSource::of(&head);
    let scheme = head.statement.scheme.unwrap();
    let chunks = head.statement.class.chunks();
    // Chunk 2 can be rebuilt; chunk 5 lies in a row with another bad one.
    let row = scheme.row_of(5, 0, chunks);
    source.damaged = vec![(Data(1), 2), (Data(1), 5), (Data(2), scheme.chunk_of(row, 1, chunks))];
    let rebuilt = PartRebuilder::new(&head, &source).rebuild(&[find(&head, Data(1))]).unwrap();
    assert_eq!((&rebuilt[0].missing[..], rebuilt[0].readable(true), rebuilt[0].readable(false)), (&[5][..], 5, 2));
    assert!(rebuilt[0].is_doubtful() && !rebuilt[0].is_wrong() && is_right(&rebuilt[0], &source));
}
