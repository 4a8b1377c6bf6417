//! Where the keys of an issuer are: its own document says so (OpenID Connect Discovery 1.0, or RFC 8414).
//!
//! A document that is not of this very issuer counts for nothing: else the keys of one tenant would verify the tokens
//! of another.

use serde::Deserialize;

use crate::auth::jwt::fetch::{FetchError, Fetcher};
use crate::config::{HttpUrl, IssuerUrl, is_safe};

/// Why the keys of an issuer are not found.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadDiscovery {
    #[error("the issuer's document cannot be fetched: {0}")]
    Fetch(#[from] FetchError),
    #[error("the issuer's document is not JSON with an `issuer` and a `jwks_uri`")]
    Malformed,
    #[error(
        "the document is of the issuer `{said}`, not of `{asked}`; they have to be the same letter by letter"
    )]
    Another { said: String, asked: String },
    #[error("the issuer's `jwks_uri` is no https URL")]
    Unsafe,
}

impl BadDiscovery {
    /// One word for a metric's label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Fetch(why) => why.label(),
            Self::Malformed | Self::Another { .. } | Self::Unsafe => "discovery",
        }
    }
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

/// The URL of its keys.
pub(super) async fn jwks_uri(fetcher: &Fetcher, issuer: &IssuerUrl) -> Result<HttpUrl, BadDiscovery> {
    let [openid, oauth] = issuer.documents();
    match read(fetcher, &openid, issuer).await {
        // Some servers answer every path with a page.
        Err(why @ (BadDiscovery::Fetch(FetchError::Status(_)) | BadDiscovery::Malformed)) => {
            read(fetcher, &oauth, issuer).await.map_err(|second| match second {
                BadDiscovery::Fetch(FetchError::Status(_)) | BadDiscovery::Malformed => why,
                second => second,
            })
        }
        done => done,
    }
}

async fn read(fetcher: &Fetcher, from: &HttpUrl, issuer: &IssuerUrl) -> Result<HttpUrl, BadDiscovery> {
    let text = fetcher.get(from).await?;
    let document: Document = serde_json::from_slice(&text).map_err(|_| BadDiscovery::Malformed)?;
    if document.issuer != issuer.as_str() {
        let said = document.issuer.chars().take(200).collect();
        return Err(BadDiscovery::Another { said, asked: issuer.to_string() });
    }
    let keys = document.jwks_uri.parse().ok().filter(is_safe);
    keys.ok_or(BadDiscovery::Unsafe)
}
