use super::*;

const MESSAGES: &[u8] = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhe\r\nl\r\n\
    *4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\ncd\r\n$0\r\n\r\n\
    *3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n+PONG\r\n-ERR no\r\n:-7\r\n$-1\r\n$2\r\nab\r\n";

/// The replies in `bytes`, in words, when they come in pieces of `size`.
fn replies(bytes: &[u8], size: usize, max_text: usize) -> Result<Vec<String>, NotResp> {
    let mut received = Received::new(max_text);
    let mut seen = Vec::new();
    for piece in bytes.chunks(size) {
        received.space().extend_from_slice(piece);
        while let Some(reply) = received.next()? {
            seen.push(match reply {
                RespReply::Array(parts) => {
                    let texts: Vec<_> =
                        parts.as_slice().iter().map(|part| part.escape_ascii().to_string()).collect();
                    texts.join(" ")
                }
                RespReply::Status(text) => format!("+{}", text.escape_ascii()),
                RespReply::Error(text) => format!("-{}", text.escape_ascii()),
                RespReply::Bulk(text) => format!("${}", text.escape_ascii()),
                other => format!("{other:?}"),
            });
        }
        assert!(received.bytes.len() <= max_text + 256 + size, "what is too large is not kept");
    }
    Ok(seen)
}

#[test]
fn replies_are_read_whole_wherever_the_bytes_are_cut() {
    for size in 1..=MESSAGES.len() {
        let seen = replies(MESSAGES, size, 100).unwrap();
        let expected = [
            "message c he\\r\\nl",
            "pmessage c* cd ",
            "subscribe c 1",
            "pong ",
            "+PONG",
            "-ERR no",
            "Integer(-7)",
            "Nil",
            "$ab",
        ];
        assert_eq!(seen, expected, "in pieces of {size}");
    }
}

#[test]
fn a_text_beyond_the_bound_is_passed_over_and_the_next_reply_is_whole() {
    let long = "x".repeat(1000);
    let mut bytes = Vec::new();
    write_command(&mut bytes, &[b"message", b"c", long.as_bytes()]);
    write_command(&mut bytes, &[b"message", b"c", b"one"]);
    write_command(&mut bytes, &[b"pmessage", long.as_bytes(), b"c", long.as_bytes()]);
    write_command(&mut bytes, &[b"message", long.as_bytes(), b"short"]);
    bytes.extend_from_slice(b"*3\r\n$1000\r\n");
    bytes.extend_from_slice(long.as_bytes());
    bytes.extend_from_slice(b"\r\n:5\r\n$-1\r\n+OK\r\n");
    for size in [1, 2, 3, 7, 64, 1000, 1001, 1002, 10_000] {
        let seen = replies(&bytes, size, 100).unwrap();
        assert_eq!(
            seen,
            ["TooLarge", "message c one", "TooLarge", "TooLarge", "TooLarge", "+OK"],
            "in pieces of {size}"
        );
    }
    assert_eq!(replies(b"*2\r\n$1\r\na\r\n$99999999999999999999\r\n", 64, 100), Err(NotResp), "no number");
    assert_eq!(replies(b"*2\r\n$1\r\na\r\n$9223372036854775807\r\nxx", 64, 100).unwrap(), ["TooLarge"]);
}

#[test]
fn what_is_not_resp_is_refused() {
    let endless = vec![b'+'; MAX_LINE];
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"+OK\n",
        b"\r\n",
        b"*5\r\n",
        b"*-1\r\n",
        b"*1\r\n*1\r\n",
        b"$-2\r\n",
        b"$x\r\n",
        b"$3\r\nabcd\r\n",
        b":1x\r\n",
        b"%1\r\n",
        &endless,
    ] {
        assert_eq!(replies(bytes, MAX_LINE, 100), Err(NotResp), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_command_is_an_array_of_counted_words() {
    let mut bytes = Vec::new();
    write_command(&mut bytes, &[b"PUBLISH", b"", "zwölf".as_bytes()]);
    assert_eq!(bytes, "*3\r\n$7\r\nPUBLISH\r\n$0\r\n\r\n$6\r\nzwölf\r\n".as_bytes());
}
