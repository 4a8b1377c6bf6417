//! `sidestream status`: a running daemon on one screen, and the same as JSON.
//!
//! Rates are what happened between two looks at its metrics. Nothing here changes anything.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::cli::daemon::{DaemonArguments, DaemonClient};
use crate::cli::error::Error;
use crate::cli::output::{chain, note, plain, plain_json, print};
use crate::cli::run::block_on;
use crate::cli::table::{count, number, short_time};
use crate::clock::unix_ms;
use crate::dashboard::{Readings, Sample};
use crate::telemetry::{BUILD_INFO, PROCESS_START};

const EXAMPLES: &str = "\
Examples:
  sidestream status
  sidestream status --watch
  sidestream status --json | jq .sentence

It takes two looks, --every apart: rates and lag are those of the time between
them. Without a key the instances and users are not shown.

Ends with 0 when the daemon answered, whatever it said; `sidestream health`
is for scripts that ask whether it is well.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusCommand {
    /// Show it again and again, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    /// The time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    every: Duration,
    /// One JSON object, with --watch one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArguments,
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|bad| bad.to_string())?;
    let fits = (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&time);
    if fits { Ok(time) } else { Err("it is from 100ms to 1h".to_owned()) }
}

/// One look at the metrics.
struct MetricsLook {
    at: Instant,
    readings: Readings,
    version: Option<String>,
    started: Option<f64>,
}

/// Everything that is shown.
struct StatusReport {
    url: String,
    version: Option<String>,
    uptime: Option<Duration>,
    sample: Sample,
    serving: Value,
    events: Value,
    /// Of all instances, or why it is not shown.
    presence: Result<Value, String>,
}

impl StatusCommand {
    pub(super) fn run(self) -> ExitCode {
        block_on(async {
            let daemon = self.daemon.client_with_any_key()?;
            if !self.watch {
                let before = look(&daemon).await?;
                let (report, _) = self.next(&daemon, &before).await?;
                return Ok(print(self.shown(&report)));
            }
            self.watch(&daemon).await
        })
    }

    async fn watch(&self, daemon: &DaemonClient) -> Result<ExitCode, Error> {
        let clear = if io::stdout().is_terminal() && !self.json { "\u{1b}[H\u{1b}[2J" } else { "" };
        let mut before = Some(look(daemon).await?);
        loop {
            let shown = match &before {
                Some(look) => self.next(daemon, look).await.map(|(report, now)| {
                    before = Some(now);
                    self.shown(&report)
                }),
                None => look(daemon).await.map(|now| {
                    before = Some(now);
                    String::new()
                }),
            };
            let text = match shown {
                Ok(text) => text,
                Err(error) => {
                    // It may come back: the first look found it.
                    before = None;
                    note(format_args!("{}; trying again", chain(&error)));
                    tokio::time::sleep(self.every).await;
                    continue;
                }
            };
            let printed = print(format_args!("{clear}{text}"));
            if printed != ExitCode::SUCCESS {
                return Ok(printed);
            }
        }
    }

    /// The report of the time from the look before to one that is taken now.
    async fn next(
        &self,
        daemon: &DaemonClient,
        before: &MetricsLook,
    ) -> Result<(StatusReport, MetricsLook), Error> {
        tokio::time::sleep(self.every.saturating_sub(before.at.elapsed())).await;
        let now = look(daemon).await?;
        let seconds = (now.at - before.at).as_secs_f64().max(0.001);
        let wall = unix_ms(SystemTime::now());
        let (_, serving) = daemon.answer(Method::GET, "/readyz", None).await?;
        let (_, events) = daemon.answer(Method::GET, "/readyz/events", None).await?;
        let presence = if daemon.has_key() {
            daemon.ask(Method::GET, "/presence", None).await.map_err(|error| chain(&error))
        } else {
            Err("not shown without a key".to_owned())
        };
        let up = |started: f64| Duration::from_secs_f64((wall as f64 / 1000.0 - started).max(0.0));
        let report = StatusReport {
            url: daemon.peer(),
            version: now.version.clone(),
            uptime: now.started.map(up),
            sample: now.readings.since(&before.readings, seconds, wall / 1000),
            serving,
            events,
            presence,
        };
        Ok((report, now))
    }

