//! The small files of every volume: seals first, list and heads last, each sealed afresh for each
//! volume, so that no two drives hold equal bytes.

use std::io::Write;
use std::path::Path;

use crate::base::digest::{Digest, Hasher};
use crate::base::entry::Entry;
use crate::base::fault::IoFault;
use crate::base::pool::{side_by_side, workers};
use crate::base::secret::{FileKey, SecretText};
use crate::flow::FlowError;
use crate::flow::error::OutputError;
use crate::format::head::Head;
use crate::format::list;
use crate::format::part::{CHUNK, HEADER, SEALED_CHUNK, padding_frame};
use crate::format::seal::Seal;
use crate::stage::compress::{Compressor, Level};
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

/// The list of `entries` and its hash, `H("list", text)`.
pub fn list_of(entries: &[Entry]) -> Result<(Sealable, Digest), FlowError> {
    let mut stretches: Vec<&[Entry]> = entries.chunks(LIST_FRAME).collect();
    if stretches.is_empty() {
        stretches.push(&[]);
    }
    let (mut hasher, mut frames) = (Hasher::tagged("list"), Vec::new());
    // A few at a time: the text is several times as long as the frames.
    for some in stretches.chunks(2 * workers()) {
        let tools = || Compressor::new(LIST_LEVEL);
        let made = side_by_side(some, tools, |compressor, entries| {
            let text: String = entries.iter().map(list::encode).collect();
            let compressor = compressor.as_mut().map_err(|error| error.clone())?;
            compressor.frame(text.as_bytes()).map(|frame| (text, frame))
        });
        for stretch in made {
            let (text, frame) = stretch?;
            hasher.update(text.as_bytes());
            frames.extend(frame);
        }
    }
    Ok((padded(frames), hasher.finish()))
}

/// The head, ready to be sealed.
pub fn head_of(head: &Head) -> Result<Sealable, FlowError> {
    Ok(padded(Compressor::new(Level::Quick)?.frame(head.encode().as_bytes())?))
}

/// Whole chunks only: the length of a small file says as little as that of a part.
fn padded(mut frames: Vec<u8>) -> Sealable {
    let mut gap = frames.len().next_multiple_of(CHUNK) - frames.len();
    if gap > 0 {
        if gap < 8 {
            gap += CHUNK;
        }
        let len = frames.len() + gap;
        frames.extend_from_slice(&padding_frame(gap));
        frames.resize(len, 0);
    }
    Sealable(frames)
}

/// Begins a volume in that folder, where none may be yet.
pub fn new_volume(path: &Path, number: u16) -> Result<Writer, FlowError> {
    Writer::create(path, number).map_err(|fault| match fault.source.kind() {
        std::io::ErrorKind::AlreadyExists => FlowError::Output(OutputError::VolumeExists(fault.path)),
        _ => FlowError::Io(fault),
    })
}

/// The seals of a volume, by name: two to the recipients, one to the passphrase, where there are such.
pub fn seals(
    seal: &Seal,
    recipients: &[Recipient],
    passphrase: Option<&SecretText>,
) -> Result<Vec<(&'static str, Vec<u8>)>, FlowError> {
    let text = seal.encode();
    let sealed = |(header, key): (Vec<u8>, FileKey)| -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut sealer = Sealer::new(&mut out, &header, &key)?;
        sealer.write_all(text.as_bytes())?;
        sealer.finish()?;
        Ok(out)
    };
    let mut headers = Vec::new();
    if !recipients.is_empty() {
        headers.extend(SEALS.map(|name| (name, header_for(recipients))));
    }
    headers.extend(passphrase.map(|passphrase| (PASSPHRASE_SEAL, header_for_passphrase(passphrase))));
    let made = headers.into_iter().map(|(name, header)| Ok((name, sealed(header)?)));
    made.collect::<std::io::Result<_>>().map_err(|error| FlowError::Defect(format!("a seal cannot be made: {error}")))
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
    use crate::stage::compress::Decompressor;

    #[test]
    fn small_files_are_whole_chunks() {
        for len in [0, 1, CHUNK - 9, CHUNK - 8, CHUNK - 7, CHUNK - 1, CHUNK, CHUNK + 1] {
            assert_eq!(padded(vec![0; len]).0.len() % CHUNK, 0, "{len}");
        }
    }

    #[test]
    fn padding_is_no_text() {
        let frames = padded(Compressor::new(Level::Quick).unwrap().frame(b"text").unwrap());
        let mut out = Vec::new();
        let take = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok::<(), ()>(())
        };
        Decompressor::new().unwrap().decode([&frames.0[..]].into_iter(), take).unwrap();
        assert_eq!(out, b"text");
    }
}
