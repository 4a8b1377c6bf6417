//! Where a request brings its token: the first of the configured places that holds one. Says nothing of what it is.

use std::borrow::Cow;

use http::Uri;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use smallvec::SmallVec;

use crate::auth::denied::Denied;
use crate::auth::strip;
use crate::config::TokenSource;

/// How many cookies of one name are looked at.
const MAX_COOKIES: usize = 4;

/// The token of `request`. Several where they are cookies of one name, in the order in which the browser sends them:
/// which of them counts is found out.
pub(super) fn presented<'r>(
    request: &'r Parts,
    from: &[TokenSource],
) -> Result<SmallVec<[Cow<'r, str>; 1]>, Denied> {
    for source in from {
        let mut found: SmallVec<[Cow<'r, str>; 1]> = SmallVec::new();
        for token in all(request, source)? {
            if !found.contains(&token) {
                found.push(token);
            }
        }
        match (source, found.len()) {
            (_, 0) => {}
            (TokenSource::Cookie(_), _) => {
                found.truncate(MAX_COOKIES);
                return Ok(found);
            }
            (_, 1) => return Ok(found),
            // Which of the two would count is nobody's to guess.
            _ => return Err(Denied::SeveralTokens),
        }
    }
    Err(Denied::NoToken)
}

/// Every token in this place that is not empty.
fn all<'r>(request: &'r Parts, source: &TokenSource) -> Result<Vec<Cow<'r, str>>, Denied> {
    let mut tokens = match source {
        TokenSource::Header(name) => from_headers(request, name)?,
        TokenSource::Cookie(name) => from_cookies(request, name),
        TokenSource::Query(name) => from_query(request, name),
    };
    tokens.retain(|token| !token.is_empty());
    Ok(tokens)
}

/// Takes out of a request for somebody else every token that [`presented`] would find, and what stands in its place.
pub(super) fn strip_tokens(uri: &mut Uri, headers: &mut HeaderMap, from: &[TokenSource]) {
    for source in from {
        match source {
            // Another scheme there is somebody else's.
            TokenSource::Header(name) if name == AUTHORIZATION => {
                let is_bearer = |value: &HeaderValue| {
                    // HTTP/2 leaves the space before a value that HTTP/1 takes off.
                    let scheme =
                        value.as_bytes().trim_ascii().split(|&b| b == b' ').next().unwrap_or_default();
                    scheme.eq_ignore_ascii_case(b"bearer")
                };
                let kept: Vec<_> =
                    headers.get_all(name).iter().filter(|value| !is_bearer(value)).cloned().collect();
                headers.remove(name);
                for value in kept {
                    headers.append(name, value);
                }
            }
            TokenSource::Header(name) => drop(headers.remove(name)),
            TokenSource::Cookie(name) => strip::cookies(headers, |cookie, _| cookie == name),
            TokenSource::Query(name) => {
                let hidden = |parameter: &str, _: &str| parameter == name;
                if let Some(target) = uri.path_and_query().and_then(|target| strip::target(target, hidden)) {
                    let mut parts = std::mem::take(uri).into_parts();
                    parts.path_and_query = Some(target);
                    *uri = Uri::from_parts(parts).unwrap_or(Uri::from_static("/"));
                }
            }
        }
    }
}

fn from_headers<'r>(request: &'r Parts, name: &HeaderName) -> Result<Vec<Cow<'r, str>>, Denied> {
    let mut tokens = Vec::new();
    for value in request.headers.get_all(name) {
        let text = value.to_str().map_err(|_| Denied::Malformed("its header is not ASCII"))?.trim();
        let bearer = match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
            _ => None,
        };
        match bearer {
            Some(token) => tokens.push(Cow::Borrowed(token)),
            // Another scheme there is somebody else's.
            None if name == AUTHORIZATION || text.eq_ignore_ascii_case("bearer") => {}
            None => tokens.push(Cow::Borrowed(text)),
        }
    }
    Ok(tokens)
}

/// Browsers send cookies as UTF-8, or as any bytes (RFC 6265, section 5.4): what the others hold does not matter.
fn from_cookies<'r>(request: &'r Parts, name: &str) -> Vec<Cow<'r, str>> {
    let mut tokens = Vec::new();
    for pair in request.headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|&b| b == b';'))
    {
        let pair = pair.trim_ascii();
        let Some(equals) = pair.iter().position(|&b| b == b'=') else { continue };
        let value = &pair[equals + 1..];
        let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        if let (true, Ok(token)) =
            (&pair[..equals] == name.as_bytes(), str::from_utf8(quoted.unwrap_or(value)))
        {
            tokens.push(Cow::Borrowed(token));
        }
    }
    tokens
}

