//! How a caller of the internal listener is known.

/// How a caller is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Authenticated {
    /// By the key that the request shows, which is still to be checked.
    ByKey,
    /// By the way that the request came.
    Trusted,
    /// They are signed in to the dashboard, and may do what they ask.
    FromDashboard,
}
