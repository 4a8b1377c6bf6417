//! What the demo's application asks of the daemon: the internal listener, by HTTP and with a key, as anybody's would.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::cli::client;
use crate::cli::client::Url;
use crate::cli::demo::chat::Person;
use crate::cli::error::Error;
use crate::config::Secret;

const MAX_ANSWER: usize = 256 << 10;

pub(super) struct DaemonApi {
    base: Url,
    authorization: HeaderValue,
}

impl DaemonApi {
    pub(super) fn new(internal: SocketAddr, key: &Secret) -> Self {
        let base = format!("http://{internal}").parse().expect("an address makes a URL");
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
            .expect("a key of our own fits into a header");
        authorization.set_sensitive(true);
        Self { base, authorization }
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
        let answer = client::send(&self.base.below("/"), Request::new(Full::default())).await;
        answer.is_ok_and(|answer| answer.head.status == StatusCode::OK)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut answer = client::send(&self.base.below(path), request).await?;
        if answer.head.status != StatusCode::OK {
            return Err(answer.refusal().await);
        }
        let peer = self.base.peer().to_owned();
        serde_json::from_slice(&answer.whole(MAX_ANSWER).await?).map_err(|_| Error::NoReceipt { peer })
    }
}
