//! The internal listener of a running daemon, as commands find and ask it: where it is, and the key that opens it.
//!
//! Arguments go before variables, they before the configuration, that before the defaults. No key is ever shown, and
//! the configuration's key goes to the configuration's listener only, unless both are named.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::cli::client;
use crate::cli::client::{HttpAnswer, MaybeTls, TrustArguments};
use crate::cli::error::Error;
use crate::cli::url::Url;
use crate::config::{Config, ListenAddress};

const KEY_VARIABLE: &str = "SIDESTREAM_PUBLISH_KEY";
/// How large an answer may be: a page of a thousand streams with a hundred topics each, and receipts of a large batch.
const MAX_ANSWER: usize = 64 << 20;

/// What may stand in a path or a query as it is.
const SENDABLE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the daemon is.
#[derive(Args, Debug)]
pub(super) struct ListenerArguments {
    /// The daemon's internal listener, as http(s)://host:port or unix:/path [default: the configuration's, or
    /// http://127.0.0.1:8081]
    #[arg(long, value_name = "URL", help_heading = "Daemon")]
    url: Option<Url>,
    /// The daemon's configuration, which names its listener and its keys; the environment (SIDESTREAM_…) is read anyway
    #[arg(long, short, value_name = "FILE", help_heading = "Daemon")]
    config: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArguments,
}

/// The same with a key.
#[derive(Args, Debug)]
pub(super) struct DaemonArguments {
    #[command(flatten)]
    listener: ListenerArguments,
    /// A file that holds the key: one of internal.publish_keys
    #[arg(long, value_name = "FILE", help_heading = "Daemon")]
    key_file: Option<PathBuf>,
    /// The key; everyone on this machine can read it here
    #[arg(long, value_name = "KEY", conflicts_with = "key_file", help_heading = "Daemon")]
    key: Option<String>,
}

/// A daemon that can be asked.
pub(super) struct DaemonClient {
    base: Url,
    tls: MaybeTls,
    key: Option<HeaderValue>,
}

impl ListenerArguments {
    /// A daemon that is asked without a key.
    pub(super) fn client(&self) -> Result<DaemonClient, Error> {
        self.find(&self.configuration()?)
    }

    /// As much of the configuration as can be read: a mistake in a file does not end the daemon that runs.
    fn configuration(&self) -> Result<Config, Error> {
        Config::load_what_is_sound(self.config.as_deref(), std::env::vars_os()).map_err(|bad| {
            let path = self.config.clone().unwrap_or_default();
            Error::Configuration(path, bad.problems.into_iter().map(|one| one.message).collect())
        })
    }

    fn find(&self, config: &Config) -> Result<DaemonClient, Error> {
        let is_known = |address: &&ListenAddress| address.tcp().is_none_or(|address| address.port() != 0);
        let own = config.internal.tls.as_ref();
        let base = match (&self.url, config.internal.listen.iter().find(is_known)) {
            (Some(url), _) => url.clone(),
            (None, Some(address)) => Url::of(address, own.is_some()),
            (None, None) => return Err(Error::NoPort),
        };
        // The configuration's listener is known by its own certificate, whatever name that has.
        let own = own.filter(|_| self.takes_configured_key()).map(|tls| tls.certificate.as_path());
        let tls = self.trust.for_url(&base, own)?;
        Ok(DaemonClient { base, tls, key: None })
    }

    /// Whether the configuration's key is for the listener that is asked.
    fn takes_configured_key(&self) -> bool {
        self.url.is_none() || self.config.is_some()
    }
}

impl DaemonArguments {
    /// A daemon that is asked with a key.
    pub(super) fn client(&self) -> Result<DaemonClient, Error> {
        let client = self.client_with_any_key()?;
        match &self.listener.config {
            _ if client.key.is_some() => Ok(client),
            Some(path) => Err(Error::NoConfiguredKey(path.clone())),
            None => Err(Error::NoKey),
        }
    }

