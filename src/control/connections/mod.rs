//! The open streams of all instances: listed, counted and closed.

mod all;
mod filter;
mod local;
mod wire;

pub use crate::control::connections::all::{CONNECTIONS, Connections, MAX_CONNECTIONS};
pub use crate::control::connections::filter::{CloseMode, StreamFilter};
pub use crate::control::connections::wire::{
    Completeness, ConnectionInfo, ConnectionPage, InstanceCount, StreamCount,
};
