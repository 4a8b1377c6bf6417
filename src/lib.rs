//! sidestream: real-time push in front of an existing web backend.
//!
//! The rooms, each of which may use only rooms below its own rank (`tests/architecture/` holds the table;
//! `docs/ARCHITECTURE.md` tells the flows):
//!
//! | rank | rooms |
//! |---|---|
//! | 7 | [`cli`] |
//! | 6 | [`app`] |
//! | 5 | [`server`] [`redis`] |
//! | 4 | [`capture`] [`publish`] [`subscribe`] [`control`] [`webhooks`] [`upstream`] |
//! | 3 | [`auth`] [`dashboard`] [`fanout`] [`memory`] [`proxy`] |
//! | 2 | [`log`] [`config`] [`rate`] [`spans`] |
//! | 1 | [`deadline`] [`event`] [`health`] [`jws`] [`net`] [`shutdown`] [`systemd`] [`telemetry`] [`web`] |
//! | 0 | [`clock`] [`expiring`] [`future`] [`lock`] [`pace`] [`retry`] [`suggest`] [`trace`] |

// `println!` and `eprintln!` panic when nobody reads; `cli/output.rs` has what does not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod app;
pub mod auth;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod dashboard;
pub mod deadline;
pub mod event;
pub mod expiring;
pub mod fanout;
pub mod future;
pub mod health;
pub mod jws;
pub mod lock;
pub mod log;
pub mod memory;
pub mod net;
pub mod pace;
pub mod proxy;
pub mod publish;
pub mod rate;
pub mod redis;
pub mod retry;
pub mod server;
pub mod shutdown;
#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "without it spans go nowhere"))]
pub mod spans;
pub mod subscribe;
pub mod suggest;
pub mod systemd;
pub mod telemetry;
pub mod trace;
pub mod upstream;
pub mod web;
pub mod webhooks;
