//! The table in words: what was asked for, what came out, and under what conditions.

use std::fmt::Write as _;

use crate::figure::{Bound, Cell, Figure, Verdict, median};
use crate::machine::Machine;
use crate::peers::{Server, versions};
use crate::rows::{Context, Outcome};

/// The table of what was asked for and what came out.
pub(crate) fn verdicts(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| figure | sidestream | compared with | ratio | must | aim | verdict |\n|---|---|---|---|---|---|---|\n",
    );
    for figure in figures(outcomes) {
        let rule = &figure.spec.rule;
        let value = |label: &str| match figure.cells.iter().find(|cell| cell.label == label) {
            Some(cell) => told(cell, figure.spec.unit) + &faults_of(outcomes, figure.row, label),
            None => "not measured".to_owned(),
        };
        let (other, ratio) = match rule.against {
            Some(other) => (
                format!("{other}: {}", value(other)),
                figure.judged().map_or("–".to_owned(), |ratio| format!("**{}×**", digits(ratio))),
            ),
            None => ("–".to_owned(), "–".to_owned()),
        };
        let unit = if rule.against.is_some() { "×" } else { figure.spec.unit };
        let aim = rule.aim.map_or("–".to_owned(), |aim| bound(aim, unit));
        let verdict = match figure.verdict() {
            Verdict::Aim if rule.aim.is_some() => "aim reached",
            Verdict::Aim | Verdict::Must => "must reached",
            Verdict::Missed => "**missed**",
            Verdict::Open => "open",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {other} | {ratio} | {} | {aim} | {verdict} |",
            figure.spec.what,
            value(rule.subject),
            rule.must.map_or("–".to_owned(), |must| bound(must, unit)),
        );
    }
    text
}

