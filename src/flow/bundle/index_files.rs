//! The small files of every volume: seals first, list and heads last, each sealed afresh for each
//! volume, so that no two drives hold equal bytes. What no reader would take is not sealed.

use std::io::Write;
use std::path::Path;

use crate::base::digest::{Digest, Hasher};
use crate::base::entry::Entry;
use crate::base::fault::IoFault;
use crate::base::pool::{side_by_side, workers};
use crate::base::secret::{FileKey, SecretText};
use crate::flow::FlowError;
use crate::flow::bundle::proofread::{self, Frames};
use crate::flow::error::OutputError;
use crate::format::head::Head;
use crate::format::list;
use crate::format::part::{CHUNK, HEADER, SEALED_CHUNK, padding_frame};
use crate::format::seal::Seal;
use crate::format::{FormatError, limits};
use crate::stage::compress::{Compressor, Level, ZstdError};
use crate::stage::seal::{Recipient, header_for, header_for_passphrase};
use crate::stage::stream::Sealer;
use crate::stage::volume::{HEADS, LIST, PASSPHRASE_SEAL, SEALS, Writer};

/// Lists are mostly digests: harder work finds more matches of hex digits, and that costs.
const LIST_LEVEL: Level = Level::Zstd(1);
/// Entries whose lines go into one zstd frame of a list: some 4 MiB.
const LIST_FRAME: usize = 16 * 1024;

/// A text that is compressed, padded to whole chunks and ready to be sealed again and again.
pub struct Sealable(Vec<u8>);

impl Sealable {
    /// Bytes of its file.
    pub fn file_len(&self) -> u64 {
        (HEADER + self.0.len() / CHUNK * SEALED_CHUNK) as u64
    }
}

/// The list of `entries` in a tar of `tar_len` bytes, and its hash, `H("list", text)`.
///
/// # Errors
/// No reader would take it.
pub fn list_of(entries: &[Entry], tar_len: u64) -> Result<(Sealable, Digest), FlowError> {
    proofread::check_sequence(entries, tar_len)?;
    let mut stretches: Vec<(usize, &[Entry])> = (0..).step_by(LIST_FRAME).zip(entries.chunks(LIST_FRAME)).collect();
    if stretches.is_empty() {
        stretches.push((0, &[]));
    }
    let (mut hasher, mut frames, mut text_len) = (Hasher::tagged("list"), Vec::new(), 0);
    // A few at a time: the text is several times as long as the frames.
    for some in stretches.chunks(2 * workers()) {
        let made = side_by_side(some, ListTools::new, |tools, (before, entries)| {
            tools.as_mut().map_err(|error| error.clone())?.frame(entries, *before)
        });
        for stretch in made {
            let (text, frame) = stretch?;
            text_len += text.len() as u64;
            hasher.update(text.as_bytes());
            frames.extend(frame);
        }
        FormatError::check_limit("the length of the list", text_len, limits::LIST).map_err(FlowError::Unopenable)?;
    }
    Ok((padded("the list", frames)?, hasher.finish()))
}

/// What one thread makes stretches of a list with, and reads them again.
struct ListTools {
    compressor: Compressor,
    reader: Frames,
}

impl ListTools {
    fn new() -> Result<Self, ZstdError> {
        Ok(Self { compressor: Compressor::new(LIST_LEVEL)?, reader: Frames::new()? })
    }

    /// The lines of these entries, before which so many stand, and the frame of them.
    fn frame(&mut self, entries: &[Entry], before: usize) -> Result<(String, Vec<u8>), FlowError> {
        let text: String = entries.iter().map(list::encode).collect();
        let frame = self.compressor.frame(text.as_bytes())?;
        self.reader.check("the list", &frame, text.as_bytes())?;
        proofread::check_lines(&text, entries, before)?;
        Ok((text, frame))
    }
}

/// The head, ready to be sealed.
///
/// # Errors
/// No reader would take it.
pub fn head_of(head: &Head) -> Result<Sealable, FlowError> {
    let text = head.encode();
    let frame = Compressor::new(Level::Quick)?.frame(text.as_bytes())?;
    Frames::new()?.check("the head", &frame, text.as_bytes())?;
    proofread::check_head(&text, head)?;
    let made = padded("the head", frame)?;
    FormatError::check_limit("the size of the head", made.file_len(), limits::HEAD).map_err(FlowError::Unopenable)?;
    Ok(made)
}

