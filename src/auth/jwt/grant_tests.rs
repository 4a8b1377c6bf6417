use serde_json::json;

use super::*;

fn mapping(settings: config::Jwt) -> ClaimMapping {
    ClaimMapping::new(&settings)
}

fn with(templates: &[&str]) -> ClaimMapping {
    let grant = templates.iter().map(|text| Template::parse(text).unwrap()).collect();
    mapping(config::Jwt { grant, ..config::Jwt::default() })
}

fn granted(mapping: &ClaimMapping, claims: Value) -> Result<Grant, String> {
    let all = claims.as_object().unwrap().clone();
    mapping
        .grant(&Claims { all, issued: None, until: None })
        .map_err(|denied| format!("{} {denied}", denied.label()))
}

fn patterns(mapping: &ClaimMapping, claims: Value) -> Result<Vec<String>, String> {
    match granted(mapping, claims)?.topics {
        GrantedTopics::Only(patterns) => Ok(patterns.iter().map(ToString::to_string).collect()),
        GrantedTopics::Any => panic!("nobody is granted everything"),
    }
}

fn bad(claim: &str) -> Result<Vec<String>, String> {
    Err(format!("bad_claim the token's `{claim}` is not what it has to be"))
}

#[test]
fn claims_name_the_user_the_session_and_the_token() {
    let default = mapping(config::Jwt::default());
    let grant = granted(&default, json!({ "sub": 42, "sid": "s", "jti": "t" })).unwrap();
    let name = |text: &str| Some(Name::parse(text).unwrap());
    assert_eq!((grant.user, grant.session, grant.token), (name("42"), name("s"), name("t")));
    assert_eq!(grant.topics, GrantedTopics::Only([].into()), "what no claim gives is not granted");
    let nobody = granted(&default, json!({ "sub": null })).unwrap();
    assert_eq!((nobody.user, nobody.session), (None, None));
    for (claim, value) in [
        ("sub", json!("")),
        ("sub", json!("a\nb")),
        ("sub", json!("x".repeat(257))),
        ("sub", json!(["u"])),
        ("sub", json!(1.5)),
        ("sub", json!(true)),
        ("sid", json!({})),
        ("jti", json!("\0")),
    ] {
        assert_eq!(patterns(&default, json!({ claim: value })), bad(claim));
    }
    let own = mapping(config::Jwt {
        user: "https://app.example/user.id".to_owned(),
        session: "ctx.session".to_owned(),
        ..config::Jwt::default()
    });
    let grant =
        granted(&own, json!({ "https://app.example/user.id": "u", "ctx": { "session": 7 }, "sub": "x" }))
            .unwrap();
    assert_eq!((grant.user, grant.session), (name("u"), name("7")));
}

#[test]
fn a_claim_lists_topics_and_patterns() {
    let default = mapping(config::Jwt { max_topics: 3, ..config::Jwt::default() });
    for (claim, expected) in [
        (json!(["conversation:*", "news"]), vec!["conversation:*", "news"]),
        (json!("conversation:*  news"), vec!["conversation:*", "news"]),
        (json!(["two words"]), vec!["two words"]),
        (json!([]), vec![]),
        (json!(""), vec![]),
        (json!(null), vec![]),
    ] {
        assert_eq!(patterns(&default, json!({ "topics": claim })).unwrap(), expected);
    }
    for claim in [
        json!(7),
        json!({}),
        json!([7]),
        json!(["a", null]),
        json!([""]),
        json!(["*a*b*c*d*"]),
        json!("a b c d"),
    ] {
        assert_eq!(patterns(&default, json!({ "topics": claim })), bad("topics"));
    }
}

#[test]
fn templates_grant_what_the_claims_make_of_them() {
    let tenant = with(&["tenant:{claim.tenant}:*", "news"]);
    assert_eq!(patterns(&tenant, json!({ "tenant": "a" })).unwrap(), ["tenant:a:*", "news"]);
    assert_eq!(
        patterns(&tenant, json!({ "tenant": ["a", 7] })).unwrap(),
        ["tenant:a:*", "tenant:7:*", "news"]
    );
    assert_eq!(patterns(&tenant, json!({})).unwrap(), ["news"], "without the claim nothing comes of it");
    let pairs = with(&["{claim.a}:{claim.o.b}:{claim.a}"]);
    let both = json!({ "a": ["1", "2"], "o": { "b": ["x", "y"] } });
    assert_eq!(patterns(&pairs, both).unwrap(), ["1:x:1", "2:x:2", "1:y:1", "2:y:2"]);
}

#[test]
fn a_claims_own_star_opens_nothing() {
    let tenant = with(&["tenant:{claim.tenant}:*"]);
    for value in [json!("*"), json!("a*"), json!(["a", "b*"])] {
        assert_eq!(patterns(&tenant, json!({ "tenant": value })), bad("tenant"));
    }
    assert_eq!(patterns(&tenant, json!({ "tenant": "a\nb" })), bad("tenant"));
}

#[test]
fn no_caller_has_more_patterns_than_are_looked_through_in_no_time() {
    let many: Vec<u32> = (0..200).collect();
    let pairs = with(&["{claim.a}:{claim.b}"]);
    assert_eq!(patterns(&pairs, json!({ "a": many, "b": many })), bad("a"));
}
