//! The request's target and its framing, made such that what goes on means the same to the backend.
//!
//! Works on the head alone. What it refuses, two readers could take for two different things.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{self, Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Version};

use crate::proxy::error::{BadAnswer, BadRequest};

/// Makes the target origin-form (or `*`) and leaves exactly one `Host`; path and query keep every byte.
/// `fallback` is the host of those HTTP/1.0 requests that name none.
pub(super) fn prepare(head: &mut Parts, fallback: &HeaderValue) -> Result<(), BadRequest> {
    if head.method == Method::CONNECT {
        return Err(BadRequest::Connect);
    }
    // Also beside an authority: HTTP/2 has the two in fields of their own.
    if head.uri.path() == "*" && head.method != Method::OPTIONS {
        return Err(BadRequest::Target);
    }
    match (head.uri.scheme(), head.uri.authority()) {
        (None, None) => {
            let mut hosts = head.headers.get_all(HOST).iter();
            match (hosts.next(), hosts.next()) {
                (Some(_), Some(_)) => return Err(BadRequest::TwoHosts),
                (Some(host), None) if is_host(host.as_bytes()) => {}
                (Some(_), None) => return Err(BadRequest::Host),
                (None, _) if head.version < Version::HTTP_11 => {
                    head.headers.insert(HOST, fallback.clone());
                }
                (None, _) => return Err(BadRequest::NoHost),
            }
        }
        // RFC 9112, section 3.2.2: the target's own host counts, whatever the header says.
        (Some(scheme), Some(authority)) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => {
            let host = host_of(authority).ok_or(BadRequest::Target)?;
            let mut origin = uri::Parts::default();
            origin.path_and_query = Some(path_of(head)?);
            head.uri = Uri::from_parts(origin).map_err(|_| BadRequest::Target)?;
            head.headers.insert(HOST, host);
        }
        // `host:port` alone is for CONNECT.
        _ => return Err(BadRequest::Target),
    }
    head.version = Version::HTTP_11;
    Ok(())
}

/// The path and query of a target with an authority, never without a path: RFC 9112, section 3.2.1.
fn path_of(head: &Parts) -> Result<PathAndQuery, BadRequest> {
    let root = PathAndQuery::from_static("/");
    // An empty one is shown as `/`, and yet is another.
    let path = head.uri.path_and_query().filter(|path| path.as_str() != "/" || **path == root);
    let text = path.map_or("", PathAndQuery::as_str);
    match path {
        Some(path) if text.starts_with(['/', '*']) => Ok(path.clone()),
        // A field of its own has to hold one: RFC 9113, section 8.3.1.
        _ if head.version > Version::HTTP_11 => Err(BadRequest::Target),
        _ => PathAndQuery::try_from(format!("/{text}")).map_err(|_| BadRequest::Target),
    }
}

/// Whether it is `host[:port]`, or nothing: RFC 9110, section 7.2. A part that readers take for different things could
/// reach another host's pages.
fn is_host(text: &[u8]) -> bool {
    let port = match text {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let is_address = |byte: &u8| byte.is_ascii_alphanumeric() || b":.%_~-".contains(byte);
            if end == 0 || !rest[..end].iter().all(is_address) {
                return false;
            }
            &rest[end + 1..]
        }
        name => {
            let end = name.iter().position(|byte| !IN_HOSTS[usize::from(*byte)]);
            &name[end.unwrap_or(name.len())..]
        }
    };
    match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// The bytes that may stand in the name of a host. A table, since the host of every request is looked at.
static IN_HOSTS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(
                byte as u8,
                b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&'..=b',' | b';' | b'='
            );
        byte += 1;
    }
    table
};

/// The authority without user and password.
fn host_of(authority: &Authority) -> Option<HeaderValue> {
    let text = authority.as_str();
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    if host.is_empty() { None } else { HeaderValue::from_str(host).ok() }
}

/// Frames the request's body as the client did. Without it a chunked body on a GET or HEAD would not be sent.
pub(super) fn frame_request(headers: &mut HeaderMap, has_body: bool) -> Result<(), BadRequest> {
    if !only_chunked(headers) {
        return Err(BadRequest::TransferCoding);
    }
    if !has_body {
        headers.remove(TRANSFER_ENCODING);
    } else if !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(())
}

