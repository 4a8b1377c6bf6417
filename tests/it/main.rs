//! The daemon as its users meet it: every test here drives the real binary from outside.
//!
//! | file | what it is for |
//! |---|---|
//! | `harness/` | starting daemons and the servers around them, and talking to them |
//! | `proxy.rs` | what goes on to the backend, and how its answers come back |
//! | `streams.rs` | opening, resuming and ending a stream; what stands on the wire |

mod harness;

mod proxy;
mod streams;
