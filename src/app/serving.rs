//! A daemon that serves, and what it needs for that.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::info;

use crate::app::stop::{LAST_REQUESTS, StopOrder};
use crate::config;
use crate::fanout::Fanout;
use crate::webhooks::Webhooks;

/// The ports, taken before anything else is done: a port that somebody else has ends the start.
pub(super) struct Listeners {
    pub(super) public: TcpListener,
    pub(super) internal: TcpListener,
}

/// A daemon that serves.
pub(super) struct Running {
    pub(super) order: StopOrder,
    pub(super) fanout: Arc<Fanout>,
    pub(super) webhooks: Option<Arc<Webhooks>>,
}

impl Running {
    /// Ends everything, in the order of [`StopOrder`].
    pub(super) async fn stop(self, drain: config::Drain) {
        let Self { order, fanout, webhooks } = self;
        let end = order.stop(&drain, || fanout.drain(drain.window), || fanout.open()).await;
        fanout.stop();
        if let Some(webhooks) = webhooks {
            webhooks.finish(end.max(Instant::now() + LAST_REQUESTS)).await;
        }
        info!("stopped");
    }
}
