//! Memory that is not swapped out: slots in locked pages, wiped when they are given back. This is the only file that
//! uses `region`. Not guaranteed: slots are ordinary memory if the system allows no more locked memory (`ulimit -l`),
//! hibernation writes all memory to disk, and copies elsewhere are not covered.

use std::sync::{Mutex, PoisonError};

use zeroize::Zeroize;

/// Bytes that are locked in one go, rounded up to whole pages.
const BLOCK: usize = 16 << 10;

/// Slots of one size, as many as callers take. A slot that comes back is lent again; the arena never frees memory.
pub(crate) struct Arena<const N: usize> {
    /// Wiped slots that are not on loan.
    free: Mutex<Vec<&'static mut [u8; N]>>,
}

impl<const N: usize> Arena<N> {
    /// Takes no memory before the first slot is taken.
    pub(crate) const fn new() -> Self {
        Self { free: Mutex::new(Vec::new()) }
    }

    /// Lends a slot of zeros.
    pub(crate) fn take(&'static self) -> Slot<N> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.is_empty() {
            free.extend(block());
        }
        Slot { bytes: free.pop(), arena: self }
    }
}

impl<const N: usize> Default for Arena<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Slots in pages of their own, locked for good: to unlock one slot would unlock its neighbours in the page.
fn block<const N: usize>() -> impl Iterator<Item = &'static mut [u8; N]> {
    let page = region::page::size();
    // A page more than needed, so that the first slot can begin at a page boundary.
    let memory: &'static mut [u8] = Vec::leak(vec![0; BLOCK.next_multiple_of(page) + page]);
    let start = memory.as_ptr().align_offset(page);
    let pages = &mut memory[start..][..BLOCK.next_multiple_of(page)];
    keep(pages);
    pages.chunks_exact_mut(N).map(|slot| slot.try_into().expect("chunks have the size they are asked for"))
}

/// Locks the pages that contain these bytes, for good, if the system allows it. For secrets that foreign code keeps in
/// its own memory.
pub(crate) fn keep(bytes: &[u8]) {
    lock(bytes.as_ptr(), bytes.len());
}

/// Locks a value in the same way. What it points to is not covered.
pub(crate) fn keep_value<T>(value: &T) {
    lock(std::ptr::from_ref(value), size_of::<T>());
}

/// Forgets the guard, which would unlock the pages when dropped. A refusal is no error.
fn lock<T>(start: *const T, len: usize) {
    if let Ok(guard) = region::lock(start, len) {
        std::mem::forget(guard);
    }
}

/// A piece of locked memory. It is wiped and given back when dropped.
pub(crate) struct Slot<const N: usize> {
    /// `None` only while the slot is being dropped.
    bytes: Option<&'static mut [u8; N]>,
    arena: &'static Arena<N>,
}

impl<const N: usize> std::ops::Deref for Slot<N> {
    type Target = [u8; N];

    fn deref(&self) -> &[u8; N] {
        self.bytes.as_ref().expect("a slot has its bytes until it is dropped")
    }
}

impl<const N: usize> std::ops::DerefMut for Slot<N> {
    fn deref_mut(&mut self) -> &mut [u8; N] {
        self.bytes.as_mut().expect("a slot has its bytes until it is dropped")
    }
}

impl<const N: usize> Clone for Slot<N> {
    fn clone(&self) -> Self {
        let mut copy = self.arena.take();
        copy.copy_from_slice(&self[..]);
        copy
    }
}

impl<const N: usize> Drop for Slot<N> {
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            bytes.zeroize();
            self.arena.free.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags that the system shows for the mapping that contains this byte.
    fn flags(byte: &u8) -> String {
        let at = std::ptr::from_ref(byte) as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            if let Some((Some(from), Some(to))) = range.map(|(from, to)| (number(from), number(to))) {
                inside = (from..to).contains(&at);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
                return flags.to_string();
            }
        }
        panic!("the byte is nowhere in\n{maps}");
    }

    #[test]
    fn slots_are_locked_as_long_as_the_system_allows() {
        static ARENA: Arena<32> = Arena::new();
        let slots: Vec<Slot<32>> = (0..BLOCK / 32 + 1).map(|_| ARENA.take()).collect();
        for slot in [&slots[0], &slots[BLOCK / 32]] {
            assert!(flags(&slot[0]).contains(" lo"), "not locked: {}", flags(&slot[0]));
            assert!(flags(&slot[31]).contains(" lo"));
        }
        let text = Box::new([7; 100]);
        keep(&text[..]);
        assert!(flags(&text[99]).contains(" lo"));
    }

    #[test]
    fn a_slot_is_nobody_elses_and_comes_back_wiped() {
        static ARENA: Arena<4096> = Arena::new();
        let mut slots: Vec<Slot<4096>> = (0..9).map(|_| ARENA.take()).collect();
        slots.iter_mut().enumerate().for_each(|(at, slot)| slot.fill(at as u8 + 1));
        assert!(slots.iter().enumerate().all(|(at, slot)| slot.iter().all(|byte| *byte == at as u8 + 1)));
        let copy = slots[3].clone();
        drop(slots);
        assert!(copy.iter().all(|byte| *byte == 4));
        assert!(
            (0..12).map(|_| ARENA.take()).collect::<Vec<_>>().iter().all(|slot| slot.iter().all(|byte| *byte == 0))
        );
    }
}
