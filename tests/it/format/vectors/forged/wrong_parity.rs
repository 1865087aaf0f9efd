//! Bundles made by an attacker who knows R: parity that is properly sealed but does not fit the data, or stripes that
//! do not fit the parts.

use std::fs;

use pouch::internals::format::head::{Part, PartKind};
use pouch::internals::format::part::{CHUNK, HEADER, Lead, PartBuf, Trail};
use pouch::internals::format::stripe::{Scheme, ShardPos};
use pouch::internals::format::volume_number::VolumeNumber;
use pouch::internals::stage::erasure::Code;
use pouch::internals::stage::seal::part_header;
use pouch::internals::stage::stream::PartSealer;

use super::{Forged, pouch, repair_and_check};
use crate::format::vectors::readable::KEY;
use crate::format::vectors::stored;

/// Where the second data part begins in the tar, before `hello.txt`.
const CUT: usize = 13_824;

/// Version 1's bundle as two data parts and this many parity parts, of which those in `wrong` do not fit.
fn striped(parity: u16, wrong: &[u32]) -> Forged {
    let mut forged = Forged::new();
    let (tar, bundle, class) = (forged.tar(), forged.head.statement.bundle, forged.head.statement.class);
    let scheme = Scheme::new(2, parity, 1).unwrap();
    let code = Code::new(2, parity.into());
    forged.head.parts.clear();
    let mut sums = vec![vec![vec![0; CHUNK]; class.chunks()]; parity.into()];
    for (number, offset, bytes) in [(1, 0, &tar[..CUT]), (2, CUT as u64, &tar[CUT..])] {
        let frames = stored(bytes);
        let trail = Trail { length: bytes.len() as u64, first_member: Some(offset), last: number == 2 };
        let trail = trail.encode(class.room() - frames.len());
        let mut plain = [&Lead { bundle, number, offset }.encode()[..], &frames, &trail].concat();
        plain.resize(class.plain_len(), 0);
        for (chunk, bytes) in plain.chunks(CHUNK).enumerate() {
            let position = number as u16 - 1;
            let row = scheme.row_of(chunk, position, class.chunks());
            for (at, sum) in (2..).zip(&mut sums) {
                code.add(position.into(), bytes, at.into(), &mut sum[scheme.chunk_of(row, at, class.chunks())]);
            }
        }
        let kind = PartKind::Data { offset, length: bytes.len() as u64 };
        add_part(&mut forged, number, kind, scheme.of_data(number), &plain);
    }
    for (number, chunks) in (1..).zip(sums) {
        let mut plain = chunks.concat();
        if wrong.contains(&number) {
            plain.iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        add_part(&mut forged, number, PartKind::Parity, scheme.of_parity(number), &plain);
    }
    (forged.head.statement.scheme, forged.head.statement.n) = (Some(scheme), 2 + parity);
    forged.seal_index();
    forged
}

fn add_part(forged: &mut Forged, number: u32, kind: PartKind, shard: ShardPos, plain: &[u8]) {
    let (header, key): ([u8; HEADER], _) = part_header(&forged.recipient);
    let mut buf = PartBuf::new(forged.head.statement.class);
    let mut sealer = PartSealer::new(&key, &header, &mut buf, |_, _| ());
    sealer.append(plain);
    let sha256 = sealer.finish();
    let volume = VolumeNumber::new(shard.position + 1);
    let part = Part { number, kind, shard: Some(shard), volume, sha256, header: Box::new(header) };
    fs::write(forged.file(&part.file_name()), buf.file()).unwrap();
    forged.head.parts.push(part);
}

#[test]
fn other_parity_does_where_one_does_not_fit() {
    for (parity, wrong) in [(1, &[][..]), (2, &[1]), (2, &[2]), (3, &[1, 2])] {
        let forged = striped(parity, wrong);
        fs::remove_file(forged.file("000002.age")).unwrap();
        let (code, said, out) = forged.unpack();
        assert_eq!(code, 0, "B-PAR-3: {parity} {wrong:?}: {said}");
        assert!(out.join("hello.txt").exists() && said.contains("yes: all 6 files"), "{said}");
        assert_eq!(said.contains("000001.par: is as it was sealed"), wrong.contains(&1), "{said}");
        assert_eq!(repair_and_check(&forged).0, 0, "{parity} {wrong:?}");
    }
}

#[test]
fn only_what_cannot_be_rebuilt_right_is_lost() {
    let forged = striped(1, &[1]);
    assert_eq!(forged.unpack().0, 0, "the data is whole");
    fs::remove_file(forged.file("000002.age")).unwrap();
    let (code, said, out) = forged.unpack();
    assert_eq!(code, 3, "{said}");
    assert!(out.join("byte.bin").exists() && out.join("nothing").exists(), "{said}");
    for name in ["hello.txt", "twin", "odd 100%"] {
        assert!(said.contains(&format!("not delivered: papers/{name}")), "{name}: {said}");
    }
    assert!(said.contains("yes: every byte delivered") && !said.contains("margin"), "{said}");
    let (volume, to) = (forged.file(""), tempfile::tempdir_in(forged.drive.path()).unwrap());
    let (volume, to) = (volume.to_str().unwrap(), to.path().to_str().unwrap());
    assert_eq!(pouch(&["repair", volume, "-i", KEY, "-o", to], b"").0, 4, "B-PAR-3");
}

#[test]
fn without_a_list_nothing_is_taken_from_parity_that_does_not_fit() {
    for (wrong, there) in [(&[][..], true), (&[1], false)] {
        let forged = striped(1, wrong);
        for name in ["000002.age", "list.age"] {
            fs::remove_file(forged.file(name)).unwrap();
        }
        let out = forged.drive.path().join("out");
        let (volume, to) = (forged.file(""), out.to_str().unwrap());
        let (code, said, err) = pouch(&["unpack", "--salvage", volume.to_str().unwrap(), "-i", KEY, "-o", to], b"");
        assert_eq!(out.join("papers/hello.txt").exists(), there, "{code} {said}{err}");
        assert!(out.join("papers/byte.bin").exists(), "{code} {said}{err}");
    }
}

#[test]
fn stripes_that_lie_are_refused() {
    let none = "k -\nm -\nc -\n";
    for numbers in [[0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 3], [200, 56, 1], [65_535, 1, 1], [65_536, 1, 1], [2, 1, 1]]
    {
        let mut forged = Forged::new();
        forged.seal_index();
        let text = forged.head.encode();
        let [k, m, c] = numbers;
        let lying = text.replacen(none, &format!("k {k}\nm {m}\nc {c}\n"), 1);
        assert_ne!(lying, text);
        forged.seal_text("head.age", &lying);
        let (code, said, out) = forged.unpack();
        assert!(code == 6 && !out.exists(), "{numbers:?}: {code} {said}");
        assert_eq!(repair_and_check(&forged), (6, 6, 0), "{numbers:?}");
    }
}

#[test]
fn parity_that_is_not_what_the_head_says_is_not_written() {
    // B-PAR-3: the parity can be made, but is not the file that the head names.
    let mut forged = Forged::new();
    forged.head.statement.scheme = Scheme::new(1, 1, 1);
    let shard = Some(ShardPos { stripe: 0, position: 1 });
    let parity = Part { number: 1, kind: PartKind::Parity, shard, ..forged.head.parts[0].clone() };
    forged.head.parts[0].shard = Some(ShardPos { stripe: 0, position: 0 });
    forged.head.parts.push(parity);
    forged.head.parts[1].sha256.0[0] ^= 1;
    forged.seal_index();
    let (repaired, _, written) = repair_and_check(&forged);
    assert_eq!((repaired, written), (4, 0));
    // This stripe does not follow from the part's number.
    forged.head.parts[1].shard = Some(ShardPos { stripe: 1, position: 1 });
    forged.seal_index();
    assert_eq!(repair_and_check(&forged), (6, 6, 0));
}
