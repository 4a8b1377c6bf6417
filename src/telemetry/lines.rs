//! Lines about each stream and each event that is published: at level debug, or at info where the operator asks for
//! them.
//!
//! Where they are off they cost a look at two flags.

use std::sync::atomic::{AtomicBool, Ordering};

/// What such a line is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineKind {
    /// A stream that opens or closes.
    Streams,
    /// A request that is answered; there are none of them where nobody asks for them.
    Requests,
    /// An event that is published, and what has become of it.
    Publishes,
}

impl LineKind {
    const ALL: [Self; 3] = [Self::Streams, Self::Requests, Self::Publishes];

    /// The target of its lines, for filters.
    const fn target(self) -> &'static str {
        match self {
            Self::Streams => "sidestream::streams",
            Self::Requests => "sidestream::requests",
            Self::Publishes => "sidestream::publishes",
        }
    }
}

static SHOWN: [AtomicBool; LineKind::ALL.len()] = [const { AtomicBool::new(false) }; LineKind::ALL.len()];

/// Whether the operator has asked for these lines.
pub fn are_shown(kind: LineKind) -> bool {
    SHOWN[kind as usize].load(Ordering::Relaxed)
}

/// From now on lines of `kinds` are at level info, and the others at debug. Gives back `filter` so that it lets them
/// pass.
pub(super) fn show(kinds: &[LineKind], filter: &str) -> String {
    let mut filter = filter.to_owned();
    for kind in LineKind::ALL {
        SHOWN[kind as usize].store(kinds.contains(&kind), Ordering::Relaxed);
    }
    for kind in kinds {
        // Whoever names it wants it as it is named.
        if !filter.contains(kind.target()) {
            filter.push_str(&format!(",{}=info", kind.target()));
        }
    }
    filter
}

/// A line of [`LineKind`], with fields and a message as `tracing`'s macros take them.
macro_rules! log_line {
    (streams, $($line:tt)*) => {
        $crate::telemetry::log_line!(@ Streams, "sidestream::streams", $($line)*)
    };
    (publishes, $($line:tt)*) => {
        $crate::telemetry::log_line!(@ Publishes, "sidestream::publishes", $($line)*)
    };
    (@ $kind:ident, $target:literal, $($line:tt)*) => {
        if $crate::telemetry::are_shown($crate::telemetry::LineKind::$kind) {
            tracing::info!(target: $target, $($line)*);
        } else {
            tracing::debug!(target: $target, $($line)*);
        }
    };
}

/// Whether a line would be written, for what is reckoned for it alone.
macro_rules! line_enabled {
    (streams) => {
        $crate::telemetry::are_shown($crate::telemetry::LineKind::Streams)
            || tracing::enabled!(target: "sidestream::streams", tracing::Level::DEBUG)
    };
    (publishes) => {
        $crate::telemetry::are_shown($crate::telemetry::LineKind::Publishes)
            || tracing::enabled!(target: "sidestream::publishes", tracing::Level::DEBUG)
    };
}

pub(crate) use {line_enabled, log_line};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_lets_the_lines_pass_that_are_asked_for() {
        assert_eq!(show(&[], "warn"), "warn");
        let filter = show(&[LineKind::Publishes], "warn,sidestream::proxy=debug");
        assert_eq!(filter, "warn,sidestream::proxy=debug,sidestream::publishes=info");
        assert_eq!(
            show(&[LineKind::Publishes], "sidestream::publishes=debug"),
            "sidestream::publishes=debug"
        );
        assert!(are_shown(LineKind::Publishes));
    }
}
