//! Numbers, times and tables as terminals show them. What came over the wire loses its control characters here.

use std::time::Duration;

use crate::cli::output::plain;

/// A column of a table.
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Numbers stand at the right.
    pub(super) is_number: bool,
    /// Left out where no row has anything in it.
    pub(super) is_optional: bool,
}

/// How wide the columns of a table are, and which are shown; the same for all of its pages.
pub(super) struct Layout<'a> {
    columns: &'a [Column],
    /// None = left out.
    widths: Vec<Option<usize>>,
}

/// What stands where there is nothing.
const NOTHING: &str = "-";

impl<'a> Layout<'a> {
    /// Fits `columns` to these rows, a cell each.
    pub(super) fn new(columns: &'a [Column], rows: &[Vec<String>]) -> Self {
        let width = |at: usize, column: &Column| {
            let cells = || rows.iter().map(|row| row[at].as_str());
            let is_shown = !column.is_optional || cells().any(|cell| cell != NOTHING);
            let widest = cells().map(|cell| plain(cell).chars().count()).max().unwrap_or(0);
            is_shown.then(|| widest.max(column.name.len()))
        };
        let widths = columns.iter().enumerate().map(|(at, column)| width(at, column)).collect();
        Self { columns, widths }
    }

    /// The line of the columns' names.
    pub(super) fn header(&self) -> String {
        self.line(self.columns.iter().map(|column| column.name.into()))
    }

    pub(super) fn row(&self, cells: &[String]) -> String {
        self.line(cells.iter().map(|cell| plain(cell)))
    }

    fn line<'c>(&self, cells: impl Iterator<Item = std::borrow::Cow<'c, str>>) -> String {
        let mut line = String::new();
        for ((cell, column), width) in cells.zip(self.columns).zip(&self.widths) {
            let Some(width) = *width else { continue };
            let missing = " ".repeat(width.saturating_sub(cell.chars().count()));
            let (before, behind) = if column.is_number { (&*missing, "") } else { ("", &*missing) };
            line.push_str(&format!("{before}{cell}{behind}  "));
        }
        line.trim_end().to_owned() + "\n"
    }
}

/// A name, or what stands for none.
pub(super) fn or_nothing(name: Option<&str>) -> String {
    name.unwrap_or(NOTHING).to_owned()
}

/// A whole number with a comma between thousands.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 stream`, `2 streams`.
pub(super) fn count(many: u64, what: &str) -> String {
    let end = if many == 1 { "" } else { "s" };
    format!("{} {what}{end}", number(many))
}

/// A time in its two greatest units.
pub(super) fn short_time(time: Duration) -> String {
    let whole = Duration::from_secs(time.as_secs());
    let text = humantime::format_duration(whole).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_at_the_right_and_an_empty_column_is_left_out() {
        let column = |name, is_number, is_optional| Column { name, is_number, is_optional };
        let columns =
            [column("USER", false, true), column("SESSION", false, true), column("SENT", true, false)];
        let rows = [("anna", "12"), ("b\u{1b}", "7")]
            .map(|(user, sent)| vec![user.to_owned(), or_nothing(None), sent.to_owned()]);
        let layout = Layout::new(&columns, &rows);
        let text: String =
            std::iter::once(layout.header()).chain(rows.iter().map(|row| layout.row(row))).collect();
        assert_eq!(text, "USER     SENT\nanna       12\nb\\u{1b}     7\n");
    }

    #[test]
    fn numbers_and_times_are_short() {
        let numbers = [0, 999, 1000, 12_480, 1_234_567].map(number);
        assert_eq!(numbers, ["0", "999", "1,000", "12,480", "1,234,567"]);
        assert_eq!([count(1, "stream"), count(0, "stream")], ["1 stream", "0 streams"]);
        assert_eq!(short_time(Duration::from_millis(191_500)), "3m 11s");
        assert_eq!(short_time(Duration::from_secs(90_061)), "1day 1h");
    }
}
