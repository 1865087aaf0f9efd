//! The number of a volume in its bundle: volumes are numbered from 1 without gaps (FORMAT section 2), and a number is
//! neither an index nor a count.
//!
//! Not guaranteed: that a bundle has a volume of that number. A parser checks this against the count of its volumes.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::base::json::{Serialize, Serializer};

/// The number of a volume. JSON and texts show it as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeNumber(u16);

impl VolumeNumber {
    /// Stands for no volume: a part has it whose volume is not known, or that is written to none.
    pub(crate) const NONE: Self = Self(0);

    /// The volume of that number, from 1. A parser passes on what is written and checks it later.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The volume at an index, from 0, among all volumes of its bundle.
    pub(crate) fn from_index(index: usize) -> Self {
        Self(index as u16 + 1)
    }

    /// The number as such, from 1; 0 of [`Self::NONE`].
    pub fn get(self) -> u16 {
        self.0
    }

    /// The index, from 0, among all volumes of its bundle. [`Self::NONE`] has none.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0) - 1
    }

    /// The numbers of `count` volumes, ascending.
    pub(crate) fn all(count: u16) -> impl Iterator<Item = Self> {
        (1..=count).map(Self)
    }

    /// Things that volumes have one each of, in the order of the volumes, with their numbers.
    pub(crate) fn numbered<T>(things: impl IntoIterator<Item = T>) -> impl Iterator<Item = (Self, T)> {
        Self::all(u16::MAX).zip(things)
    }
}

impl From<VolumeNumber> for u32 {
    fn from(volume: VolumeNumber) -> Self {
        volume.0.into()
    }
}

impl fmt::Display for VolumeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for VolumeNumber {
    type Err = ParseIntError;

    /// Takes any number; the caller checks its range.
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl Serialize for VolumeNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::base::json::json;

    /// Unit tests write plain numbers where they compare.
    impl PartialEq<u16> for VolumeNumber {
        fn eq(&self, other: &u16) -> bool {
            self.0 == *other
        }
    }

    /// Volumes by their numbers.
    pub(crate) fn volumes(numbers: impl IntoIterator<Item = u16>) -> Vec<VolumeNumber> {
        numbers.into_iter().map(VolumeNumber::new).collect()
    }

    #[test]
    fn numbers_begin_at_one_and_indices_at_zero() {
        assert_eq!(VolumeNumber::all(3).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(VolumeNumber::all(0).count(), 0);
        assert_eq!(VolumeNumber::all(3).map(VolumeNumber::index).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(VolumeNumber::from_index(2), 3);
        let numbered: Vec<(u16, char)> = VolumeNumber::numbered("ab".chars()).map(|(at, c)| (at.get(), c)).collect();
        assert_eq!(numbered, [(1, 'a'), (2, 'b')]);
    }

    #[test]
    fn texts_and_json_show_the_plain_number() {
        let volume = VolumeNumber::new(12);
        assert_eq!((volume.to_string(), json!({"volume": volume})), ("12".into(), json!({"volume": 12})));
        assert_eq!("12".parse(), Ok(volume));
    }
}
