//! The daemon as its users meet it: every test here drives the real binary from outside.
//!
//! | file | what it is for |
//! |---|---|
//! | `browser.rs` | Chromium, the Express example and Redis, together |
//! | `clients.rs` | clients that nobody here wrote |
//! | `harness/` | starting daemons and the servers around them, and talking to them |
//! | `internal.rs` | the internal listener: keys, bounds, methods, health, metrics |
//! | `publish.rs` | what `POST /publish` takes and refuses, and what reaches the streams |
//! | `streams.rs` | opening, resuming and ending a stream; what stands on the wire |

mod harness;

mod clients;
mod internal;
mod publish;
mod streams;
