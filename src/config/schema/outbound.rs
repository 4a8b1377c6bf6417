//! `[outbound]`

use crate::config::parsers::{http_proxy, short_text};
use crate::config::problem::Severity;
use crate::config::schema::table::{key, section};
use crate::config::section_reader::SectionReader;
use crate::net::via;
use crate::net::via::{HttpProxy, NoProxy};

/// The variables that name a proxy, in the order in which curl looks at them.
const PROXIES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

section! {
    /// The way to servers on the internet: key sets and issuers of tokens (`auth.jwt.jwks_url`) and webhooks, where
    /// their URLs are https. The backend, `auth.backend` and Redis are connected to without a proxy.
    pub struct Outbound {
        /// None = they are reached without one.
        proxy: Option<HttpProxy> = by(read_proxy);
        /// Who is reached without it.
        no_proxy: NoProxy = by(read_exceptions);
    }
}

impl Outbound {
    /// As those who connect need it.
    pub fn rules(&self) -> via::Outbound {
        via::Outbound { proxy: self.proxy.clone(), no_proxy: self.no_proxy.clone() }
    }
}

fn read_proxy(s: &mut SectionReader<'_, '_>) -> Option<HttpProxy> {
    let about = "An HTTP proxy on the way there (`CONNECT`), or \"none\". Without a word the variables HTTPS_PROXY and ALL_PROXY \
        (in lower case first) name one.";
    let sample = key!("proxy", "http://user:password@proxy.internal:3128", about);
    let given = s.secret(sample, http_proxy);
    if s.is_written("proxy") || s.is_written("proxy_file") {
        return given.flatten();
    }
    let (name, value) = PROXIES.iter().find_map(|name| Some((*name, s.foreign_variable(name)?)))?;
    match value.parse() {
        Ok(proxy) => Some(proxy),
        Err(why) => {
            s.warn(
                Severity::Warning,
                &["proxy"],
                format!("the variable `{name}` names a proxy that is not used: it {why}"),
                "name one by outbound.proxy, or say that there is none: proxy = \"none\"",
            );
            None
        }
    }
}

fn read_exceptions(s: &mut SectionReader<'_, '_>) -> NoProxy {
    let about = "Hosts that are reached without it, as in the variable NO_PROXY, which counts without a word here: a name stands for \
        itself and all names below it, addresses and networks such as \"10.0.0.0/8\" for themselves, \"*\" for all. This machine is \
        always reached without it.";
    let given = s.list_or_empty(key!("no_proxy", ["internal.example", "10.0.0.0/8"], about), short_text);
    if s.is_written("no_proxy") {
        return NoProxy::of(given.iter().map(String::as_str));
    }
    let value = EXCEPTIONS.iter().find_map(|name| s.foreign_variable(name)).unwrap_or_default();
    NoProxy::of(value.split(','))
}
