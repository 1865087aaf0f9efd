use super::*;
use crate::base::digest::Digest;
use crate::format::member;
use crate::plan::layout::tests::{dir, file, symlink};
use crate::plan::layout::{Layout, lay_out};

/// A whole tar of these entries, with its layout. A file's content repeats the first letter of its name.
fn tar(entries: &mut [Entry]) -> (Vec<u8>, Layout) {
    let layout = lay_out(entries, &mut Vec::new());
    let mut tar = layout.front.clone();
    for entry in entries.iter() {
        tar.extend(member::of_entry(entry));
        tar.resize(tar.len() + entry.size as usize, entry.path.name()[0]);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    let mut put = |bytes: &[u8]| -> Result<(), ()> {
        tar.extend_from_slice(bytes);
        Ok(())
    };
    layout.write_tail(entries, |_| Digest::ZERO, &mut put).unwrap();
    assert_eq!(tar.len() as u64, layout.len);
    (tar, layout)
}

/// Entries with everything that makes reading hard: a path that needs a pax header, a name with a newline, an empty
/// file, contents with and without padding.
fn tree() -> Vec<Entry> {
    let long = format!("d/{}", "long ".repeat(45));
    let mut all = vec![
        dir("d"),
        file("d/a", 700),
        file("d/big", 9000),
        file("d/new\n9 x=y\nline", 3),
        file(&long, 1024),
        symlink("d/z", "a"),
        file("e", 0),
        file("f", 512),
    ];
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}

#[test]
fn all_comes_back_in_pieces_of_any_length() {
    let mut entries = tree();
    let (tar, _) = tar(&mut entries);
    for step in [1, 100, 511, 512, 4096, tar.len()] {
        let mut untar = Untar::new();
        tar.chunks(step).for_each(|piece| untar.take(piece).unwrap());
        let found = untar.finish();
        assert_eq!(found.whole, entries, "{step}");
        assert!(found.torn.is_empty(), "{step}");
        assert!(found.ended && !found.gaps && found.broken.is_empty() && found.refused.is_empty());
        let manifest = String::from_utf8(found.manifests[0].clone().unwrap()).unwrap();
        assert!(manifest.contains("  data/d/big\n") && found.manifests[1].is_some());
    }
}

#[test]
fn whatever_is_missing_the_rest_is_found() {
    let mut entries = tree();
    let (tar, layout) = tar(&mut entries);
    let stretches: Vec<&[u8]> = tar.chunks(2048).collect();
    assert!(stretches.len() > 8);
    // Each bit of `lost` is a stretch that is missing: every combination is tried.
    for lost in 0u32..1 << stretches.len().min(13) {
        let mut untar = Untar::new();
        let is_lost = |at: usize| lost >> at & 1 == 1;
        for (at, stretch) in stretches.iter().enumerate().filter(|(at, _)| !is_lost(*at)) {
            let start = at as u64 * 2048;
            untar.begin(start, layout.first_member(&(start..start + stretch.len() as u64)));
            untar.take(stretch).unwrap();
        }
        let found = untar.finish();
        let there = |from: u64, to: u64| (from / 2048..to.div_ceil(2048)).all(|at| !is_lost(at as usize));
        assert_eq!(found.ended && !found.gaps, there(0, tar.len() as u64 - 512), "{lost:b}");
        for (entry, start) in entries.iter().zip(&layout.starts) {
            let content = start + member::len_of_entry(entry);
            let is_there = there(*start, content);
            let is_whole = is_there && there(content, content + entry.size);
            assert_eq!(found.whole.contains(entry), is_whole, "{lost:b}: {entry:?}");
            let is_torn = found.torn.iter().any(|torn| torn.path == entry.path);
            assert_eq!(is_torn, is_there && !is_whole, "{lost:b}: {entry:?}");
        }
        assert!(found.broken.is_empty() && found.refused.is_empty());
    }
}

#[test]
fn a_tar_that_was_packed_is_not_read() {
    let (inner, _) = tar(&mut tree());
    let mut entries = vec![file("inner.tar", inner.len() as u64), file("z", 1)];
    let layout = lay_out(&mut entries, &mut Vec::new());
    let mut tar = layout.front.clone();
    tar.extend(member::of_entry(&entries[0]));
    tar.extend(&inner);
    tar.extend(member::of_entry(&entries[1]));
    let whole = vec![("inner.tar", true)];
    let cases = [(512..1024u64, whole), (0..1024, vec![]), (0..4096, vec![]), (3072..4096, vec![("inner.tar", false)])];
    for (lost, expected) in cases {
        let mut untar = Untar::new();
        if lost.start > 0 {
            untar.take(&tar[..lost.start as usize]).unwrap();
        }
        // The trail of this part says that no member begins in it.
        untar.begin(lost.end, None);
        untar.take(&tar[lost.end as usize..layout.starts[1] as usize]).unwrap();
        let Members { whole, torn, .. } = untar.finish();
        let whole = whole.iter().map(|entry| (entry.path.to_string(), true));
        let found: Vec<_> = whole.chain(torn.iter().map(|entry| (entry.path.to_string(), false))).collect();
        let expected: Vec<_> = expected.iter().map(|(path, whole)| (path.to_string(), *whole)).collect();
        assert_eq!(found, expected, "{lost:?}");
    }
}

/// What the reader makes of a tar of members (type, name, link target) without content.
fn found(members: &[(u8, &str, &str)]) -> Members {
    let mut untar = Untar::new();
    for (kind, name, link) in members {
        let time = crate::base::entry::Time::default();
        untar.take(&member::of_values(*kind, name.as_bytes(), link.as_bytes(), 0, 0o644, time)).unwrap();
    }
    untar.finish()
}

#[test]
fn names_that_lead_out_are_refused() {
    let long = format!("bag/data/{}", "x".repeat(256));
    // Paths that lead out or are no paths, a folder without its slash, links that lead out, and one that leads nowhere.
    let hostile = [
        (b'0', "bag/data/../x", ""),
        (b'0', "bag/data//etc/passwd", ""),
        (b'0', "bag/data/", ""),
        (b'0', "bag/data/a/./b", ""),
        (b'0', &long, ""),
        (b'5', "bag/data/d", ""),
        (b'5', "bag/data/..", ""),
        (b'1', "bag/data/l", "/etc/passwd"),
        (b'1', "bag/data/l", "bag/data/../x"),
        (b'2', "bag/data/l", ""),
    ];
    for member in hostile {
        let found = found(&[member, (b'0', "bag/data/good", "")]);
        assert_eq!((found.whole.len(), found.refused.len()), (1, 1), "{member:?}");
    }
    // Members outside of the payload are passed over without a word.
    let elsewhere =
        found(&[(b'0', "/etc/passwd", ""), (b'0', "../x", ""), (b'0', "bag/x", ""), (b'2', "bag/data", "/")]);
    assert!(elsewhere.whole.is_empty() && elsewhere.torn.is_empty());
}

#[test]
fn what_is_no_tar_is_passed_over() {
    let mut untar = Untar::new();
    untar.take(&[b'x'; 1000]).unwrap();
    let good = member::of_entry(&file("good", 0));
    untar.begin(1024, Some(1536));
    untar.take(&[[b'y'; 512].as_slice(), &good].concat()).unwrap();
    let found = untar.finish();
    assert_eq!((found.whole.len(), found.broken.len(), found.gaps, found.ended), (1, 1, true, false));
}

#[test]
fn zeros_are_holes_again() {
    let mut entry = file("sparse", 1 << 20);
    let mut content = vec![0; 1 << 20];
    content[300_000] = 1;
    content[800_000..].fill(1);
    content[850_000..900_000].fill(0);
    entry.at = 512;
    // Pieces that do not fit the grain may shift the ends of a hole a little, but never into data.
    for step in [1000, 262_144] {
        let mut untar = Untar::new();
        untar.take(&member::of_entry(&entry)).unwrap();
        content.chunks(step).for_each(|piece| untar.take(piece).unwrap());
        let found = untar.finish().whole;
        let holes = &found[0].holes;
        assert_eq!(holes.len(), 2, "{holes:?}");
        assert!(holes.iter().all(|(at, len)| content[*at as usize..(at + len) as usize].iter().all(|byte| *byte == 0)));
        assert!(holes.iter().map(|(_, len)| len).sum::<u64>() > 780_000);
    }
}
