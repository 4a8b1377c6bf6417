//! Takes what only we may read out of what goes on to the backend: tickets and tokens in a query or a cookie.
//!
//! All else stays as it is, byte for byte.

use http::header::COOKIE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};

/// `query` without the parameters that `hidden` names; None when nothing is left. The same text when none is hidden.
pub(super) fn query(query: &str, hidden: impl Fn(&str, &str) -> bool) -> Option<String> {
    let shown = |pair: &&str| {
        let mut decoded = form_urlencoded::parse(pair.as_bytes());
        !decoded.next().is_some_and(|(name, value)| hidden(&name, &value))
    };
    let kept: Vec<&str> = query.split('&').filter(shown).collect();
    if kept.is_empty() { None } else { Some(kept.join("&")) }
}

/// The target without the parameters that `hidden` names; None when it holds none.
pub(super) fn target(target: &PathAndQuery, hidden: impl Fn(&str, &str) -> bool) -> Option<PathAndQuery> {
    let whole = target.query()?;
    let shown = query(whole, hidden);
    if shown.as_deref() == Some(whole) {
        return None;
    }
    let text = match shown {
        Some(shown) => format!("{}?{shown}", target.path()),
        None => target.path().to_owned(),
    };
    // A part of a target is one.
    Some(text.parse().unwrap_or(PathAndQuery::from_static("/")))
}

/// Leaves of `Cookie` what `hidden` does not name.
pub(super) fn cookies(headers: &mut HeaderMap, hidden: impl Fn(&str, &[u8]) -> bool) {
    let is_hidden = |pair: &[u8]| split(pair).is_some_and(|(name, value)| hidden(name, value));
    let lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    if !lines.iter().any(|line| line.as_bytes().split(|&b| b == b';').any(is_hidden)) {
        return;
    }
    headers.remove(COOKIE);
    for line in lines {
        let kept: Vec<&[u8]> =
            line.as_bytes().split(|&b| b == b';').filter(|pair| !is_hidden(pair)).collect();
        let text = kept.join(&b';').trim_ascii().to_vec();
        if !text.is_empty()
            && let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
        {
            headers.append(COOKIE, value);
        }
    }
}

/// Every cookie of a request: name and value.
pub(super) fn all_cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|&b| b == b';')).filter_map(split)
}

fn split(pair: &[u8]) -> Option<(&str, &[u8])> {
    let pair = pair.trim_ascii();
    let at = pair.iter().position(|&b| b == b'=')?;
    Some((str::from_utf8(pair[..at].trim_ascii()).ok()?, pair[at + 1..].trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_parameter_leaves_no_trace_however_it_is_written() {
        let hidden = |name: &str, value: &str| name == "ticket" && value.starts_with("sst1_");
        let cleaned = |text: &str| {
            let before: PathAndQuery = text.parse().unwrap();
            target(&before, hidden).map_or("same".to_owned(), |after| after.to_string())
        };
        for (text, after) in [
            ("/e?ticket=sst1_x", "/e"),
            ("/e?a=1&ticket=sst1_x&b=%20&&c", "/e?a=1&b=%20&&c"),
            ("/e?%74icket=sst1%5Fx&a", "/e?a"),
            ("/e?ticket=sst1_x&ticket=sst1_y", "/e"),
            ("/e?ticket=42&a=sst1_x", "same"),
            ("/e?", "same"),
            ("/e", "same"),
        ] {
            assert_eq!(cleaned(text), after, "{text}");
        }
    }

    #[test]
    fn a_hidden_cookie_leaves_the_others_as_they_are() {
        let cleaned = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, line.parse().unwrap());
            }
            cookies(&mut headers, |name, _| name.starts_with("sidestream_"));
            let left = headers.get_all(COOKIE).iter();
            left.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cleaned(&["a=1; b=2"]), ["a=1; b=2"]);
        assert_eq!(cleaned(&["a=1;  b=\"2\"; sidestream_x=y; c=3"]), ["a=1;  b=\"2\"; c=3"]);
        assert_eq!(cleaned(&["sidestream_x=y; a=1"]), ["a=1"]);
        assert_eq!(cleaned(&["sidestream_x=y", "a=1"]), ["a=1"]);
        assert!(cleaned(&["sidestream_x=y; sidestream_z=y"]).is_empty());
    }
}
