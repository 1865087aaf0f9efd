//! Parity of parts whose chunks are easy to tell apart, compared with the code itself.

use super::*;
use crate::base::gf::mul_add;
use crate::format::volume_number::tests::volumes;

const CLASS: Class = Class::ALL[0];

fn builder(k: u16, m: u16) -> ParityBuilder {
    ParityBuilder::new(Scheme::new(k, m, 1).unwrap(), CLASS)
}

/// A chunk that differs from those of other parts and from its neighbours.
fn chunk_of(number: u32, chunk: usize) -> Vec<u8> {
    vec![(number * 50) as u8 ^ chunk as u8; CHUNK]
}

fn add_part(builder: &ParityBuilder, number: u32) -> Vec<ParityShard> {
    let shard = builder.begin(number);
    (0..CLASS.chunks()).for_each(|chunk| builder.add(&shard, chunk, &chunk_of(number, chunk)));
    builder.finish(shard)
}

/// Adds a part of which every byte is the same.
fn add_uniform(builder: &ParityBuilder, number: u32, byte: u8) -> Vec<ParityShard> {
    let shard = builder.begin(number);
    (0..CLASS.chunks()).for_each(|chunk| builder.add(&shard, chunk, &[byte; CHUNK]));
    builder.finish(shard)
}

fn plaintext(builder: &ParityBuilder, shard: &ParityShard) -> Vec<u8> {
    let mut plain = Vec::new();
    builder.read(shard, |bytes| plain.extend_from_slice(bytes));
    plain
}

/// Number, place and volume of each part.
fn described(shards: &[ParityShard]) -> Vec<(u32, (u32, u16), u16)> {
    let place = |shard: &ParityShard| (shard.place.stripe, shard.place.position);
    shards.iter().map(|shard| (shard.number, place(shard), shard.volume.get())).collect()
}

#[test]
fn parity_gives_back_a_lost_part() {
    let builder = builder(3, 2);
    let scheme = builder.scheme;
    let chunks = CLASS.chunks();
    builder.close_stripe(3, volumes([4, 5]));
    let shards: Vec<ParityShard> = [3, 1, 2].into_iter().flat_map(|number| add_part(&builder, number)).collect();
    let parity: Vec<Vec<u8>> = shards.iter().map(|shard| plaintext(&builder, shard)).collect();
    let factors = Code::new(3, 2).recover(&[1, 3, 4], &[2]);
    for row in 0..chunks {
        let chunk = |position| scheme.chunk_of(row, position, chunks);
        let kept = [
            chunk_of(2, chunk(1)),
            parity[0][chunk(3) * CHUNK..][..CHUNK].to_vec(),
            parity[1][chunk(4) * CHUNK..][..CHUNK].to_vec(),
        ];
        let mut lost = vec![0; CHUNK];
        factors[0].iter().zip(&kept).for_each(|(factor, bytes)| mul_add(*factor, bytes, &mut lost));
        assert!(lost == chunk_of(3, chunk(2)), "row {row}");
    }
}

#[test]
fn a_stripe_that_is_closed_early_is_complete_with_its_last_data_part() {
    let builder = builder(3, 2);
    assert!(add_part(&builder, 3).is_empty());
    assert!(add_part(&builder, 1).is_empty());
    assert!(builder.close_stripe(3, volumes([4, 5])).is_empty(), "part 2 is still to come");
    assert_eq!(described(&add_part(&builder, 2)), [(1, (0, 3), 4), (2, (0, 4), 5)]);
}

#[test]
fn a_stripe_that_has_all_its_data_is_complete_once_it_is_closed() {
    let builder = builder(2, 1);
    assert!(add_part(&builder, 1).is_empty());
    assert!(add_part(&builder, 2).is_empty(), "the volume of its parity is not known yet");
    assert_eq!(described(&builder.close_stripe(2, volumes([7]))), [(1, (0, 2), 7)]);
}

#[test]
fn a_part_that_is_still_being_added_holds_back_its_stripe() {
    let builder = builder(2, 1);
    let open = builder.begin(1);
    assert!(add_part(&builder, 2).is_empty());
    assert!(builder.close_stripe(2, volumes([7])).is_empty());
    assert_eq!(builder.finish(open).len(), 1);
}

#[test]
fn stripes_that_are_built_at_the_same_time_do_not_mix() {
    let builder = builder(2, 1);
    builder.close_stripe(2, volumes([1]));
    builder.close_stripe(4, volumes([2]));
    assert!(add_part(&builder, 1).is_empty());
    assert!(add_part(&builder, 3).is_empty());
    assert_eq!(described(&add_part(&builder, 4)), [(2, (1, 2), 2)]);
    assert_eq!(described(&add_part(&builder, 2)), [(1, (0, 2), 1)]);
}

#[test]
fn a_short_stripe_counts_its_missing_data_as_zeros() {
    let builder = builder(4, 1);
    assert!(add_uniform(&builder, 5, 9).is_empty());
    let shards = builder.close_stripe(5, volumes([1]));
    assert_eq!(described(&shards), [(2, (1, 4), 1)]);
    let mut sum = vec![0; CHUNK];
    Code::new(4, 1).add(0, &[9; CHUNK], 4, &mut sum);
    assert!(plaintext(&builder, &shards[0]).chunks(CHUNK).all(|chunk| chunk == sum));
}

#[test]
fn rows_of_a_finished_stripe_serve_the_next_one_as_zeros() {
    let builder = builder(1, 1);
    builder.close_stripe(1, volumes([1]));
    drop(add_uniform(&builder, 1, 9));
    assert_eq!(lock(&builder.spare).len(), CLASS.chunks());
    builder.close_stripe(2, volumes([1]));
    let shards = add_uniform(&builder, 2, 5);
    assert!(lock(&builder.spare).is_empty());
    let mut sum = vec![0; CHUNK];
    Code::new(1, 1).add(0, &[5; CHUNK], 1, &mut sum);
    assert!(plaintext(&builder, &shards[0]).chunks(CHUNK).all(|chunk| chunk == sum));
}

#[test]
fn memory_counts_the_stripes_that_workers_can_have_open() {
    let scheme = Scheme::new(4, 2, 1).unwrap();
    let part = CLASS.plain_len() as u64;
    assert_eq!(ParityBuilder::memory(scheme, CLASS, 1), 2 * 2 * part);
    assert_eq!(ParityBuilder::memory(scheme, CLASS, 8), 3 * 2 * part);
    assert_eq!(ParityBuilder::memory(scheme, CLASS, 9), 4 * 2 * part);
}
