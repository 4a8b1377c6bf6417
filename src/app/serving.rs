//! A daemon that serves, and what it needs for that.

use std::sync::Arc;

use tokio::time::Instant;

use crate::app::base::Base;
use crate::app::running_config::RunningConfig;
use crate::app::stop::LAST_REQUESTS;
use crate::config;
use crate::config::ListenAddress;
use crate::server::BoundListener;

/// The ports, taken before anything else is done: a port that somebody else has ends the start.
pub(super) struct Listeners {
    pub(super) public: Vec<BoundListener>,
    pub(super) internal: Vec<BoundListener>,
}

/// Where they are.
pub(super) fn addresses(listeners: &[BoundListener]) -> Vec<ListenAddress> {
    listeners.iter().map(|listener| listener.address().clone()).collect()
}

/// A daemon that serves.
pub(super) struct Running {
    pub(super) base: Arc<Base>,
    pub(super) config: RunningConfig,
}

impl Running {
    /// Ends everything, in the order of [`StopOrder`](crate::app::stop::StopOrder).
    pub(super) async fn stop(self, drain: config::Drain) {
        let Base { order, fanout, webhooks, .. } = &*self.base;
        let end = order.stop(&drain, || fanout.drain(drain.window), || fanout.open()).await;
        fanout.stop();
        webhooks.finish(end.max(Instant::now() + LAST_REQUESTS)).await;
    }
}
