//! A connection that has switched protocols (WebSocket and others): bytes both ways until both ends have ended.

use std::future::poll_fn;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tracing::debug;

use crate::proxy::metrics::RequestMetrics;
use crate::proxy::upstream::UpstreamConnection;
use crate::retry::random_between;
use crate::shutdown::Drain;

/// Copies between the client and the backend. An end that closes its sending half closes the other's receiving half
/// only. After the notice to stop it lasts for a random share of `spread`.
pub(super) async fn run(
    client: OnUpgrade,
    mut upstream: Box<UpstreamConnection>,
    metrics: RequestMetrics,
    closing: Drain,
    spread: Duration,
) {
    let copy = async {
        // A request that came with a body may still be on its way.
        poll_fn(|cx| upstream.poll(cx)).await;
        let backend = upstream.into_parts().expect("hyper has read the answer that switches");
        let mut client = TokioIo::new(client.await?);
        client.write_all(&backend.read_buf).await?;
        copy_bidirectional(&mut client, &mut backend.io.into_inner())
            .await
            .map_err(Box::<dyn std::error::Error + Send + Sync>::from)
    };
    let stop = async {
        closing.started().await;
        // A random share, so that clients do not come back all at once.
        tokio::time::sleep(random_between(Duration::ZERO, spread)).await;
    };
    tokio::select! {
        biased;
        () = stop => debug!("a switched connection is closed for the drain"),
        result = copy => match result {
            Ok((sent, received)) => debug!(sent, received, "a switched connection has ended"),
            Err(error) => debug!(error, "a switched connection was cut"),
        },
    }
    drop(metrics);
}
