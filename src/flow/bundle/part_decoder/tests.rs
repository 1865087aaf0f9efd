//! Small parts in memory, and a small bundle in a folder, which the tests of unpack and salvage use too.

use std::path::PathBuf;

use super::*;
use crate::base::digest::sha256;
use crate::base::entry::Entry;
use crate::flow::bundle::open::Bundle;
use crate::flow::bundle::test_bundle::{CLASS, keyring, seal_plain};
use crate::format::head::tests::striped;
use crate::format::member;
use crate::format::part::{CHUNK, HEADER, SEALED_CHUNK, Trail, file_name};
use crate::format::statement::Statement;
use crate::format::volume_number::VolumeNumber;
use crate::plan::layout::{Layout, lay_out};
use crate::stage::compress::{Compressor, Level};
use crate::stage::seal::{Identity, Recipient};
use crate::stage::volume;

const NAME: [u8; 16] = [7; 16];

/// The plaintext of a part: lead, frames, trail and padding.
fn plaintext(lead: Lead, frames: &[u8], trail: Trail) -> Vec<u8> {
    let mut plain = [&lead.encode()[..], frames, &trail.encode(CLASS.room() - frames.len())].concat();
    plain.resize(CLASS.plain_len(), 0);
    plain
}

fn frame(tar: &[u8]) -> Vec<u8> {
    Compressor::new(Level::Quick).unwrap().frame(tar).unwrap()
}

