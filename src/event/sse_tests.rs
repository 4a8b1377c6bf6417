use super::*;

const MAX: usize = 1000;

/// All messages of a stream that comes in these parts, and the parser at its end.
fn parse_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Parser) {
    let mut parser = Parser::new("", MAX);
    let mut messages = Vec::new();
    for mut part in parts {
        while let Some(message) = parser.next(&mut part).unwrap() {
            messages.push(message);
        }
        assert!(part.is_empty());
    }
    (messages, parser)
}

fn message(event: &str, data: &str, id: Option<&str>) -> Message {
    Message { event: event.into(), data: data.into(), id: id.map(Into::into) }
}

/// Parses as a whole, byte by byte, and cut in two at every place: always the same.
fn parse(text: impl AsRef<[u8]>) -> (Vec<Message>, Parser) {
    let text = text.as_ref();
    let whole = parse_parts([text]);
    let same = |(messages, parser): (Vec<Message>, Parser)| {
        assert_eq!(messages, whole.0);
        assert_eq!(parser.last_event_id(), whole.1.last_event_id());
        assert_eq!(parser.retry(), whole.1.retry());
    };
    same(parse_parts(text.chunks(1)));
    for at in 0..=text.len() {
        same(parse_parts([&text[..at], &text[at..]]));
    }
    whole
}

fn messages(text: impl AsRef<[u8]>) -> Vec<Message> {
    parse(text).0
}

#[test]
fn every_kind_of_line_end_ends_a_line() {
    let text = "event: a\ndata: 1\ndata: 2\nid: 7\n\ndata: 3\n\n";
    let wanted = [message("a", "1\n2", Some("7")), message("message", "3", None)];
    for end in ["\n", "\r", "\r\n"] {
        assert_eq!(messages(text.replace('\n', end)), wanted, "{end:?}");
    }
    assert_eq!(
        messages("data: 1\r\n\rdata: 2\n\r\ndata: 3\r\r\n\n"),
        [message("message", "1", None), message("message", "2", None), message("message", "3", None),]
    );
}

#[test]
fn a_block_that_ends_with_a_bare_cr_is_dispatched_at_once() {
    assert_eq!(messages("data: 1\r\r"), [message("message", "1", None)]);
}

#[test]
fn one_byte_order_mark_is_passed_over() {
    assert_eq!(messages("\u{feff}data: 1\n\n"), [message("message", "1", None)]);
    assert_eq!(messages("\u{feff}\n\u{feff}data: 1\n\n"), [], "only the first bytes are a mark");
    assert_eq!(messages("\u{feff}\u{feff}data: 1\n\n"), []);
}

#[test]
fn one_space_after_the_colon_belongs_to_the_field() {
    assert_eq!(
        messages("data:x\ndata: x\ndata:  x\ndata: x \n\n"),
        [message("message", "x\nx\n x\nx ", None)]
    );
    assert_eq!(messages("data: a: b\n\n"), [message("message", "a: b", None)]);
}

#[test]
fn data_may_be_empty_but_must_be_there() {
    assert_eq!(
        messages("data\n\ndata\ndata\n\ndata:\n\n"),
        [message("message", "", None), message("message", "\n", None), message("message", "", None),]
    );
    assert_eq!(messages("event: a\n\ndata: 1\n\n"), [message("message", "1", None)], "no event leaks");
}

#[test]
fn comments_and_unknown_fields_are_passed_over() {
    assert_eq!(messages(": hb\n\n:\nfoo: 1\n data: 2\nDATA: 3\ndata : 4\n\n"), []);
    assert_eq!(messages("data: 1\n: hb\ndata: 2\n\n"), [message("message", "1\n2", None)]);
}

#[test]
fn what_is_unfinished_at_the_end_is_nothing() {
    let (messages, parser) = parse("id: 1\ndata: a\n\nid: 2\ndata: b\n");
    assert_eq!(messages, [message("message", "a", Some("1"))]);
    assert_eq!(parser.last_event_id(), "1");
}

#[test]
fn an_id_stays_until_another_comes() {
    let (found, parser) = parse("id: 1\ndata: a\n\ndata: b\n\n");
    assert_eq!(found, [message("message", "a", Some("1")), message("message", "b", None)]);
    assert_eq!(parser.last_event_id(), "1");
    let (_, parser) = parse("id: 1\ndata: a\n\nid: 2\n\n");
    assert_eq!(parser.last_event_id(), "2", "a block without data has an id too");
    let (found, parser) = parse("id: 1\ndata: a\n\nid\ndata: b\n\n");
    assert_eq!(found[1], message("message", "b", Some("")));
    assert_eq!(parser.last_event_id(), "", "an empty id takes it back");
}

