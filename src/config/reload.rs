//! From one configuration to the next while the daemon runs: which keys have changed, which of them it takes up, and
//! which it takes up only when it is started again.
//!
//! [`EFFECTS`] says it of every section; what [`carried_over`] leaves as it was is what the table calls a restart.

use std::collections::BTreeMap;

use crate::config::in_force::SettingInForce;
use crate::config::load::CheckedConfig;
use crate::config::reader::join;
use crate::config::schema::{Channel, Config, Redis};

/// The keys that another configuration has otherwise, by their full names.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ConfigChanges {
    /// They hold from now on.
    pub applied: Vec<String>,
    /// They will hold when the daemon is started again.
    pub needs_restart: Vec<String>,
}

/// When a section's keys are taken up.
enum Effect {
    Reload,
    Restart,
    /// All but these by a reload.
    RestartFor(&'static [&'static str]),
}

use Effect::{Reload, Restart, RestartFor};

/// Every section, as it is documented.
const EFFECTS: &[(&str, Effect)] = &[
    ("public", RestartFor(&["listen", "socket_mode", "max_connections", "reuse_port"])),
    ("internal", RestartFor(&["listen", "socket_mode", "max_connections", "max_body", "ready_requires"])),
    ("internal.publisher", Reload),
    ("internal.hook", Reload),
    ("internal.pusher", Reload),
    ("internal.publisher_jwt", Reload),
    ("internal.publisher_jwt.key", Reload),
    ("dashboard", Reload),
    ("proxy", Reload),
    ("stream", Reload),
    ("capture", Reload),
    ("auth", Reload),
    ("auth.jwt", Reload),
    ("auth.jwt.key", Reload),
    ("auth.backend", Reload),
    ("auth.ticket", Reload),
    ("outbound", Restart),
    ("cors", Reload),
    // The shards have them.
    (
        "sse",
        RestartFor(&[
            "events",
            "heartbeat",
            "heartbeat_as",
            "retracted_as",
            "write_timeout",
            "retry_min",
            "retry_max",
        ]),
    ),
    ("limits", Reload),
    ("log", Restart),
    ("fanout", Restart),
    ("redis", Restart),
    ("redis.stream", Restart),
    // But see `channels_can_change`.
    ("redis.channel", Reload),
    ("webhook", Reload),
    ("instance", Restart),
    ("presence", Restart),
    ("drain", Reload),
    ("telemetry", RestartFor(&["log_format"])),
];

/// Whether a change of a key is taken up only by a restart. `section` is as it is documented.
pub(super) fn needs_restart(section: &str, key: &str) -> bool {
    // The sections' own names are keys of the whole; a section that comes or goes does so by its keys.
    let Some((_, effect)) = EFFECTS.iter().find(|(name, _)| *name == section) else { return false };
    match effect {
        Reload => false,
        Restart => true,
        RestartFor(keys) => keys.contains(&key.strip_suffix("_file").unwrap_or(key)) || keys.contains(&key),
    }
}

impl CheckedConfig {
    /// What a daemon that runs with `running` runs with once it has taken up of this one what it can; and what has
    /// changed.
    pub fn taken_up_by(self, running: &Self) -> (Self, ConfigChanges) {
        let channels = channels_can_change(running.config.redis.as_ref(), self.config.redis.as_ref());
        let mut changes = ConfigChanges::default();
        let (before, after) = (by_name(&running.in_force), by_name(&self.in_force));
        let mut in_force: BTreeMap<(&str, &str), &SettingInForce> = after.clone();
        let names: Vec<_> = before.keys().chain(after.keys()).copied().collect();
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (old, new) = (before.get(&name).copied(), after.get(&name).copied());
            if !differs(old, new) {
                continue;
            }
            let Some(one) = new.or(old) else { continue };
            let full = join(&one.section, &one.key);
            let restart = needs_restart(one.of, &one.key) || (one.of == "redis.channel" && !channels);
            // Files of Redis are read anew for each connection.
            if restart && !(one.of == "redis" && is_content_only(old, new)) {
                changes.needs_restart.push(full);
                match old {
                    Some(old) => in_force.insert(name, old),
                    None => in_force.remove(&name),
                };
            } else {
                changes.applied.push(full);
            }
        }
        let in_order = self.in_force.iter().chain(&running.in_force);
        let mut kept: Vec<SettingInForce> = Vec::with_capacity(in_force.len());
        for setting in in_order {
            if let Some(setting) = in_force.remove(&(&*setting.section, &*setting.key)) {
                kept.push(setting.clone());
            }
        }
        let config = carried_over(self.config, &running.config, channels);
        (Self { config, warnings: self.warnings, in_force: kept }, changes)
    }
}

fn by_name(settings: &[SettingInForce]) -> BTreeMap<(&str, &str), &SettingInForce> {
    settings.iter().map(|setting| ((&*setting.section, &*setting.key), setting)).collect()
}