fn from_query<'r>(request: &'r Parts, name: &str) -> Vec<Cow<'r, str>> {
    let query = request.uri.query().unwrap_or_default();
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.filter(|(key, _)| key == name).map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(from: &[TokenSource], target: &str, headers: &[(&str, &str)]) -> Result<String, &'static str> {
        let mut request = http::Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let tokens = presented(&parts, from).map_err(|denied| denied.label())?;
        Ok(tokens.join(" "))
    }

    fn by_default(target: &str, headers: &[(&str, &str)]) -> Result<String, &'static str> {
        token(&crate::config::Jwt::default().from, target, headers)
    }

    #[test]
    fn the_first_place_that_holds_a_token_counts() {
        let all = [("authorization", "Bearer a"), ("x-auth-token", "b")];
        assert_eq!(by_default("/?token=c", &all).as_deref(), Ok("a"));
        assert_eq!(by_default("/?token=c", &all[1..]).as_deref(), Ok("b"));
        assert_eq!(by_default("/?token=c%2Ed", &[]).as_deref(), Ok("c.d"));
        assert_eq!(by_default("/", &[("x-auth-token", "Bearer b")]).as_deref(), Ok("b"));
        assert_eq!(by_default("/", &[("authorization", "bearer  a ")]).as_deref(), Ok("a"));
    }

    #[test]
    fn what_is_empty_or_of_another_scheme_is_none() {
        assert_eq!(by_default("/?token=", &[("authorization", "Basic dTpw")]), Err("no_token"));
        assert_eq!(
            by_default("/?token=c", &[("authorization", "Bearer "), ("x-auth-token", "")]).as_deref(),
            Ok("c")
        );
        assert_eq!(by_default("/", &[("cookie", "token=a")]), Err("no_token"));
    }

    #[test]
    fn a_cookie_of_somebody_elses_language_does_not_hide_the_token() {
        let from = [TokenSource::Cookie("sid".to_owned())];
        for line in ["sid=x.y; name=Jürgen", "name=Jürgen; sid=x.y", "☂; sid=x.y;"] {
            assert_eq!(token(&from, "/", &[("cookie", line)]).as_deref(), Ok("x.y"), "{line}");
        }
    }

    #[test]
    fn a_cookie_counts_where_it_is_named() {
        let from = [TokenSource::Cookie("sid".to_owned())];
        assert_eq!(token(&from, "/", &[("cookie", "a=1; sid=x.y; xsid=2")]).as_deref(), Ok("x.y"));
        assert_eq!(token(&from, "/", &[("cookie", "sid=\"x\"")]).as_deref(), Ok("x"));
        let both = [("cookie", "sid=x; sid=x"), ("cookie", "a=1; sid=y; sid=; sid=z; sid=1; sid=2")];
        assert_eq!(token(&from, "/", &both).as_deref(), Ok("x y z 1"), "four at most, in their order");
    }

    #[test]
    fn two_different_tokens_in_one_place_are_refused() {
        assert_eq!(by_default("/?token=a&token=b", &[]), Err("several_tokens"));
        assert_eq!(by_default("/?token=a&token=a", &[]).as_deref(), Ok("a"));
        assert_eq!(by_default("/", &[("x-auth-token", "a"), ("x-auth-token", "b")]), Err("several_tokens"));
        let headers = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(by_default("/", &headers), Err("several_tokens"));
    }

    #[test]
    fn what_goes_on_to_somebody_else_holds_no_token() {
        let mut from = crate::config::Jwt::default().from;
        from.push(TokenSource::Cookie("sid".to_owned()));
        let mut request = http::Request::post("http://a/e?x=1&token=secret&to%6ben=secret&y=%20")
            .header("authorization", "Bearer secret")
            .header("authorization", "Basic dTpw")
            .header("authorization", "bearer")
            .header("authorization", " Bearer secret")
            .header("x-auth-token", "secret")
            .header("cookie", "a=1; sid=secret; b=2")
            .header("x-other", "kept")
            .body(())
            .unwrap();
        let mut uri = request.uri().clone();
        strip_tokens(&mut uri, request.headers_mut(), &from);
        assert_eq!(uri, "http://a/e?x=1&y=%20");
        assert!(!format!("{:?}", request.headers()).contains("secret"));
        let left: Vec<_> = ["authorization", "cookie", "x-other"]
            .iter()
            .flat_map(|name| request.headers().get_all(*name))
            .map(|value| value.to_str().unwrap())
            .collect();
        assert_eq!(left, ["Basic dTpw", "a=1; b=2", "kept"]);
        let (mut parts, ()) = request.into_parts();
        parts.uri = uri;
        assert_eq!(presented(&parts, &from).map(drop).map_err(|denied| denied.label()), Err("no_token"));
    }
}
