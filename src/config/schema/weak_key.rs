//! Keys and secrets that can be guessed.

use crate::config::problem::Severity;
use crate::config::section_reader::SectionReader;
use crate::config::values::Secret;

/// Shorter keys are warned of.
const SHORT: usize = 16;
/// What stands in examples, in lower case.
const EXAMPLES: [&str; 4] = ["change-me", "changeme", "please-make-", "openssl"];

/// Whether a secret stands in examples.
pub(super) fn is_an_example(key: &str) -> bool {
    let plain = key.to_ascii_lowercase().replace('_', "-");
    EXAMPLES.iter().any(|example| plain.contains(example))
}

/// Why a key can be guessed, if it can.
pub(super) fn weakness(key: &str) -> Option<&'static str> {
    if is_an_example(key) {
        Some("is taken from an example: others know it, too")
    } else if key.len() < SHORT {
        Some("has fewer than 16 bytes: it can be guessed")
    } else {
        None
    }
}

/// Warns of those of `given`, the values of the first of `names`, that can be guessed.
pub(super) fn warn_of_weak_keys(s: &mut SectionReader<'_, '_>, names: &[&str], given: &[Secret]) {
    for weakness in given.iter().filter_map(|key| weakness(key.expose())).take(1) {
        s.warn(
            Severity::Warning,
            names,
            match names[0].ends_with("keys") {
                true => format!("a key of `{}` {weakness}", names[0]),
                false => format!("`{}` {weakness}", names[0]),
            },
            "`openssl rand -hex 32` makes a good one",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_short_or_known_are_weak() {
        for weak in
            ["a", "change-me", "please-make-one-with-openssl-rand-hex-32", "x-CHANGE_ME-0123456789abcdef"]
        {
            assert!(weakness(weak).is_some(), "{weak}");
        }
        assert_eq!(weakness("6b1f0d7c2a944e5f"), None);
    }
}
