//! Parts sealed in memory and opened again with the recipient's key.

use super::*;
use crate::base::digest::{quick, sha256};
use crate::format::part::HEADER;
use crate::format::recipe::FrameRecipe;
use crate::format::stripe::Scheme;
use crate::format::stripe::ShardPos;
use crate::format::volume_number::tests::volumes;
use crate::stage::part_filler::Segment;
use crate::stage::seal::{Identity, Keyring};
use crate::stage::stream::PartOpener;

const CLASS: Class = Class::ALL[0];

fn full_part(number: u32, plaintext: &[u8]) -> FullPart<Arc<Vec<u8>>> {
    let segments = vec![Segment::Bytes(plaintext[..2].to_vec()), Segment::Bytes(plaintext[2..].to_vec())];
    FullPart { number, offset: 512, length: 1024, segments, frames: vec![FrameRecipe::Stored(1024)] }
}

/// The plaintext of a sealed part, opened under the header that the head will have.
fn opened(sealed: SealedPart, identity: Identity) -> Vec<u8> {
    let mut ring = Keyring::new();
    ring.add(identity);
    let SealedPart { part, mut buf, .. } = sealed;
    let (file_key, _) = ring.open_header(&part.header[..]).unwrap();
    assert!(PartOpener::new(&file_key, &part.header, CLASS.chunks()).open_all(&mut buf).is_empty());
    (0..CLASS.chunks()).flat_map(|chunk| buf.plain(chunk).to_vec()).collect()
}

#[test]
fn a_sealed_part_opens_with_the_key_and_is_padded_with_zeros() {
    let identity = Identity::generate();
    let recipient = identity.recipient();
    let sealer = BundleSealer::new(&recipient, CLASS, 1, None);
    let made = sealer.seal_data(full_part(1, b"plaintext"), VolumeNumber::new(3)).unwrap();
    let plain = opened(made.sealed, identity);
    assert_eq!(&plain[..9], b"plaintext");
    assert!(plain.len() == CLASS.plain_len() && plain[9..].iter().all(|byte| *byte == 0));
}

#[test]
fn the_head_names_the_file_as_it_was_sealed() {
    let recipient = Identity::generate().recipient();
    let sealer = BundleSealer::new(&recipient, CLASS, 1, None);
    let SealedPart { part, length, buf } =
        sealer.seal_data(full_part(7, b"plaintext"), VolumeNumber::new(3)).unwrap().sealed;
    assert_eq!(part.sha256, sha256(buf.file()));
    assert_eq!(part.header[..], buf.file()[..HEADER]);
    assert_eq!((part.number, part.volume.get(), part.shard), (7, 3, None));
    assert_eq!((part.kind, length), (PartKind::Data { offset: 512, length: 1024 }, 1024));
}

#[test]
fn the_recipe_hashes_the_plaintext_without_the_padding() {
    let recipient = Identity::generate().recipient();
    let sealer = BundleSealer::new(&recipient, CLASS, 1, None);
    let made = sealer.seal_data(full_part(1, b"plaintext"), VolumeNumber::new(3)).unwrap();
    assert_eq!(made.recipe, Recipe::new(512, quick(b"plaintext"), vec![FrameRecipe::Stored(1024)]));
}

#[test]
fn the_last_data_part_of_a_stripe_brings_its_parity() {
    let identity = Identity::generate();
    let recipient = identity.recipient();
    let parity = ParityBuilder::new(Scheme::new(2, 1, 1).unwrap(), CLASS);
    let sealer = BundleSealer::new(&recipient, CLASS, 1, Some(parity));
    assert!(sealer.close_stripe(2, volumes([3])).is_empty());
    assert!(sealer.seal_data(full_part(1, b"plaintext"), VolumeNumber::new(1)).unwrap().shards.is_empty());
    let second = sealer.seal_data(full_part(2, b"plaintext"), VolumeNumber::new(2)).unwrap();
    assert_eq!(second.sealed.part.shard, Some(ShardPos { stripe: 0, position: 1 }));
    let mut shards = second.shards;
    drop(second.sealed);
    let sealed = sealer.seal_parity(shards.remove(0)).unwrap();
    let Part { number, kind, shard, volume, .. } = sealed.part;
    assert_eq!((number, kind, volume.get()), (1, PartKind::Parity, 3));
    assert_eq!(shard, Some(ShardPos { stripe: 0, position: 2 }));
    assert_eq!((sealed.length, sealed.part.sha256), (0, sha256(sealed.buf.file())));
    let plain = opened(sealed, identity);
    assert!(shards.is_empty() && plain.iter().any(|byte| *byte != 0));
}

#[test]
fn without_parity_a_stripe_that_is_closed_has_none() {
    let recipient = Identity::generate().recipient();
    let sealer = BundleSealer::new(&recipient, CLASS, 1, None);
    assert!(sealer.seal_data(full_part(1, b"plaintext"), VolumeNumber::new(1)).unwrap().shards.is_empty());
    assert!(sealer.close_stripe(1, volumes([1])).is_empty());
}

#[test]
fn a_stripe_without_volumes_for_parity_is_not_closed() {
    let recipient = Identity::generate().recipient();
    let parity = ParityBuilder::new(Scheme::new(1, 1, 1).unwrap(), CLASS);
    let sealer = BundleSealer::new(&recipient, CLASS, 1, Some(parity));
    assert!(sealer.close_stripe(1, Vec::new()).is_empty());
    assert!(sealer.seal_data(full_part(1, b"plaintext"), VolumeNumber::new(1)).unwrap().shards.is_empty());
}

#[test]
fn nothing_is_sealed_once_the_buffers_are_closed() {
    let recipient = Identity::generate().recipient();
    let sealer = BundleSealer::new(&recipient, CLASS, 1, None);
    sealer.buffers().close();
    assert!(sealer.seal_data(full_part(1, b"plaintext"), VolumeNumber::new(1)).is_none());
}
