//! Callers who bring a token (JWT): from the request to the token, from that to claims, from those to a grant.

mod gate;
mod grant;
mod jwks;
mod presented;
mod verify;

pub use gate::Jwt;
pub use verify::{Claims, Rules, verify};
