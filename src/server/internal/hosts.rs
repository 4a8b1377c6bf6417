//! What keeps web pages from the internal listener: by which names it may be asked, and what browsers say of a request.
//!
//! A page can make its own host's name mean our address (DNS rebinding), and then ask like a stranger to nobody. It
//! cannot make an address mean another one, so addresses are fine, and so is `localhost`.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use http::request::Parts;

use crate::config::HostName;

/// The names by which the listener may be asked.
pub(super) struct Hosts(Box<[HostName]>);

impl Hosts {
    pub(super) fn new(names: &[HostName]) -> Self {
        Self(names.into())
    }

    /// Whether the request names us. One without a name (HTTP/1.0) is no browser's.
    pub(super) fn know(&self, request: &Parts) -> bool {
        // RFC 9112, section 3.2.2: the target's own host counts, whatever the header says.
        if let Some(authority) = request.uri.authority() {
            return self.knows(authority.as_str());
        }
        let mut named = request.headers.get_all(HOST).iter();
        match (named.next(), named.next()) {
            (None, _) => true,
            (Some(host), None) => host.to_str().is_ok_and(|host| self.knows(host)),
            (Some(_), Some(_)) => false,
        }
    }

    fn knows(&self, host: &str) -> bool {
        if let Some(address) = host.strip_prefix('[') {
            return address.split(']').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
        }
        let name = host.split(':').next().unwrap_or_default();
        // A name may end with a dot that says that it is whole.
        let name = name.strip_suffix('.').unwrap_or(name);
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|known| name.eq_ignore_ascii_case(known.as_str()))
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a browser says that a page made the request, not the person at the address bar. Browsers say so of every
/// page's request; backends and shells send neither field.
pub(super) fn comes_from_a_page(headers: &HeaderMap) -> bool {
    // A page of this very origin could only be an answer of ours.
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    headers.contains_key(ORIGIN) || sites.any(|site| !matches!(site.as_bytes(), b"none" | b"same-origin"))
}

/// The same for the dashboard, whose own page may ask, and to whose page a link may lead from anywhere.
pub(super) fn comes_from_elsewhere(head: &Parts) -> bool {
    let mut sites = head.headers.get_all(SEC_FETCH_SITE).iter().peekable();
    if sites.peek().is_some() {
        let is_link = head.uri.path() == "/"
            && head.headers.get("sec-fetch-mode").is_some_and(|mode| mode.as_bytes() == b"navigate");
        return !is_link && sites.any(|site| !matches!(site.as_bytes(), b"none" | b"same-origin"));
    }
    // A browser that does not say it names at least the origin of what may change something.
    let host = head.headers.get(HOST).map_or(&b""[..], |host| host.as_bytes());
    let is_own = |origin: &[u8]| {
        [&b"http://"[..], b"https://"].iter().any(|scheme| origin.strip_prefix(*scheme) == Some(host))
    };
    head.headers.get_all(ORIGIN).iter().any(|origin| !is_own(origin.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn known(hosts: &[&str]) -> bool {
        let names: Vec<HostName> = ["sidestream.internal", "push"].map(|name| name.parse().unwrap()).into();
        let request =
            hosts.iter().fold(Request::get("/metrics"), |request, host| request.header(HOST, *host));
        Hosts::new(&names).know(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn addresses_and_names_of_ours_are_known() {
        for host in [
            "127.0.0.1:8081",
            "127.0.0.1",
            "10.1.2.3:8081",
            "[::1]:8081",
            "[::1]",
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "push:8081",
            "Sidestream.Internal:8081",
            "sidestream.internal.",
        ] {
            assert!(known(&[host]), "{host}");
        }
        assert!(known(&[]), "HTTP/1.0");
        let whole = Request::get("http://127.0.0.1:8081/metrics").header(HOST, "evil.example");
        assert!(Hosts::new(&[]).know(&whole.body(()).unwrap().into_parts().0));
    }

    #[test]
    fn nobody_elses_are() {
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil.example:8081",
            "push.evil.example",
            "[evil]",
            "",
            "2130706433",
            "user@127.0.0.1",
        ] {
            assert!(!known(&[host]), "{host}");
        }
        assert!(!known(&["localhost", "localhost"]));
        assert!(!known(&["localhost", "evil.example"]));
        let whole = Request::get("http://evil.example/metrics").header(HOST, "127.0.0.1");
        assert!(!Hosts::new(&[]).know(&whole.body(()).unwrap().into_parts().0));
    }

    #[test]
    fn the_dashboard_is_asked_by_its_own_page_and_reached_by_links() {
        let elsewhere = |path: &str, fields: &[(&'static str, &'static str)]| {
            let request = Request::get(path).header(HOST, "127.0.0.1:8081");
            let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            comes_from_elsewhere(&request.body(()).unwrap().into_parts().0)
        };
        for own in [
            &[][..],
            &[("sec-fetch-site", "same-origin"), ("origin", "https://ops.example")],
            &[("sec-fetch-site", "none")],
            &[("origin", "http://127.0.0.1:8081")],
            &[("origin", "https://127.0.0.1:8081")],
        ] {
            assert!(!elsewhere("/dashboard/session", own), "{own:?}");
        }
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert!(!elsewhere("/", &link));
        for foreign in [
            &link[..],
            // Another port is the same site, and has the cookie.
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:8081")],
            &[("origin", "http://127.0.0.1:8080")],
            &[("origin", "http://127.0.0.1:8081.evil.example")],
            &[("origin", "null")],
        ] {
            assert!(elsewhere("/dashboard/session", foreign), "{foreign:?}");
        }
    }

    #[test]
    fn what_a_page_asks_is_told_from_what_a_person_or_a_program_does() {
        let page = |fields: &[(&'static str, &'static str)]| {
            let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            comes_from_a_page(&HeaderMap::from_iter(fields))
        };
        for mark in ["cross-site", "same-site", "anything"] {
            assert!(page(&[("sec-fetch-site", mark)]), "{mark}");
        }
        for origin in ["https://evil.example", "null", "http://127.0.0.1:8081"] {
            assert!(page(&[("origin", origin)]), "{origin}");
        }
        assert!(page(&[("sec-fetch-site", "same-origin"), ("origin", "http://a")]));
        for mark in ["none", "same-origin"] {
            assert!(!page(&[("sec-fetch-site", mark)]), "{mark}");
        }
        assert!(!page(&[("user-agent", "curl/8"), ("referer", "https://evil.example/")]));
    }
}
