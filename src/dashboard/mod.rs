//! What the dashboard is made of: who may see it, and what it shows second by second.
//!
//! Off, none of it runs. On, one look a second at the metrics is kept for ten minutes, so that charts are full when the
//! page opens; the rest is done only while somebody watches. This room knows no path and no page.

mod board;
mod keys;
mod readings;

pub use crate::dashboard::board::{Board, BoardIdentity, BoardRedis, Watching};
pub use crate::dashboard::keys::{DashboardKeys, May, NotSignedIn, SignedIn};
pub use crate::dashboard::readings::{Readings, Sample};
