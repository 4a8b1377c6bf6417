//! How long a stream's grant is looked at: `until` of `[[stream]]`, and of what verifies its callers.

use crate::config::schema::auth::Auth;
use crate::config::schema::grant_end::GrantEnd;
use crate::config::schema::stream::{Stream, StreamAuth};

/// Where what verifies the callers of a stream says that it looks at the opening only, so does a stream that does not
/// say it itself.
pub(super) fn inherit_until(streams: &mut [Stream], auth: &Auth) {
    for stream in streams.iter_mut().filter(|stream| stream.until.is_none()) {
        let verifier = match stream.auth {
            StreamAuth::Jwt => auth.jwt.as_ref().map(|jwt| jwt.until),
            StreamAuth::Backend => auth.backend.as_ref().map(|backend| backend.until),
            StreamAuth::Ticket => auth.ticket.as_ref().map(|ticket| ticket.until),
            StreamAuth::None | StreamAuth::Signed => None,
        };
        stream.until = verifier.filter(|until| *until == GrantEnd::Open);
    }
}
