//! Who the other instances are: each says every second that it lives, and one that is silent for too long is dead.
//!
//! Invariant: silence counts only while this instance hears its own word. If it does not, it is the isolated one, and
//! nobody is declared dead for that. This file must not know what instances tell each other beside.

use crate::lock::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config;

/// How often an instance says that it lives.
pub(in crate::control) const BEAT: Duration = Duration::from_secs(1);
/// Who was not heard of for so long is dead.
pub(in crate::control) const DEAD: Duration = Duration::from_secs(4);
/// An instance that does not hear its own word for so long is isolated.
const ISOLATED: Duration = Duration::from_millis(2500);
/// For so long others are believed to live although they cannot be heard.
const TRUST: Duration = Duration::from_secs(30);
/// More instances than this are not known: a bound against nonsense on the channel.
const MAX_OTHERS: usize = 1000;

/// One start of one daemon. Ids are ordered as the starts are, by the machines' clocks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(Arc<str>);

/// A living instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    /// What operators call it.
    pub name: String,
}

/// The living instances, this one among them.
pub struct Instances {
    me: Instance,
    roster: Mutex<Roster>,
    living: watch::Sender<Arc<[Instance]>>,
}

/// What has become of the others.
#[derive(Default, Debug)]
pub(in crate::control) struct MembershipChange {
    /// Who is dead, and when it was last heard of.
    pub(in crate::control) dead: Vec<(InstanceId, Instant)>,
    pub(in crate::control) hearing: Hearing,
}

/// Whether the others can be heard.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::control) enum Hearing {
    #[default]
    Yes,
    No,
}

/// What is known of the others. Takes the time as an argument.
#[derive(Default)]
struct Roster {
    others: BTreeMap<InstanceId, Other>,
    /// When this instance last heard its own word; None = never yet.
    echo: Option<Instant>,
    isolated_since: Option<Instant>,
}

struct Other {
    name: String,
    heard: Instant,
}

impl InstanceId {
    /// A new one.
    fn draw() -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Without randomness two that start in one millisecond are still told apart by the clock's lowest digits.
        let random = getrandom::u32().unwrap_or_else(|_| at.subsec_nanos());
        Self(format!("{:011x}{random:08x}", at.as_millis()).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for InstanceId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if fits { Ok(Self(text.into())) } else { Err("not the id of an instance") }
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl Instances {
    /// This one alone, under a fresh id.
    pub fn new(section: &config::Instance) -> Self {
        let name = section.name.clone().unwrap_or_else(machine);
        let me = Instance { id: InstanceId::draw(), name };
        let living = watch::Sender::new([me.clone()].into());
        Self { me, roster: Mutex::default(), living }
    }

    /// This instance.
    pub fn me(&self) -> &Instance {
        &self.me
    }

    /// All that live, in the order of their ids.
    pub fn living(&self) -> Arc<[Instance]> {
        self.living.borrow().clone()
    }

    /// The living instances, now and whenever they change.
    pub fn watch(&self) -> watch::Receiver<Arc<[Instance]>> {
        self.living.subscribe()
    }

    /// Notes that an instance lives. True when it was not known to. This instance's own word is heard here, too.
    pub(in crate::control) fn heard(&self, id: &InstanceId, name: &str, now: Instant) -> bool {
        if *id == self.me.id {
            self.roster().echoed(now);
            return false;
        }
        let arrived = self.roster().heard(id, name, now);
        if arrived {
            tracing::info!(instance = %id, name, "another instance has come");
            self.tell();
        }
        arrived
    }

    /// Notes that an instance says goodbye. True when it was known.
    pub(in crate::control) fn left(&self, id: &InstanceId) -> bool {
        let known = self.roster().others.remove(id);
        if let Some(other) = &known {
            tracing::info!(instance = %id, name = other.name, "another instance has left");
            self.tell();
        }
        known.is_some()
    }

    /// Whether an instance is known to live.
    pub(in crate::control) fn knows(&self, id: &InstanceId) -> bool {
        self.roster().others.contains_key(id)
    }

    /// Looks who is dead at `now`.
    pub(in crate::control) fn turn(&self, now: Instant) -> MembershipChange {
        let turn = self.roster().turn(now);
        for (id, heard) in &turn.dead {
            let silent = now.saturating_duration_since(*heard).as_secs();
            tracing::warn!(instance = %id, silent_seconds = silent, "another instance is dead, or cannot be heard");
        }
        if !turn.dead.is_empty() {
            self.tell();
        }
        turn
    }

    /// What is done under the lock has to be short.
    fn roster(&self) -> std::sync::MutexGuard<'_, Roster> {
        self.roster.lock()
    }

    fn tell(&self) {
        self.living.send_modify(|living| {
            let roster = self.roster.lock();
            let others = roster.others.iter();
            let mut all: Vec<_> =
                others.map(|(id, other)| Instance { id: id.clone(), name: other.name.clone() }).collect();
            all.push(self.me.clone());
            all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
            *living = all.into();
        });
    }
}

impl Roster {
    fn heard(&mut self, id: &InstanceId, name: &str, now: Instant) -> bool {
        if let Some(other) = self.others.get_mut(id) {
            other.heard = now;
            return false;
        }
        if self.others.len() >= MAX_OTHERS {
            return false;
        }
        let name = name.chars().filter(|c| !c.is_control()).take(64).collect();
        self.others.insert(id.clone(), Other { name, heard: now });
        true
    }

