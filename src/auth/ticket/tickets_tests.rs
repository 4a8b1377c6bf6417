use std::net::IpAddr;
use std::sync::Mutex;

use http::Request;
use http::header::COOKIE;
use http::request::Parts;

use super::*;
use crate::auth::RequestOrigin;
use crate::config::{AuthTicket, Secret};
use crate::event::Name;
use crate::future::BoxFuture;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const SENDER: RequestOrigin = RequestOrigin { address: HERE, peer: HERE, trusted: false, https: false };
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn after(seconds: u64) -> SystemTime {
    NOW + Duration::from_secs(seconds)
}

fn settings() -> AuthTicket {
    AuthTicket { secret: Some(Secret::new("s".repeat(32))), ..AuthTicket::default() }
}

fn tickets() -> Tickets {
    Tickets::new(&settings(), None)
}

fn minted(tickets: &Tickets, body: &str) -> Minted {
    tickets.mint_at(body.as_bytes(), NOW).unwrap()
}

fn request(target: &str, cookies: &[&str]) -> Parts {
    let mut request = Request::get(target);
    for cookie in cookies {
        request = request.header(COOKIE, *cookie);
    }
    request.body(()).unwrap().into_parts().0
}

/// Presents a ticket with some cookies.
async fn present(
    tickets: &Tickets,
    ticket: &str,
    cookies: &[&str],
    now: SystemTime,
) -> Result<Verified, Denied> {
    let request = request(&format!("/events?c=1&ticket={ticket}"), cookies);
    tickets.verify_at(&Caller { request: &request, origin: SENDER, asked: &[] }, now).await
}

/// Name and value of the cookie that was set, and its attributes.
fn cookie(verified: &Verified) -> (&str, &str) {
    verified.headers[SET_COOKIE].to_str().unwrap().split_once("; ").unwrap()
}

#[tokio::test]
async fn a_ticket_opens_once_and_its_cookie_from_then_on() {
    let tickets = tickets();
    let body = r#"{"user": 7, "session": "s", "topics": ["c:*"], "claims": {"org": "o"}, "token_id": "t"}"#;
    let made = minted(&tickets, body);
    assert_eq!((made.expires_in, made.token_id.as_str(), made.until), (30, "t", 3600));
    let first = present(&tickets, &made.ticket, &[], after(1)).await.unwrap();
    let grant = &first.grant;
    assert_eq!(grant.user.as_ref().map(Name::as_str), Some("7"));
    assert_eq!(grant.session.as_ref().map(Name::as_str), Some("s"));
    assert_eq!(grant.token.as_ref().map(Name::as_str), Some("t"));
    assert_eq!((grant.issued, grant.until), (Some(NOW), Some(after(3600))));
    assert!(
        grant.topics.allow(&Name::parse("c:1").unwrap().into())
            && !grant.topics.allow(&Name::parse("d").unwrap().into())
    );
    assert_eq!((&first.claims["org"], &first.claims["user"]), (&"o".into(), &"7".into()));
    let (pair, attributes) = cookie(&first);
    assert_eq!(attributes, "Path=/events; Max-Age=3599; HttpOnly; SameSite=Lax");

    let again = present(&tickets, &made.ticket, &[], after(2)).await;
    assert!(matches!(again, Err(Denied::TicketUsed)), "{again:?}");
    let other = format!("a=1; {pair}");
    for (at, cookies) in [(2, [other.as_str()]), (31, [pair]), (3599, [pair])] {
        let back = present(&tickets, &made.ticket, &cookies, after(at)).await.unwrap();
        assert_eq!(back.grant, first.grant);
        assert!(back.headers.is_empty());
    }
    let over = present(&tickets, &made.ticket, &[pair], after(3600)).await;
    assert!(matches!(over, Err(Denied::TicketExpired)), "{over:?}");
    // A client that leaves the ticket out.
    let request = request("/events", &[pair]);
    let caller = Caller { request: &request, origin: SENDER, asked: &[] };
    assert_eq!(tickets.verify_at(&caller, after(5)).await.unwrap().grant, first.grant);
    assert!(matches!(tickets.verify_at(&caller, after(3600)).await, Err(Denied::NoToken)));
}

#[tokio::test]
async fn a_ticket_that_is_late_or_not_ours_opens_nothing() {
    let tickets = tickets();
    let made = minted(&tickets, "{}");
    assert!(matches!(present(&tickets, &made.ticket, &[], after(30)).await, Err(Denied::TicketExpired)));
    let mut other = settings();
    other.secret = Some(Secret::new("t".repeat(32)));
    let forged = minted(&Tickets::new(&other, None), "{}").ticket;
    let cut = &made.ticket[..made.ticket.len() - 1];
    for ticket in [forged.as_str(), cut, "x", "sst1_", "%00"] {
        let answer = present(&tickets, ticket, &[], NOW).await;
        assert!(matches!(answer, Err(Denied::BadTicket)), "{ticket}: {answer:?}");
    }
    let twice = present(&tickets, &format!("{0}&ticket={0}", made.ticket), &[], NOW).await;
    assert!(matches!(twice, Err(Denied::BadTicket)));
    for none in ["/events", "/events?ticket=", "/events?Ticket=x"] {
        let request = request(none, &["sidestream_0123456789abcdef=x; sid=1"]);
        let caller = Caller { request: &request, origin: SENDER, asked: &[] };
        assert!(matches!(tickets.verify_at(&caller, NOW).await, Err(Denied::NoToken)), "{none}");
    }
    // None of all that has used it up.
    assert!(present(&tickets, &made.ticket, &[], NOW).await.is_ok());
}

