//! sidestream: real-time push in front of an existing web backend.
//!
//! The rooms, each of which may use only rooms below its own rank (`tests/architecture.rs` holds the table;
//! `docs/ARCHITECTURE.md` tells the flows):
//!
//! | rank | rooms |
//! |---|---|
//! | 6 | [`cli`] |
//! | 5 | [`app`] |
//! | 4 | [`server`] |
//! | 3 | [`stream`] [`sources`] [`proxy`] [`control`] |
//! | 2 | [`fanout`] [`auth`] |
//! | 1 | [`log`] [`config`] |
//! | 0 | [`event`] [`health`] [`jws`] [`shutdown`] [`telemetry`] [`tls`] |

pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod control;
pub mod event;
pub mod fanout;
pub mod health;
pub mod jws;
pub mod log;
pub mod proxy;
pub mod server;
pub mod shutdown;
pub mod sources;
pub mod stream;
pub mod telemetry;
pub mod tls;