    /// The same; without a key where there is none.
    pub(super) fn client_with_any_key(&self) -> Result<DaemonClient, Error> {
        let config = self.listener.configuration()?;
        let key = self.key(&config)?;
        let client = self.listener.find(&config)?;
        if key.is_empty() { Ok(client) } else { client.with_key(&key) }
    }

    /// Which servers are believed.
    pub(super) fn trust(&self) -> &TrustArguments {
        &self.listener.trust
    }

    fn key(&self, config: &Config) -> Result<String, Error> {
        match (&self.key, &self.key_file) {
            (Some(key), _) => return Ok(key.clone()),
            (None, Some(path)) => {
                let key = std::fs::read_to_string(path).map_err(|error| Error::File(path.clone(), error))?;
                return Ok(key.trim().to_owned());
            }
            (None, None) => {}
        }
        let variable = std::env::var(KEY_VARIABLE).unwrap_or_default();
        if !variable.is_empty() {
            return Ok(variable);
        }
        let configured =
            config.internal.publish_keys.first().filter(|_| self.listener.takes_configured_key());
        Ok(configured.map(|key| key.expose().to_owned()).unwrap_or_default())
    }
}

impl DaemonClient {
    /// A daemon on this machine, asked without a key.
    pub(super) fn plain(base: Url) -> Self {
        Self { base, tls: None, key: None }
    }

    /// The same daemon, asked with this key.
    pub(super) fn with_key(self, key: &str) -> Result<Self, Error> {
        let mut value =
            HeaderValue::from_bytes(format!("Bearer {key}").as_bytes()).map_err(|_| Error::UnsendableKey)?;
        value.set_sensitive(true);
        Ok(Self { key: Some(value), ..self })
    }

    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Host and port, or the socket, for people.
    pub(super) fn peer(&self) -> String {
        self.base.peer()
    }

    /// Sends a request to `path` and waits for the head of the answer.
    pub(super) async fn send(
        &self,
        path: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<HttpAnswer, Error> {
        if let Some(key) = &self.key {
            request.headers_mut().insert(AUTHORIZATION, key.clone());
        }
        client::send(&self.base.below(path), &self.tls, request).await
    }

    /// The JSON that answers a request, whatever the status.
    pub(super) async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), Error> {
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut answer = self.send(path, request).await?;
        let status = answer.head.status;
        if !status.is_success() && status != StatusCode::SERVICE_UNAVAILABLE {
            return Err(answer.refusal().await);
        }
        let text = answer.whole(MAX_ANSWER).await?;
        match serde_json::from_slice(&text) {
            Ok(value) => Ok((status, value)),
            Err(_) => Err(Error::NotTheDaemon { peer: self.peer() }),
        }
    }

    /// The JSON that answers a request, which must succeed.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        match self.answer(method, path, body).await? {
            (status, value) if status.is_success() => Ok(value),
            (status, value) => {
                let say = value["error"].as_str().unwrap_or_default().to_owned();
                Err(Error::Refused { peer: self.peer(), status, say })
            }
        }
    }

    /// The text that answers a GET, which must succeed.
    pub(super) async fn text(&self, path: &str) -> Result<String, Error> {
        let mut answer = self.send(path, Request::new(Full::default())).await?;
        if answer.head.status != StatusCode::OK {
            return Err(answer.refusal().await);
        }
        Ok(String::from_utf8_lossy(&answer.whole(MAX_ANSWER).await?).into_owned())
    }
}

/// A name as it stands in a path or a query.
pub(super) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, SENDABLE).to_string()
}

/// A query of those parameters that are given.
pub(super) fn query<'a>(parameters: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let given =
        parameters.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value?))));
    let all: Vec<String> = given.collect();
    if all.is_empty() { String::new() } else { format!("?{}", all.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_what_is_given_with_every_odd_character_encoded() {
        assert_eq!(query([("user", None)]), "");
        assert_eq!(
            query([("user", Some("a&b=c/grün")), ("topic", None), ("all", Some("true"))]),
            "?user=a%26b%3Dc%2Fgr%C3%BCn&all=true"
        );
    }
}
