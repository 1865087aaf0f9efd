//! Chooses one of several bundles: the only one, or the one whose fingerprint begins as the user says. The order in
//! which bundles were found never decides.

/// The beginning of a fingerprint as people write it or read it out: in any case, with hyphens or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FingerprintStart(String);

/// Fewest letters that are accepted: 40 bits, so that no two bundles agree in them by chance.
const LEAST: usize = 8;
/// Letters of a whole fingerprint.
const ALL: usize = 26;

impl FingerprintStart {
    /// Parses what the user typed.
    ///
    /// # Errors
    /// A sentence for the user, if the text has letters that no fingerprint has, or too few or too many of them.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let letters = letters(text);
        if !letters.bytes().all(|letter| matches!(letter, b'A'..=b'Z' | b'2'..=b'7')) {
            return Err("a fingerprint has only letters, the digits 2 to 7, and hyphens".into());
        }
        match letters.len() {
            0..LEAST => Err(format!("at least {LEAST} letters of the fingerprint are needed")),
            LEAST..=ALL => Ok(Self(letters)),
            _ => Err(format!("a fingerprint has {ALL} letters")),
        }
    }

    fn begins(&self, fingerprint: &str) -> bool {
        letters(fingerprint).starts_with(&self.0)
    }
}

impl std::fmt::Display for FingerprintStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| *c != '-' && !c.is_whitespace()).map(|c| c.to_ascii_uppercase()).collect()
}

/// What a choice comes to. Numbers are indices of the fingerprints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Exactly one bundle fits.
    One(usize),
    /// Several bundles fit.
    Several(Vec<usize>),
    /// No bundle fits.
    None,
}

/// Chooses among bundles with these fingerprints, which all differ. Without `wanted` each of them fits.
pub(crate) fn choose<'a>(fingerprints: impl IntoIterator<Item = &'a str>, wanted: Option<&FingerprintStart>) -> Choice {
    let all = fingerprints.into_iter().enumerate();
    let fitting = all.filter(|(_, fingerprint)| wanted.is_none_or(|wanted| wanted.begins(fingerprint)));
    let fitting: Vec<usize> = fitting.map(|(at, _)| at).collect();
    match fitting[..] {
        [] => Choice::None,
        [one] => Choice::One(one),
        _ => Choice::Several(fitting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE: &str = "YAQIM-ONIUV-LW5K5-3K6CI-XYYAF-Z";
    const RED: &str = "YAQIM-ONIXX-LW5K5-3K6CI-XYYAF-Z";

    fn start(text: &str) -> FingerprintStart {
        FingerprintStart::parse(text).unwrap()
    }

    #[test]
    fn a_fingerprint_is_taken_as_people_write_it() {
        for text in [BLUE, &BLUE.to_lowercase(), &BLUE.replace('-', ""), "yaqim oniuv", "YAQI-MONI-U", "yaqimoniuv"] {
            assert_eq!(choose([RED, BLUE], Some(&start(text))), Choice::One(1), "{text}");
        }
        for text in ["", "YAQIM-ON", "YAQIM-ONI1", "YAQIM-ON0UV", "YAQIM-ON\u{dc}UV", &format!("{BLUE}A")] {
            assert!(FingerprintStart::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_one_that_fits_is_chosen() {
        assert_eq!(choose([BLUE], None), Choice::One(0));
        assert_eq!(choose([BLUE, RED], None), Choice::Several(vec![0, 1]));
        assert_eq!(choose([BLUE, RED], Some(&start("YAQIMONI"))), Choice::Several(vec![0, 1]));
        assert_eq!(choose([BLUE, RED], Some(&start("AAAAAAAA"))), Choice::None);
        assert_eq!(choose([], None), Choice::None);
    }
}
