//! What the dashboard's page reads.

use http::header::{HeaderValue, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::Either;

use crate::dashboard::{NotSignedIn, SignedIn};
use crate::server::respond::ApiProblem;
use crate::server::respond::body::{EventsBody, InternalBody};
use crate::server::respond::json::{FullResponse, ok};
use crate::server::respond::public::STREAM_HEADERS;

/// The cookie goes to the dashboard's own paths only, and no script reads it.
const SCOPE: &str = "Path=/dashboard; HttpOnly; SameSite=Strict";

/// To somebody who has signed in: the cookie that stands for the key. `secure` keeps it off unencrypted connections.
pub(in crate::server) fn signed_in(cookie: &str, signed: &SignedIn, secure: bool) -> FullResponse {
    let mut response = ok(&serde_json::json!({ "may": signed.may.as_str() }));
    let secure = if secure { "; Secure" } else { "" };
    let (seal, lasts) = (signed.seal.expose(), signed.lasts.as_secs());
    set_cookie(&mut response, &format!("{cookie}={seal}; {SCOPE}; Max-Age={lasts}{secure}"));
    response
}

/// To somebody who has signed out.
pub(in crate::server) fn signed_out(cookie: &str) -> FullResponse {
    let mut response = ok(&serde_json::json!({ "signed_out": true }));
    set_cookie(&mut response, &format!("{cookie}=; {SCOPE}; Max-Age=0"));
    response
}

fn set_cookie(response: &mut FullResponse, cookie: &str) {
    let mut cookie = HeaderValue::from_str(cookie).expect("base64 and words are a header value");
    cookie.set_sensitive(true);
    response.headers_mut().insert(SET_COOKIE, cookie);
}

/// Events as they come.
pub(in crate::server) fn events(body: EventsBody) -> Response<InternalBody> {
    let mut response = Response::new(Either::Right(body));
    response.headers_mut().extend(STREAM_HEADERS);
    response
}

/// About the dashboard.
impl ApiProblem {
    pub(in crate::server) fn dashboard_off() -> Self {
        let say = "the dashboard is off: set dashboard.keys in the configuration (or SIDESTREAM_DASHBOARD_KEYS) to a key \
                   that `sidestream key new` makes, restart sidestream, and open this page again";
        Self::new(StatusCode::NOT_FOUND, "dashboard_off", say)
    }

    pub(in crate::server) fn from_another_page() -> Self {
        let say = "the dashboard answers its own page only, and programs that show a key: Authorization: Bearer <key>";
        Self::new(StatusCode::FORBIDDEN, "browser", say)
    }

    pub(in crate::server) fn not_signed_in(why: NotSignedIn) -> Self {
        let say = why.to_string();
        match why {
            NotSignedIn::TooMany => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "dashboard_guesses", say).with(RETRY_AFTER, "60")
            }
            NotSignedIn::Missing => {
                Self::new(StatusCode::UNAUTHORIZED, "no_key", say).with(WWW_AUTHENTICATE, "Bearer")
            }
            NotSignedIn::Wrong | NotSignedIn::Over => {
                Self::new(StatusCode::UNAUTHORIZED, "wrong_key", say).with(WWW_AUTHENTICATE, "Bearer")
            }
        }
    }

    pub(in crate::server) fn bad_sign_in() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_sign_in", "the body has to be {\"key\": \"…\"}")
    }

    /// The cause is not said: it would show a part of a token.
    pub(in crate::server) fn bad_question() -> Self {
        let say = "the body has to be {\"user\": \"…\"} or {\"token\": \"…\"}";
        Self::new(StatusCode::BAD_REQUEST, "bad_question", say)
    }

    pub(in crate::server) fn may_only_look() -> Self {
        let say = "this key may only look: sign in with one of dashboard.keys to act";
        Self::new(StatusCode::FORBIDDEN, "read_key", say)
    }

    pub(in crate::server) fn too_many_watch() -> Self {
        Self::not_now("too_many_watch", "as many dashboards are open as there may be: close one")
    }
}
