//! Why a body, or an event of it, is not published.

use crate::auth::NotAllowed;
use crate::event::{BadBatch, BadName};
use crate::publish::relay::RelayError;

/// Why a publish is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPublish {
    #[error("{0}")]
    Batch(#[from] BadBatch),
    #[error("the header Idempotency-Key {0}")]
    Key(BadName),
    #[error("item {item}: its idempotency_key is not the one of the header Idempotency-Key")]
    KeysDiffer { item: usize },
    /// `item` counts the events of a body from 0; none when it is the only one.
    #[error("{}{not}", item.map_or(String::new(), |item| format!("item {item} (counted from 0): ")))]
    NotAllowed { item: Option<usize>, not: NotAllowed },
    #[error("{0}")]
    Relay(#[from] RelayError),
}

impl BadPublish {
    /// The same, said of the only event of a body where it is.
    pub(super) fn of(self, single: bool) -> Self {
        match self {
            Self::NotAllowed { not, .. } if single => Self::NotAllowed { item: None, not },
            bad => bad,
        }
    }

    /// One word for a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Batch(bad) => bad.label(),
            Self::Key(_) | Self::KeysDiffer { .. } => "idempotency_key",
            Self::NotAllowed { not, .. } => not.label(),
            Self::Relay(bad) => bad.label(),
        }
    }
}
