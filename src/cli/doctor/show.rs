//! How the report is written: for people, with colours where a terminal shows them, or as one JSON object.
//!
//! What came over the wire reaches a terminal without its control characters.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, interval};

use super::cures::{Cure, cures};
use super::finding::{Diagnosis, Finding, FindingState, Subject};
use super::front::{FrontProxy, USUAL};
use crate::cli::output::{plain, plain_json};

/// What is before a finding's words: two spaces, the sign, the label.
const MARGIN: usize = 20;
const WIDTH: usize = 100;
const NARROWEST: usize = 60;

/// How text is dressed.
#[derive(Clone, Copy)]
struct Dress {
    colours: bool,
    /// Lines are not broken where nobody looks at them.
    width: Option<usize>,
}

impl Dress {
    fn of_stdout() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(WIDTH);
        Self {
            colours: is_terminal && unset("NO_COLOR") && !dumb,
            width: is_terminal.then_some(columns.clamp(NARROWEST, WIDTH)),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn sign(state: FindingState) -> (&'static str, &'static str) {
    match state {
        FindingState::Good => ("●", "32"),
        FindingState::NotSeen => ("○", "2"),
        FindingState::Warn => ("◐", "33"),
        FindingState::Bad => ("▲", "31"),
    }
}

/// The report for people.
pub(super) fn text(report: &Diagnosis) -> String {
    dressed(report, Dress::of_stdout())
}

fn dressed(report: &Diagnosis, dress: Dress) -> String {
    let mut text = format!("\n  {}\n", dress.paint("1", &plain(&report.address)));
    if !report.proxies.is_empty() {
        let names: Vec<&str> = report.proxies.iter().map(|proxy| proxy.name()).collect();
        let _ = writeln!(text, "  {}", dress.paint("2", &format!("behind {}", names.join(", "))));
    }
    text.push('\n');
    for finding in &report.findings {
        one(&mut text, finding, report, dress);
    }
    let _ = write!(text, "\n  {}\n\n", verdict(report, dress));
    text
}

fn one(text: &mut String, finding: &Finding, report: &Diagnosis, dress: Dress) {
    let (sign, colour) = sign(finding.state);
    let label = format!("{:<width$}", finding.subject.label(), width = MARGIN - 4);
    let _ = write!(text, "  {} {}", dress.paint(colour, sign), dress.paint("2", &label));
    let seen = plain(&finding.seen);
    paragraph(text, &seen, dress, if finding.state == FindingState::Bad { "1" } else { "" });
    if !finding.means.is_empty() {
        let _ = write!(text, "{:MARGIN$}", "");
        paragraph(text, &finding.means, dress, "");
    }
    for cure in cures_of(finding, report) {
        let _ = writeln!(text, "\n{:MARGIN$}{}", "", dress.paint("2", &place(&cure, report)));
        for line in cure.lines.lines() {
            let _ = writeln!(text, "{:MARGIN$}  {}", "", dress.paint("36", &plain(line)));
        }
    }
    if finding.obstacle.is_some() {
        text.push('\n');
    }
}

/// Where the lines belong.
fn place(cure: &Cure, report: &Diagnosis) -> String {
    match cure.proxy {
        None => "sidestream.toml".to_owned(),
        Some(proxy) if report.proxies.contains(&proxy) => proxy.name().to_owned(),
        Some(proxy) => format!("if it is {}", proxy.name()),
    }
}

fn cures_of(finding: &Finding, report: &Diagnosis) -> Vec<Cure> {
    let Some(obstacle) = &finding.obstacle else { return Vec::new() };
    let known: &[FrontProxy] = if report.proxies.is_empty() { &USUAL } else { &report.proxies };
    cures(obstacle, known, &report.path)
}

/// Words behind the margin, broken where the terminal ends.
fn paragraph(text: &mut String, words: &str, dress: Dress, colour: &str) {
    let width = dress.width.map_or(usize::MAX, |width| width - MARGIN);
    let mut lines: Vec<String> = Vec::new();
    for word in words.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    for (at, line) in lines.iter().enumerate() {
        let line = if colour.is_empty() { line.clone() } else { dress.paint(colour, line) };
        let indent = if at == 0 { 0 } else { MARGIN };
        let _ = writeln!(text, "{:indent$}{line}", "");
    }
}

/// The last line, which says it all.
fn verdict(report: &Diagnosis, dress: Dress) -> String {
    let of = |state: FindingState| -> Vec<&str> {
        let labels = report.findings.iter().filter(|finding| finding.state == state);
        let mut labels: Vec<_> = labels.map(|finding| finding.subject.label()).collect();
        labels.dedup();
        labels
    };
    let (bad, warn, unseen) = (of(FindingState::Bad), of(FindingState::Warn), of(FindingState::NotSeen));
    let mut parts = Vec::new();
    if !bad.is_empty() {
        parts.push(dress.paint("31", &format!("▲ in the way: {}", bad.join(", "))));
    } else if report.saw_a_stream {
        parts.push(dress.paint("32", "● All well: nothing stands between pages and their streams"));
    } else {
        parts.push(dress.paint("33", "○ There was no stream to look at"));
    }
    if !warn.is_empty() {
        parts.push(dress.paint("33", &format!("◐ could be better: {}", warn.join(", "))));
    }
    if !unseen.is_empty() && report.saw_a_stream {
        parts.push(dress.paint("2", &format!("○ not seen: {}", unseen.join(", "))));
    }
    parts.join("\n  ")
}

/// The report for programs.
pub(super) fn json(report: &Diagnosis) -> String {
    #[derive(Serialize)]
    struct ReportFields<'a> {
        address: &'a str,
        ok: bool,
        saw_a_stream: bool,
        proxies: &'a [FrontProxy],
        findings: Vec<FindingFields<'a>>,
    }
    #[derive(Serialize)]
    struct FindingFields<'a> {
        subject: Subject,
        state: FindingState,
        seen: &'a str,
        means: &'a str,
        cures: Vec<CureFields>,
    }
    #[derive(Serialize)]
    struct CureFields {
        /// Null: sidestream's own configuration.
        proxy: Option<FrontProxy>,
        lines: String,
    }
    let mut findings = Vec::new();
    for finding in &report.findings {
        let cures =
            cures_of(finding, report).into_iter().map(|Cure { proxy, lines }| CureFields { proxy, lines });
        findings.push(FindingFields {
            subject: finding.subject,
            state: finding.state,
            seen: &finding.seen,
            means: &finding.means,
            cures: cures.collect(),
        });
    }
    let report = ReportFields {
        address: &report.address,
        ok: report.code() == 0,
        saw_a_stream: report.saw_a_stream,
        proxies: &report.proxies,
        findings,
    };
    let text = serde_json::to_string_pretty(&report).expect("a struct of texts is JSON");
    text.lines().map(|line| plain_json(line).into_owned() + "\n").collect()
}

