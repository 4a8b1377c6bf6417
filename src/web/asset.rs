//! A file of the binary as it is served: its type, its ETag, and what a page may do.
//!
//! Files change with the binary only, and a browser asks each time whether its copy is still good.

use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// What a page may: load from where it comes from, and talk to it. No inline script or style, no frame around it, and
/// no text that becomes HTML.
pub const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file that is built in.
pub struct Asset {
    bytes: &'static [u8],
    kind: &'static str,
    /// What a page may; files that are no pages may nothing.
    policy: Option<&'static str>,
    /// It is served without comments and indentation.
    squeezes: bool,
    served: OnceLock<(Bytes, HeaderValue)>,
}

impl Asset {
    /// A page under [`PAGE_POLICY`].
    pub const fn page(bytes: &'static [u8]) -> Self {
        Self::new(bytes, "text/html; charset=utf-8", Some(PAGE_POLICY))
    }

    /// A stylesheet of ours.
    pub const fn css(bytes: &'static [u8]) -> Self {
        Self::squeezed(bytes, "text/css; charset=utf-8")
    }

    /// A script of ours, or a module.
    pub const fn script(bytes: &'static [u8]) -> Self {
        Self::squeezed(bytes, SCRIPT)
    }

    /// A script that somebody else wrote: served as it is.
    pub const fn vendored_script(bytes: &'static [u8]) -> Self {
        Self::new(bytes, SCRIPT, None)
    }

    pub const fn svg(bytes: &'static [u8]) -> Self {
        Self::new(bytes, "image/svg+xml", None)
    }

    const fn squeezed(bytes: &'static [u8], kind: &'static str) -> Self {
        Self { bytes, kind, policy: None, squeezes: true, served: OnceLock::new() }
    }

    const fn new(bytes: &'static [u8], kind: &'static str, policy: Option<&'static str>) -> Self {
        Self { bytes, kind, policy, squeezes: false, served: OnceLock::new() }
    }

    /// What is served.
    pub fn bytes(&self) -> &Bytes {
        &self.served().0
    }

    /// The answer to a `GET` with these headers: the file, or 304 to a browser that has it.
    pub fn answer(&self, request: &HeaderMap) -> Response<Full<Bytes>> {
        let (bytes, etag) = self.served();
        let is_known = |held: &HeaderValue| {
            let held = held.to_str().unwrap_or_default().split(',').map(str::trim);
            let mut held = held.map(|tag| tag.strip_prefix("W/").unwrap_or(tag).as_bytes());
            held.any(|tag| tag == b"*" || tag == etag.as_bytes())
        };
        let known = request.get_all(IF_NONE_MATCH).iter().any(is_known);
        let body = if known { Bytes::new() } else { bytes.clone() };
        let mut response = Response::new(Full::new(body));
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        response
            .headers_mut()
            .extend(self.headers().map(|(name, value)| (name, HeaderValue::from_static(value))));
        response.headers_mut().insert(ETAG, etag.clone());
        response
    }

    fn headers(&self) -> impl Iterator<Item = (HeaderName, &'static str)> {
        let page = self.policy.map(|policy| {
            [
                (CONTENT_SECURITY_POLICY, policy),
                (REFERRER_POLICY, "no-referrer"),
                (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            ]
        });
        let always = [
            (CONTENT_TYPE, self.kind),
            (CACHE_CONTROL, "no-cache"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ];
        always.into_iter().chain(page.into_iter().flatten())
    }

    fn served(&self) -> &(Bytes, HeaderValue) {
        self.served.get_or_init(|| {
            let bytes = if self.squeezes { squeeze(self.bytes) } else { Bytes::from_static(self.bytes) };
            let hash = HEXLOWER.encode(&digest(&SHA256, &bytes).as_ref()[..16]);
            let etag = HeaderValue::from_str(&format!("\"{hash}\""));
            (bytes, etag.expect("digits in quotes are a header value"))
        })
    }
}

/// Our own text without the lines that are comments and without indentation, by which a page loads a tenth less. No
/// string of it goes over several lines.
fn squeeze(bytes: &'static [u8]) -> Bytes {
    let mut squeezed = Vec::with_capacity(bytes.len());
    let mut in_comment = false;
    for line in bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
        let begins = !in_comment && line.starts_with(b"/*");
        let ends = line.ends_with(b"*/");
        let is_code = !in_comment && !begins && !line.starts_with(b"//") && !line.is_empty();
        in_comment = (in_comment || begins) && !ends;
        if is_code {
            squeezed.extend_from_slice(line);
            squeezed.push(b'\n');
        }
    }
    squeezed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(asset: &Asset, held: Option<&str>) -> Response<Full<Bytes>> {
        let held = held.map(|held| (IF_NONE_MATCH, HeaderValue::from_str(held).unwrap()));
        asset.answer(&held.into_iter().collect())
    }

    #[test]
    fn a_file_is_sent_once_and_confirmed_from_then_on() {
        let asset = Asset::css(b"a{}");
        let first = asked(&asset, None);
        assert_eq!(
            (first.status(), first.headers()[CONTENT_TYPE].to_str().unwrap()),
            (StatusCode::OK, "text/css; charset=utf-8")
        );
        let etag = first.headers()[ETAG].to_str().unwrap().to_owned();
        for held in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
            assert_eq!(asked(&asset, Some(&held)).status(), StatusCode::NOT_MODIFIED, "{held}");
        }
        assert_eq!(asked(&asset, Some("\"x\"")).status(), StatusCode::OK);
    }

    #[test]
    fn our_own_text_is_served_without_comments_and_indentation() {
        let text = b"/* About\n   this. */\n\n* { a: b; }\n  /** One line. */\n  // Why.\n  let a = 'x // y /* z';\n";
        assert_eq!(*Asset::css(text).bytes(), "* { a: b; }\nlet a = 'x // y /* z';\n");
        assert_eq!(*Asset::vendored_script(text).bytes(), &text[..]);
    }

    #[test]
    fn a_page_may_load_from_its_own_origin_only_and_a_file_has_no_policy() {
        let page = asked(&Asset::page(b"<!doctype html>"), None);
        let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        assert!(!asked(&Asset::svg(b"<svg/>"), None).headers().contains_key(CONTENT_SECURITY_POLICY));
    }
}
