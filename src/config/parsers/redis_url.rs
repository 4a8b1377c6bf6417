//! Where Redis and its Sentinels are found.

use crate::config::parsers::addresses::host_and_port;
use crate::config::raw::{RawValue, Rejection};
use crate::config::values::Secret;

/// Where Redis is.
pub(in crate::config) fn redis_url(raw: &RawValue<'_>) -> Result<Secret, Rejection> {
    const WANTED: &str = "redis://[user:password@]host[:port][/database] or unix:/path/to.sock";
    let text = raw.text(WANTED)?;
    let no_url = || Rejection::from(format!("must be {WANTED}"));
    if text.contains("#insecure") {
        return Err(
            "cannot end with #insecure: the server's certificate is always verified (`ca_file` names the authorities)"
                .into(),
        );
    }
    refuse_odd_parts(text)?;
    let url = redis::parse_redis_url(&without_tls(text)).ok_or_else(no_url)?;
    match redis::IntoConnectionInfo::into_connection_info(url) {
        Ok(_) => Ok(Secret::new(text)),
        // The text of the client's error holds nothing of the URL but may one day.
        Err(why) => Err(match why.to_string() {
            detail if detail.to_ascii_lowercase().contains("database") => {
                "must have a number for its database: redis://host:port/0".into()
            }
            _ => no_url(),
        }),
    }
}

/// The same address without TLS: the client that reads it knows none.
fn without_tls(url: &str) -> String {
    url.replacen("rediss:", "redis:", 1).replacen("valkeys:", "valkey:", 1)
}

/// A Sentinel: `host:port`, or a URL where it asks for a password.
pub(in crate::config) fn sentinel(raw: &RawValue<'_>) -> Result<Secret, Rejection> {
    const WANTED: &str = "host:port, redis://[user:password@]host:port or rediss:// for TLS";
    let text = raw.text(WANTED)?;
    let no_sentinel = || Rejection::from(format!("must be {WANTED}"));
    if !text.contains("://") {
        // The scheme is that of `url`.
        return host_and_port(raw).map(Secret::new).map_err(|_| no_sentinel());
    }
    refuse_odd_parts(text)?;
    redis::parse_redis_url(&without_tls(text)).map(|_| Secret::new(text)).ok_or_else(no_sentinel)
}

/// Refuses what a URL of Redis has behind its host without a meaning. Most often that is the rest of a password with a
/// `/`, `?` or `#` in it, which ends the part before the `@` early: everything behind would be taken for something
/// else, and shown.
fn refuse_odd_parts(text: &str) -> Result<(), Rejection> {
    let Some((scheme, rest)) = text.split_once(':') else { return Ok(()) };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let unix = scheme == "unix" || scheme.ends_with("+unix");
    let behind = if unix { rest } else { &rest[rest.find(['/', '?', '#']).unwrap_or(rest.len())..] };
    if !unix && behind.contains('@') {
        return Err(Rejection::with(
            "has a `/`, `?` or `#` before its `@`",
            "in a user or a password these are percent-encoded: %2F, %3F, %23; and `@` is %40",
        ));
    }
    if behind.contains('#') {
        return Err(Rejection::with("cannot have a part behind `#`", "in a password a `#` is written %23"));
    }
    let Some((_, query)) = behind.split_once('?') else { return Ok(()) };
    let known: &[&str] = if unix { &["db", "user", "pass", "protocol"] } else { &["protocol"] };
    let unknown = |part: &&str| !known.contains(&part.split('=').next().unwrap_or_default());
    match query.split('&').filter(|part| !part.is_empty()).find(unknown) {
        // Its name may be the rest of a password.
        Some(_) => {
            Err(format!("has a part behind `?` that is not understood (known: {})", known.join(", ")).into())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_is_not_percent_encoded_is_refused_and_not_repeated() {
        for password in
            ["s3#cret", "s3/cret", "s3?cret", "123#s3cret", "123/s3cret", "123?s3cret", "12#s3@cret"]
        {
            for scheme in ["redis", "rediss", "valkey"] {
                for user in ["", "default"] {
                    let url = format!("{scheme}://{user}:{password}@127.0.0.1:6379/0");
                    let refused = redis_url(&RawValue::Text(url.clone())).unwrap_err();
                    let said = format!("{refused:?}");
                    assert!(said.contains("percent-encoded"), "{url}: {said}");
                    assert!(!said.contains("cret"), "{url}: {said}");
                    let sentinel = sentinel(&RawValue::Text(url)).unwrap_err();
                    assert!(!format!("{sentinel:?}").contains("cret"));
                }
            }
        }
        let encoded = "redis://default:s3%23cr%2Fe%3Ft%40@127.0.0.1:6379/0".to_owned();
        assert!(redis_url(&RawValue::Text(encoded)).is_ok());
    }

    #[test]
    fn an_unknown_part_of_the_url_is_refused() {
        for url in ["redis://h?ssl_cert_reqs=none", "rediss://h/0?a", "redis://h/0#x", "unix:///s?password=x"]
        {
            assert!(redis_url(&RawValue::Text(url.to_owned())).is_err(), "{url}");
        }
        for url in ["redis://h/0?protocol=resp3", "unix:///run/redis.sock?db=2&pass=x", "redis://h"] {
            assert!(redis_url(&RawValue::Text(url.to_owned())).is_ok(), "{url}");
        }
    }
}
