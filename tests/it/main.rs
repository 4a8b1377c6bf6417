//! The daemon as its users meet it: every test here drives the real binary from outside.
//!
//! | file | what it is for |
//! |---|---|
//! | `harness/` | starting daemons and the servers around them, and talking to them |
//! | `cli.rs` | the commands that talk to a running daemon: `publish`, `tail`; `serve` without a file |
//! | `demo.rs` | `demo`: its page, what the page sends, the lines that it prints |
//! | `internal.rs` | the internal listener: keys, bounds, methods, health, metrics |
//! | `publish.rs` | what `POST /publish` takes and refuses, and what reaches the streams |
//! | `streams.rs` | opening, resuming and ending a stream; what stands on the wire |

mod harness;

mod cli;
mod demo;
mod internal;
mod publish;
mod streams;