fn differs(old: Option<&SettingInForce>, new: Option<&SettingInForce>) -> bool {
    let written = |setting: &SettingInForce| setting.from != "default";
    match (old, new) {
        (Some(old), Some(new)) if written(old) && written(new) => old.fingerprint != new.fingerprint,
        (Some(old), Some(new)) if written(old) || written(new) => bare(old) != bare(new),
        (Some(_), Some(_)) | (None, None) => false,
        (Some(one), None) | (None, Some(one)) => written(one),
    }
}

/// A value without the quotes that it has in a file alone.
fn bare(setting: &SettingInForce) -> Option<&str> {
    setting.value.as_deref().map(|value| value.trim_matches('"'))
}

/// Whether only what stands in the file of a key is another.
fn is_content_only(old: Option<&SettingInForce>, new: Option<&SettingInForce>) -> bool {
    matches!((old, new), (Some(old), Some(new)) if old.key.ends_with("_file") && bare(old) == bare(new))
}

/// Whether the mapped channels can be changed: those that are bridged stand in what the instances have agreed on.
fn channels_can_change(before: Option<&Redis>, after: Option<&Redis>) -> bool {
    let bridged = |redis: &Redis| -> Vec<Channel> {
        redis.channels.iter().filter(|channel| channel.bridge).cloned().collect()
    };
    matches!((before, after), (Some(before), Some(after)) if bridged(before) == bridged(after))
}