/// Leaves an answer's length as one number or not at all; chunks are the next connection's own affair.
/// `may_have_length` is false for answers that cannot have one (204).
pub(super) fn frame_answer(headers: &mut HeaderMap, may_have_length: bool) -> Result<(), BadAnswer> {
    if !only_chunked(headers) {
        return Err(BadAnswer::TransferCoding);
    }
    // Chunks win over a length: RFC 9112, section 6.3.
    if headers.remove(TRANSFER_ENCODING).is_some() || !may_have_length {
        headers.remove(CONTENT_LENGTH);
        return Ok(());
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(()) };
    if lengths.next().is_none() && first.as_bytes().iter().all(u8::is_ascii_digit) && !first.is_empty() {
        return Ok(());
    }
    // `5, 5` and the like. hyper has refused lengths that differ, but for answers without a body (HEAD, 304).
    match one_length(headers) {
        Some(length) => headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
        None => headers.remove(CONTENT_LENGTH),
    };
    Ok(())
}

/// The one number that all `Content-Length` values agree on.
fn one_length(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all(CONTENT_LENGTH).iter();
    let mut numbers = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(|text| {
        let text = text.trim_ascii();
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        if digits { str::from_utf8(text).ok()?.parse::<u64>().ok() } else { None }
    });
    let first = numbers.next()??;
    numbers.all(|number| number == Some(first)).then_some(first)
}

