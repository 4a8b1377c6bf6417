//! `auth = "ticket"`: one-time tickets that the application asks for and its page redeems.
//!
//! EventSource comes back to the same URL, and so with the same ticket. Redeeming one therefore sets a cookie, sealed
//! as the ticket is; a ticket that has been used is worth its cookie and nothing without it. Each grant has a cookie
//! of its own name, so that streams of one browser with different grants do not take each other's place.

mod content;
mod mint;
pub(super) mod redeemed;
mod seal;
mod tickets;

pub use crate::auth::ticket::mint::{BadMint, Minted};
pub use crate::auth::ticket::tickets::Tickets;