    fn shown(&self, report: &StatusReport) -> String {
        if self.json { format!("{}\n", plain_json(&report.json().to_string())) } else { report.text() }
    }
}

async fn look(daemon: &DaemonClient) -> Result<MetricsLook, Error> {
    let text = daemon.text("/metrics").await?;
    let value_of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    let Some((build, _)) = value_of(BUILD_INFO) else {
        return Err(Error::NotTheDaemon { peer: daemon.peer() });
    };
    let version = build.split_once("version=\"").and_then(|(_, rest)| rest.split('"').next());
    Ok(MetricsLook {
        at: Instant::now(),
        version: version.map(str::to_owned),
        started: value_of(PROCESS_START).and_then(|(_, value)| value.parse().ok()),
        readings: Readings::parse(&text),
    })
}

impl StatusReport {
    /// The name of the instance that answers.
    fn name(&self) -> Option<&str> {
        let presence = self.presence.as_ref().ok()?;
        let own = |one: &&Value| one["id"] == presence["here"];
        presence["instances"].as_array()?.iter().find(own)?["name"].as_str()
    }

    /// Whether nothing is wrong, and how it is in one sentence.
    fn sentence(&self) -> (bool, String) {
        let Sample { streams, taken, p99, .. } = &self.sample;
        let bad = |text: String| (false, text);
        if self.serving["status"] == "draining" {
            return bad("Draining: streams are being closed, and new ones are refused.".to_owned());
        }
        if self.serving["status"] != "ready" {
            return bad(format!("Not ready: {}", missing(&self.serving)));
        }
        if self.events["status"] != "ready" {
            return bad(format!("Events may not arrive: {} Pages are served.", missing(&self.events)));
        }
        let lag = p99.map(|ms| format!(", {ms} ms p99 to the socket")).unwrap_or_default();
        (true, format!("All well: {}, {} events/s in{lag}.", count(*streams as u64, "stream"), rate(*taken)))
    }

    fn text(&self) -> String {
        let (is_well, sentence) = self.sentence();
        let Sample { streams, behind, taken, out, p50, p99, why, .. } = &self.sample;
        let version = self.version.as_deref().unwrap_or("of an unknown version");
        let name = self.name().map(|name| format!("  {name}")).unwrap_or_default();
        let up = self.uptime.map(|up| format!("  up {}", short_time(up))).unwrap_or_default();
        let mut lines = vec![
            format!("sidestream {version}{name}{up}  {}", self.url),
            format!("{} {sentence}", mark(is_well)),
            String::new(),
            row("streams", &format!("{} open, {} behind", number(*streams as u64), number(*behind as u64))),
            row("events", &format!("{}/s in, {}/s out", rate(*taken), rate(*out))),
        ];
        if let (Some(p50), Some(p99)) = (p50, p99) {
            lines.push(row("lag", &format!("{p50} ms p50, {p99} ms p99, from publish to write")));
        }
        for (reason, many) in why {
            lines.push(row("since", &format!("{} × {reason}", number(*many as u64))));
        }
        let state = |answer: &Value| answer["status"].as_str().unwrap_or("unknown").to_owned();
        for (what, answer) in [("serving", &self.serving), ("events", &self.events)] {
            let text = format!("{} {}", mark(answer["status"] == "ready"), state(answer));
            lines.push(row(&format!("ready: {what}"), &text));
        }
        for (name, one) in self.events["dependencies"].as_object().into_iter().flatten() {
            let state = one["state"].as_str().unwrap_or("unknown");
            let why = one["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
            let known = match state {
                "unknown" => "◐",
                state => mark(state == "up"),
            };
            lines.push(row(name, &format!("{known} {state}{why}")));
        }
        match &self.presence {
            Ok(presence) => {
                let users = presence["users_total"].as_u64().unwrap_or(0);
                lines.push(row("users", &format!("{} online", number(users))));
                lines.extend(instances(presence));
            }
            Err(why) => lines.push(row("instances", why)),
        }
        lines.iter().map(|line| format!("{}\n", plain(line))).collect()
    }

    fn json(&self) -> Value {
        let (is_well, sentence) = self.sentence();
        let Sample { streams, behind, taken, out, p50, p99, why, .. } = &self.sample;
        let presence = self.presence.as_ref().ok();
        json!({
            "url": self.url,
            "version": self.version,
            "instance": self.name(),
            "uptime_seconds": self.uptime.map(|up| up.as_secs()),
            "well": is_well,
            "sentence": sentence,
            "streams": { "open": *streams as u64, "behind": *behind as u64 },
            "events": { "in_per_second": taken, "out_per_second": out },
            "lag_ms": { "p50": p50, "p99": p99 },
            "since_last_look": why,
            "serving": self.serving,
            "events_flow": self.events,
            "users_online": presence.map(|presence| &presence["users_total"]),
            "instances": presence.map(|presence| &presence["instances"]),
        })
    }
}

fn row(what: &str, text: &str) -> String {
    format!("  {what:<15} {text}")
}

/// A state is never a colour alone, and in a terminal none.
fn mark(is_well: bool) -> &'static str {
    if is_well { "●" } else { "▲" }
}

