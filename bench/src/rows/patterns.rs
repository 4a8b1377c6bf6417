//! A pattern a stream, beside the same streams with the topics by name.

use super::compare::{Bench, Contender, Outcome};
use super::steady::SIZE;
use super::topics::{IN_FLIGHT, by_name, each_its_own};
use crate::figure::{Bound, Rule, Spec};
use crate::load::Door;
use crate::peers::Server;
use crate::report::grouped;

const BY_PATTERN: &str = "by pattern";
const BY_NAME: &str = "by name";

pub(super) fn run(bench: &Bench) -> Outcome {
    let topics = bench.size(5000, 500);
    let count = grouped(topics.into());
    let specs = vec![Spec {
        what: format!(
            "{count} streams of a pattern each × {count} topics, {IN_FLIGHT} HTTP publishes in flight: events a second"
        ),
        unit: "/s",
        rule: Rule {
            subject: BY_PATTERN,
            against: Some(BY_NAME),
            must: Some(Bound::AtLeast(0.8)),
            aim: Some(Bound::AtLeast(0.95)),
        },
    }];
    let contender = |label| {
        let mut setup = bench.setup();
        if label == BY_PATTERN {
            setup.sidestream.patterns = true;
            setup.sidestream.topics = vec!["t{query.begins}*".to_owned()];
        }
        Contender { label, server: Server::Sidestream, setup }
    };
    bench.compare("patterns", specs, [contender(BY_PATTERN), contender(BY_NAME)], |contender, running| {
        let door = Door::http(running.target.publish, IN_FLIGHT)?;
        let mut streams = by_name(running, topics);
        if contender.label == BY_PATTERN {
            for (topic, stream) in (0..).zip(&mut streams) {
                stream.request = running.target.stream_with(topic, &format!("&begins={topic:04x}"), None);
            }
        }
        each_its_own(bench, running, streams, door, running.target.publish(SIZE))
    })
}