#[tokio::test]
async fn a_cookie_is_no_ticket_and_a_ticket_no_cookie() {
    let tickets = tickets();
    let made = minted(&tickets, "{\"user\": \"u\"}");
    let verified = present(&tickets, &made.ticket, &[], NOW).await.unwrap();
    let (name, value) = cookie(&verified).0.split_once('=').unwrap();
    assert!(matches!(present(&tickets, value, &[], NOW).await, Err(Denied::BadTicket)));
    let as_ticket = value.replacen("ssc1_", "sst1_", 1);
    assert!(matches!(present(&tickets, &as_ticket, &[], NOW).await, Err(Denied::BadTicket)));
    for forged in [made.ticket.clone(), made.ticket.replacen("sst1_", "ssc1_", 1)] {
        let forged = format!("{name}={forged}");
        assert!(matches!(present(&tickets, &made.ticket, &[&forged], NOW).await, Err(Denied::TicketUsed)));
    }
    for secret in [&made.ticket, value] {
        assert!(!secret.contains('u') || !secret.contains("\"u\""));
    }
}

#[tokio::test]
async fn a_used_ticket_needs_the_cookie_of_its_own_grant() {
    let tickets = tickets();
    let mine = minted(&tickets, "{\"user\": \"a\", \"topics\": [\"c:1\"]}").ticket;
    let others = ["{\"user\": \"b\", \"topics\": [\"c:1\"]}", "{\"user\": \"a\", \"topics\": [\"c:2\"]}"];
    let my_own = present(&tickets, &mine, &[], NOW).await.unwrap();
    let my_pair = cookie(&my_own).0;
    for body in others {
        let other = present(&tickets, &minted(&tickets, body).ticket, &[], NOW).await.unwrap();
        let pair = cookie(&other).0;
        assert!(matches!(present(&tickets, &mine, &[pair], NOW).await, Err(Denied::TicketUsed)), "{body}");
        // Nor under the right name.
        let renamed = format!("{}={}", my_pair.split_once('=').unwrap().0, pair.split_once('=').unwrap().1);
        assert!(
            matches!(present(&tickets, &mine, &[&renamed], NOW).await, Err(Denied::TicketUsed)),
            "{body}"
        );
        // Two tabs of one browser do not take each other's place.
        assert_eq!(present(&tickets, &mine, &[pair, my_pair], NOW).await.unwrap().grant, my_own.grant);
    }
    // A later ticket for the same renews the cookie.
    let later = tickets.mint_at(b"{\"user\": \"a\", \"topics\": [\"c:1\"]}", after(100)).unwrap().ticket;
    let renewed = present(&tickets, &later, &[my_pair], after(100)).await.unwrap();
    assert_eq!(cookie(&renewed).0.split_once('=').unwrap().0, my_pair.split_once('=').unwrap().0);
    assert_eq!(renewed.grant.until, Some(after(3700)));
}

/// Another instance's knowledge.
struct Others(Mutex<Vec<String>>, Option<bool>);

impl FirstUse for Others {
    fn first(&self, id: String, keep: Duration) -> BoxFuture<'_, Option<bool>> {
        assert!(keep >= Duration::from_secs(60), "{keep:?}");
        self.0.lock().unwrap().push(id);
        Box::pin(std::future::ready(self.1))
    }
}

#[tokio::test]
async fn what_another_instance_has_redeemed_is_used() {
    let with = |answer| Tickets::new(&settings(), Some(Arc::new(Others(Mutex::default(), answer))));
    let made = minted(&tickets(), "{\"user\": \"a\"}").ticket;
    let first = with(Some(true));
    let verified = present(&first, &made, &[], NOW).await.unwrap();
    let pair = cookie(&verified).0;
    let again = with(Some(false));
    assert!(matches!(present(&again, &made, &[], NOW).await, Err(Denied::TicketUsed)));
    assert!(present(&again, &made, &[pair], NOW).await.is_ok());
    // While that is not known, only a caller with the cookie gets in; and the ticket is not spoilt by that.
    let silent = with(None);
    for _ in 0..2 {
        assert!(matches!(present(&silent, &made, &[], NOW).await, Err(Denied::NotNow(_))));
        assert!(present(&silent, &made, &[pair], NOW).await.is_ok());
    }
}

