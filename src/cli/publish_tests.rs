use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    publish: PublishCommand,
}

fn parse(arguments: &[&str]) -> Result<PublishCommand, clap::Error> {
    Cli::try_parse_from([&["publish"], arguments].concat()).map(|cli| cli.publish)
}

fn envelope(arguments: &[&str]) -> String {
    let publish = parse(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    String::from_utf8(publish.envelope().unwrap()).unwrap()
}

#[test]
fn arguments_become_an_envelope() {
    assert_eq!(envelope(&["--topic", "a", "hi"]), r#"{"topics":["a"],"data":"hi"}"#);
    assert_eq!(
        envelope(&[
            "--topic",
            "a",
            "--topic",
            "b",
            "--user",
            "u",
            "--session",
            "s",
            "--client",
            "c",
            "--broadcast",
            "--except-topic",
            "t",
            "--except-user",
            "v",
            "--except-session",
            "r",
            "--except-client",
            "d",
            "--event",
            "e",
            "--ephemeral",
            "--ttl",
            "5",
            "--idempotency-key",
            "k",
            "{\"x\" : 1.0}",
        ]),
        concat!(
            r#"{"topics":["a","b"],"users":["u"],"sessions":["s"],"clients":["c"],"broadcast":true,"#,
            r#""except":{"topics":["t"],"users":["v"],"sessions":["r"],"clients":["d"]},"#,
            r#""event":"e","data":{"x" : 1.0},"ephemeral":true,"ttl":5,"idempotency_key":"k"}"#
        )
    );
}

#[test]
fn data_is_json_if_it_can_be_and_text_otherwise() {
    for (arguments, data) in [
        (&["{\"a\":1}"][..], "{\"a\":1}"),
        (&[" [1, 2]\n"], "[1, 2]"),
        (&["42"], "42"),
        (&["-4.5"], "-4.5"),
        (&["\"x\""], "\"x\""),
        (&["null"], "null"),
        (&["nul"], "\"nul\""),
        (&["{a}"], "\"{a}\""),
        (&["1 2"], "\"1 2\""),
        (&[""], "\"\""),
        (&["a\nb\"c"], "\"a\\nb\\\"c\""),
        (&["--text", "{\"a\":1}"], "\"{\\\"a\\\":1}\""),
        (&["--json", "42"], "42"),
    ] {
        let envelope = envelope(&[&["--broadcast"], arguments].concat());
        assert_eq!(envelope, format!("{{\"broadcast\":true,\"data\":{data}}}"), "{arguments:?}");
    }
    let publish = parse(&["--broadcast", "--json", "nul"]).unwrap();
    assert!(matches!(publish.envelope(), Err(Error::NotJson(_))));
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    for (arguments, wanted) in [
        (&["hi"][..], "--topic"),
        (&["--envelopes", "--topic", "a"], "--topic"),
        (&["--envelopes", "hi"], "[DATA]"),
        (&["--topic", "a", "--text", "--json", "hi"], "--json"),
        (&["--topic", "a", "--key", "k", "--key-file", "f", "hi"], "--key-file"),
        (&["--topic", "a", "--url", "ftp://a", "hi"], "has to begin with http://"),
    ] {
        let error = parse(arguments).err().unwrap_or_else(|| panic!("{arguments:?}")).to_string();
        assert!(error.contains(wanted), "{arguments:?}: {error}");
    }
}

#[test]
fn an_answer_is_a_line_for_each_event() {
    let lines = |body: &str| -> String {
        receipts(body.as_bytes()).unwrap().iter().map(ReceiptFields::line).collect()
    };
    assert_eq!(lines(r#"{"id":"5-0","matched":3}"#), "id=5-0 matched=3\n");
    assert_eq!(
        lines(
            r#"{"events":[{"id":"5-0","matched":0,"duplicate":true},{"id":null,"matched":1,"relayed":true}]}"#
        ),
        "id=5-0 matched=0 duplicate\nid=none matched=1 relayed\n"
    );
    assert!(receipts(b"{}").is_none());
}
