//! The pages that are built into the binary, and all that they load: nothing comes from anywhere else.
//!
//! `look/` is what the pages have in common, `vendor/` what others wrote, with its licence. Who is served them, on which
//! listener and path, is decided elsewhere.

mod asset;
mod dashboard;

pub use crate::web::asset::{Asset, PAGE_POLICY};
pub use crate::web::dashboard::{DASHBOARD, dashboard_file};

/// The one stylesheet.
pub static STYLE: Asset = Asset::css(include_bytes!("look/style.css"));
/// The mark, for both schemes; in pages it is drawn inline in the class `mark`.
pub static MARK: Asset = Asset::svg(include_bytes!("look/mark.svg"));
/// Code with a button that copies it: a module.
pub static COPY: Asset = Asset::script(include_bytes!("look/copy.js"));

#[cfg(test)]
mod tests;
