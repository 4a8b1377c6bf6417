//! Half a character in JSON: `"\ud83d"` alone, as `JSON.stringify` writes a text that was cut within an emoji.
//!
//! JSON has a spelling for it and UTF-8 has not, so that some readers refuse it and others take it. Here it is U+FFFD,
//! as every encoder to UTF-8 makes of it, wherever it stands.

use std::borrow::Cow;

use memchr::memchr;

/// `json` with `\ufffd` for every escape that is half of a surrogate pair. Nothing else changes, nor does any place.
pub fn whole_characters(json: &str) -> Cow<'_, str> {
    let mut mended: Option<Vec<u8>> = None;
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr(b'\\', &bytes[at..]) {
        at += found;
        match (unit(&bytes[at..]), bytes.get(at + 6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.get_or_insert_with(|| bytes.to_vec())[at..at + 6].copy_from_slice(br"\ufffd");
                at += 6;
            }
            // The escaped character may be a backslash.
            _ => at = (at + 2).min(bytes.len()),
        }
    }
    match mended {
        None => json.into(),
        Some(mended) => String::from_utf8(mended).expect("ASCII in the place of ASCII").into(),
    }
}

/// The code unit that `\uXXXX` at the beginning of `bytes` stands for.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(br"\u")?.get(..4)?;
    let digits = str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_character_becomes_the_replacement_and_nothing_else_changes() {
        for (json, mended) in [
            (r#""a\ud800b""#, r#""a\ufffdb""#),
            (r#"{"x":["\uDFFF"],"\ud83d":1}"#, r#"{"x":["\ufffd"],"\ufffd":1}"#),
            (r#""\ud800\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\u0041""#, r#""\ufffd\u0041""#),
        ] {
            assert_eq!(whole_characters(json), mended, "{json}");
        }
        for json in [r#""\ud83d\ude00 \\ud800 \"\n""#, "\\", "\\u", "\\ud80", r"\u+d800", "😀", ""] {
            assert!(matches!(whole_characters(json), Cow::Borrowed(same) if same == json), "{json}");
        }
    }
}
