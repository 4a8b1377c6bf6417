//! The files of the demo's page, by their paths.

use crate::web::{Asset, COPY, MARK, STYLE};

static PAGE: Asset = Asset::page(include_bytes!("page/index.html"));
static SHEET: Asset = Asset::css(include_bytes!("page/demo.css"));
static DEMO: Asset = Asset::script(include_bytes!("page/demo.js"));
static PHONE: Asset = Asset::script(include_bytes!("page/phone.js"));
static PATHS: Asset = Asset::script(include_bytes!("page/paths.js"));
static ACTS: Asset = Asset::script(include_bytes!("page/acts.js"));
static LOAD: Asset = Asset::script(include_bytes!("page/load.js"));
static SNIPPETS: Asset = Asset::script(include_bytes!("page/snippets.js"));

pub(super) fn file(path: &str) -> Option<&'static Asset> {
    Some(match path {
        "/" => &PAGE,
        "/look/style.css" => &STYLE,
        "/look/mark.svg" => &MARK,
        "/look/copy.js" => &COPY,
        "/demo.css" => &SHEET,
        "/demo.js" => &DEMO,
        "/phone.js" => &PHONE,
        "/paths.js" => &PATHS,
        "/acts.js" => &ACTS,
        "/load.js" => &LOAD,
        "/snippets.js" => &SNIPPETS,
        _ => return None,
    })
}
