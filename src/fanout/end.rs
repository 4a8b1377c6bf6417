//! Why a stream ended.

/// The reason in the log line, in the metric and, where the client still reads, in the `closing` event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CloseReason {
    /// The client closed its side, or its connection broke.
    ClientGone,
    /// The socket took nothing for the whole write timeout.
    Stalled,
    /// The grant's time is over.
    Expired,
    /// The grant was taken back.
    Revoked,
    /// The stream reached the configured age.
    MaxAge,
    /// It was sent nothing but heartbeats for as long as it may be.
    Idle,
    /// Its user has opened another one, and may have no more.
    Replaced,
    /// The daemon stops.
    Draining,
    /// The reader fell so far behind that nobody knows any more which of its topics were taken from it.
    Lagged,
    /// The backend closed it, and the client may come back.
    Kicked,
    /// The backend closed it, and the client shall stay away.
    SentAway,
    /// The same, and nobody will know it when it comes back all the same.
    SentFarAway,
    /// The application ended the stream that it was read from: what it says now, it says to each.
    SourceEnded,
    /// Its last topic has ended.
    Ended,
}

impl CloseReason {
    pub const ALL: [Self; 14] = [
        Self::ClientGone,
        Self::Stalled,
        Self::Expired,
        Self::Revoked,
        Self::MaxAge,
        Self::Idle,
        Self::Replaced,
        Self::Draining,
        Self::Lagged,
        Self::Kicked,
        Self::SentAway,
        Self::SentFarAway,
        Self::SourceEnded,
        Self::Ended,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::Stalled => "stalled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::MaxAge => "max_age",
            Self::Idle => "idle",
            Self::Replaced => "replaced",
            Self::Draining => "draining",
            Self::Lagged => "lagged",
            Self::Kicked => "kicked",
            Self::SentAway | Self::SentFarAway => "sent_away",
            Self::SourceEnded => "source_ended",
            Self::Ended => "ended",
        }
    }

    /// Whether the client gets a `closing` event: it is there and reads, and can act on it. One whose last topic has
    /// ended has got it in its place.
    pub(super) fn is_said(self) -> bool {
        !matches!(self, Self::ClientGone | Self::Stalled | Self::Lagged | Self::Ended)
    }
}