#[test]
fn an_id_with_nul_is_passed_over() {
    let (found, parser) = parse("id: 1\ndata: a\n\nid: 2\u{0}3\ndata: b\n\n");
    assert_eq!(found[1], message("message", "b", None));
    assert_eq!(parser.last_event_id(), "1");
}

#[test]
fn the_id_that_was_asked_for_stays_in_force() {
    let mut parser = Parser::new("5-0", MAX);
    let mut text: &[u8] = b"data: a\n\n";
    assert!(parser.next(&mut text).unwrap().is_some());
    assert_eq!(parser.last_event_id(), "5-0");
}

#[test]
fn retry_is_digits_and_nothing_else() {
    for (text, retry) in [
        ("retry: 1500\n\n", Some(1500)),
        ("retry: 1500\n", Some(1500)),
        ("retry:0\n", Some(0)),
        ("retry: 10\nretry: 20\n", Some(20)),
        ("retry: 10\nretry: x\nretry: 1x\nretry: -1\nretry: +1\nretry:  1\nretry\n", Some(10)),
        ("retry: 99999999999999999999999999\n", Some(u64::MAX)),
        ("retry: 1500", None),
    ] {
        assert_eq!(parse(text).1.retry(), retry.map(Duration::from_millis), "{text:?}");
    }
}

#[test]
fn characters_may_be_cut_and_what_is_no_utf8_is_replaced() {
    assert_eq!(messages("data: grün ☂ 🦀\n\n"), [message("message", "grün ☂ 🦀", None)]);
    assert_eq!(messages(b"data: a\xffb\xe2\x82\n\n"), [message("message", "a\u{fffd}b\u{fffd}", None)]);
}

#[test]
fn no_line_and_no_event_is_held_beyond_the_bound() {
    let endless = |piece: &str| {
        let mut parser = Parser::new("", MAX);
        for n in 0..3 * MAX {
            let mut bytes = piece.as_bytes();
            match parser.next(&mut bytes) {
                Ok(message) => assert_eq!(message, None),
                Err(TooLarge) => return n * piece.len(),
            }
            assert!(parser.line.len() <= MAX && parser.data.len() <= MAX);
        }
        panic!("it never stopped");
    };
    assert_eq!(endless("x"), MAX);
    endless("data\n");
    endless("data: xyz\n");
    let whole = format!("data: {}\n\n", "x".repeat(MAX - 6));
    assert_eq!(messages(&whole)[0].data.len(), MAX - 6, "up to the bound it is taken");
}

/// What is read with blocks that are too large passed over, and how many those were; cut into pieces of `size`.
fn read_on(text: &str, size: usize) -> (Vec<String>, usize, String) {
    let (mut parser, mut data, mut left_out) = (Parser::new("", MAX), Vec::new(), 0);
    for mut piece in text.as_bytes().chunks(size) {
        loop {
            match parser.next(&mut piece) {
                Ok(Some(message)) => data.push(message.data),
                Ok(None) => break,
                Err(TooLarge) => {
                    parser.skip_block();
                    left_out += 1;
                }
            }
        }
    }
    (data, left_out, parser.last_event_id().to_owned())
}

#[test]
fn a_block_that_is_too_large_is_passed_over_to_its_end_wherever_it_is_cut() {
    let long = "x".repeat(2 * MAX);
    let lines = "data: xyz\n".repeat(MAX);
    for large in [
        format!("data: {long}\nid: 9\n\n"),
        format!("id: 9\nevent: e\ndata: {long}\r\ndata: y\r\n\r\n"),
        format!("id: 9\n{lines}\n"),
        format!("{lines}id: 9\r\r"),
        format!(": {long}\n\n"),
    ] {
        let text = format!("id: 1\ndata: a\n\n{large}data: b\n\ndata: c\n\n");
        for size in [1, 2, 3, 7, MAX, text.len()] {
            let (data, left_out, id) = read_on(&text, size);
            assert_eq!(data, ["a", "b", "c"], "{size}: {large:.20}");
            assert_eq!((left_out, id.as_str()), (1, "1"), "{size}: {large:.20}");
        }
    }
}
