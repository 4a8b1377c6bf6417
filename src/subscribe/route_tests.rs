use super::*;

impl Routes {
    pub(in crate::subscribe) fn of(streams: &[config::Stream]) -> Self {
        Self::new(streams, &config::Sse::default())
    }
}

fn routes(path: &str, topics: &[&str], user: Option<&str>) -> Routes {
    let template = |text: &str| Template::parse(text).unwrap();
    Routes::of(&[config::Stream {
        path: path.to_owned(),
        topics: topics.iter().copied().map(template).collect(),
        user: user.map(template),
        ..config::Stream::default()
    }])
}

fn asked(routes: &Routes, path: &str, query: &str) -> Result<Vec<String>, BadStreamRequest> {
    let (route, query) = (routes.find(path, Some(query)).unwrap(), StreamQuery::new(Some(query)));
    let asked = || {
        let topics = route.topics(Values { query: &query, claims: &Map::new() }, 4)?;
        route.claimed(&query)?;
        Ok(topics.iter().map(|asked| asked.topic.to_string()).collect())
    };
    asked().map_err(|unnamed| match unnamed {
        TemplateError::Request(bad) => bad,
        TemplateError::Claim(name) => panic!("no claim is asked for, but {name}"),
    })
}

#[test]
fn values_that_multiply_are_counted_before_they_are_combined() {
    let all = (0..4_000).map(|n| format!("&a={n}&b={n}&c={n}")).collect::<String>();
    let three = routes("/e", &["{query.a}:{query.b}:{query.c}"], None);
    assert_eq!(asked(&three, "/e", &all), Err(BadStreamRequest::TooManyTopics { max: 4 }));
    let query = StreamQuery::new(Some(&all));
    let values = Values { query: &query, claims: &Map::new() };
    let route = three.find("/e", None).unwrap();
    let unlimited = route.topics(values, 0);
    let refused = BadStreamRequest::TooManyTopics { max: MAX_COMBINATIONS };
    assert_eq!(unlimited, Err(TemplateError::Request(refused)));
    // Equal values are one, however often they stand there.
    let same = "&a=1&b=1&c=1".repeat(4_000);
    assert_eq!(asked(&three, "/e", &same).unwrap(), ["1:1:1"]);
    let user = routes("/e", &[], Some("{query.a}:{query.b}"));
    assert!(matches!(asked(&user, "/e", &all), Err(BadStreamRequest::Repeated(_))));
}

#[test]
fn a_path_matches_segment_by_segment() {
    let routes = routes("/rooms/{room}/events", &["room:{path.room}"], None);
    assert_eq!(asked(&routes, "/rooms/a%20b%2Fc/events", "").unwrap(), ["room:a b/c"]);
    for other in [
        "/rooms//events",
        "/rooms/a/events/",
        "/rooms/a",
        "/rooms/a/b/events",
        "//rooms/a/events",
        "/rooms/%ff/events",
    ] {
        assert!(routes.find(other, None).is_none(), "{other}");
    }
}

#[test]
fn every_value_of_a_parameter_makes_a_topic_once() {
    let routes = routes("/events", &["all", "c:{query.c}"], None);
    assert_eq!(asked(&routes, "/events", "c=1&c=2&c=1&x=9").unwrap(), ["all", "c:1", "c:2"]);
    assert_eq!(asked(&routes, "/events", "c=%E2%98%82+x").unwrap(), ["all", "c:☂ x"]);
    let pairs = self::routes("/events", &["{query.a}/{query.b}"], None);
    assert_eq!(asked(&pairs, "/events", "a=1&b=2&a=3&b=4").unwrap(), ["1/2", "3/2", "1/4", "3/4"]);
}

#[test]
fn a_topic_without_its_optional_value_falls_away() {
    let routes = routes(
        "/events",
        &["all", "c:{query.c?}", "{query.a?}/{query.b:-none}", "l:{query.l:-lobby}"],
        Some("{query.u?}"),
    );
    assert_eq!(asked(&routes, "/events", "").unwrap(), ["all", "l:lobby"]);
    assert_eq!(asked(&routes, "/events", "c=&l=").unwrap(), ["all", "l:lobby"]);
    assert_eq!(asked(&routes, "/events", "c=1&c=2&l=x").unwrap(), ["all", "c:1", "c:2", "l:x"]);
    assert_eq!(asked(&routes, "/events", "a=1").unwrap(), ["all", "1/none", "l:lobby"]);
    assert_eq!(asked(&routes, "/events", "b=1").unwrap(), ["all", "l:lobby"]);
    let route = routes.find("/events", None).unwrap();
    let user = |query| route.claimed(&StreamQuery::new(Some(query))).unwrap().0;
    assert_eq!(user("").map(|name| name.to_string()), None);
    assert_eq!(user("u=7").map(|name| name.to_string()).as_deref(), Some("7"));
    let optional = self::routes("/events", &["t:{claim.team?}", "o:{claim.org:-none}"], None);
    let query = StreamQuery::new(None);
    let route = optional.find("/events", None).unwrap();
    let none = Map::new();
    let values = Values { query: &query, claims: &none };
    let topics = route.topics(values, 0).unwrap();
    assert_eq!(topics.iter().map(|asked| asked.topic.as_str()).collect::<Vec<_>>(), ["o:none"]);
    assert_eq!(route.granted(values).iter().map(TopicFilter::as_str).collect::<Vec<_>>(), ["o:none"]);
}

