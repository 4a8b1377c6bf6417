//! The text of the configuration that is written.
//!
//! Every key in it that does not hold a default is one that somebody would have to find out otherwise; the rest is
//! named in comments.

use std::fmt::Write as _;

use crate::cli::init::surroundings::{RedisFound, SecretVariable, Surroundings};

/// The configuration for what was found. `key_file` holds the publish key.
pub(super) fn text(found: &Surroundings, key_file: &str) -> String {
    let mut text = String::from(
        "\
# sidestream, in front of this application. Written by `sidestream init`; yours to change.
# config.example.toml has every key with its default, docs/configuration.md the same as tables.
#
#   sidestream check --config sidestream.toml    is it sound?
#   sidestream serve --config sidestream.toml    run it
",
    );
    public(&mut text, found);
    let _ = write!(
        text,
        "
# The application publishes here, and you ask for health, metrics and control. Keep it off the internet.
[internal]
listen            = \"127.0.0.1:{}\"
publish_keys_file = \"{key_file}\"              # Authorization: Bearer <what stands there>
",
        found.internal_port
    );
    stream(&mut text, found.secret.as_ref());
    redis(&mut text, found.redis);
    text.push_str(
        "
# Pages of other origins that may open the streams. The page that sidestream itself serves needs none.
# [cors]
# origins     = [\"https://app.example\"]
# credentials = true
",
    );
    text
}

fn public(text: &mut String, found: &Surroundings) {
    let (listen, backend) = (found.public_port, found.backend_port);
    let made_of = match &found.ecosystem {
        Some(ecosystem) => format!("{}, by its {}", ecosystem.name, ecosystem.file),
        None => "of an unknown kind".to_owned(),
    };
    let state = if found.is_listening { "listens there" } else { "did not listen when this was written" };
    let _ = write!(
        text,
        "
# Browsers come here. What is not a stream goes on to the application, WebSockets too.
[public]
listen  = \"127.0.0.1:{listen}\"              # \"0.0.0.0:{listen}\" for every interface
backend = \"http://127.0.0.1:{backend}\"       # {made_of}; it {state}
# trusted_proxies = [\"10.0.0.0/8\"]         # a proxy in front, whose X-Forwarded-* are believed
"
    );
    if let Some(compose) = found.compose {
        let _ = write!(
            text,
            "# Within the network of {compose}: listen = \"0.0.0.0:{listen}\" here and \"0.0.0.0:{internal}\" below, and\n\
             # the services' names instead of 127.0.0.1: backend = \"http://web:{backend}\".\n",
            internal = found.internal_port
        );
    }
}

fn stream(text: &mut String, secret: Option<&SecretVariable>) {
    let Some(SecretVariable { name, file }) = secret else {
        text.push_str(
            "
# /events?topic=news hears what is published for the topic `news`: new EventSource('/events?topic=news').
# It is open to anyone who can reach the listener and knows a topic's name. Where topics are not for everybody:
#   auth = \"jwt\"      tokens of the application ([auth.jwt])
#   auth = \"backend\"  the application is asked, with the caller's own cookies ([auth.backend])
#   auth = \"ticket\"   the application asks for a ticket that opens one stream ([auth.ticket])
[[stream]]
path   = \"/events\"
auth   = \"none\"
topics = [\"{query.topic}\"]
",
        );
        return;
    };
    let _ = write!(
        text,
        "
# /events is for callers with a token of the application. It hears what is published for its user:
# {{\"user\": \"u1\", \"data\": …}}. A page that may ask for topics needs them granted: docs/auth.md, Topics.
[[stream]]
path   = \"/events\"
auth   = \"jwt\"
topics = []

# {file} has {name}; sidestream needs it in its environment: set -a; . ./{file}; set +a
# `sidestream token explain --config sidestream.toml` says what a token of the application would open, and what to set
# here if its claims have other names.
[auth.jwt]
secret = \"${{{name}}}\"
# user = \"sub\"                              # the claim that names the user
# from = [\"header:Authorization\", \"header:X-Auth-Token\", \"query:token\"]   # \"cookie:name\" too
"
    );
}

fn redis(text: &mut String, found: RedisFound) {
    let (off, why) = match found {
        RedisFound::Open => ("", "a Redis listens there"),
        RedisFound::Locked => ("# ", "it wants a password: `password_file` names a file with it"),
        RedisFound::None => ("# ", "none was found"),
    };
    let _ = write!(
        text,
        "
# Events over Redis: PUBLISH sidestream:topic:news '{{\"data\": \"hi\"}}' reaches the topic `news` on every instance.
{off}[redis]
{off}url = \"redis://127.0.0.1:6379\"         # {why}

# With the log in a Redis stream ids outlive restarts, and hold on every instance.
# [redis.stream]

# A channel that the application publishes to already: docs/publishing.md, Mapping a channel.
# [[redis.channel]]
# pattern = \"chat:*\"
# topic   = \"conversation:{{1}}\"
"
    );
}
