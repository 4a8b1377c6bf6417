//! Requests that are signed as Pusher's server libraries sign them: an HMAC of method, path and query, in which the MD5
//! of the body stands. Compared in constant time, before anything of the body is understood.

use std::time::Duration;

use aws_lc_rs::hmac;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use subtle::ConstantTimeEq as _;

use crate::auth::hook_gate::HookDenied;
use crate::config::PusherApp;

/// How far a request's time may be from ours, as at Pusher.
const TOLERANCE: Duration = Duration::from_secs(600);

/// What a request for an app has to show.
pub struct PusherGate {
    key: Box<str>,
    secret: hmac::Key,
}

/// A request but for its body.
#[derive(Clone, Copy, Debug)]
pub struct PusherRequest<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
}

impl PusherGate {
    pub fn new(app: &PusherApp) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, app.secret.expose().as_bytes());
        Self { key: app.key.as_str().into(), secret }
    }

    /// Checks what can be checked without the body.
    pub fn check_head(&self, request: PusherRequest<'_>, now: u64) -> Result<(), HookDenied> {
        let parameters = request.parameters();
        let value =
            |name: &str| parameters.iter().find(|(other, _)| other == name).map(|(_, value)| &**value);
        if value("auth_key") != Some(&*self.key) {
            return Err(HookDenied::WrongKey);
        }
        let time = value("auth_timestamp").and_then(|time| time.parse::<u64>().ok());
        let time = time.ok_or(HookDenied::NotSigned)?;
        if time.abs_diff(now) > TOLERANCE.as_secs() {
            return Err(HookDenied::TooOld);
        }
        let shown = value("auth_signature").ok_or(HookDenied::NotSigned)?;
        let shown = HEXLOWER_PERMISSIVE.decode(shown.as_bytes()).map_err(|_| HookDenied::BadSignature)?;
        let signed: Vec<String> = parameters
            .iter()
            .filter(|(name, _)| name != "auth_signature")
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let text = format!("{}\n{}\n{}", request.method, request.path, signed.join("&"));
        hmac::verify(&self.secret, text.as_bytes(), &shown).map_err(|_| HookDenied::BadSignature)
    }

    /// Checks that the body is the one that is signed.
    pub fn check_body(&self, request: PusherRequest<'_>, body: &[u8]) -> Result<(), HookDenied> {
        let made = HEXLOWER.encode(&md5::compute(body).0);
        let parameters = request.parameters();
        let shown = parameters.iter().find(|(name, _)| name == "body_md5").ok_or(HookDenied::NotSigned)?;
        let is_same = made.as_bytes().ct_eq(shown.1.to_ascii_lowercase().as_bytes());
        if bool::from(is_same) { Ok(()) } else { Err(HookDenied::BadSignature) }
    }
}

impl PusherRequest<'_> {
    /// By their names, which are in lower case, as they are signed.
    fn parameters(&self) -> Vec<(String, String)> {
        let pairs = form_urlencoded::parse(self.query.unwrap_or_default().as_bytes());
        let mut all: Vec<(String, String)> =
            pairs.map(|(name, value)| (name.to_lowercase(), value.into_owned())).collect();
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    /// The example of Pusher's own documentation, "Generating authentication signatures".
    #[test]
    fn pushers_own_example_is_signed() {
        let gate = PusherGate::new(&PusherApp {
            app_id: "3".to_owned(),
            key: "278d425bdf160c739803".to_owned(),
            secret: Secret::new("7ad3773142a6692b25b8"),
            rate: None,
        });
        let body = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        let query = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
                     &body_md5=ec365a775a4cd0599faeb73354201b6f\
                     &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
        let request = PusherRequest { method: "POST", path: "/apps/3/events", query: Some(query) };
        assert_eq!(gate.check_head(request, 1_353_088_179 + 600), Ok(()));
        assert_eq!(gate.check_body(request, body), Ok(()));
        assert_eq!(gate.check_body(request, b"{}"), Err(HookDenied::BadSignature));
        assert_eq!(gate.check_head(request, 1_353_088_179 + 601), Err(HookDenied::TooOld));
        let other = PusherRequest { path: "/apps/4/events", ..request };
        assert_eq!(gate.check_head(other, 1_353_088_179), Err(HookDenied::BadSignature));
        let other = query.replace("278d425bdf160c739803", "x");
        let other = PusherRequest { query: Some(&other), ..request };
        assert_eq!(gate.check_head(other, 1_353_088_179), Err(HookDenied::WrongKey));
        let unsigned = PusherRequest { query: Some("auth_key=278d425bdf160c739803"), ..request };
        assert_eq!(gate.check_head(unsigned, 1_353_088_179), Err(HookDenied::NotSigned));
    }
}
