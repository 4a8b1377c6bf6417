//! `[[internal.pusher]]`: an app that publishes by Pusher's own server libraries.

use crate::config::parsers::{hook_secret, label, publish_key, quota};
use crate::config::schema::table::section;
use crate::config::schema::weak_key::warn_of_weak_keys;
use crate::config::section_reader::SectionReader;
use crate::config::values::Secret;
use crate::pace::Quota;

section! {
    /// An app that publishes by Pusher's own server libraries, which then have this daemon as their host: see
    /// docs/pusher.md. There may be several; none by default.
    pub struct PusherApp without default checked by check {
        /// The app's id, as the library is given it.
        app_id: String = required("123456", "give the app's id: app_id = \"123456\"", String::new(), label);
        /// Its key, which says who signs and is no secret.
        key: String = required(
            "278d425bdf160c739803",
            "give the app's key: key = \"278d425bdf160c739803\"",
            String::new(),
            app_key
        );
        /// The secret with which the library signs.
        secret: Secret = required_secret(
            "the-secret-of-the-app",
            "the library signs with it: take the one that your application has",
            Secret::new(""),
            hook_secret
        );
        /// How many events it may publish, instead of what `limits.publishes_per_key` says; 0 = as many as it likes.
        rate: Option<Quota> = optional("100/s burst=500", quota);
    }
}

fn app_key(raw: &crate::config::raw::RawValue<'_>) -> Result<String, crate::config::raw::Rejection> {
    Ok(publish_key(raw)?.expose().to_owned())
}

fn check(app: &PusherApp, s: &mut SectionReader<'_, '_>) {
    // An empty one stands for one that is not there.
    if !app.secret.expose().is_empty() {
        warn_of_weak_keys(s, &["secret", "secret_file"], std::slice::from_ref(&app.secret));
    }
}

/// Every table; their ids are all different.
pub(super) fn read_pusher_apps(s: &mut SectionReader<'_, '_>) -> Vec<PusherApp> {
    let apps = s.tables("internal.pusher", "pusher", PusherApp::read);
    for (at, app) in apps.iter().enumerate() {
        if let Some(other) = apps[..at].iter().position(|earlier| earlier.app_id == app.app_id) {
            let key = |at: usize| format!("pusher[{}].app_id", at + 1);
            let message = format!("`app_id` is {} for an earlier [[internal.pusher]] too", app.app_id);
            s.report(&[&key(at), &key(other)], message, None);
        }
    }
    apps
}
