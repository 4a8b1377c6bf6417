//! The daemon as its users meet it: every test here drives the real binary from outside.
//!
//! | file | what it is for |
//! |---|---|
//! | `harness/` | starting daemons and the servers around them, and talking to them |
//! | `browser.rs` | Chromium, the Express example and Redis, together |
//! | `cli.rs` | the commands that talk to a running daemon: `publish`, `tail`; `serve` without a file |
//! | `clients.rs` | clients that nobody here wrote |
//! | `config.rs` | the operator's file: what is taken, and how what is not is told |
//! | `dead_peers.rs` | peers that vanish without a word |
//! | `proxy.rs` | what goes on to the backend, and how its answers come back |
//! | `demo.rs` | `demo`: its page, what the page sends, the lines that it prints |
//! | `internal.rs` | the internal listener: keys, bounds, methods, health, metrics |
//! | `membership.rs` | topics given to users, sessions and clients while streams are open |
//! | `publish.rs` | what `POST /publish` takes and refuses, and what reaches the streams |
//! | `redis.rs` | events over Redis channels: what reaches the streams |
//! | `redis_away.rs` | what happens when Redis goes and comes, hangs, or refuses |
//! | `shapes.rs` | event shapes of older applications, history, coalescing |
//! | `soak.rs` | many comings and goings leave nothing behind |
//! | `streams.rs` | opening, resuming and ending a stream; what stands on the wire |

#![expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod harness;

mod browser;
mod cli;
mod clients;
mod config;
mod dead_peers;
mod demo;
mod internal;
mod membership;
mod proxy;
mod publish;
mod redis;
mod redis_away;
mod shapes;
mod soak;
mod streams;
