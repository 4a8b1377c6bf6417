//! Daemons that take over from each other while somebody asks without a pause.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Daemon, eventually, within_time};

/// Three times `start` makes a successor, which serves beside the daemon before it until that one is stopped. All the
/// time so many askers `ask`, which panics where it gets no answer: then so does this. Gives the last daemon.
pub(crate) async fn successors<A: Future<Output = ()> + Send + 'static>(
    start: impl AsyncFn() -> Daemon,
    askers: usize,
    ask: impl Fn() -> A + Clone + Send + Sync + 'static,
) -> Daemon {
    let mut daemon = start().await;
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut asking = JoinSet::new();
    for _ in 0..askers {
        let (over, answered, ask) = (Arc::clone(&over), Arc::clone(&answered), ask.clone());
        asking.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                ask().await;
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let some_more = async || {
        let before = answered.load(Ordering::Relaxed);
        eventually("requests are answered", async || {
            (answered.load(Ordering::Relaxed) > before + 200).then_some(())
        })
        .await;
    };
    some_more().await;
    for _ in 0..3 {
        let successor = start().await;
        some_more().await;
        daemon.signal("TERM");
        assert!(daemon.ended().await.success());
        some_more().await;
        daemon = successor;
    }
    over.store(true, Ordering::Relaxed);
    within_time(Duration::from_secs(20), "the last answers", async {
        while let Some(ended) = asking.join_next().await {
            ended.expect("nobody was refused or reset");
        }
    })
    .await;
    daemon
}