/// A rate with one digit behind the point where that says something.
fn rate(rate: f64) -> String {
    if rate < 100.0 && rate.fract() != 0.0 { format!("{rate:.1}") } else { number(rate.round() as u64) }
}

/// What an answer of readiness misses, in the daemon's words, as sentences.
pub(super) fn missing(answer: &Value) -> String {
    let all = answer["dependencies"].as_object().into_iter().flatten();
    let missing = all.filter(|(_, one)| one["required"] == true && one["state"] != "up");
    let said: Vec<String> = missing
        .map(|(name, one)| {
            let why = one["why"].as_str().or(one["state"].as_str()).unwrap_or("unknown");
            format!("{name}: {}.", why.trim_end_matches('.'))
        })
        .collect();
    said.join(" ")
}

fn instances(presence: &Value) -> Vec<String> {
    let all = presence["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = all.iter().enumerate().map(|(at, one)| {
        let here = if one["id"] == presence["here"] { " (this one)" } else { "" };
        let name = one["name"].as_str().unwrap_or_default();
        let streams = count(one["streams"].as_u64().unwrap_or(0), "stream");
        row(if at == 0 { "instances" } else { "" }, &format!("{name}{here}: {streams}"))
    });
    let whole = (presence["complete"] == false).then(|| row("", "▲ not every instance is heard"));
    shown.chain(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(serving: Value, events: Value) -> StatusReport {
        let text = "sidestream_streams_open 12480\nsidestream_events_total{source=\"http\"} 310\n";
        let readings = Readings::parse(text);
        let before = Readings::parse("");
        StatusReport {
            url: "127.0.0.1:8081".to_owned(),
            version: Some("0.1.0".to_owned()),
            uptime: Some(Duration::from_secs(11_520)),
            sample: readings.since(&before, 1.0, 7),
            serving,
            events,
            presence: Err("not shown without a key".to_owned()),
        }
    }

    #[test]
    fn one_sentence_says_what_matters_most() {
        let ready = || json!({ "status": "ready", "dependencies": {} });
        let down = || {
            let redis = json!({ "required": true, "state": "down", "why": "NOAUTH" });
            json!({ "status": "not ready", "dependencies": { "redis": redis } })
        };
        for (serving, events, well, sentence) in [
            (ready(), ready(), true, "All well: 12,480 streams, 310 events/s in."),
            (ready(), down(), false, "Events may not arrive: redis: NOAUTH. Pages are served."),
            (down(), down(), false, "Not ready: redis: NOAUTH."),
            (
                json!({ "status": "draining" }),
                ready(),
                false,
                "Draining: streams are being closed, and new ones are refused.",
            ),
        ] {
            assert_eq!(report(serving, events).sentence(), (well, sentence.to_owned()));
        }
    }

    #[test]
    fn a_screen_has_a_line_for_each_dependency_with_the_reason() {
        let redis = json!({ "required": true, "state": "down", "why": "NOAUTH \u{1b}[31m" });
        let events = json!({ "status": "not ready", "dependencies": { "redis": redis } });
        let text = report(json!({ "status": "ready" }), events).text();
        assert!(text.starts_with("sidestream 0.1.0  up 3h 12m  127.0.0.1:8081\n▲ Events may not"), "{text}");
        assert!(text.contains("  redis           ▲ down: NOAUTH \\u{1b}[31m\n"), "{text}");
        assert!(text.contains("  instances       not shown without a key\n"), "{text}");
    }
}
