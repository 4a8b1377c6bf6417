//! The signature of a request: `t=<seconds>,v1=<HMAC-SHA256 of "<seconds>.<body>">`, one `v1` a secret.

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;

use crate::config::Secret;

/// What signs for one webhook.
pub(super) struct Signer(Vec<hmac::Key>);

impl Signer {
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let key = |secret: &Secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        Self(secrets.into_iter().map(key).collect())
    }

    /// The header's value for `body` as sent at `time`, in seconds since the Unix epoch.
    pub(super) fn sign(&self, time: u64, body: &[u8]) -> String {
        let mut value = format!("t={time}");
        for key in &self.0 {
            let mut context = hmac::Context::with_key(key);
            context.update(time.to_string().as_bytes());
            context.update(b".");
            context.update(body);
            value.push_str(",v1=");
            HEXLOWER.encode_append(context.sign().as_ref(), &mut value);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_signs_the_time_and_the_body() {
        // As `printf '1750000000.{}' | openssl dgst -sha256 -hmac <secret>` says it.
        let (one, two) = (Secret::new("one"), Secret::new("two"));
        let value = Signer::new([&one, &two]).sign(1_750_000_000, b"{}");
        let expected = [
            "t=1750000000",
            "v1=da6fa381dca8f9e704a189e48694b352d814142c2a57ea6087bd8c2624ac95c8",
            "v1=c3c05810b66cc04eb7d28e1d0e9353022c0ab8596f273e30b35df0f234f8767c",
        ];
        assert_eq!(value, expected.join(","));
    }
}
