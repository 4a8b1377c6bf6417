//! The open streams of all instances: listed, counted and closed.

mod all;
mod filter;
mod local;
mod wire;

pub use crate::control::connections::all::Connections;
pub use crate::control::connections::filter::{CloseMode, StreamFilter};
pub use crate::control::connections::wire::{
    CONNECTIONS, Completeness, ConnectionInfo, ConnectionPage, InstanceCount, MAX_CONNECTIONS, StreamCount,
};