/// Whole chunks only: the length of a small file says as little as that of a part.
fn padded(what: &'static str, mut frames: Vec<u8>) -> Result<Sealable, FlowError> {
    let start = frames.len();
    let mut gap = frames.len().next_multiple_of(CHUNK) - frames.len();
    if gap > 0 {
        if gap < 8 {
            gap += CHUNK;
        }
        let len = frames.len() + gap;
        frames.extend_from_slice(&padding_frame(gap));
        frames.resize(len, 0);
        Frames::new()?.check(what, &frames[start..], b"")?;
    }
    Ok(Sealable(frames))
}

/// Begins a volume in that folder, where none may be yet.
pub fn new_volume(path: &Path, number: u16) -> Result<Writer, FlowError> {
    Writer::create(path, number).map_err(|fault| match fault.source.kind() {
        std::io::ErrorKind::AlreadyExists => FlowError::Output(OutputError::VolumeExists(fault.path)),
        _ => FlowError::Io(fault),
    })
}

/// The seals of a volume, by name: two to the recipients, one to the passphrase, where there are such. `sealed_to`
/// is whom all the rest is sealed to.
///
/// # Errors
/// No reader would take it, or it would open nothing.
pub fn seals(
    (seal, sealed_to): (&Seal, &Recipient),
    recipients: &[Recipient],
    passphrase: Option<&SecretText>,
) -> Result<Vec<(&'static str, Vec<u8>)>, FlowError> {
    proofread::check_seal(seal, sealed_to)?;
    let text = seal.encode();
    let mut headers = Vec::new();
    if !recipients.is_empty() {
        headers.extend(SEALS.map(|name| (name, header_for(recipients))));
    }
    headers.extend(passphrase.map(|passphrase| (PASSPHRASE_SEAL, header_for_passphrase(passphrase))));
    headers.into_iter().map(|(name, header)| Ok((name, sealed(&text, header)?))).collect()
}

fn sealed(text: &SecretText, (header, key): (Vec<u8>, FileKey)) -> Result<Vec<u8>, FlowError> {
    let mut out = Vec::new();
    let made = Sealer::new(&mut out, &header, &key).and_then(|mut sealer| {
        sealer.write_all(text.as_bytes())?;
        sealer.finish().map(drop)
    });
    made.map_err(|error| FlowError::Defect(format!("a seal cannot be made: {error}")))?;
    proofread::check_sealed(&out, &key, text.as_bytes())?;
    Ok(out)
}

/// Writes the list and both heads.
pub fn write_index(
    writer: &mut Writer,
    list: &Sealable,
    head: &Sealable,
    recipient: &Recipient,
) -> Result<(), IoFault> {
    let to = std::slice::from_ref(recipient);
    put(writer, LIST, header_for(to), &list.0)?;
    for name in HEADS {
        put(writer, name, header_for(to), &head.0)?;
    }
    Ok(())
}

fn put(writer: &mut Writer, name: &str, (header, key): (Vec<u8>, FileKey), plain: &[u8]) -> Result<(), IoFault> {
    writer.put_stream(name, |out| {
        let mut sealer = Sealer::new(out, &header, &key)?;
        sealer.write_all(plain)?;
        sealer.finish()?;
        Ok(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::format::seal::{Mode, commitment};
    use crate::stage::compress::Decompressor;
    use crate::stage::seal::Identity;

    #[test]
    fn a_seal_that_opens_nothing_is_not_made() {
        let secret = Secret::random();
        let identity = Identity::from_secret(&secret);
        let (bundle, recipient) = ([3; 16], identity.recipient());
        let kcommit = commitment(&bundle, secret.expose());
        let of = |kcommit| Seal { bundle, mode: Mode::Normal, kcommit, cards: None, identity: identity.to_text() };
        let to = [Identity::generate().recipient()];
        assert_eq!(seals((&of(kcommit), &recipient), &to, None).unwrap().len(), 2);
        for (seal, sealed_to) in [(of(Digest::ZERO), &recipient), (of(kcommit), &to[0])] {
            assert!(matches!(seals((&seal, sealed_to), &to, None), Err(FlowError::Unopenable(_))));
        }
    }

    #[test]
    fn small_files_are_whole_chunks() {
        for len in [0, 1, CHUNK - 9, CHUNK - 8, CHUNK - 7, CHUNK - 1, CHUNK, CHUNK + 1] {
            assert_eq!(padded("it", vec![0; len]).unwrap().0.len() % CHUNK, 0, "{len}");
        }
    }

    #[test]
    fn padding_is_no_text() {
        let frames = padded("it", Compressor::new(Level::Quick).unwrap().frame(b"text").unwrap()).unwrap();
        let mut out = Vec::new();
        let take = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok::<(), ()>(())
        };
        Decompressor::new().unwrap().decode([&frames.0[..]].into_iter(), take).unwrap();
        assert_eq!(out, b"text");
    }
}
