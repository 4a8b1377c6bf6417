//! Webhooks: what a receiver gets, how it can verify it, and that no stream minds what the receiver does.

mod deliveries;
mod everywhere;
mod received;
mod trouble;

use received::{Receiver, Request, config};
