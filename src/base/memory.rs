//! Large pieces of memory, which are asked for before they are taken. If the system has none, the run ends with a
//! sentence. Not covered: small pieces, and memory that foreign code takes. There the standard library ends the process
//! with a line of its own.

/// The payload of the panic that ends a run: the system does not have so many bytes in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoMemory(pub(crate) u64);

/// Whether the system has so many bytes in one piece now. Does not keep them.
pub(crate) fn has(len: u64) -> bool {
    usize::try_from(len).is_ok_and(|len| Vec::<u8>::new().try_reserve_exact(len).is_ok())
}

/// Ends the run for lack of so many bytes. `cli/unforeseen.rs` turns the panic into a sentence.
///
/// # Panics
/// Always, with [`NoMemory`].
pub(crate) fn fail_for_lack_of(len: u64) -> ! {
    std::panic::panic_any(NoMemory(len))
}

/// So many zeros. Pages that are never written to take no memory.
///
/// # Panics
/// With [`NoMemory`] if the system does not have so many bytes in one piece.
pub(crate) fn zeros(len: usize) -> Vec<u8> {
    if !has(len as u64) {
        fail_for_lack_of(len as u64);
    }
    vec![0; len]
}

/// A copy of `bytes` that asks for its memory first.
///
/// # Panics
/// As [`zeros`].
pub(crate) fn copy(bytes: &[u8]) -> Vec<u8> {
    let mut copy = Vec::new();
    if copy.try_reserve_exact(bytes.len()).is_err() {
        fail_for_lack_of(bytes.len() as u64);
    }
    copy.extend_from_slice(bytes);
    copy
}

/// Makes room for `more` bytes after those that are there.
///
/// # Panics
/// As [`zeros`].
pub(crate) fn reserve(bytes: &mut Vec<u8>, more: usize) {
    if bytes.try_reserve(more).is_err() {
        fail_for_lack_of((bytes.len() + more) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_machine_has_is_refused_in_words_that_a_hook_understands() {
        assert!(has(1 << 20) && !has(u64::MAX) && !has(1 << 62));
        let caught = std::panic::catch_unwind(|| zeros(1 << 62)).unwrap_err();
        assert_eq!(caught.downcast_ref(), Some(&NoMemory(1 << 62)));
        assert!(zeros(1000).iter().all(|byte| *byte == 0));
        assert_eq!(copy(b"bytes"), b"bytes");
    }
}
