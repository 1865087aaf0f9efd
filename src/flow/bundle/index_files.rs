//! Makes and writes the small files of every volume: the seals before the parts, the list and the heads after them.
//! Each is sealed anew for each volume, so that no two drives hold equal bytes. Before a text is sealed, `proofread.rs`
//! reads it as a reader would, and what no reader would take is not sealed.
//!
//! Not guaranteed: that the drive keeps these files. `flow/drives/read_back.rs` reads them back.

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
use crate::format::volume_number::VolumeNumber;
use crate::format::{FormatError, limits};
use crate::stage::compress::{Compressor, Level, ZstdError};
use crate::stage::seal::{Recipient, header_for, header_for_passphrase};
use crate::stage::stream::Sealer;
use crate::stage::volume::{HEADS, LIST, PASSPHRASE_SEAL, SEALS, Writer};

/// Lists are mostly digests: a higher level finds more matches among hex digits, and that costs.
const LIST_LEVEL: Level = Level::Zstd(1);
/// Entries whose lines go into one zstd frame of a list: about 4 MiB of text.
const LIST_FRAME: usize = 16 * 1024;

/// A text that is compressed and padded to whole chunks, ready to be sealed for each volume.
pub(crate) struct Sealable(Vec<u8>);

impl Sealable {
    /// Bytes of the sealed file.
    pub(crate) fn file_len(&self) -> u64 {
        (HEADER + self.0.len() / CHUNK * SEALED_CHUNK) as u64
    }
}

/// Makes the list of `entries` in a tar of `tar_len` bytes. Returns it with its hash, `H("list", text)`, which the
/// statement names.
///
/// # Errors
/// [`FlowError::Unopenable`] if no reader would take it; [`FlowError::Format`] if there are more entries than one
/// bundle takes.
pub(crate) fn list_of(entries: &[Entry], tar_len: u64) -> Result<(Sealable, Digest), FlowError> {
    proofread::check_sequence(entries, tar_len)?;
    let mut stretches: Vec<(usize, &[Entry])> = (0..).step_by(LIST_FRAME).zip(entries.chunks(LIST_FRAME)).collect();
    if stretches.is_empty() {
        stretches.push((0, &[]));
    }
    let mut hasher = Hasher::tagged("list");
    let mut frames = Vec::new();
    let mut text_len = 0;
    // Only a few stretches are in memory as text, which is several times as long as the frames.
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

/// What one thread needs to make stretches of a list and to read them again.
struct ListTools {
    compressor: Compressor,
    reader: Frames,
}

impl ListTools {
    fn new() -> Result<Self, ZstdError> {
        Ok(Self { compressor: Compressor::new(LIST_LEVEL)?, reader: Frames::new()? })
    }

    /// The lines of these entries and their frame. `before` entries stand before them in the list.
    fn frame(&mut self, entries: &[Entry], before: usize) -> Result<(String, Vec<u8>), FlowError> {
        let text: String = entries.iter().map(list::encode).collect();
        let frame = self.compressor.frame(text.as_bytes())?;
        self.reader.check("the list", &frame, text.as_bytes())?;
        proofread::check_lines(&text, entries, before)?;
        Ok((text, frame))
    }
}

/// Makes the text of a head ready to be sealed.
///
/// # Errors
/// [`FlowError::Unopenable`] if no reader would take it.
pub(crate) fn head_of(head: &Head) -> Result<Sealable, FlowError> {
    let text = head.encode();
    let frame = Compressor::new(Level::Quick)?.frame(text.as_bytes())?;
    Frames::new()?.check("the head", &frame, text.as_bytes())?;
    proofread::check_head(&text, head)?;
    let made = padded("the head", frame)?;
    FormatError::check_limit("the size of the head", made.file_len(), limits::HEAD).map_err(FlowError::Unopenable)?;
    Ok(made)
}

/// Pads frames with a skippable frame to whole chunks, so that the length of a small file says as little as that of a
/// part.
fn padded(what: &'static str, mut frames: Vec<u8>) -> Result<Sealable, FlowError> {
    let start = frames.len();
    let mut gap = frames.len().next_multiple_of(CHUNK) - frames.len();
    if gap > 0 {
        // A skippable frame has a header of 8 bytes.
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

/// Begins volume `number` in the folder `path`.
///
/// # Errors
/// [`OutputError::VolumeExists`] if the volume's folder holds anything.
pub(crate) fn new_volume(path: &Path, number: VolumeNumber) -> Result<Writer, FlowError> {
    Writer::create(path, number).map_err(|fault| match fault.source.kind() {
        std::io::ErrorKind::AlreadyExists => FlowError::Output(OutputError::VolumeExists(fault.path)),
        _ => FlowError::Io(fault),
    })
}

/// Makes the seals of one volume, with their file names: two to the recipients, if there are any, and one to the
/// passphrase, if there is one. `sealed_to` is the bundle's recipient, to which everything else is sealed.
///
/// # Errors
/// [`FlowError::Unopenable`] if no reader would take a seal, or if its key would open nothing.
pub(crate) fn seals(
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

/// Seals a text under a header, and opens it again.
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

/// Writes the list and both heads of a volume, each sealed to `recipient` under a header of its own.
pub(crate) fn write_index(
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
        let bundle = [3; 16];
        let recipient = identity.recipient();
        let kcommit = commitment(&bundle, secret.expose());
        let of = |kcommit| Seal { bundle, mode: Mode::Normal, kcommit, cards: None, identity: identity.to_text() };
        let to = [Identity::generate().recipient()];
        assert_eq!(seals((&of(kcommit), &recipient), &to, None).unwrap().len(), 2);
        for (seal, sealed_to) in [(of(Digest::ZERO), &recipient), (of(kcommit), &to[0])] {
            assert!(matches!(seals((&seal, sealed_to), &to, None), Err(FlowError::Unopenable(_))));
        }
    }

    #[test]
    fn no_two_seals_hold_equal_bytes() {
        let secret = Secret::random();
        let key = Identity::from_secret(&secret);
        let kcommit = commitment(&[3; 16], secret.expose());
        let seal = Seal { bundle: [3; 16], mode: Mode::Normal, kcommit, cards: None, identity: key.to_text() };
        let made = seals((&seal, &key.recipient()), &[Identity::generate().recipient()], None).unwrap();
        assert_eq!(made.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["seal.age", "seal2.age"]);
        assert_ne!(made[0].1, made[1].1);
        assert!(seals((&seal, &key.recipient()), &[], None).unwrap().is_empty(), "no recipient and no passphrase");
    }

    #[test]
    fn a_volume_is_begun_only_where_there_is_none() {
        let drive = tempfile::tempdir().unwrap();
        new_volume(drive.path(), VolumeNumber::new(1)).unwrap();
        let folder = drive.path().join("volume-1");
        std::fs::write(folder.join("clip.mov"), b"clip").unwrap();
        let error = new_volume(drive.path(), VolumeNumber::new(1)).err().unwrap();
        assert!(matches!(error, FlowError::Output(OutputError::VolumeExists(path)) if path == folder));
        let error = new_volume(&drive.path().join("missing"), VolumeNumber::new(1)).err().unwrap();
        assert!(matches!(error, FlowError::Io(fault) if fault.doing == "create"));
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
