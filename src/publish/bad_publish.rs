//! Why a body, or an event of it, is not published.

use std::time::Duration;

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
    #[error("{}", too_fast(*events, *burst, wait.is_some()))]
    TooFast {
        events: u32,
        /// So many may go at once.
        burst: u32,
        /// None when no pause helps.
        wait: Option<Duration>,
    },
    #[error("{0}")]
    Relay(#[from] RelayError),
}

fn too_fast(events: u32, burst: u32, passes: bool) -> String {
    if passes {
        "this key publishes faster than it may; come back in a moment".to_owned()
    } else {
        format!("{events} events are more than this key may publish at once ({burst})")
    }
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
            Self::TooFast { .. } => "rate",
            Self::Relay(bad) => bad.label(),
        }
    }
}
