//! What goes wrong in the commands beside the daemon. No text here holds a key, a token or a query.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;

use crate::jws;
use crate::net::tls::BadTls;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the URL {0}")]
    BadUrl(&'static str),
    #[error("cannot reach {peer}")]
    Connect { peer: String, source: io::Error },
    #[error("the certificate of {peer} is not trusted (--ca FILE adds the authority that signed it)")]
    Untrusted { peer: String, source: io::Error },
    #[error("{} {}", .0.display(), .1)]
    BadAuthorities(PathBuf, BadTls),
    #[error("TLS: {0}; --ca FILE names authorities")]
    Tls(BadTls),
    #[error("{peer} did not answer within {}", humantime::format_duration(*after))]
    Slow { peer: String, after: Duration },
    #[error("the connection to {peer} broke")]
    Broken { peer: String, source: hyper::Error },
    #[error("the answer of {peer} is larger than {max} bytes")]
    LargeAnswer { peer: String, max: usize },
    /// An answer that is a refusal, in the server's own words.
    #[error("{peer} answered {status}{}", after_colon(say))]
    Refused { peer: String, status: StatusCode, say: String },
    #[error("{peer} answered with something else than a receipt: is this the internal listener?")]
    NoReceipt { peer: String },
    #[error("{peer} answers, but not as sidestream does: is this the internal listener?")]
    NotTheDaemon { peer: String },
    #[error("{}: {}", .0.display(), .1)]
    Configuration(PathBuf, String),
    #[error("internal.listen has port 0, so the listener is not known: name it by --url")]
    NoPort,
    #[error("{peer} answered with {}, not with an event stream", kind.as_deref().unwrap_or("no content type"))]
    NotAStream { peer: String, kind: Option<String> },
    #[error("an event is larger than {max} bytes")]
    LargeEvent { max: usize },
    #[error("the stream has ended")]
    StreamEnded,
    #[error(
        "no publish key: put it into the variable SIDESTREAM_PUBLISH_KEY or into a file that --key-file names, or \
         name the daemon's configuration by --config"
    )]
    NoKey,
    #[error(
        "{} has no internal.publish_keys, or in a file that cannot be read: put a key into the variable \
         SIDESTREAM_PUBLISH_KEY, or into a file that --key-file names", .0.display()
    )]
    NoConfiguredKey(PathBuf),
    #[error("the publish key holds a character that no HTTP header can carry")]
    UnsendableKey,
    #[error("the token holds a character that no HTTP header can carry")]
    UnsendableToken,
    #[error("the idempotency key holds a character that no HTTP header can carry")]
    UnsendableIdempotencyKey,
    #[error("{0} is there already: --force writes over it, --output names another file")]
    Exists(PathBuf),
    #[error("there is no command `{0}`")]
    NoCommand(String),
    #[error("{0} cannot be written")]
    NotWritten(PathBuf, #[source] io::Error),
    #[error("{0} cannot be read")]
    File(PathBuf, #[source] io::Error),
    #[error("there is no [{0}]: name the daemon's configuration by --config")]
    NoJwt(&'static str),
    #[error("no configured secret fits: give --private-key FILE, or another --key or --algorithm")]
    NoSecret,
    #[error("the key {0}")]
    BadKey(jws::BadKey),
    #[error("the keys of tokens cannot be had: {0}")]
    NoKeys(String),
    #[error("no data: give DATA, or pipe it in")]
    NoData,
    #[error("standard input cannot be read")]
    Input(#[source] io::Error),
    #[error("standard input holds more than {max} bytes")]
    LargeInput { max: u64 },
    #[error("the data is not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("{0}; --listen chooses another address")]
    Taken(io::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn after_colon(say: &str) -> String {
    if say.is_empty() { String::new() } else { format!(": {say}") }
}
