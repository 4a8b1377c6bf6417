//! Webhooks: what a receiver is told, how it can check it, and that no stream minds what the receiver does.

mod everywhere;
mod received;
mod told;
mod trouble;

use received::{Receiver, Request, config};