/// The table of everybody's figures.
fn everybody(outcomes: &[Outcome]) -> String {
    let servers: Vec<_> = Server::ALL.iter().map(|server| server.name()).collect();
    let mut text = format!("| figure | {} |\n|---{}|\n", servers.join(" | "), "|---".repeat(servers.len()));
    // A figure of sidestream against itself has no place among the others.
    for figure in figures(outcomes).filter(|figure| servers.contains(&figure.spec.rule.subject)) {
        let _ = write!(text, "| {}, {} |", figure.spec.what, figure.spec.unit);
        let subject = figure.median(figure.spec.rule.subject);
        for name in &servers {
            let cell = match figure.cells.iter().find(|cell| cell.label == *name) {
                None => "–".to_owned(),
                Some(Cell { result: Err(missing), .. }) => missing.0.replace('|', "/"),
                Some(cell) => {
                    let ratio = figure.median(name).zip(subject).map(|(own, subject)| own / subject);
                    let ratio = ratio.filter(|_| *name != figure.spec.rule.subject);
                    format!(
                        "{}{}",
                        told(cell, "") + &faults_of(outcomes, figure.row, name),
                        ratio.map_or(String::new(), |ratio| format!(", {}×", digits(ratio)))
                    )
                }
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

/// Who was busy, what went wrong, what else was seen.
fn conditions(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| row | server | server's CPU | load's CPU | others' CPU | faults | seen in the last repetition |\n|---|---|---|---|---|---|---|\n",
    );
    for context in outcomes.iter().flat_map(|outcome| &outcome.contexts) {
        let [server, load, others] = context.busy().map(|share| format!("{:.0} %", share * 100.0));
        let Context { row, label, faults, notes, .. } = context;
        let _ = writeln!(
            text,
            "| {row} | {label} | {server} | {load} | {others} | {faults} | {} |",
            notes.join("; ")
        );
    }
    text
}

/// Rows in which somebody else than server and load has work to do.
const WITH_A_THIRD: [&str; 2] = ["channel", "proxied"];
/// The share of a core that others may take before the result says so.
const QUIET: f64 = 0.10;

/// What a reader has to know of a run beside which other work ran.
pub(crate) fn disturbed(outcomes: &[Outcome]) -> Option<String> {
    let contexts = outcomes.iter().flat_map(|outcome| &outcome.contexts);
    let others = contexts
        .filter(|context| !WITH_A_THIRD.contains(&context.row))
        .map(|context| context.busy()[2])
        .fold(0.0, f64::max);
    (others > QUIET).then(|| {
        format!(
            "The machine was not quiet: other work took up to {:.0} % of a core. Latencies, figures a second and close ratios say little.",
            others * 100.0
        )
    })
}

/// The whole result, as it is kept.
pub(crate) fn document(machine: &Machine, command: &str, repetitions: usize, outcomes: &[Outcome]) -> String {
    let mut text = format!("# Benchmark of {}, commit {}\n\n", machine.date, machine.commit);
    let _ = write!(
        text,
        "Machine: {}, {} cores, {} of memory, Linux {}. Load average at the start: {}.\n\
         Command: `{command}`. Medians (least–most) of {repetitions} repetition{}; each measures all servers in turn.\n\n",
        machine.cpu,
        machine.cores,
        machine.memory,
        machine.kernel,
        machine.load_average,
        if repetitions == 1 { "" } else { "s" },
    );
    if let Some(warning) = disturbed(outcomes) {
        let _ = write!(text, "**{warning}**\n\n");
    }
    for (name, version) in versions() {
        let _ = writeln!(text, "- {name}: {version}");
    }
    let _ = write!(text, "\n## What was asked for\n\n{}", verdicts(outcomes));
    let _ = write!(
        text,
        "\n## Everybody\n\nThe ratio is the server's figure over sidestream's.\n\n{}",
        everybody(outcomes)
    );
    let _ = write!(
        text,
        "\n## Conditions\n\nShares of one core, medians. `others` is Redis or the backend where a row has one, and whatever else ran on the machine.\n\n{}",
        conditions(outcomes)
    );
    text.push_str("\n## sidestream's configurations\n\nThe peers' stand in `bench/peers/`.\n");
    for outcome in outcomes {
        let row = outcome.figures.first().map_or("", |figure| figure.row);
        let _ = write!(text, "\n{row}:\n\n```toml\n{}```\n", outcome.toml);
    }
    text
}

fn figures(outcomes: &[Outcome]) -> impl Iterator<Item = &Figure> {
    outcomes.iter().flat_map(|outcome| &outcome.figures)
}

/// A figure that was come by with faults says so wherever it stands.
fn faults_of(outcomes: &[Outcome], row: &str, label: &str) -> String {
    let mut contexts = outcomes.iter().flat_map(|outcome| &outcome.contexts);
    match contexts.find(|context| context.row == row && context.label == label) {
        Some(context) if !context.faults.none() => format!(" (faults: {})", context.faults),
        _ => String::new(),
    }
}

/// The median with the least and the most.
fn told(cell: &Cell, unit: &str) -> String {
    let values = match &cell.result {
        Ok(values) => values,
        Err(missing) => return missing.0.replace('|', "/"),
    };
    let Some(middle) = median(values) else { return "–".to_owned() };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let space = if unit.is_empty() { "" } else { " " };
    match values.len() {
        1 => format!("{}{space}{unit}", digits(middle)),
        _ => format!("{}{space}{unit} ({}–{})", digits(middle), digits(least), digits(most)),
    }
}

fn bound(bound: Bound, unit: &str) -> String {
    let (sign, value) = match bound {
        Bound::AtMost(value) => ("≤", value),
        Bound::Below(value) => ("<", value),
        Bound::AtLeast(value) => ("≥", value),
    };
    match value {
        _ if value >= 1000.0 => format!("{sign} {} {unit}", grouped(value as u64)),
        _ if unit == "×" => format!("{sign} {value}×"),
        _ => format!("{sign} {value} {unit}"),
    }
}

/// Three digits that matter.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let unit = 10_f64.powi((size.log10().floor() as i32 - 2).clamp(0, 15));
            grouped(((size / unit).round() * unit) as u64)
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size > 0.0 => format!("{value:.3}"),
        _ => "0".to_owned(),
    }
}

/// Thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let whole = number.to_string();
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_matter() {
        for (value, text) in [
            (0.8961, "0.896"),
            (4.9666, "4.97"),
            (12.34, "12.3"),
            (149.6, "150"),
            (1234.0, "1,230"),
            (214_481.0, "214,000"),
            (1_345_678.0, "1,350,000"),
            (0.0, "0"),
        ] {
            assert_eq!(digits(value), text);
        }
    }
}
