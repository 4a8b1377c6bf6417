//! What the look promises: colours that can be read on both grounds in both schemes, and files that name no other place.

use std::collections::BTreeMap;

use super::*;

/// The colours of the light scheme, and of the dark one.
fn schemes() -> [BTreeMap<String, [f64; 3]>; 2] {
    let sheet = std::str::from_utf8(STYLE.bytes()).unwrap();
    let blocks: Vec<&str> =
        sheet.split(":root {").skip(1).map(|block| block.split('}').next().unwrap()).collect();
    [0, 1].map(|nth| {
        let colours =
            blocks[nth].split(';').filter_map(|line| line.trim().strip_prefix("--")?.split_once(": #"));
        let channel =
            |hex: &str, at: usize| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
        colours.map(|(name, hex)| (name.to_owned(), [0, 2, 4].map(|at| channel(hex, at)))).collect()
    })
}

/// WCAG 2, relative luminance and contrast.
fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
    let light = |c: [f64; 3]| 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
    let (a, b) = (light(a), light(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn text_and_states_can_be_read_on_both_grounds_in_both_schemes() {
    for scheme in schemes() {
        for ground in ["ground", "panel"] {
            for text in ["ink", "mute", "accent", "good", "warn", "bad", "info"] {
                let contrast = contrast(scheme[text], scheme[ground]);
                assert!(contrast >= 5.1, "{text} on {ground}: {contrast:.2}");
            }
        }
        assert!(contrast(scheme["on-accent"], scheme["accent"]) >= 5.1, "the words of a button");
    }
}

#[test]
fn no_file_of_the_look_names_another_place() {
    for asset in [&STYLE, &MARK, &COPY] {
        let text = std::str::from_utf8(asset.bytes()).unwrap().replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("//") || !text.contains("http"), "{text}");
        assert!(!text.contains("@import") && !text.contains("url("), "{text}");
    }
}
