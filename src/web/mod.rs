//! The pages that are built into the binary, and all that they load: nothing comes from anywhere else.
//!
//! `look/` is what the pages have in common, `vendor/` what others wrote, with its licence. Who is served them, on
//! which listener and path, is decided elsewhere.

mod asset;
mod dashboard;
mod look;

pub use crate::web::asset::{Asset, PAGE_POLICY};
pub use crate::web::dashboard::{DASHBOARD, dashboard_file};
pub use crate::web::look::{COPY, MARK, STYLE};

#[cfg(test)]
mod tests;