#[test]
fn routes_on_one_path_are_told_apart_by_their_parameters() {
    let stream = |topics: &[&str]| config::Stream {
        path: "/events".to_owned(),
        topics: topics.iter().map(|text| Template::parse(text).unwrap()).collect(),
        ..config::Stream::default()
    };
    let routes = Routes::of(&[
        stream(&["c:{query.c}:{query.part}", "{query.x?}"]),
        stream(&["c:{query.c}"]),
        stream(&["all"]),
    ]);
    assert_eq!(asked(&routes, "/events", "c=1&part=2").unwrap(), ["c:1:2"]);
    assert_eq!(asked(&routes, "/events", "c=1").unwrap(), ["c:1"]);
    assert_eq!(asked(&routes, "/events", "part=2&c=").unwrap(), ["all"]);
    let strict = Routes::of(&[stream(&["c:{query.c}"]), stream(&["d:{query.d}"])]);
    assert_eq!(asked(&strict, "/events", "d=1").unwrap(), ["d:1"]);
    let missing = Err(BadStreamRequest::MissingQuery("c".to_owned()));
    assert_eq!(asked(&strict, "/events", ""), missing, "the first says what it misses");
}

#[test]
fn a_star_is_a_pattern_where_the_route_says_so_and_no_claim_brought_it() {
    let templates = ["t:{query.t?}", "u:{claim.sub}:{query.u?}", "all:*"];
    let stream = |patterns: bool| config::Stream {
        path: "/events".to_owned(),
        topics: templates.iter().map(|text| Template::parse(text).unwrap()).collect(),
        patterns,
        ..config::Stream::default()
    };
    let asked = |patterns: bool, query: &str, sub: &str| {
        let routes = Routes::new(&[stream(patterns)], &config::Sse::default());
        let (route, query) = (routes.find("/events", Some(query)).unwrap(), StreamQuery::new(Some(query)));
        let claims = serde_json::json!({ "sub": sub });
        let values = Values { query: &query, claims: claims.as_object().unwrap() };
        let asked = route.topics(values, 0)?;
        let shown = |asked: &RequestedTopic<'_>| (asked.topic.to_string(), asked.topic.is_pattern());
        Ok::<_, TemplateError>(asked.iter().map(shown).collect::<Vec<_>>())
    };
    let topic = |text: &str| (text.to_owned(), false);
    let pattern = |text: &str| (text.to_owned(), true);
    assert_eq!(asked(false, "t=*&u=*", "s").unwrap(), ["t:*", "u:s:*", "all:*"].map(topic));
    assert_eq!(asked(true, "t=*&u=a*b", "s").unwrap(), ["t:*", "u:s:a*b", "all:*"].map(pattern));
    assert_eq!(asked(true, "t=1&u=2", "*").unwrap(), [topic("t:1"), topic("u:*:2"), pattern("all:*")]);
    let mixed = BadStreamRequest::MixedStars(templates[1].to_owned());
    assert_eq!(asked(true, "u=*", "*"), Err(TemplateError::Request(mixed)));
    let many = asked(true, "t=*****", "s");
    assert!(matches!(many, Err(TemplateError::Request(BadStreamRequest::BadPattern { .. }))), "{many:?}");
}

#[test]
fn what_a_request_lacks_or_has_too_much_of_is_named() {
    let routes = routes("/events", &["c:{query.c}"], Some("{query.u}"));
    let missing = |name: &str| Err(BadStreamRequest::MissingQuery(name.to_owned()));
    assert_eq!(asked(&routes, "/events", "u=1"), missing("c"));
    assert_eq!(asked(&routes, "/events", "c=&u=1"), missing("c"));
    assert_eq!(asked(&routes, "/events", "c=1&c=&u=1"), missing("c"), "beside others, too");
    assert_eq!(asked(&routes, "/events", "c=1"), missing("u"));
    assert!(matches!(asked(&routes, "/events", "c=1&u=1&u=2"), Err(BadStreamRequest::Repeated(_))));
    assert_eq!(
        asked(&routes, "/events", "u=1&c=1&c=2&c=3&c=4&c=5"),
        Err(BadStreamRequest::TooManyTopics { max: 4 })
    );
    assert!(matches!(asked(&routes, "/events", "u=1&c=%00"), Err(BadStreamRequest::BadName { .. })));
    let long = format!("u=1&c={}", "x".repeat(300));
    assert!(matches!(asked(&routes, "/events", &long), Err(BadStreamRequest::BadName { .. })));
}

#[test]
fn claims_make_topics_that_the_request_has_no_say_in() {
    let routes = routes("/events", &["t:{claim.org.id}:{query.c}", "{claim.groups}", "news"], None);
    let given = serde_json::json!({ "org": { "id": 7 }, "groups": ["a", "b", true], "x.y": "z" });
    let given = given.as_object().unwrap();
    let query = StreamQuery::new(Some("c=1"));
    let route = routes.find("/events", None).unwrap();
    let asked = route.topics(Values { query: &query, claims: given }, 0).unwrap();
    let shown: Vec<_> = asked.iter().map(|asked| (asked.topic.as_str(), asked.by_request)).collect();
    assert_eq!(shown, [("t:7:1", true), ("a", false), ("b", false), ("news", false)]);
    let none = route.topics(Values { query: &query, claims: &Map::new() }, 0);
    assert_eq!(none, Err(TemplateError::Claim("org.id".to_owned())));
    assert_eq!(claims::values(given, "x.y"), ["z"]);
    assert!(claims::values(given, "groups.0").is_empty() && claims::values(given, "org").is_empty());
}