/// `next` with everything of `running` for which the daemon would have to be started again.
fn carried_over(mut next: Config, running: &Config, channels: bool) -> Config {
    next.public.listen.clone_from(&running.public.listen);
    next.public.socket_mode = running.public.socket_mode;
    next.public.reuse_port = running.public.reuse_port;
    next.public.max_connections = running.public.max_connections;
    next.internal.listen.clone_from(&running.internal.listen);
    next.internal.socket_mode = running.internal.socket_mode;
    next.internal.max_connections = running.internal.max_connections;
    next.internal.max_body = running.internal.max_body;
    next.internal.ready_requires.clone_from(&running.internal.ready_requires);
    next.outbound = running.outbound.clone();
    next.sse.events = running.sse.events;
    next.sse.heartbeat = running.sse.heartbeat;
    next.sse.heartbeat_as.clone_from(&running.sse.heartbeat_as);
    next.sse.retracted_as.clone_from(&running.sse.retracted_as);
    next.sse.write_timeout = running.sse.write_timeout;
    next.sse.retry_min = running.sse.retry_min;
    next.sse.retry_max = running.sse.retry_max;
    next.log = running.log.clone();
    next.fanout = running.fanout.clone();
    next.redis = match (&running.redis, next.redis) {
        (Some(running), Some(next)) if channels => Some(Redis { channels: next.channels, ..running.clone() }),
        (running, _) => running.clone(),
    };
    next.instance = running.instance.clone();
    next.presence = running.presence.clone();
    next.telemetry.log_format = running.telemetry.log_format;
    next
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::CommandLine;
    use crate::config::reading::survey;

    fn loaded(text: &str) -> CheckedConfig {
        let environment = [("SIDESTREAM_CONFIG", text)];
        let environment = environment.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let line = CommandLine { backend: Some("http://app:3000".to_owned()), ..CommandLine::default() };
        Config::load_to_serve(None, environment, &line).unwrap_or_else(|bad| panic!("{text}: {bad}"))
    }

    fn changes(before: &str, after: &str) -> (CheckedConfig, ConfigChanges) {
        loaded(after).taken_up_by(&loaded(before))
    }

    #[test]
    fn the_table_has_every_section_and_no_key_that_there_is_not() {
        let reader = survey(Config::read);
        let mut sections: Vec<&str> = reader.sections.iter().map(|section| section.name).collect();
        let mut known: Vec<&str> = EFFECTS.iter().map(|(name, _)| *name).collect();
        sections.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, sections, "say of every section when its keys are taken up");
        for (section, effect) in EFFECTS {
            let RestartFor(keys) = effect else { continue };
            for key in *keys {
                let is_key = reader.keys.iter().any(|known| known.section == *section && known.name == *key);
                assert!(is_key, "{section}.{key}");
            }
        }
    }

    #[test]
    fn each_key_is_taken_up_or_left_as_it_was_as_the_table_says() {
        for (line, key, restart) in [
            ("public.trusted_proxies = [\"10.0.0.0/8\"]", "public.trusted_proxies", false),
            ("public.listen = \"127.0.0.1:9\"", "public.listen", true),
            ("public.socket_mode = \"0600\"", "public.socket_mode", true),
            ("public.reuse_port = true", "public.reuse_port", true),
            ("public.max_connections = 9", "public.max_connections", true),
            ("internal.publish_keys = [\"another-key-of-the-tests\"]", "internal.publish_keys", false),
            ("internal.listen = \"127.0.0.1:9\"", "internal.listen", true),
            ("internal.socket_mode = \"0600\"", "internal.socket_mode", true),
            ("internal.max_connections = 9", "internal.max_connections", true),
            ("internal.max_body = \"2MiB\"", "internal.max_body", true),
            ("internal.ready_requires = [\"backend\"]", "internal.ready_requires", true),
            ("internal.max_batch = 9", "internal.max_batch", false),
            ("proxy.head_timeout = \"9s\"", "proxy.head_timeout", false),
            ("auth.refusals = \"terse\"", "auth.refusals", false),
            ("auth.revoke_for = \"9s\"", "auth.revoke_for", false),
            ("auth.max_revocations = 9", "auth.max_revocations", false),
            ("cors.origins = [\"https://a.example\"]", "cors.origins", false),
            ("sse.heartbeat = \"9s\"", "sse.heartbeat", true),
            ("sse.heartbeat_as = \"line\"", "sse.heartbeat_as", true),
            ("sse.retracted_as = \"off\"", "sse.retracted_as", true),
            ("sse.write_timeout = \"9s\"", "sse.write_timeout", true),
            ("sse.retry_min = \"19ms\"", "sse.retry_min", true),
            ("sse.retry_max = \"99s\"", "sse.retry_max", true),
            ("sse.refuse_with = \"status\"", "sse.refuse_with", false),
            ("limits.streams = 9", "limits.streams", false),
            ("limits.topic_changes_per_minute = 9", "limits.topic_changes_per_minute", false),
            ("log.max_events = 9", "log.max_events", true),
            ("fanout.shards = 3", "fanout.shards", true),
            ("instance.name = \"other\"", "instance.name", true),
            ("presence.grace = \"9s\"", "presence.grace", true),
            ("limits.captures = 9", "limits.captures", false),
            ("drain.window = \"9s\"", "drain.window", false),
            ("telemetry.log_level = \"debug\"", "telemetry.log_level", false),
            ("telemetry.log_format = \"json\"", "telemetry.log_format", true),
        ] {
            let (settled, changes) = changes("", line);
            let (kept, taken) = if restart {
                (&changes.needs_restart, &changes.applied)
            } else {
                (&changes.applied, &changes.needs_restart)
            };
            assert_eq!((kept.as_slice(), taken.len()), (&[key.to_owned()][..], 0), "{line}");
            let base = loaded("");
            assert_eq!(settled.config == base.config, restart, "{line}");
            assert_eq!(settled.in_force == base.in_force, restart, "{line}");
        }
    }

    #[test]
    fn what_is_written_otherwise_and_means_the_same_is_no_change() {
        let (settled, none) = changes("", "drain.window = \"10s\"\n");
        assert_eq!(none, ConfigChanges::default());
        assert_eq!(settled.config, loaded("").config);
    }

    #[test]
    fn a_restart_that_is_waited_for_is_said_at_each_reload() {
        let running = loaded("");
        let (running, _) = loaded("log.max_events = 9\ndrain.delay = \"1s\"\n").taken_up_by(&running);
        let (running, again) = loaded("log.max_events = 9\ndrain.delay = \"1s\"\n").taken_up_by(&running);
        assert_eq!((again.applied.len(), again.needs_restart), (0, vec!["log.max_events".to_owned()]));
        let (_, back) = loaded("").taken_up_by(&running);
        assert_eq!(back, ConfigChanges { applied: vec!["drain.delay".to_owned()], needs_restart: vec![] });
    }

    #[test]
    fn a_secret_in_a_file_is_another_one_when_the_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let text = format!("internal.publish_keys_file = {keys:?}\n");
        std::fs::write(&keys, "the-first-key-of-the-tests\n").unwrap();
        let running = loaded(&text);
        let (_, none) = loaded(&text).taken_up_by(&running);
        assert_eq!(none, ConfigChanges::default());
        std::fs::write(&keys, "the-next-key-of-the-tests\n").unwrap();
        let (settled, changes) = loaded(&text).taken_up_by(&running);
        assert_eq!(changes.applied, ["internal.publish_keys_file"]);
        assert_eq!(settled.config.internal.publish_keys[0].expose(), "the-next-key-of-the-tests");
    }

    #[test]
    fn channels_are_taken_up_unless_they_are_bridged() {
        let redis = "[redis]\nurl = \"redis://h\"\n[redis.stream]\nkey = \"s\"\n";
        let channel = |name: &str, more: &str| {
            format!("[[redis.channel]]\npattern = \"{name}\"\ntopic = \"t\"\n{more}")
        };
        let before = format!("{redis}{}", channel("a", ""));
        let (settled, made) = changes(&before, &format!("{redis}{}", channel("b", "")));
        assert_eq!(made.applied, ["redis.channel[1].pattern"]);
        assert_eq!(settled.config.redis.unwrap().channels[0].pattern, "b");
        let bridged = format!("{redis}{}", channel("a", "bridge = true\n"));
        let (settled, made) = changes(&before, &bridged);
        assert_eq!(made.needs_restart, ["redis.channel[1].bridge"]);
        assert!(!settled.config.redis.unwrap().channels[0].bridge);
    }
}
