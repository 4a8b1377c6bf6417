//! Lines on their way to standard error: a bounded queue and a thread of its own.
//!
//! Invariant: code that logs never waits, never fails and never panics, whatever becomes of the reader of the log.
//! A crate for this (`tracing-appender`) neither counts failed writes nor says later how many lines are missing.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::telemetry::LOG_LINES_LOST;

/// So many lines wait at most,
const MAX_LINES: usize = 4096;
/// and so many bytes of them.
const MAX_BYTES: usize = 4 << 20;

/// Takes whole lines. Cloning shares.
#[derive(Clone)]
pub(super) struct LogWriter {
    queue: SyncSender<QueuedLine>,
    shared: Arc<LogQueue>,
}

#[derive(Default)]
struct LogQueue {
    waiting_bytes: AtomicUsize,
    /// Lines lost of which no line tells yet.
    lost: AtomicU64,
}

enum QueuedLine {
    Line(Box<[u8]>),
    Flush(SyncSender<()>),
}

impl LogWriter {
    /// Starts the thread that writes to `out`. It goes on as long as the process.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(MAX_LINES);
        let shared = Arc::new(LogQueue::default());
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || of_thread.write_all(&waiting, out))?;
        Ok(Self { queue, shared })
    }

    /// Waits until what was logged before is written, at the longest `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let (done, written) = sync_channel(1);
        let mut item = QueuedLine::Flush(done);
        while let Err(back) = self.queue.try_send(item) {
            let (std::sync::mpsc::TrySendError::Full(again)
            | std::sync::mpsc::TrySendError::Disconnected(again)) = back;
            item = again;
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

impl Write for LogWriter {
    /// Takes a line whole or loses it whole. Never fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let plain = plain_line(line);
        let waiting = self.shared.waiting_bytes.fetch_add(plain.len(), Ordering::Relaxed);
        let length = plain.len();
        if waiting > MAX_BYTES || self.queue.try_send(QueuedLine::Line(plain.into())).is_err() {
            self.shared.waiting_bytes.fetch_sub(length, Ordering::Relaxed);
            self.shared.lose();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `line` with `\u….` for what a terminal could obey, and for what would break or turn the line: also within JSON it
/// says the same.
fn plain_line(line: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = str::from_utf8(line) else { return line.into() };
    let text = text.strip_suffix('\n').unwrap_or(text);
    let is_harmful = |char: char| char.is_control() && !matches!(char, '\n' | '\t') || turns_or_breaks(char);
    if line.iter().all(|b| matches!(b, b' '..=b'~' | b'\n' | b'\t')) || !text.contains(is_harmful) {
        return line.into();
    }
    let mut plain = String::with_capacity(line.len() + 16);
    for char in text.chars() {
        if is_harmful(char) {
            plain.push_str(&format!("\\u{:04x}", u32::from(char)));
        } else {
            plain.push(char);
        }
    }
    plain.push('\n');
    plain.into_bytes().into()
}

/// Line and paragraph separators, and what turns the direction of writing.
fn turns_or_breaks(char: char) -> bool {
    matches!(char, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl LogQueue {
    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        metrics::counter!(LOG_LINES_LOST).increment(1);
    }

    fn write_all(&self, waiting: &Receiver<QueuedLine>, mut out: impl Write) {
        while let Ok(item) = waiting.recv() {
            match item {
                QueuedLine::Line(line) => {
                    self.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    if out.write_all(&line).is_ok() {
                        self.tell_lost();
                    } else {
                        self.lose();
                    }
                }
                QueuedLine::Flush(done) => {
                    let _ = out.flush();
                    let _ = done.try_send(());
                }
            }
        }
    }

    /// Lines are written again: one more says how many were not.
    fn tell_lost(&self) {
        match self.lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => tracing::warn!(lost, "lines of the log were lost: standard error did not take them"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Takes a line for each word that it gets.
    struct Slow {
        allowed: Receiver<()>,
        taken: SyncSender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(io::Error::other)?;
            self.taken.send(line.to_vec()).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[expect(clippy::disallowed_methods, reason = "as many words as the test has lines")]
    fn slow() -> (LogWriter, Sender<()>, Receiver<Vec<u8>>) {
        let (allow, allowed) = channel();
        let (taken, lines) = sync_channel(2 * MAX_LINES);
        (LogWriter::start(Slow { allowed, taken }).unwrap(), allow, lines)
    }

    #[test]
    fn lines_keep_their_order_and_a_flush_waits_for_them() {
        let (mut writer, allow, lines) = slow();
        for n in 0..100 {
            writer.write_all(format!("{n}\n").as_bytes()).unwrap();
            allow.send(()).unwrap();
        }
        writer.flush(Duration::from_secs(60));
        let lines: Vec<_> = lines.try_iter().map(|line| String::from_utf8(line).unwrap()).collect();
        assert_eq!(lines, (0..100).map(|n| format!("{n}\n")).collect::<Vec<_>>());
    }

    #[test]
    fn no_line_holds_what_a_terminal_obeys() {
        for (line, plain) in [
            ("path=/a b ☂\tü\n", "path=/a b ☂\tü\n"),
            ("\u{1b}[31m\u{9b}1m\u{7f}\n", "\\u001b[31m\\u009b1m\\u007f\n"),
            ("{\"path\":\"a\u{2028}\u{202e}b\"}\n", "{\"path\":\"a\\u2028\\u202eb\"}\n"),
        ] {
            assert_eq!(plain_line(line.as_bytes()), plain.as_bytes());
        }
        assert_eq!(plain_line(b"\xff\n"), &b"\xff\n"[..]);
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_time() {
        let (mut writer, allow, lines) = slow();
        for _ in 0..MAX_LINES + 1000 {
            writer.write_all(b"x\n").unwrap();
        }
        assert!(writer.shared.lost.load(Ordering::Relaxed) >= 999);
        writer.flush(Duration::from_millis(10));
        drop(lines);
        drop(allow);
    }

    #[test]
    fn large_lines_are_bounded_by_their_bytes() {
        let (mut writer, _allow, _lines) = slow();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            writer.write_all(&line).unwrap();
        }
        assert!(writer.shared.lost.load(Ordering::Relaxed) >= 10);
        assert!(writer.shared.waiting_bytes.load(Ordering::Relaxed) <= MAX_BYTES + 2 * line.len());
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines_and_nothing_else() {
        let (mut writer, allow, lines) = slow();
        drop(lines);
        for _ in 0..10 {
            allow.send(()).unwrap();
            writer.write_all(b"x\n").unwrap();
        }
        writer.flush(Duration::from_secs(60));
        assert_eq!(writer.shared.lost.load(Ordering::Relaxed), 10);
    }
}