    fn echoed(&mut self, now: Instant) {
        if self.is_isolated(now) {
            // What the others said meanwhile was not heard: they get their time anew.
            self.others.values_mut().for_each(|other| other.heard = now);
        }
        self.echo = Some(now);
        self.isolated_since = None;
    }

    fn is_isolated(&self, now: Instant) -> bool {
        self.echo.is_none_or(|echo| now.saturating_duration_since(echo) > ISOLATED)
    }

    fn turn(&mut self, now: Instant) -> MembershipChange {
        let isolated = self.is_isolated(now);
        if isolated {
            let since = *self.isolated_since.get_or_insert(now);
            if now.saturating_duration_since(since) < TRUST {
                return MembershipChange { dead: Vec::new(), hearing: Hearing::No };
            }
        }
        let is_dead = |other: &Other| now.saturating_duration_since(other.heard) >= DEAD;
        let dead = self.others.iter().filter(|(_, other)| is_dead(other));
        let dead: Vec<_> = dead.map(|(id, other)| (id.clone(), other.heard)).collect();
        self.others.retain(|_, other| !is_dead(other));
        MembershipChange { dead, hearing: if isolated { Hearing::No } else { Hearing::Yes } }
    }
}

/// What the machine calls itself.
fn machine() -> String {
    let named = || {
        std::fs::read_to_string("/proc/sys/kernel/hostname")
            .or_else(|_| std::fs::read_to_string("/etc/hostname"))
    };
    let name = std::env::var("HOSTNAME").or_else(|_| named()).unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() { "sidestream".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> InstanceId {
        InstanceId::try_from(text.to_owned()).unwrap()
    }

    /// What `turn` says of who is dead, second by second, when `heard` says who is heard in which.
    fn dead(seconds: u64, heard: impl Fn(u64) -> &'static str) -> Vec<(u64, String)> {
        let start = Instant::now();
        let mut roster = Roster::default();
        let mut dead = Vec::new();
        for second in 0..seconds {
            let now = start + Duration::from_secs(second);
            for who in heard(second).split_terminator(' ') {
                match who {
                    "me" => roster.echoed(now),
                    who => drop(roster.heard(&id(who), who, now)),
                }
            }
            let turn = roster.turn(now + Duration::from_millis(500));
            dead.extend(turn.dead.iter().map(|(id, _)| (second, id.to_string())));
        }
        dead
    }

    #[test]
    fn who_falls_silent_is_dead_after_four_seconds() {
        let heard = |second| if second < 10 { "me a b" } else { "me a" };
        assert_eq!(dead(30, heard), [(13, "b".to_owned())]);
    }

    #[test]
    fn nobody_dies_while_we_are_isolated() {
        // Redis was away for 20 seconds, and the others are heard again a little later than we are.
        let heard = |second| match second {
            0..10 => "me a b",
            10..30 => "",
            30..33 => "me",
            _ => "me a b",
        };
        assert_eq!(dead(60, heard), []);
        // One of them died meanwhile.
        let heard = |second| match second {
            0..10 => "me a b",
            10..30 => "",
            _ => "me a",
        };
        assert_eq!(dead(60, heard), [(34, "b".to_owned())]);
    }

    #[test]
    fn an_instance_that_is_isolated_for_long_knows_of_nobody_any_more() {
        let heard = |second| if second < 10 { "me a" } else { "" };
        let dead = dead(60, heard);
        assert_eq!(dead.len(), 1);
        assert!((40..45).contains(&dead[0].0), "{dead:?}");
    }

    #[test]
    fn ids_are_ordered_as_the_starts_and_never_alike() {
        let first = InstanceId::draw();
        std::thread::sleep(Duration::from_millis(2));
        let second = InstanceId::draw();
        assert!(first < second);
        assert_eq!(InstanceId::try_from(first.to_string()), Ok(first));
        for bad in ["", "a b", "é", &"a".repeat(33)] {
            assert!(InstanceId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_living_hear_of_those_that_come_and_go() {
        let instances = Instances::new(&config::Instance { name: Some("me".to_owned()) });
        let mut watch = instances.watch();
        let names = |living: &[Instance]| living.iter().map(|one| one.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&instances.living()), ["me"]);
        let now = Instant::now();
        assert!(instances.heard(&id("0"), "first", now));
        assert!(!instances.heard(&id("0"), "first", now), "it is known");
        assert!(watch.has_changed().unwrap());
        assert_eq!(names(&watch.borrow_and_update()), ["first", "me"], "in the order of the ids");
        assert!(instances.left(&id("0")));
        assert!(!instances.left(&id("0")));
        assert_eq!(names(&watch.borrow_and_update()), ["me"]);
    }
}
