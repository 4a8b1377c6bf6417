//! A figure of the table: who was measured, what came out in each repetition, and what was asked for.

use crate::load::Faults;
use crate::meter::Usage;
use crate::peers::Missing;

/// What a figure is, and what it has to reach.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) rule: Rule,
}

/// What is asked of [`Rule::subject`].
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) subject: &'static str,
    /// Whose figure it is divided by; `None` = the figure itself counts.
    pub(crate) against: Option<&'static str>,
    /// None = a figure to know, which nothing is asked of.
    pub(crate) must: Option<Bound>,
    pub(crate) aim: Option<Bound>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
}

impl Bound {
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

/// One repetition with one server.
#[derive(Debug)]
pub(crate) struct Measured {
    /// One value for each figure of the row; `None` where the figure is not for this server.
    pub(crate) values: Vec<Option<f64>>,
    pub(crate) faults: Faults,
    pub(crate) usage: Usage,
    /// What a reader of the figure should know.
    pub(crate) notes: Vec<String>,
}

/// All repetitions of one server.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) label: &'static str,
    pub(crate) result: Result<Vec<f64>, Missing>,
}

#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) row: &'static str,
    pub(crate) spec: Spec,
    pub(crate) cells: Vec<Cell>,
}

/// What became of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Aim,
    Must,
    Missed,
    /// Nothing was asked, or the subject, or the one it is compared with, has no figure.
    Open,
}

impl Figure {
    /// The median of this server's repetitions.
    pub(crate) fn median(&self, label: &str) -> Option<f64> {
        let cell = self.cells.iter().find(|cell| cell.label == label)?;
        median(cell.result.as_ref().ok()?)
    }

    /// What the rule looks at: the ratio, or the figure itself.
    pub(crate) fn judged(&self) -> Option<f64> {
        let subject = self.median(self.spec.rule.subject)?;
        match self.spec.rule.against {
            Some(other) => self.median(other).map(|other| subject / other),
            None => Some(subject),
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let Some(value) = self.judged() else { return Verdict::Open };
        let Rule { must, aim, .. } = self.spec.rule;
        let Some(must) = must else { return Verdict::Open };
        match (must.holds(value), aim.is_some_and(|aim| aim.holds(value))) {
            (true, true) => Verdict::Aim,
            (true, false) => Verdict::Must,
            (false, _) => Verdict::Missed,
        }
    }
}

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(subject: &[f64], other: Result<Vec<f64>, Missing>) -> Figure {
        let rule = Rule {
            subject: "a",
            against: Some("b"),
            must: Some(Bound::AtMost(1.1)),
            aim: Some(Bound::Below(1.0)),
        };
        let spec = Spec { what: "x".to_owned(), unit: "µs", rule };
        let cells =
            vec![Cell { label: "a", result: Ok(subject.to_vec()) }, Cell { label: "b", result: other }];
        Figure { row: "x", spec, cells }
    }

    #[test]
    fn a_verdict_looks_at_the_ratio_of_the_medians() {
        assert_eq!(figure(&[0.9, 9.0, 0.8], Ok(vec![1.0])).verdict(), Verdict::Aim);
        assert_eq!(figure(&[1.0], Ok(vec![1.0])).verdict(), Verdict::Must);
        assert_eq!(figure(&[1.2], Ok(vec![1.0])).verdict(), Verdict::Missed);
        assert_eq!(figure(&[1.0], Err(Missing(String::new()))).verdict(), Verdict::Open);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
