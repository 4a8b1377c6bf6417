use super::*;

fn text(text: &str) -> RawValue<'static> {
    RawValue::Text(text.to_owned())
}

#[test]
fn a_path_is_made_of_segments_and_names() {
    for good in ["/", "/events", "/events/", "/a/{b}/c", "/a%20b", "/a;v=1,2/~x", "/{_1}"] {
        assert_eq!(path(&text(good)).unwrap(), good);
    }
    for bad in [
        "", "a", "//", "/a//", "/.", "/a/..", "/{a", "/a}", "/{a}{b}", "/{a}/{a}", "/é", "/%zz", "/a b",
        "/a?b",
    ] {
        assert!(path(&text(bad)).is_err(), "{bad}");
    }
    assert_eq!(segment_names("/a/{b}/{c}"), ["b", "c"]);
}

#[test]
fn a_path_covers_another_when_it_takes_all_of_its_requests() {
    for (earlier, later) in
        [("/a", "/a"), ("/{a}", "/{b}"), ("/{a}", "/b"), ("/{a}/{b}", "/x/{y}"), ("/", "/")]
    {
        assert!(covers(earlier, later), "{earlier} {later}");
    }
    for (earlier, later) in
        [("/a", "/{a}"), ("/a", "/a/"), ("/{a}", "/"), ("/a/{b}", "/{a}/b"), ("/a/b", "/a")]
    {
        assert!(!covers(earlier, later), "{earlier} {later}");
    }
}

#[test]
fn a_template_names_only_what_will_have_a_value() {
    let stream = stream_template("/rooms/{room}", false);
    for good in ["news", "{query.a}", "{path.room}", "{query.a[b].c}:{path.room}"] {
        assert_eq!(stream(&text(good)).unwrap().as_str(), good);
    }
    for bad in ["", "{path.a}", "{claims.a}", "{a}", "{0}", "{query.}", "{query.a", "a\u{7f}{query.a}"] {
        assert!(stream(&text(bad)).is_err(), "{bad}");
    }
}
