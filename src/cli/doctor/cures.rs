//! Which lines of a proxy's configuration remove what stands in the way, and which of sidestream's own help as well.

use super::front::FrontProxy;
use super::front::FrontProxy::{
    Alb, Apache, Caddy, CloudFront, Cloudflare, Envoy, Google, HaProxy, Nginx, Traefik, Varnish,
};

/// What some line of configuration removes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Obstacle {
    Buffering,
    Compression,
    /// A stream that is silent for so many seconds is cut.
    IdleLimit(u64),
    /// A stream is cut when it is so many seconds old.
    WholeLimit(u64),
    /// One of the two, after so many seconds.
    SomeLimit(u64),
    LastEventId,
    Authorization,
    Http1Only,
    NotRouted,
    ContentType,
    Upstream,
    Caching,
    CacheControl,
    CorsTwice,
    /// The page's origin.
    CorsMissing(String),
    /// The address that sidestream takes for the client's.
    AddressHidden(String),
}

/// Lines for one program's configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cure {
    /// None for sidestream's own configuration.
    pub(super) proxy: Option<FrontProxy>,
    pub(super) lines: String,
}

/// What helps against `obstacle` with these proxies in front of `path`; where the obstacle is sidestream's to remove,
/// or it can be walked around there, its own lines come last.
pub(super) fn cures(obstacle: &Obstacle, proxies: &[FrontProxy], path: &str) -> Vec<Cure> {
    let mut cures = Vec::new();
    for &proxy in proxies {
        let lines: Vec<&str> = parts(obstacle).filter_map(|part| lines(&part, proxy)).collect();
        if !lines.is_empty() {
            let lines = lines.join("\n").replace("{path}", path);
            cures.push(Cure { proxy: Some(proxy), lines });
        }
    }
    cures.extend(own(obstacle).map(|lines| Cure { proxy: None, lines }));
    cures
}

/// One that may be either of two is removed by removing both.
fn parts(obstacle: &Obstacle) -> impl Iterator<Item = Obstacle> {
    match obstacle {
        Obstacle::SomeLimit(seconds) => {
            vec![Obstacle::IdleLimit(*seconds), Obstacle::WholeLimit(*seconds)].into_iter()
        }
        one => vec![one.clone()].into_iter(),
    }
}

fn own(obstacle: &Obstacle) -> Option<String> {
    match obstacle {
        Obstacle::IdleLimit(seconds) | Obstacle::SomeLimit(seconds) => {
            Some(format!("[sse]\nheartbeat = \"{}s\"", (seconds / 2).max(1)))
        }
        // Streams end up to a tenth later than that.
        Obstacle::WholeLimit(seconds) if *seconds >= 2 => {
            Some(format!("[sse]\nmax_age = \"{}s\"", seconds * 8 / 10))
        }
        Obstacle::CorsMissing(origin) => Some(format!("[cors]\norigins = [\"{origin}\"]")),
        Obstacle::AddressHidden(address) => Some(format!("[public]\ntrusted_proxies = [\"{address}\"]")),
        _ => None,
    }
}

fn lines(obstacle: &Obstacle, proxy: FrontProxy) -> Option<&'static str> {
    match obstacle {
        Obstacle::Buffering | Obstacle::Compression | Obstacle::Caching | Obstacle::CacheControl => {
            content(obstacle, proxy)
        }
        Obstacle::IdleLimit(_) | Obstacle::WholeLimit(_) | Obstacle::SomeLimit(_) => limits(obstacle, proxy),
        Obstacle::LastEventId | Obstacle::Authorization | Obstacle::CorsTwice | Obstacle::ContentType => {
            headers(obstacle, proxy)
        }
        Obstacle::Http1Only | Obstacle::NotRouted | Obstacle::Upstream => routes(obstacle, proxy),
        Obstacle::AddressHidden(_) => addresses(proxy),
        Obstacle::CorsMissing(_) => None,
    }
}