/// Runs `work`; with `show`, standard error says how far it is, in one line that goes again.
pub(super) async fn with_progress<T>(show: bool, planned: Duration, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let ticking = async {
        let mut tick = interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            if show {
                let (now, whole) = (begun.elapsed().as_secs(), planned.as_secs());
                let _ = write!(io::stderr().lock(), "\r\u{1b}[2K  looking: {now} s of about {whole} s");
            }
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = ticking => unreachable!("it never ends"),
    };
    if show {
        let _ = write!(io::stderr().lock(), "\r\u{1b}[2K");
    }
    done
}

#[cfg(test)]
mod tests {
    use super::super::cures::Obstacle;
    use super::*;

    fn report() -> Diagnosis {
        let bad = Finding::bad(
            Subject::Buffering,
            "nothing\u{1b}[2J came",
            "Pages stay empty, all of them, for a long time, and say nothing of it.",
        );
        Diagnosis {
            address: "https://a/events".to_owned(),
            path: "/events".to_owned(),
            proxies: vec![FrontProxy::Nginx],
            findings: vec![Finding::good(Subject::Reached, "1.2.3.4:443"), bad.by(Obstacle::Buffering)],
            saw_a_stream: false,
        }
    }

    #[test]
    fn in_a_pipe_there_are_no_colours_and_no_broken_lines() {
        let text = dressed(&report(), Dress { colours: false, width: None });
        assert!(text.contains("  ● reached         1.2.3.4:443\n"), "{text}");
        assert!(text.contains("  ▲ buffering       nothing\\u{1b}[2J came\n"), "{text}");
        assert!(text.contains("nginx\n                      proxy_http_version 1.1;\n                      proxy_buffering off;"), "{text}");
        assert!(text.ends_with("  ▲ in the way: buffering\n\n") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_terminal_gets_lines_that_fit() {
        let text = dressed(&report(), Dress { colours: false, width: Some(60) });
        let longest = text
            .lines()
            .filter(|line| !line.contains("proxy_buffering"))
            .map(|line| line.chars().count())
            .max();
        assert!(longest.is_some_and(|longest| longest <= 60), "{text}");
        let coloured = dressed(&report(), Dress { colours: true, width: Some(60) });
        assert!(coloured.contains("\u{1b}[31m▲\u{1b}[0m"), "{coloured}");
    }

    #[test]
    fn json_names_each_finding_and_its_lines() {
        let json: serde_json::Value = serde_json::from_str(&json(&report())).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["findings"][1]["subject"], "buffering");
        assert_eq!(json["findings"][1]["cures"][0]["proxy"], "nginx");
    }
}
