//! What all pages have in common.

use crate::web::asset::Asset;

/// The one stylesheet.
pub static STYLE: Asset = Asset::css(include_bytes!("look/style.css"));
/// The mark, for both schemes; in pages it is drawn inline in the class `mark`.
pub static MARK: Asset = Asset::svg(include_bytes!("look/mark.svg"));
/// Code with a button that copies it: a module.
pub static COPY: Asset = Asset::script(include_bytes!("look/copy.js"));