fn content(obstacle: &Obstacle, proxy: FrontProxy) -> Option<&'static str> {
    let lines = match (obstacle, proxy) {
        (Obstacle::Buffering, Nginx) => {
            "proxy_http_version 1.1;\nproxy_buffering off;    # not needed without `proxy_ignore_headers X-Accel-Buffering`"
        }
        (Obstacle::Buffering, HaProxy) => {
            "# take out for {path}: `http-response wait-for-body`, `filter compression`"
        }
        (Obstacle::Buffering, Caddy) => "flush_interval -1      # in reverse_proxy",
        (Obstacle::Buffering, Apache) => "ProxyPass {path} http://127.0.0.1:8080{path} flushpackets=on",
        (Obstacle::Buffering, Envoy) => {
            "# take envoy.filters.http.compressor and lua filters that read bodies out of this route"
        }
        (Obstacle::Buffering, Traefik) => "# take the `buffering` middleware out of this router",
        (Obstacle::Buffering, Varnish) => "set beresp.do_stream = true;   # in vcl_backend_response",
        (Obstacle::Buffering, Cloudflare) => {
            "# Rules → Configuration Rules for {path}: turn off what rewrites bodies (Email Obfuscation, Rocket Loader)"
        }
        (Obstacle::Compression, Nginx) => {
            "gzip off;               # or take text/event-stream out of gzip_types and brotli_types"
        }
        (Obstacle::Compression, HaProxy) => "# take text/event-stream out of `compression type`",
        (Obstacle::Compression, Caddy) => {
            "@pages not path {path}*\nencode @pages gzip zstd   # in place of `encode gzip zstd`"
        }
        (Obstacle::Compression, Apache) => "SetEnvIf Request_URI \"^{path}\" no-gzip no-brotli",
        (Obstacle::Compression, Envoy) => "# take text/event-stream out of the compressor's content_type",
        (Obstacle::Compression, Traefik) => {
            "excludedContentTypes: [\"text/event-stream\"]   # of the compress middleware"
        }
        (Obstacle::Compression, Cloudflare) => "# Rules → Compression Rules for {path}: No Compression",
        (Obstacle::Caching, Nginx) => "proxy_cache off;",
        (Obstacle::Caching, HaProxy) => "# take `http-request cache-use` out for {path}",
        (Obstacle::Caching, Apache) => "CacheDisable {path}",
        (Obstacle::Caching, Varnish) => "if (req.url ~ \"^{path}\") { return (pass); }   # in vcl_recv",
        (Obstacle::Caching, Cloudflare) => "# Rules → Cache Rules for {path}: Bypass cache",
        (Obstacle::Caching, CloudFront) => "# the behaviour for {path}: cache policy CachingDisabled",
        (Obstacle::CacheControl, Nginx) => {
            "# take out for {path}: `expires`, `add_header Cache-Control`, `proxy_hide_header Cache-Control`"
        }
        (Obstacle::CacheControl, HaProxy) => {
            "# take out for {path}: `http-response set-header|del-header Cache-Control`"
        }
        (Obstacle::CacheControl, Caddy) => {
            "# take out for {path}: `header Cache-Control` and `header_down Cache-Control`"
        }
        (Obstacle::CacheControl, Apache) => {
            "# take out for {path}: `Header set|unset Cache-Control`, `ExpiresByType`"
        }
        (Obstacle::CacheControl, Cloudflare) => "# Caching → Browser Cache TTL: Respect Existing Headers",
        _ => return None,
    };
    Some(lines)
}

