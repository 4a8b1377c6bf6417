//! The daemon as its users meet it: every test here drives the real binary from outside.
//!
//! | file | what it is for |
//! |---|---|
//! | `harness/` | starting daemons and the servers around them, and talking to them |
//! | `config.rs` | the operator's file: what is taken, and how what is not is told |
//! | `proxy.rs` | what goes on to the backend, and how its answers come back |
//! | `internal.rs` | the internal listener: keys, bounds, methods, health, metrics |
//! | `publish.rs` | what `POST /publish` takes and refuses, and what reaches the streams |
//! | `dead_peers.rs` | peers that vanish without a word |
//! | `soak.rs` | many comings and goings leave nothing behind |
//! | `streams.rs` | opening, resuming and ending a stream; what stands on the wire |

#![expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod harness;

mod config;
mod dead_peers;
mod internal;
mod proxy;
mod publish;
mod soak;
mod streams;
