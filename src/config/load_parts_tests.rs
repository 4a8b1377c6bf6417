use std::time::Duration;

use crate::config::Config;
use crate::config::reader::KeyKind;
use crate::config::reading::survey;
use crate::config::schema::{
    GrantEnd, Heartbeat, HookFormat, InboundHook, Jwks, Jwt, MetaTemplates, Presence, PublisherKey,
    PusherApp, RefuseWith, RetractedAs, SignatureEncoding, SignatureHash, SignatureScheme, Sse, Stream,
};
use crate::config::values::Secret;
use crate::event::{ContentCondition, ContentTemplates, DataTemplate, Pattern, Template};
use crate::event::{EventFormat, EventName, JsonTemplate, Timestamps, TopicAs};
use crate::jws::JwsKey;
use crate::pace::Quota;

/// `[auth.jwt]` of the example with nothing commented out.
pub(super) fn jwt_in_full() -> Jwt {
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAhmD+X31z7todctQ8amYwFXyhYZaWCzBLmNbP3tUsdZ4=\n-----END PUBLIC KEY-----";
    let keys = vec![
        JwsKey::from_secret(b"change-me").unwrap(),
        JwsKey::from_pem(pem).unwrap(),
        JwsKey::from_secret(b"change-me-too").unwrap().named("2026-11"),
    ];
    let url = "https://login.example/.well-known/jwks.json".parse().unwrap();
    Jwt { keys, jwks: Some(Jwks::at(url)), ..Jwt::default() }
}

/// The keys of content as the example has them.
pub(super) fn content_in_full() -> ContentTemplates {
    let template = |text: &str| Some(Template::parse(text).unwrap());
    let of_type = Template::parse("{data.type}").unwrap().placeholders().next().unwrap().clone();
    let when = ContentCondition { value: of_type, any_of: vec![Pattern::parse("message").unwrap()] };
    ContentTemplates {
        topic: template("conversation:{data.conversationId}"),
        user: template("{data.user_id}"),
        session: template("{data.session?}"),
        client: template("{data.client?}"),
        broadcast: false,
        except_client: template("{data.socket?}"),
        event: template("{data.type:-message:new}"),
        data: template("{data.payload}").map(DataTemplate::Text),
        idempotency_key: template("{data.id?}"),
        coalesce: template("{data.cursor?}"),
        ttl: template("{data.ttl:-60}"),
        retry: None,
        when: vec![when],
    }
}

/// A `[[stream]]` of the example with nothing commented out that does not stand alone.
pub(super) fn stream_in_full() -> Stream {
    let template = |text: &str| Template::parse(text).unwrap();
    let meta = MetaTemplates { named: vec![("device".to_owned(), template("{query.device}"))], query: false };
    Stream {
        user: Some(template("{query.userId}")),
        session: Some(template("{query.sessionId}")),
        refuse_with: Some(RefuseWith::Status),
        idle_timeout: Some(Duration::from_secs(1800)),
        meta: Some(meta),
        events: Some(EventFormat::Typed(Timestamps::Iso)),
        typed_data: typed_data_in_full(),
        topic_as: Some(TopicAs::Comment),
        connected_as: Some(EventName::parse("connection_established").unwrap()),
        connected_data: data(&[
            ("type", "connected"),
            ("clientId", "{client}"),
            ("userId", "{user}"),
            ("timestamp", "{now.iso}"),
        ]),
        heartbeat_as: Some(Heartbeat::Event(EventName::parse("heartbeat").unwrap())),
        heartbeat_data: data(&[("timestamp", "{now}")]),
        retry_min: Some(Duration::from_secs(1)),
        retry_max: Some(Duration::from_secs(4)),
        until: Some(GrantEnd::Exp),
        retracted_as: Some(RetractedAs(Some(EventName::parse("message:retracted").unwrap()))),
        ..Stream::default()
    }
}

/// `[sse]` of the example with nothing commented out.
pub(super) fn sse_in_full() -> Sse {
    Sse {
        typed_data: typed_data_in_full(),
        connected_data: data(&[("type", "connected"), ("clientId", "{client}")]),
        heartbeat_data: data(&[("timestamp", "{now}")]),
        ..Sse::default()
    }
}

/// `[presence]` of the example with nothing commented out.
pub(super) fn presence_in_full() -> Presence {
    let fields = [("userId", "{user}"), ("online", "{online}"), ("timestamp", "{now}")];
    Presence { data: data(&fields), ..Presence::default() }
}

fn typed_data_in_full() -> Option<JsonTemplate> {
    data(&[("type", "{event}"), ("data", "{data}"), ("timestamp", "{now.iso}"), ("userId", "{user}")])
}

fn data(fields: &[(&str, &str)]) -> Option<JsonTemplate> {
    let text = |text: &str| JsonTemplate::text(&Template::parse(text).unwrap());
    Some(JsonTemplate::object(fields.iter().map(|(name, value)| (*name, text(value)))))
}

/// `[[internal.hook]]` as the example has it.
pub(super) fn hook_in_full() -> InboundHook {
    InboundHook {
        name: "github".to_owned(),
        key: Some(PublisherKey::Plain(Secret::new("abcdef0123456789abcdef0123456789abcdef01"))),
        key_header: Some(http::HeaderName::from_static("x-webhook-secret")),
        key_query: None,
        secret: Some(Secret::new("the-secret-that-is-set-at-the-service")),
        previous_secret: Some(Secret::new("the-one-that-was-set-there-before")),
        scheme: SignatureScheme::Body,
        signature_header: Some(http::HeaderName::from_static("x-signature")),
        signature_prefix: Some("sha256=".to_owned()),
        signature_hash: SignatureHash::Sha256,
        signature_encoding: SignatureEncoding::Hex,
        tolerance: Duration::from_secs(300),
        format: HookFormat::Any,
        content: content_in_full(),
        rate: Some(Quota { count: 100, period: Duration::from_secs(1), burst: 500 }),
        public_path: Some("/hooks/github".to_owned()),
    }
}

/// `[[internal.pusher]]` as the example has it.
pub(super) fn pusher_in_full() -> PusherApp {
    PusherApp {
        app_id: "123456".to_owned(),
        key: "278d425bdf160c739803".to_owned(),
        secret: Secret::new("the-secret-of-the-app"),
        rate: Some(Quota { count: 100, period: Duration::from_secs(1), burst: 500 }),
    }
}

/// Whether a setting cannot stand beside the others: it names a file that has to be there, says in another way what
/// another says, or is for a backend with TLS, for callers who are verified, or for answers that are polled.
pub(super) fn stands_alone(section: &str, key: &str) -> bool {
    if let ("proxy", "server_name")
    | (_, "discover")
    | ("stream", "page_publish" | "signed_key" | "refresh_on") = (section, key)
    {
        return true;
    }
    let reader = survey(Config::read);
    let doc = reader.docs.iter().find(|((of, name), _)| *of == section && *name == key);
    doc.is_some_and(|(_, doc)| matches!(doc.kind, KeyKind::File | KeyKind::Instead))
}