#[test]
fn a_ticket_is_made_of_a_whole_body_only() {
    let tickets = tickets();
    let bad = |body: &str| match tickets.mint_at(body.as_bytes(), NOW) {
        Err(bad) => bad,
        Ok(_) => panic!("{body} is taken"),
    };
    let max = 3600;
    for (body, why) in [
        ("", BadMint::NotJson),
        ("[]", BadMint::NotJson),
        ("{\"usr\": 1}", BadMint::Unknown("usr".to_owned())),
        ("{\"user\": \"\"}", BadMint::Name("user")),
        ("{\"user\": {}}", BadMint::Name("user")),
        ("{\"session\": 1.5}", BadMint::Name("session")),
        ("{\"token_id\": []}", BadMint::Name("token_id")),
        ("{\"topics\": \"a\"}", BadMint::Topics),
        ("{\"topics\": [\"*****\"]}", BadMint::Topics),
        ("{\"claims\": []}", BadMint::Claims),
        ("{\"expires_in\": 0}", BadMint::ExpiresIn { max }),
        ("{\"expires_in\": 3601}", BadMint::ExpiresIn { max }),
        ("{\"expires_in\": \"60\"}", BadMint::ExpiresIn { max }),
    ] {
        assert_eq!(bad(body), why, "{body}");
    }
    let large = format!("{{\"claims\": {{\"a\": \"{}\"}}}}", "x".repeat(2500));
    assert!(matches!(bad(&large), BadMint::TooLarge { .. }));
    let short = minted(&tickets, "{\"expires_in\": 5, \"user\": null}");
    assert_eq!((short.expires_in, short.until), (5, 5));
}

#[tokio::test]
async fn the_largest_cookie_is_one_that_browsers_take() {
    let tickets = tickets();
    let fits = |n: usize| {
        let body = format!("{{\"claims\": {{\"a\": \"{}\"}}}}", "x".repeat(n));
        tickets.mint_at(body.as_bytes(), NOW).ok()
    };
    let most = (0..2600).rev().find_map(fits).unwrap();
    let verified = present(&tickets, &most.ticket, &[], NOW).await.unwrap();
    let (pair, attributes) = cookie(&verified);
    assert!(pair.len() + attributes.len() < 4000, "{}", pair.len());
}

#[tokio::test]
async fn a_cookie_is_as_narrow_as_its_stream_and_as_safe_as_its_way() {
    let attributes = async |settings: &AuthTicket, origin: RequestOrigin, path: &str, proto: Option<&str>| {
        let tickets = Tickets::new(settings, None);
        let made = minted(&tickets, "{}");
        let mut request = request(&format!("{path}?ticket={}", made.ticket), &[]);
        if let Some(proto) = proto {
            request.headers.insert("x-forwarded-proto", proto.parse().unwrap());
        }
        let caller = Caller { request: &request, origin, asked: &[] };
        let verified = tickets.verify_at(&caller, NOW).await.unwrap();
        cookie(&verified).1.replace("; Max-Age=3600; HttpOnly", "")
    };
    let (plain, tls) = (settings(), RequestOrigin { https: true, ..SENDER });
    let proxy = RequestOrigin { trusted: true, ..SENDER };
    let always = AuthTicket { secure: SecureCookie::Always, same_site: SameSite::None, ..plain.clone() };
    let never = AuthTicket { secure: SecureCookie::Never, same_site: SameSite::Strict, ..plain.clone() };
    for (settings, origin, path, proto, expected) in [
        (&plain, SENDER, "/a/b", None, "Path=/a/b; SameSite=Lax"),
        (&plain, SENDER, "/a", Some("https"), "Path=/a; SameSite=Lax"),
        (&plain, proxy, "/a", Some("https"), "Path=/a; SameSite=Lax; Secure"),
        (&plain, proxy, "/a", Some("http"), "Path=/a; SameSite=Lax"),
        (&plain, tls, "/a", None, "Path=/a; SameSite=Lax; Secure"),
        (&always, SENDER, "/a", None, "Path=/a; SameSite=None; Secure"),
        (&never, tls, "/a", None, "Path=/a; SameSite=Strict"),
        // A path cannot add attributes.
        (&plain, SENDER, "/a/b;Domain=x/c", None, "Path=/a/; SameSite=Lax"),
        (&plain, SENDER, "/;", None, "Path=/; SameSite=Lax"),
    ] {
        assert_eq!(attributes(settings, origin, path, proto).await, expected, "{path}");
    }
}

#[tokio::test]
async fn nothing_of_a_ticket_goes_on_to_the_backend() {
    let tickets = tickets();
    let made = minted(&tickets, "{}").ticket;
    let verified = present(&tickets, &made, &[], NOW).await.unwrap();
    let pair = cookie(&verified).0;
    let mut head =
        request(&format!("/other?a=1&ticket={made}&b"), &[&format!("sid=1; {pair}; sidestream_id=2"), pair]);
    tickets.strip_tokens(&mut head.uri, &mut head.headers);
    assert_eq!(head.uri.to_string(), "/other?a=1&b");
    let cookies: Vec<_> = head.headers.get_all(COOKIE).iter().collect();
    assert_eq!(cookies, ["sid=1; sidestream_id=2"]);
    // The application's own tickets are its own.
    let mut head = request("http://h/other?ticket=42", &[]);
    tickets.strip_tokens(&mut head.uri, &mut head.headers);
    assert_eq!(head.uri.to_string(), "http://h/other?ticket=42");
}
