//! The dashboard's page and what it loads. It asks the listener that it comes from, and nobody else.
//!
//! All that people typed is put in as text, never as HTML, and the page's policy holds it to that. `../vendor` has the
//! charts (uPlot), as its package has them; a test compares.

mod files;

#[cfg(test)]
pub(super) use crate::web::dashboard::files::FILES;
pub use crate::web::dashboard::files::{DASHBOARD, dashboard_file};
