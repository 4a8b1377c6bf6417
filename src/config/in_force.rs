//! The configuration as it holds, key by key, to be shown: where each value came from, and no secret.
//!
//! Values are shown as they were written. A secret is only said to be set; of a URL neither user nor query is shown.

use serde::Serialize;

use crate::config::asked_key::{AskedKey, Fingerprint};
use crate::config::reader::KeyKind;
use crate::config::reading::survey;
use crate::config::schema::Config;

/// One key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SettingInForce {
    /// With its number in an array of tables: `stream[2]`.
    pub section: String,
    pub key: String,
    /// As it would be written; none when it is unset.
    pub value: Option<String>,
    /// `default`, `file`, `environment` or `arguments`.
    pub from: &'static str,
    /// What it is.
    pub about: String,
    /// As it is documented: without a number.
    #[serde(skip)]
    pub(super) of: &'static str,
    #[serde(skip)]
    pub(super) fingerprint: Fingerprint,
    /// It is the platform's word (`PORT`), not the operator's.
    #[serde(skip)]
    pub(super) platform: bool,
}

/// Every key of `asked` with the default where nothing was written.
pub(super) fn in_force(asked: Vec<AskedKey>) -> Vec<SettingInForce> {
    let docs = survey(Config::read).docs;
    let shown = asked.into_iter().filter_map(|asked_key| {
        let AskedKey { section, full, name, written, fingerprint, platform } = asked_key;
        let doc = docs.iter().find(|((of, key), _)| *of == section && *key == name).map(|(_, doc)| doc);
        // A key that names a file is another way to say what the one before says.
        let doc = match (doc, &written) {
            (None, None) => return None,
            (doc, _) => doc,
        };
        let default = doc.filter(|doc| matches!(doc.kind, KeyKind::Value | KeyKind::List));
        let (value, from) = match written {
            Some((value, from)) => (Some(value), from),
            None => (default.map(|doc| one_line(doc.sample)), "default"),
        };
        let about = doc.map(|doc| one_line(doc.about)).unwrap_or_default();
        Some(SettingInForce {
            section: full,
            key: name,
            value,
            from,
            about,
            of: section,
            fingerprint,
            platform,
        })
    });
    shown.collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::environment::CommandLine;

    fn held(text: &str) -> Vec<SettingInForce> {
        let environment = [("SIDESTREAM_CONFIG", text), ("SIDESTREAM_LOG_MAX_EVENTS", "7")];
        let environment = environment.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let line = CommandLine { backend: Some("http://app:3000".to_owned()), ..CommandLine::default() };
        Config::load_to_serve(None, environment, &line).unwrap().in_force
    }

    fn value<'h>(held: &'h [SettingInForce], section: &str, key: &str) -> (Option<&'h str>, &'static str) {
        let setting = held.iter().find(|one| one.section == section && one.key == key);
        let setting = setting.unwrap_or_else(|| panic!("{section}.{key}"));
        (setting.value.as_deref(), setting.from)
    }

    #[test]
    fn each_key_is_shown_with_what_it_holds_and_from_where() {
        let held = held("[[stream]]\npath = \"/a\"\n[[stream]]\npath = \"/b\"\ntopics = [\"x\", \"y\"]\n");
        assert_eq!(value(&held, "public", "backend"), (Some("http://app:3000"), "arguments"));
        assert_eq!(value(&held, "log", "max_events"), (Some("7"), "environment"));
        assert_eq!(value(&held, "stream[2]", "path"), (Some("\"/b\""), "file"));
        assert_eq!(value(&held, "stream[2]", "topics"), (Some("[\"x\", \"y\"]"), "file"));
        assert_eq!(value(&held, "internal", "max_batch"), (Some("1000"), "default"));
        assert_eq!(value(&held, "instance", "name"), (None, "default"));
        assert!(held.iter().all(|one| !one.section.starts_with("redis")), "Redis is not configured");
    }

    #[test]
    fn no_secret_is_shown() {
        let secret = "pl4nted-0123456789abcdef0123456789";
        let held = held(&format!(
            "[internal]\npublish_keys = [\"{secret}\"]\n[dashboard]\nkeys = [\"{secret}x\"]\n[redis]\n\
             url = \"redis://:{secret}@127.0.0.1\"\nsentinels = [\"redis://u:{secret}@a:1\"]\n[auth.jwt]\n\
             secret = \"{secret}\"\n[[stream]]\npath = \"/events\"\nauth = \"jwt\"\n[[webhook]]\nname = \"a\"\n\
             url = \"http://h/x?key={secret}\"\nsecret = \"{secret}\"\n"
        ));
        let text = serde_json::to_string(&held).unwrap();
        assert!(!text.contains("pl4nted"), "{text}");
        assert_eq!(value(&held, "internal", "publish_keys"), (Some("set, and hidden"), "file"));
        assert_eq!(value(&held, "webhook[1]", "url").1, "file");
    }
}
