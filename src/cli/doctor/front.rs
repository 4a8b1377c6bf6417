//! Which proxies stand in front, by what their answers say of them.

use clap::ValueEnum;
use http::HeaderMap;
use serde::Serialize;

/// A proxy, balancer or network whose configuration is known here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FrontProxy {
    Nginx,
    #[value(name = "haproxy")]
    #[serde(rename = "haproxy")]
    HaProxy,
    Caddy,
    Apache,
    Envoy,
    Traefik,
    Varnish,
    Cloudflare,
    #[value(name = "cloudfront")]
    #[serde(rename = "cloudfront")]
    CloudFront,
    /// AWS Application Load Balancer
    Alb,
    /// Google Cloud load balancing
    Google,
}

/// Those that are shown where nobody says which it is. HAProxy and Traefik never do.
pub(super) const USUAL: [FrontProxy; 4] =
    [FrontProxy::Nginx, FrontProxy::HaProxy, FrontProxy::Caddy, FrontProxy::Apache];

impl FrontProxy {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
            Self::Caddy => "Caddy",
            Self::Apache => "Apache",
            Self::Envoy => "Envoy",
            Self::Traefik => "Traefik",
            Self::Varnish => "Varnish",
            Self::Cloudflare => "Cloudflare",
            Self::CloudFront => "CloudFront",
            Self::Alb => "AWS load balancer",
            Self::Google => "Google load balancer",
        }
    }
}

/// What stands in these headers of an answer: `(a header, a part of its value in lower case, whose it is)`.
const SIGNS: &[(&str, &str, FrontProxy)] = &[
    ("server", "nginx", FrontProxy::Nginx),
    ("server", "openresty", FrontProxy::Nginx),
    ("server", "caddy", FrontProxy::Caddy),
    ("via", "caddy", FrontProxy::Caddy),
    ("server", "apache", FrontProxy::Apache),
    ("via", "apache", FrontProxy::Apache),
    ("server", "haproxy", FrontProxy::HaProxy),
    ("server", "envoy", FrontProxy::Envoy),
    ("server", "istio-envoy", FrontProxy::Envoy),
    ("x-envoy-upstream-service-time", "", FrontProxy::Envoy),
    ("server", "traefik", FrontProxy::Traefik),
    ("via", "varnish", FrontProxy::Varnish),
    ("x-varnish", "", FrontProxy::Varnish),
    ("server", "cloudflare", FrontProxy::Cloudflare),
    ("cf-ray", "", FrontProxy::Cloudflare),
    ("server", "cloudfront", FrontProxy::CloudFront),
    ("x-amz-cf-id", "", FrontProxy::CloudFront),
    ("server", "awselb", FrontProxy::Alb),
    ("set-cookie", "awsalb", FrontProxy::Alb),
    ("server", "google frontend", FrontProxy::Google),
    ("via", "1.1 google", FrontProxy::Google),
];

/// Adds those that these headers name.
pub(super) fn recognise(headers: &HeaderMap, known: &mut Vec<FrontProxy>) {
    for (name, sign, proxy) in SIGNS {
        let says = |value: &http::HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase().contains(sign)
        };
        if !known.contains(proxy) && headers.get_all(*name).iter().any(says) {
            known.push(*proxy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_what_it_says_of_itself() {
        for (name, value, wanted) in [
            ("server", "nginx/1.22.1", &[FrontProxy::Nginx][..]),
            ("via", "1.1 Caddy", &[FrontProxy::Caddy]),
            ("server", "Apache/2.4.62 (Debian)", &[FrontProxy::Apache]),
            ("cf-ray", "8a-FRA", &[FrontProxy::Cloudflare]),
            ("server", "gunicorn", &[]),
        ] {
            let mut known = Vec::new();
            let headers = [(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect();
            recognise(&headers, &mut known);
            recognise(&headers, &mut known);
            assert_eq!(known, wanted, "{name}: {value}");
        }
    }
}
