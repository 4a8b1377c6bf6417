//! What the look promises: colours that can be read on both grounds in both schemes, and files that name no other
//! place.

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

/// What a browser loads to show the dashboard, in bytes.
const WEIGHT: usize = 150_000;

#[test]
fn the_dashboard_is_light() {
    let files: Vec<_> =
        dashboard::FILES.iter().map(|name| (*name, dashboard_file(name).unwrap().bytes().len())).collect();
    let all = DASHBOARD.bytes().len() + files.iter().map(|(_, size)| size).sum::<usize>();
    assert!(all <= WEIGHT, "{all} bytes: {files:?}");
}

#[test]
fn the_page_loads_what_there_is_and_has_no_script_or_style_of_its_own() {
    let page = std::str::from_utf8(DASHBOARD.bytes()).unwrap();
    let loaded = page.split("/assets/").skip(1).map(|rest| rest.split('"').next().unwrap());
    for name in loaded {
        assert!(dashboard_file(name).is_some(), "{name}");
    }
    assert!(!page.contains("<style") && !page.contains("style=") && !page.contains(" on"), "{page}");
    for script in page.split("<script").skip(1) {
        assert!(script.split('>').nth(1).is_some_and(|inside| inside == "</script"), "{script}");
    }
}

#[test]
fn scripts_put_in_text_only_and_import_what_there_is() {
    for name in dashboard::FILES.iter().filter(|name| name.ends_with(".js") && **name != "uplot.js") {
        let script = std::str::from_utf8(dashboard_file(name).unwrap().bytes()).unwrap();
        for never in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
        {
            assert!(!script.contains(never), "{name}: {never}");
        }
        for import in script.lines().filter(|line| line.starts_with("import ")) {
            let from = import.split('\'').nth(1).unwrap();
            assert!(
                from.strip_prefix("./").is_some_and(|file| dashboard_file(file).is_some()),
                "{name}: {from}"
            );
        }
        // A string over several lines would lose its indentation.
        assert!(script.lines().all(|line| line.matches('`').count() % 2 == 0), "{name}");
    }
}

#[test]
fn no_file_of_ours_names_another_place() {
    let of_dashboard =
        dashboard::FILES.iter().filter(|name| **name != "uplot.js").map(|name| dashboard_file(name).unwrap());
    for asset in [&STYLE, &MARK, &COPY].into_iter().chain(of_dashboard) {
        let text = std::str::from_utf8(asset.bytes()).unwrap().replace("http://www.w3.org/2000/svg", "");
        let named = text.split("://").skip(1).filter(|rest| !rest.starts_with('$'));
        assert_eq!(named.count(), 0, "{text}");
        assert!(!text.contains("@import") && !text.contains("url("), "{text}");
    }
}