fn limits(obstacle: &Obstacle, proxy: FrontProxy) -> Option<&'static str> {
    let lines = match (obstacle, proxy) {
        (Obstacle::IdleLimit(_), Nginx) => "proxy_read_timeout 75s;",
        (Obstacle::IdleLimit(_), HaProxy) => "timeout server 75s\ntimeout client 75s",
        (Obstacle::IdleLimit(_), Caddy) => {
            "read_timeout 75s       # in reverse_proxy { transport http { … } }, or no such line"
        }
        (Obstacle::IdleLimit(_), Apache) => {
            "ProxyTimeout 75         # and no shorter `timeout=` in ProxyPass"
        }
        (Obstacle::IdleLimit(_), Envoy) => {
            "stream_idle_timeout: 75s   # of the HTTP connection manager; idle_timeout of the route"
        }
        (Obstacle::IdleLimit(_), Alb) => {
            "aws elbv2 modify-load-balancer-attributes --load-balancer-arn … --attributes Key=idle_timeout.timeout_seconds,Value=75"
        }
        (Obstacle::WholeLimit(_), Envoy) => {
            "timeout: 0s            # of the route; max_stream_duration likewise"
        }
        (Obstacle::WholeLimit(_), Caddy) => "servers {\n\ttimeouts {\n\t\twrite 0\n\t}\n}",
        (Obstacle::WholeLimit(_), Traefik) => {
            "transport: { respondingTimeouts: { writeTimeout: 0 } }   # of the entry point"
        }
        (Obstacle::WholeLimit(_), Google) => "gcloud compute backend-services update … --timeout=86400",
        (Obstacle::WholeLimit(_), HaProxy) => "timeout tunnel 1h       # and no shorter `timeout server-fin`",
        _ => return None,
    };
    Some(lines)
}

fn headers(obstacle: &Obstacle, proxy: FrontProxy) -> Option<&'static str> {
    let lines = match (obstacle, proxy) {
        (Obstacle::LastEventId, Nginx) => "proxy_set_header Last-Event-ID $http_last_event_id;",
        (Obstacle::LastEventId, HaProxy) => "# take out: `http-request del-header Last-Event-ID`",
        (Obstacle::LastEventId, Caddy) => {
            "# take out: `header_up -Last-Event-ID`, `request_header -Last-Event-ID`"
        }
        (Obstacle::LastEventId, Apache) => "# take out: `RequestHeader unset Last-Event-ID`",
        (Obstacle::LastEventId, Envoy) => "# take last-event-id out of request_headers_to_remove",
        (Obstacle::LastEventId | Obstacle::Authorization, CloudFront) => {
            "# the behaviour for {path}: origin request policy AllViewer, cache policy CachingDisabled"
        }
        (Obstacle::Authorization, Nginx) => "proxy_set_header Authorization $http_authorization;",
        (Obstacle::Authorization, HaProxy) => "# take out: `http-request del-header Authorization`",
        (Obstacle::Authorization, Caddy) => "# take out: `header_up -Authorization`",
        (Obstacle::Authorization, Apache) => "# take out: `RequestHeader unset Authorization`",
        (Obstacle::CorsTwice, Nginx) => {
            "# take `add_header Access-Control-Allow-Origin` out, or let it alone say so:\nproxy_hide_header Access-Control-Allow-Origin;"
        }
        (Obstacle::CorsTwice, HaProxy) => {
            "# take out: `http-response add-header Access-Control-Allow-Origin`"
        }
        (Obstacle::CorsTwice, Caddy) => "# take out: `header +Access-Control-Allow-Origin`",
        (Obstacle::CorsTwice, Apache) => "# take out: `Header add Access-Control-Allow-Origin`",
        (Obstacle::ContentType, Nginx) => {
            "# take out for {path}: `proxy_hide_header Content-Type`, `add_header Content-Type`"
        }
        (Obstacle::ContentType, HaProxy) => "# take out for {path}: `http-response set-header Content-Type`",
        (Obstacle::ContentType, Caddy) => "# take out for {path}: `header Content-Type`",
        (Obstacle::ContentType, Apache) => "# take out for {path}: `ForceType`, `Header set Content-Type`",
        _ => return None,
    };
    Some(lines)
}

