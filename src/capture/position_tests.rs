use http::Request;

use super::*;
use crate::capture::recording::RecordingEnd;

const ID: &str = "0123456789abcdef0123456789abcdef";

fn kept(text: &str) -> Kept {
    let ended = Some(RecordingEnd::Complete);
    Kept { text: text.as_bytes().to_vec(), base: 0, before: BlockEdges::new(), ended }
}

fn asked(target: &str, last: Option<&str>) -> ReturnPosition {
    let mut request = Request::get(target);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    ReturnPosition::of(head.uri.query(), &head.headers)
}

/// What a reader gets who comes back so, and the number of its first block.
fn rest<'t>(text: &'t str, position: &ReturnPosition) -> (&'t str, u64) {
    let place = position.place(ID, &kept(text)).unwrap();
    (&text[usize::try_from(place.at).unwrap()..], place.edges.begun() + 1)
}

#[test]
fn a_request_says_where_its_client_is_and_the_header_goes_first() {
    for (target, last, position) in [
        ("/c", None, ReturnPosition::Start),
        ("/c?lastEventId=7", None, ReturnPosition::After("7".to_owned())),
        ("/c?lastEventId=7", Some("8"), ReturnPosition::After("8".to_owned())),
        ("/c?lastEventId=&offset=12", Some(" "), ReturnPosition::Bytes(12)),
        ("/c?runId=r&offset=-1", None, ReturnPosition::Start),
        ("/c?stream=true&starting_after=3", None, ReturnPosition::Sequence(3)),
        ("/c?startIndex=-2", None, ReturnPosition::Index(-2)),
        ("/c?startIndex=x", None, ReturnPosition::Start),
    ] {
        assert_eq!(asked(target, last), position, "{target}");
    }
}

#[test]
fn ids_of_either_kind_name_the_block_behind_which_a_reader_goes_on() {
    let text = "id: a\ndata: 1\n\n: c\n\ndata: 2\nid: b\n\ndata: 3\n\nda";
    let after = |id: &str| rest(text, &ReturnPosition::After(id.to_owned()));
    assert_eq!(after("a"), (": c\n\ndata: 2\nid: b\n\ndata: 3\n\nda", 2));
    assert_eq!(after("b"), ("data: 3\n\nda", 4));
    assert_eq!(after(&format!("{ID}-2")), ("data: 2\nid: b\n\ndata: 3\n\nda", 3));
    assert_eq!(after(&format!("{ID}-4")), ("da", 5));
    // What nobody knows is answered with everything: clients leave out what they have.
    for unknown in ["c".to_owned(), format!("{ID}-5"), format!("{ID}-x")] {
        assert_eq!(after(&unknown), (text, 1), "{unknown}");
    }
}

#[test]
fn numbers_in_the_data_count_and_events_count() {
    let event =
        |n: u32| format!("event: e\ndata: {{\"sequence_number\":{n},\"x\":{{\"sequence_number\":99}}}}\n\n");
    let text = format!(": hello\n\n{}{}{}", event(0), event(1), event(2));
    let from = |n: usize| &text[text.match_indices("event: e").nth(n).unwrap().0..];
    assert_eq!(rest(&text, &ReturnPosition::Sequence(0)), (from(1), 3));
    assert_eq!(rest(&text, &ReturnPosition::Sequence(2)).0, "");
    assert_eq!(rest(&text, &ReturnPosition::Sequence(-1)), (text.as_str(), 1));
    assert_eq!(rest(&text, &ReturnPosition::Index(0)), (from(0), 2));
    assert_eq!(rest(&text, &ReturnPosition::Index(2)), (from(2), 4));
    assert_eq!(rest(&text, &ReturnPosition::Index(9)).0, "");
    assert_eq!(rest(&text, &ReturnPosition::Index(-1)), (from(2), 4));
    assert_eq!(rest(&text, &ReturnPosition::Index(-9)), (from(0), 2));
}

#[test]
fn a_mark_that_nothing_follows_is_no_event_to_those_who_count() {
    let text = "data: 0\n\n: c\n\ndata: 1\n\ndata: [DONE]\n\n";
    for (index, from) in [(0, text), (1, &text[14..]), (2, &text[23..]), (-1, &text[14..]), (-9, text)] {
        let position = ReturnPosition::Index(index);
        assert_eq!(rest(text, &position).0, from, "{index}");
        assert_eq!(position.place(ID, &kept(text)).unwrap().tail, Some(1));
    }
    assert_eq!(ReturnPosition::Index(-1).place(ID, &kept(": c\n\n")).unwrap().tail, Some(-1));
    assert_eq!(ReturnPosition::Start.place(ID, &kept(text)).unwrap().tail, None);
}

#[test]
fn what_is_not_kept_any_more_cannot_be_begun() {
    let mut later = kept("data: 3\n\ndata: 4\n\n");
    (later.base, later.before) = (100, BlockEdges::behind(2));
    assert!(ReturnPosition::Start.place(ID, &later).is_none());
    assert!(ReturnPosition::Bytes(99).place(ID, &later).is_none());
    assert_eq!(ReturnPosition::Bytes(100).place(ID, &later).unwrap().at, 100);
    assert!(ReturnPosition::Bytes(119).place(ID, &later).is_none());
    assert!(ReturnPosition::After(format!("{ID}-1")).place(ID, &later).is_none());
    assert_eq!(ReturnPosition::After(format!("{ID}-3")).place(ID, &later).unwrap().at, 109);
    assert!(ReturnPosition::Index(0).place(ID, &later).is_none());
    let last = ReturnPosition::Index(-1).place(ID, &later).unwrap();
    assert_eq!((last.at, last.tail), (109, None));
}
