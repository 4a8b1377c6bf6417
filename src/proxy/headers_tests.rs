use super::*;

fn to_backend(headers: &mut HeaderMap, trusted: bool) -> Option<HeaderValue> {
    let caller = Forwarded::new("192.0.2.1".parse().unwrap(), trusted, false);
    whole(headers, Kinds::of(headers), &caller).unwrap()
}

/// All that is done to a head on its way to the backend.
fn whole(
    headers: &mut HeaderMap,
    kinds: Kinds,
    caller: &Forwarded,
) -> Result<Option<HeaderValue>, ComesAround> {
    let upgrade = end_hop(headers, kinds);
    say_who(headers, kinds, caller).map(|()| upgrade)
}

fn to_client(headers: &mut HeaderMap, upgrading: bool) {
    super::to_client(headers, Kinds::of(headers), upgrading, true);
}

fn map(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers
            .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let others = headers.iter().filter(|(name, _)| *name != HOPS);
    let mut lines: Vec<_> =
        others.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    // Different names have no order; a stable sort keeps that of one name's values.
    lines.sort_by(|a, b| a.split(':').next().cmp(&b.split(':').next()));
    lines
}

/// What reaches the backend, but for what is said of the client.
fn request(sent: &[&str]) -> Vec<String> {
    let mut headers = map(sent);
    to_backend(&mut headers, false);
    lines(&headers).into_iter().filter(|line| !line.starts_with("x-forwarded-")).collect()
}

fn response(sent: &[&str]) -> Vec<String> {
    let mut headers = map(sent);
    to_client(&mut headers, false);
    lines(&headers)
}

#[test]
fn what_is_for_one_hop_goes_no_further() {
    let none: [&str; 0] = [];
    for line in [
        "connection: close",
        "connection: keep-alive",
        "keep-alive: timeout=5",
        "proxy-connection: keep-alive",
        "te: gzip",
        "upgrade: websocket",
    ] {
        assert_eq!(request(&[line]), none, "{line}");
    }
    assert_eq!(request(&["proxy-authorization: Basic eA=="]), none);
    assert_eq!(response(&["proxy-authenticate: Basic"]), none);
    for line in ["connection: close", "keep-alive: timeout=5", "proxy-connection: close", "upgrade: h2,h2c"] {
        assert_eq!(response(&[line]), none, "{line}");
    }
    assert_eq!(
        request(&["connection: x-a , X-B", "connection: x-c", "x-a: 1", "x-b: 1", "x-b: 2", "x-c: 3"]),
        none
    );
    assert_eq!(response(&["connection: x-a", "x-a: 1", "x-b: 2"]), ["x-b: 2"]);
}

#[test]
fn everything_else_goes_on_in_its_order() {
    let sent = [
        "accept: */*",
        "authorization: Bearer t",
        "cookie: a=1",
        "cookie: b=2",
        "expect: 100-continue",
        "trailer: x-sum",
        "via: 1.1 somewhere",
        "x-n: 2",
        "x-n: 1",
    ];
    assert_eq!(request(&sent), sent);
    assert_eq!(
        response(&["set-cookie: b", "set-cookie: a", "trailer: x"]),
        ["set-cookie: b", "set-cookie: a", "trailer: x"]
    );
}

#[test]
fn connection_cannot_remove_what_frames_or_names_the_request() {
    let mut headers = map(&[
        "connection: host, content-length, transfer-encoding, x-forwarded-for, x-forwarded-proto",
        "content-length: 5",
        "host: h",
        "transfer-encoding: chunked",
        "x-forwarded-for: 203.0.113.9",
        "x-forwarded-proto: https",
    ]);
    to_backend(&mut headers, true);
    let kept = [
        "content-length: 5",
        "host: h",
        "transfer-encoding: chunked",
        "x-forwarded-for: 203.0.113.9, 192.0.2.1",
        "x-forwarded-host: h",
        "x-forwarded-proto: https",
    ];
    assert_eq!(lines(&headers), kept);
}

#[test]
fn trailers_are_asked_for_when_the_client_takes_them() {
    let asked = ["connection: te", "te: trailers"];
    assert_eq!(request(&["connection: TE", "te: gzip;q=0.5, Trailers"]), asked);
    assert_eq!(request(&["te: trailers"]), asked);
}

#[test]
fn an_upgrade_needs_both_headers_and_is_never_h2c() {
    let asked = |sent: &[&str]| to_backend(&mut map(sent), false);
    assert_eq!(asked(&["connection: keep-alive, Upgrade", "upgrade: websocket"]).unwrap(), "websocket");
    assert_eq!(asked(&["upgrade: websocket"]), None);
    assert_eq!(asked(&["connection: upgrade"]), None);
    let sent = ["connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABk"];
    assert_eq!(asked(&sent), None);
    let none: [&str; 0] = [];
    assert_eq!(request(&sent), none);
    let both = ["connection: upgrade", "upgrade: websocket"];
    assert_eq!(request(&both), both);
    let mut headers = map(&["connection: Upgrade", "upgrade: websocket", "sec-websocket-accept: x"]);
    to_client(&mut headers, true);
    assert_eq!(lines(&headers), ["connection: upgrade", "sec-websocket-accept: x", "upgrade: websocket"]);
}

