//! An issuer of tokens, as `iss` and its own document name it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::config::http_url::HttpUrl;
use crate::config::values::BadValue;

/// An issuer whose keys are found by its document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerUrl {
    /// Letter by letter.
    text: String,
    url: HttpUrl,
}

/// Where a set of keys is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JwksSource {
    Url(HttpUrl),
    /// Where its issuer says.
    Issuer(IssuerUrl),
}

impl JwksSource {
    /// Where the first request goes.
    pub fn first(&self) -> HttpUrl {
        match self {
            Self::Url(url) => url.clone(),
            Self::Issuer(issuer) => {
                let [first, _] = issuer.documents();
                first
            }
        }
    }
}

impl fmt::Display for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Issuer(issuer) => issuer.fmt(f),
        }
    }
}

impl FromStr for IssuerUrl {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = BadValue("must be the URL of an issuer such as https://login.example/realms/app");
        let url: HttpUrl = text.parse().map_err(|_| bad)?;
        if url.target.contains('?') {
            return Err(BadValue("cannot have a query"));
        }
        if !is_safe(&url) {
            return Err(BadValue("must be https, unless it is on this machine"));
        }
        Ok(Self { text: text.to_owned(), url })
    }
}

impl IssuerUrl {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where its document may be: by OpenID Connect Discovery 1.0, section 4, and by RFC 8414, section 3.
    pub fn documents(&self) -> [HttpUrl; 2] {
        let path = self.url.target.trim_end_matches('/');
        [
            format!("{path}/.well-known/openid-configuration"),
            format!("/.well-known/oauth-authorization-server{path}"),
        ]
        .map(|target| HttpUrl { target, ..self.url.clone() })
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether nobody on the way can change what is fetched from it.
pub fn is_safe(url: &HttpUrl) -> bool {
    let here = || url.host == "localhost" || url.host.parse().is_ok_and(|host: IpAddr| host.is_loopback());
    url.https || here()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_of_an_issuer_are_where_the_standards_say() {
        for (issuer, openid, oauth) in [
            (
                "https://a.example",
                "/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server",
            ),
            (
                "https://a.example/",
                "/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server",
            ),
            (
                "http://127.0.0.1:8080/realms/x",
                "/realms/x/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server/realms/x",
            ),
        ] {
            let url: IssuerUrl = issuer.parse().unwrap();
            assert_eq!(url.documents().map(|url| url.target), [openid, oauth], "{issuer}");
            assert_eq!(url.to_string(), issuer);
        }
        for bad in ["", "a.example", "http://a.example", "https://a.example/?x=1", "https://u:p@a.example"] {
            assert!(bad.parse::<IssuerUrl>().is_err(), "{bad}");
        }
    }
}
