//! The files of the dashboard by the names under which they are served.

use crate::web::asset::Asset;
use crate::web::look::{COPY, MARK, STYLE};

/// The page.
pub static DASHBOARD: Asset = Asset::page(include_bytes!("index.html"));

macro_rules! files {
    ($($name:literal = $file:expr;)*) => {
        /// What the page loads, by its name.
        pub fn dashboard_file(name: &str) -> Option<&'static Asset> {
            match name {
                $($name => Some($file),)*
                _ => None,
            }
        }

        /// All of it.
        #[cfg(test)]
        pub(in crate::web) const FILES: &[&str] = &[$($name),*];
    };
}

macro_rules! script {
    ($file:literal) => {{
        static FILE: Asset = Asset::script(include_bytes!($file));
        &FILE
    }};
}

macro_rules! css {
    ($file:literal) => {{
        static FILE: Asset = Asset::css(include_bytes!($file));
        &FILE
    }};
}

files! {
    "style.css" = &STYLE;
    "mark.svg" = &MARK;
    "copy.js" = &COPY;
    "uplot.js" = {
        static FILE: Asset = Asset::vendored_script(include_bytes!("../vendor/uPlot.iife.min.js"));
        &FILE
    };
    "dashboard.css" = css!("dashboard.css");
    "app.js" = script!("app.js");
    "api.js" = script!("api.js");
    "dom.js" = script!("dom.js");
    "charts.js" = script!("charts.js");
    "grid.js" = script!("grid.js");
    "strip.js" = script!("strip.js");
    "streams.js" = script!("streams.js");
    "topics.js" = script!("topics.js");
    "users.js" = script!("users.js");
    "publish.js" = script!("publish.js");
    "why.js" = script!("why.js");
    "instances.js" = script!("instances.js");
    "configuration.js" = script!("configuration.js");
}
