//! Test events through the daemon's internal listener, each for one stream of the doctor's own, so that nobody else
//! gets one.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::stream::MARK;
use crate::cli::daemon::DaemonClient;
use crate::cli::error::Error;

/// The first events come in this distance: near enough to be done soon, and further apart than any network bunches
/// them.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
pub(super) const FIRST_EVENTS: usize = 5;
/// The later ones keep a stream from being silent.
const LATER_PAUSE: Duration = Duration::from_secs(1);

/// Somebody who may publish.
pub(super) struct TestPublisher(DaemonClient);

/// What was published, and why no more was.
#[derive(Default)]
pub(super) struct TestEvents {
    /// When each event was handed over.
    pub(super) at: Vec<Instant>,
    pub(super) failed: Option<Error>,
}

impl TestPublisher {
    /// None where there is no key.
    pub(super) fn new(daemon: DaemonClient) -> Option<Self> {
        daemon.has_key().then_some(Self(daemon))
    }

    /// Publishes one event after the other for the stream of `client`, as long as `goes_on`, or until one is refused.
    pub(super) async fn publish(&self, client: &str, goes_on: impl Fn() -> bool) -> TestEvents {
        let mut published = TestEvents::default();
        while goes_on() {
            let number = published.at.len();
            let event = json!({ "client": client, "ephemeral": true, "data": { MARK: number } });
            let at = Instant::now();
            match self.0.ask(Method::POST, "/publish", Some(&event)).await {
                Ok(_) => published.at.push(at),
                Err(why) => {
                    published.failed = Some(why);
                    break;
                }
            }
            sleep(if number + 1 < FIRST_EVENTS { FIRST_PAUSE } else { LATER_PAUSE }).await;
        }
        published
    }

    /// The address that the daemon has for the stream of `client`.
    pub(super) async fn address_of(&self, client: &str) -> Result<Option<String>, Error> {
        let answer = self.0.ask(Method::GET, &format!("/connections/{client}"), None).await?;
        Ok(answer["address"].as_str().map(str::to_owned))
    }
}
