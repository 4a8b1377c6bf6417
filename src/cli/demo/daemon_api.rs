//! What the demo's application asks of the daemon: the internal listener, by HTTP and with a key, as anybody's would.

use std::net::SocketAddr;

use http::Method;
use serde_json::{Value, json};

use crate::cli::daemon::DaemonClient;
use crate::cli::demo::chat::Person;
use crate::cli::error::Error;
use crate::cli::url::Url;
use crate::config::{ListenAddress, Secret};

pub(super) struct DaemonApi(DaemonClient);

impl DaemonApi {
    pub(super) fn new(internal: SocketAddr, key: &Secret) -> Self {
        let client =
            DaemonClient::plain(Url::of(&ListenAddress::Tcp(internal), false)).with_key(key.expose());
        Self(client.expect("a key of our own fits into a header"))
    }

    /// Publishes one event, or a list of them; the receipt is the daemon's.
    pub(super) async fn publish(&self, event: &Value) -> Result<Value, Error> {
        self.ask(Method::POST, "/publish", Some(event)).await
    }

    /// Gives each of the two the topic on which the other one comes and goes.
    pub(super) async fn introduce(&self) -> Result<(), Error> {
        for reader in Person::ALL {
            let path = format!("/users/{}/topics/{}", reader.user(), reader.other().presence_topic());
            self.ask(Method::PUT, &path, None).await?;
        }
        Ok(())
    }

    /// Who of the two has a stream.
    pub(super) async fn online(&self) -> Result<Value, Error> {
        let users = json!(Person::ALL.map(Person::user));
        let mut answer = self.ask(Method::POST, "/presence/users", Some(&users)).await?;
        Ok(answer["users"].take())
    }

    /// For how many events a reader's streams are behind, the worst of them.
    pub(super) async fn behind(&self, reader: Person) -> Result<u64, Error> {
        let answer = self.ask(Method::GET, &format!("/connections?user={}", reader.user()), None).await?;
        let streams = answer["connections"].as_array().into_iter().flatten();
        Ok(streams.filter_map(|stream| stream["behind"]["events"].as_u64()).max().unwrap_or(0))
    }

    /// Whether the internal listener has a page for people.
    pub(super) async fn has_dashboard(&self) -> bool {
        self.0.text("/").await.is_ok()
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        self.0.ask(method, path, body).await
    }
}
