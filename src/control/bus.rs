//! How commands get to the other instances: by something that this room knows only as a trait.

use std::time::SystemTime;

use bytes::Bytes;

use crate::future::BoxFuture;

/// Carries commands to every instance, this one included.
pub trait Bus: Send + Sync {
    /// Sends `message`; with `kept` it is also kept until then for instances that are away now, or not there yet.
    fn tell(&self, message: Bytes, kept: Option<SystemTime>) -> Sending<'_>;
}

/// Whether the other instances know of what was done here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OthersTold {
    /// There are none, or there is nothing to tell them.
    Nobody,
    Yes,
    No(BusError),
}

impl OthersTold {
    /// Why they may not know.
    pub fn error(self) -> Option<BusError> {
        match self {
            Self::No(error) => Some(error),
            Self::Nobody | Self::Yes => None,
        }
    }
}

/// A command on its way.
pub type Sending<'a> = BoxFuture<'a, Result<(), BusError>>;

/// The other instances may not have heard it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is done on this instance, but the others may not know: ask again in a moment")]
pub struct BusError;