/// A tar in which each file is filled with a letter of its own: `a` for the first entry, `b` for the next. Sets where
/// the contents lie, and their digests.
fn tar_of(entries: &mut [Entry]) -> (Vec<u8>, Layout) {
    let layout = lay_out(entries, &mut Vec::new());
    let mut tar = layout.front.clone();
    for (entry, letter) in entries.iter_mut().zip(b'a'..) {
        tar.extend(member::of_entry(entry));
        let content = vec![letter; entry.size as usize];
        entry.sha256 = entry.has_content().then(|| sha256(&content));
        tar.extend(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    let digest = |at: usize| entries[at].sha256.unwrap_or_else(|| sha256(b""));
    let written = layout.write_tail(entries, digest, |bytes| {
        tar.extend_from_slice(bytes);
        Ok::<(), ()>(())
    });
    written.unwrap();
    (tar, layout)
}

/// A bundle without parity, in one folder.
pub(crate) struct SmallBundle {
    pub(crate) drive: tempfile::TempDir,
    pub(crate) entries: Vec<Entry>,
    pub(crate) bundle: Bundle,
}

impl SmallBundle {
    /// Packs these entries into parts with `size` bytes of tar each.
    pub(crate) fn new(mut entries: Vec<Entry>, size: usize) -> Self {
        let drive = tempfile::tempdir().unwrap();
        let identity = Identity::generate();
        let recipient = identity.recipient();
        let keyring = keyring(&[&identity]);
        let (tar, layout) = tar_of(&mut entries);
        let mut parts = Vec::new();
        for (number, stretch) in (1..).zip(tar.chunks(size)) {
            let offset = (number as usize - 1) * size;
            let range = offset as u64..(offset + stretch.len()) as u64;
            let first_member = layout.first_member(&range);
            let trail = Trail { length: stretch.len() as u64, first_member, last: range.end == layout.len };
            let lead = Lead { bundle: NAME, number, offset: range.start };
            let (part, file) = seal(&recipient, lead, stretch, trail);
            std::fs::write(drive.path().join(file_name(number)), file.file()).unwrap();
            parts.push(part);
        }
        let statement = Statement { bundle: NAME, scheme: None, n: 1, ..striped(1, 1, 1).statement };
        let statement = Statement { class: CLASS, parts: parts.len() as u32, tar: layout.len, ..statement };
        let head = Head { statement, auth: Vec::new(), parts };
        let volumes = vec![volume::read(drive.path()).unwrap()];
        let bundle = Bundle { head, keyring, recipient, volumes, passed_over: Vec::new(), notes: Vec::new() };
        Self { drive, entries, bundle }
    }

    pub(crate) fn part_file(&self, number: u32) -> PathBuf {
        self.drive.path().join(file_name(number))
    }

    /// Removes the file of a part from the drive.
    pub(crate) fn lose(&mut self, number: u32) {
        std::fs::remove_file(self.part_file(number)).unwrap();
        self.bundle.volumes = vec![volume::read(self.drive.path()).unwrap()];
    }

    /// Changes a byte in a chunk (from 0) of a part.
    pub(crate) fn damage(&self, number: u32, chunk: usize) {
        let mut bytes = std::fs::read(self.part_file(number)).unwrap();
        bytes[HEADER + chunk * SEALED_CHUNK + 9] ^= 1;
        std::fs::write(self.part_file(number), bytes).unwrap();
    }
}

/// Seals a part that holds this stretch of the tar. Returns its line of the table, and its file.
fn seal(recipient: &Recipient, lead: Lead, tar: &[u8], trail: Trail) -> (Part, PartBuf) {
    let (header, sha256, file) = seal_plain(&plaintext(lead, &frame(tar), trail), recipient);
    let kind = PartKind::Data { offset: lead.offset, length: trail.length };
    (
        Part { number: lead.number, kind, shard: None, volume: VolumeNumber::new(1), sha256, header: Box::new(header) },
        file,
    )
}

/// An open part of these frames, and the decoder for a part that holds `length` bytes of tar from 512 on.
fn opened(frames: &[u8], length: u64) -> (PartBuf, PartDecoder) {
    let lead = Lead { bundle: NAME, number: 2, offset: 512 };
    let plain = plaintext(lead, frames, Trail { length, first_member: None, last: true });
    let mut buf = PartBuf::new(CLASS);
    for (chunk, bytes) in buf.chunks_mut().zip(plain.chunks(CHUNK)) {
        chunk[..CHUNK].copy_from_slice(bytes);
    }
    (buf, PartDecoder { lead, length })
}

/// What decoding comes to, and the pieces of tar that came out, with their offsets.
struct Decoding {
    result: Result<Option<ContentFault>, FlowError>,
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Decoding {
    /// Of the first `chunks` chunks.
    fn of((buf, decoder): &(PartBuf, PartDecoder), chunks: usize) -> Self {
        let mut pieces = Vec::new();
        let result = decoder.decode(buf, chunks, &mut Decompressor::new().unwrap(), |at, bytes| {
            pieces.push((at, bytes.to_vec()));
            Ok(())
        });
        Self { result, pieces }
    }

    fn fault(self) -> ContentFault {
        self.result.unwrap().unwrap()
    }

    /// Bytes of all pieces.
    fn len(&self) -> usize {
        self.pieces.iter().map(|(_, bytes)| bytes.len()).sum()
    }
}

#[test]
fn pieces_of_tar_come_with_their_offsets() {
    let part = opened(&[frame(&[b'x'; 512]), frame(&[b'y'; 1024])].concat(), 1536);
    let Decoding { result, pieces } = Decoding::of(&part, CLASS.chunks());
    assert_eq!(result.unwrap(), None);
    let mut end = 512;
    for (at, bytes) in &pieces {
        assert_eq!(*at, end);
        end += bytes.len() as u64;
    }
    let tar: Vec<u8> = pieces.into_iter().flat_map(|(_, bytes)| bytes).collect();
    assert_eq!(tar, [&[b'x'; 512][..], &[b'y'; 1024]].concat());
}

#[test]
fn a_part_with_less_tar_than_the_head_says_is_short() {
    let fault = Decoding::of(&opened(&frame(&[b'x'; 512]), 1024), CLASS.chunks()).fault();
    assert_eq!(fault, ContentFault::Short { found: 512, named: 1024 });
    assert_eq!(fault.to_string(), "holds 512 bytes of tar, 1024 were announced");
}

#[test]
fn tar_beyond_the_length_in_the_head_is_refused_and_not_handed_on() {
    let decoding = Decoding::of(&opened(&frame(&[b'x'; 1024]), 512), CLASS.chunks());
    assert!(matches!(decoding.result, Err(FlowError::Format(FormatError::Limit { limit: 512, .. }))));
    assert!(decoding.len() <= 512);
}

#[test]
fn chunks_that_end_within_a_frame_give_the_tar_before_it() {
    let decoding = Decoding::of(&opened(&frame(&[b'x'; 512]), 512), 1);
    assert_eq!(decoding.len(), 512);
    let fault = decoding.fault();
    assert_eq!(fault, ContentFault::Truncated, "the trail's frame goes on to the end of the part");
    assert_eq!(fault.to_string(), "its compressed content is cut short");
}

#[test]
fn bytes_that_are_no_frame_are_unreadable() {
    let decoding = Decoding::of(&opened(&[0xff; 100], 512), CLASS.chunks());
    assert_eq!(decoding.len(), 0);
    let fault = decoding.fault();
    assert!(matches!(fault, ContentFault::Unreadable(_)), "{fault}");
    assert!(fault.to_string().starts_with("its compressed content cannot be read (zstd: "), "{fault}");
}

#[test]
fn an_error_of_the_sink_ends_the_decoding() {
    let (buf, decoder) = opened(&[frame(&[b'x'; 512]), frame(&[b'y'; 512])].concat(), 1024);
    let mut calls = 0;
    let result = decoder.decode(&buf, CLASS.chunks(), &mut Decompressor::new().unwrap(), |_, _| {
        calls += 1;
        Err(FlowError::Cancelled)
    });
    assert!(matches!(result, Err(FlowError::Cancelled)));
    assert_eq!(calls, 1);
}

#[test]
fn the_lead_has_to_be_the_one_that_the_head_names() {
    let (buf, decoder) = opened(&frame(b""), 512);
    assert_eq!(decoder.check_lead(&buf), Ok(()));
    let why = |lead: Lead| decoder_error(&buf, PartDecoder { lead, ..decoder });
    assert_eq!(why(Lead { bundle: [8; 16], ..decoder.lead }), "it says that it is a part of another bundle");
    assert!(why(Lead { number: 3, ..decoder.lead }).starts_with("it says that it is part 2,"));
    assert!(why(Lead { offset: 1024, ..decoder.lead }).ends_with("which begins at byte 1024 of the tar"));
    assert!(decoder.check_lead(&PartBuf::new(CLASS)).is_err(), "zeros are no lead");
}

fn decoder_error(buf: &PartBuf, decoder: PartDecoder) -> String {
    match decoder.check_lead(buf) {
        Err(FormatError::Malformed { what: "a part", line: 0, why }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_parity_part_holds_no_tar() {
    let head = striped(2, 2, 1);
    let decoders: Vec<_> = head.parts.iter().map(|part| PartDecoder::new(&head, part)).collect();
    let second = PartDecoder { lead: Lead { bundle: NAME, number: 2, offset: 512 }, length: 512 };
    assert_eq!(decoders[1..], [Some(second), None]);
    assert_eq!((second.start(), second.end()), (512, 1024));
}