/// Whether there is no transfer coding but chunks. Another one would go on undeclared, as it is hop by hop.
fn only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(one), None) => one.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// Whether the client waits for a word of the backend before it sends its body. The same test as that of hyper's
/// server side, which says 100 when the body is first asked for.
pub(super) fn expects_continue(headers: &HeaderMap, version: Version) -> bool {
    version >= Version::HTTP_11
        && headers
            .get_all(EXPECT)
            .iter()
            .next_back()
            .is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for good in ["a", "a.example:80", "a_b.example", "[::1]", "[::1]:8080", "127.0.0.1:1", "", "a:"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in
            ["a b", "a/b", "u@a", "a:99999x", "a:123456", "[::1", "[]", "[::1]x", "a\u{e9}", "a?b", "a#b"]
        {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    fn head(method: &str, target: &str, version: Version, headers: &[(&'static str, &str)]) -> Parts {
        let uri = Uri::try_from(target).unwrap();
        let mut request = Request::builder().method(method).uri(uri).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn prepared(
        method: &str,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(String, String), BadRequest> {
        let mut head = head(method, target, Version::HTTP_11, headers);
        prepare(&mut head, &HeaderValue::from_static("backend:1"))?;
        assert_eq!(head.headers.get_all(HOST).iter().count(), 1);
        Ok((head.uri.to_string(), head.headers[HOST].to_str().unwrap().to_owned()))
    }

    #[test]
    fn a_path_keeps_every_byte() {
        for path in ["/", "//a/../b?x=%41&&", "/?", "/a?b?c", "/%2f..%2F/;p=1", "/a//", "/x|y", "/\u{fc}"] {
            assert_eq!(
                prepared("GET", path, &[("host", "h")]),
                Ok((path.to_owned(), "h".to_owned())),
                "{path}"
            );
        }
    }

    #[test]
    fn an_absolute_target_names_the_host_itself() {
        let host = [("host", "other")];
        assert_eq!(prepared("GET", "http://h:81/x?y", &host), Ok(("/x?y".to_owned(), "h:81".to_owned())));
        assert_eq!(prepared("GET", "https://me:secret@h", &[]), Ok(("/".to_owned(), "h".to_owned())));
        assert_eq!(prepared("GET", "http://h?q", &host), Ok(("/?q".to_owned(), "h".to_owned())));
        assert_eq!(prepared("GET", "http://h//a/../b", &host), Ok(("//a/../b".to_owned(), "h".to_owned())));
    }

    #[test]
    fn a_target_that_names_no_path_is_refused() {
        let host = [("host", "h")];
        assert_eq!(prepared("GET", "h:80", &host), Err(BadRequest::Target));
        assert_eq!(prepared("GET", "h", &host), Err(BadRequest::Target));
        assert_eq!(prepared("GET", "ftp://h/x", &host), Err(BadRequest::Target));
        assert_eq!(prepared("GET", "*", &host), Err(BadRequest::Target));
        assert_eq!(prepared("CONNECT", "h:80", &host), Err(BadRequest::Connect));
        assert_eq!(prepared("OPTIONS", "*", &host), Ok(("*".to_owned(), "h".to_owned())));
    }

    #[test]
    fn a_path_in_a_field_of_its_own_has_to_be_one() {
        let prepared = |method: &str, path: &'static str, whole: bool| {
            let mut head = head(method, "/", Version::HTTP_2, &[("host", "h")]);
            let mut parts = uri::Parts::default();
            parts.path_and_query = Some(PathAndQuery::from_static(path));
            if whole {
                parts.scheme = Some(Scheme::HTTPS);
                parts.authority = Some(Authority::from_static("h"));
            }
            head.uri = Uri::from_parts(parts).unwrap();
            prepare(&mut head, &HeaderValue::from_static("backend:1")).map(|()| head.uri.to_string())
        };
        for whole in [true, false] {
            assert_eq!(prepared("GET", "/x?y", whole).unwrap(), "/x?y");
            assert_eq!(prepared("OPTIONS", "*", whole).unwrap(), "*");
            assert_eq!(prepared("GET", "*", whole), Err(BadRequest::Target), "{whole}");
        }
        // What starts in any other way is no path to begin with.
        assert!(PathAndQuery::try_from("http://evil.example/x").is_err());
    }

    #[test]
    fn exactly_one_host_goes_on() {
        assert_eq!(prepared("GET", "/", &[]), Err(BadRequest::NoHost));
        assert_eq!(prepared("GET", "/", &[("host", "a"), ("host", "a")]), Err(BadRequest::TwoHosts));
        let mut old = head("GET", "/", Version::HTTP_10, &[]);
        prepare(&mut old, &HeaderValue::from_static("backend:1")).unwrap();
        assert_eq!(old.headers[HOST], "backend:1");
        assert_eq!(old.version, Version::HTTP_11);
    }

    #[test]
    fn a_length_goes_back_as_one_number_or_not_at_all() {
        let framed = |lines: &[&str], may: bool| {
            let mut headers = HeaderMap::new();
            for line in lines {
                let (name, value) = line.split_once(": ").unwrap();
                headers
                    .append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            frame_answer(&mut headers, may).ok()?;
            Some(
                headers
                    .get_all(CONTENT_LENGTH)
                    .iter()
                    .map(|it| it.to_str().unwrap().to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(framed(&["content-length: 5"], true).unwrap(), ["5"]);
        assert_eq!(framed(&["content-length: 5, 5"], true).unwrap(), ["5"]);
        assert_eq!(framed(&["content-length: 5", "content-length: 05"], true).unwrap(), ["5"]);
        assert!(framed(&["content-length: 5, 6"], true).unwrap().is_empty());
        assert!(framed(&["content-length: +5"], true).unwrap().is_empty());
        assert!(framed(&["content-length: 0"], false).unwrap().is_empty());
        assert!(framed(&["transfer-encoding: Chunked", "content-length: 5"], true).unwrap().is_empty());
        assert!(framed(&["transfer-encoding: gzip, chunked"], true).is_none());
        assert!(framed(&["transfer-encoding: gzip", "transfer-encoding: chunked"], true).is_none());
    }

    #[test]
    fn only_what_hyper_takes_for_an_expectation_is_one() {
        let expects = |value: &'static str, version| {
            expects_continue(&HeaderMap::from_iter([(EXPECT, HeaderValue::from_static(value))]), version)
        };
        assert!(expects("100-Continue", Version::HTTP_11));
        assert!(!expects("100-continue", Version::HTTP_10));
        assert!(!expects("something", Version::HTTP_11));
        assert!(!expects_continue(&HeaderMap::new(), Version::HTTP_11));
    }
}
