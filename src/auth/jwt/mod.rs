//! Callers who bring a token (JWT): from the request to the token, from that to claims, from those to a grant.

mod discovery;
mod fetch;
mod gate;
mod grant;
mod jwks;
mod presented;
mod verify;

pub use crate::auth::jwt::gate::JwtGate;
pub use crate::auth::jwt::verify::{Claims, Rules, verify};
