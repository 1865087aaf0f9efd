//! Large pieces of memory, asked for before they are taken: where the system has none, the run ends with a
//! sentence. What this does not cover: small pieces, and what foreign code takes. There the standard library
//! ends the process, with a line of its own.

/// What a panic carries where the system has not so many bytes in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory(pub u64);

/// Whether so many bytes can be had in one piece now.
pub fn has(len: u64) -> bool {
    usize::try_from(len).is_ok_and(|len| Vec::<u8>::new().try_reserve_exact(len).is_ok())
}

/// Ends the work for want of so many bytes.
///
/// # Panics
/// Always, with [`NoMemory`].
pub fn lacks(len: u64) -> ! {
    std::panic::panic_any(NoMemory(len))
}

/// So many zeros. Pages that are never written to take no memory.
///
/// # Panics
/// With [`NoMemory`] where the system has not so many bytes in one piece.
pub fn zeros(len: usize) -> Vec<u8> {
    if !has(len as u64) {
        lacks(len as u64);
    }
    vec![0; len]
}

/// A copy of these bytes.
///
/// # Panics
/// As [`zeros`].
pub fn copy(bytes: &[u8]) -> Vec<u8> {
    let mut copy = Vec::new();
    if copy.try_reserve_exact(bytes.len()).is_err() {
        lacks(bytes.len() as u64);
    }
    copy.extend_from_slice(bytes);
    copy
}

/// Room for so many bytes more.
///
/// # Panics
/// As [`zeros`].
pub fn reserve(bytes: &mut Vec<u8>, more: usize) {
    if bytes.try_reserve(more).is_err() {
        lacks((bytes.len() + more) as u64);
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