#[test]
fn of_a_stranger_nothing_is_believed() {
    let mut headers = map(&[
        "forwarded: for=10.0.0.1",
        "host: shop.example",
        "x-forwarded-for: 10.0.0.1",
        "x-forwarded-for: 10.0.0.2",
        "x-forwarded-host: evil.example",
        "x-forwarded-port: 1",
        "x-forwarded-proto: https",
        "x-real-ip: 10.0.0.1",
        // WSGI, CGI and Rack read these as the ones above.
        "x_forwarded_for: 10.0.0.1",
        "x_real-ip: 10.0.0.1",
        "x-forwarded_proto: https",
        // The endpoint that the daemon asks may be reached through it as well.
        "x-sidestream-user: admin",
        "x-original-uri: /admin",
    ]);
    to_backend(&mut headers, false);
    let said = [
        "host: shop.example",
        "x-forwarded-for: 192.0.2.1",
        "x-forwarded-host: shop.example",
        "x-forwarded-proto: http",
    ];
    assert_eq!(lines(&headers), said);
    let mut headers = map(&[]);
    let mapped = "::ffff:192.0.2.7".parse().unwrap();
    let kinds = Kinds::of(&headers);
    whole(&mut headers, kinds, &Forwarded::new(mapped, false, true)).unwrap();
    assert_eq!(lines(&headers), ["x-forwarded-for: 192.0.2.7", "x-forwarded-proto: https"]);
}

#[test]
fn hops_are_counted_and_end() {
    let hops = |line: &str| {
        let mut headers = map(&[line]);
        let kinds = Kinds::of(&headers);
        let caller = Forwarded::new("192.0.2.1".parse().unwrap(), false, false);
        whole(&mut headers, kinds, &caller).map(|_| headers[HOPS].to_str().unwrap().to_owned())
    };
    assert_eq!(hops("x-other: 1").unwrap(), "1");
    assert_eq!(hops("x-sidestream-hops: 3").unwrap(), "4");
    assert_eq!(hops("x-sidestream-hops: 4"), Err(ComesAround));
    assert_eq!(hops("x-sidestream-hops: 4294967295"), Err(ComesAround));
    assert_eq!(hops("x-sidestream-hops: many").unwrap(), "1");
}

#[test]
fn a_trusted_proxys_word_is_kept_and_added_to() {
    let mut headers = map(&[
        "x_forwarded_for: 6.6.6.6",
        "forwarded: for=203.0.113.9",
        "host: inner",
        "x-forwarded-for: 203.0.113.9",
        "x-forwarded-for: 198.51.100.2",
        "x-forwarded-host: shop.example",
        "x-forwarded-port: 443",
        "x-forwarded-proto: https",
    ]);
    to_backend(&mut headers, true);
    let said = [
        "forwarded: for=203.0.113.9",
        "host: inner",
        "x-forwarded-for: 203.0.113.9, 198.51.100.2, 192.0.2.1",
        "x-forwarded-host: shop.example",
        "x-forwarded-port: 443",
        "x-forwarded-proto: https",
    ];
    assert_eq!(lines(&headers), said);
}

#[test]
fn the_backend_may_say_how_long_it_keeps_a_connection() {
    let said = |value: &str| {
        let headers = map(&[&format!("keep-alive: {value}")]);
        keep_alive_timeout(&headers, Kinds::of(&headers))
    };
    assert_eq!(said("timeout=5"), Some(5));
    assert_eq!(said("max=100, Timeout = \"15\""), Some(15));
    assert_eq!(said("timeout=soon"), None);
    assert_eq!(said("max=100"), None);
    assert_eq!(keep_alive_timeout(&HeaderMap::new(), Kinds::default()), None);
}

#[test]
fn who_sent_it_is_written_as_it_is_said() {
    for https in [false, true] {
        let caller = Forwarded::new("2001:db8::1".parse().unwrap(), false, https);
        let mut headers = map(&["host: app.example:81", "accept: */*"]);
        let mut written = b"host: app.example:81\r\naccept: */*\r\n".to_vec();
        write_who(&caller, headers.get(HOST), &mut written);
        say_who(&mut headers, Kinds::default(), &caller).unwrap();
        let said = headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
        assert_eq!(String::from_utf8(written).unwrap(), said.collect::<String>());
    }
}