fn routes(obstacle: &Obstacle, proxy: FrontProxy) -> Option<&'static str> {
    let lines = match (obstacle, proxy) {
        (Obstacle::Http1Only, Nginx) => {
            "listen 443 ssl http2;   # since nginx 1.25.1: listen 443 ssl; http2 on;"
        }
        (Obstacle::Http1Only, HaProxy) => "bind :443 ssl crt … alpn h2,http/1.1",
        (Obstacle::Http1Only, Caddy) => "# take `protocols h1` out of the global option `servers`",
        (Obstacle::Http1Only, Apache) => "Protocols h2 http/1.1   # with mod_http2: a2enmod http2",
        (Obstacle::Http1Only, Envoy) => "alpn_protocols: [\"h2\", \"http/1.1\"]   # in common_tls_context",
        (Obstacle::Http1Only, Alb) => {
            "aws elbv2 modify-load-balancer-attributes --load-balancer-arn … --attributes Key=routing.http2.enabled,Value=true"
        }
        (Obstacle::NotRouted, Nginx) => {
            "location {path} {\n    proxy_pass http://127.0.0.1:8080;\n    proxy_http_version 1.1;\n    proxy_set_header Host $http_host;\n}"
        }
        (Obstacle::NotRouted, HaProxy) => {
            "use_backend sidestream if { path_beg {path} }   # before default_backend"
        }
        (Obstacle::NotRouted, Caddy) => "handle {path}* {\n\treverse_proxy 127.0.0.1:8080\n}",
        (Obstacle::NotRouted, Apache) => {
            "ProxyPass {path} http://127.0.0.1:8080{path}   # above `ProxyPass /` and rewrites"
        }
        (Obstacle::Upstream, Nginx) => "proxy_pass http://127.0.0.1:8080;   # where public.listen is",
        (Obstacle::Upstream, HaProxy) => "server one 127.0.0.1:8080           # where public.listen is",
        (Obstacle::Upstream, Caddy) => "reverse_proxy 127.0.0.1:8080        # where public.listen is",
        (Obstacle::Upstream, Apache) => "ProxyPass / http://127.0.0.1:8080/   # where public.listen is",
        _ => return None,
    };
    Some(lines)
}

fn addresses(proxy: FrontProxy) -> Option<&'static str> {
    match proxy {
        Nginx => Some("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"),
        HaProxy => Some("option forwardfor"),
        Apache => Some("# take out: `ProxyAddHeaders Off`"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_of_the_proxy_that_is_there() {
        let found = cures(&Obstacle::NotRouted, &[HaProxy, Alb], "/sse");
        let line = "use_backend sidestream if { path_beg /sse }   # before default_backend".to_owned();
        assert_eq!(found, [Cure { proxy: Some(HaProxy), lines: line }]);
    }

    #[test]
    fn a_limit_of_either_kind_is_removed_by_both_lines() {
        let found = cures(&Obstacle::SomeLimit(15), &[Caddy], "/events");
        assert!(
            found[0].lines.contains("read_timeout 75s") && found[0].lines.contains("write 0"),
            "{found:?}"
        );
        assert_eq!(found[1], Cure { proxy: None, lines: "[sse]\nheartbeat = \"7s\"".to_owned() });
    }

    #[test]
    fn every_obstacle_has_a_line_for_one_of_the_usual_proxies_or_for_sidestream() {
        for obstacle in [
            Obstacle::Buffering,
            Obstacle::Compression,
            Obstacle::IdleLimit(5),
            Obstacle::WholeLimit(15),
            Obstacle::LastEventId,
            Obstacle::Authorization,
            Obstacle::Http1Only,
            Obstacle::NotRouted,
            Obstacle::ContentType,
            Obstacle::Upstream,
            Obstacle::Caching,
            Obstacle::CacheControl,
            Obstacle::CorsTwice,
            Obstacle::CorsMissing("https://a".to_owned()),
            Obstacle::AddressHidden("127.0.0.1".to_owned()),
        ] {
            let found = cures(&obstacle, &super::super::front::USUAL, "/events");
            assert!(!found.is_empty(), "{obstacle:?}");
            assert!(found.iter().all(|cure| !cure.lines.contains("{path}")), "{found:?}");
        }
    }
}
