//! Sizes as people write and read them. Units are decimal, as on the packaging of drives.

/// Reads `32GB`, `1.5 GiB` or `4096`. Decimal units are powers of 1000, binary units powers of 1024. The error is a
/// sentence for the command line.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    parse_size::parse_size(text).map_err(|_| "it is no size; write it like 32GB or 512MiB".into())
}

/// `1.23 GB`: three significant digits in decimal units. Below 1000 bytes the number is exact.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    // The limits allow for rounding: 9.996 shows as 10.0, not as 10.00.
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `1,234,567`: a comma after each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `2 files`. The plural of `noun` must be formed with an `s`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", grouped(number))
}

/// Names the first ten items, separated by commas. `rest` words the number of further items, if there are any.
pub(crate) fn first_ten<T>(items: &[T], name: impl Fn(&T) -> String, rest: impl Fn(usize) -> String) -> String {
    const SHOWN: usize = 10;
    let mut named: Vec<String> = items.iter().take(SHOWN).map(name).collect();
    if items.len() > SHOWN {
        named.push(rest(items.len() - SHOWN));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (12_345, "12.3 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (32_000_000_000, "32.0 GB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn people_write_units() {
        assert_eq!(parse("32GB"), Ok(32_000_000_000));
        assert_eq!(parse("1 MiB"), Ok(1 << 20));
        assert_eq!(parse("many"), Err("it is no size; write it like 32GB or 512MiB".into()));
        assert!(parse("-1").is_err());
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
        assert_eq!(count(1, "file"), "1 file");
    }
}
