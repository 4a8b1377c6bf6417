//! The variables of the environment that are meant for us: `SIDESTREAM_<SECTION>_<KEY>`.
//!
//! Invariant: a variable that looks like a key of ours is read, or known to be somebody else's, or an error.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

pub(super) const PREFIX: &str = "SIDESTREAM_";
/// Variables with our prefix that are the commands' own: the key that `publish` presents.
const OTHERS: &[&str] = &["SIDESTREAM_PUBLISH_KEY"];

/// Our variables, and which of them have been asked for.
#[derive(Default)]
pub(super) struct Environment {
    /// A value that is not UTF-8 is None.
    variables: BTreeMap<String, Option<String>>,
    known: BTreeSet<String>,
}

impl Environment {
    /// Keeps those of `variables` that are meant for us.
    pub(super) fn new<N: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables
            .into_iter()
            .filter_map(|(name, value)| {
                Some((name.into().into_string().ok()?, value.into().into_string().ok()))
            })
            .filter(|(name, _)| name.starts_with(PREFIX) && !OTHERS.contains(&name.as_str()))
            .filter(|(name, value)| !is_kubernetes_service(name, value.as_deref().unwrap_or_default()))
            .collect();
        Self { variables, known: BTreeSet::new() }
    }

    /// The variable of a key: `public`, `listen` → `SIDESTREAM_PUBLIC_LISTEN`.
    pub(super) fn name(section: &str, key: &str) -> String {
        format!("{PREFIX}{section}_{key}").replace('.', "_").to_ascii_uppercase()
    }

    /// The value of a known variable, if it is set; `Some(None)` when it is not UTF-8.
    pub(super) fn take(&mut self, name: &str) -> Option<Option<String>> {
        self.known.insert(name.to_owned());
        self.variables.get(name).cloned()
    }

    /// Whether a variable of this section is set, known or not.
    pub(super) fn any_of(&self, section: &str) -> bool {
        let prefix = Self::name(section, "");
        self.variables.keys().any(|name| name.starts_with(&prefix))
    }

    /// The value of a variable, for a snippet.
    pub(super) fn peek(&self, name: &str) -> &str {
        self.variables.get(name).and_then(Option::as_deref).unwrap_or("…")
    }

    /// The variables that nobody has asked for.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str).filter(|name| !self.known.contains(*name))
    }
}

/// Whether Kubernetes sets such a variable in every pod beside a service whose name begins with `sidestream`:
/// `…_SERVICE_HOST`, `…_SERVICE_PORT[_NAME]`, `…_PORT` (an URL), `…_PORT_8080_TCP[_ADDR|_PORT|_PROTO]`.
fn is_kubernetes_service(name: &str, value: &str) -> bool {
    let after = |word: &str| name.split_once(word).map(|(_, rest)| rest);
    let of_port = |rest: &str| {
        let mut words = rest.split('_');
        let number =
            words.next().is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()));
        let protocol = matches!(words.next(), Some("TCP" | "UDP" | "SCTP"));
        let part = matches!(words.next(), None | Some("ADDR" | "PORT" | "PROTO"));
        number && protocol && part && words.next().is_none()
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || (name.ends_with("_PORT") && value.contains("://"))
        || after("_SERVICE_PORT_").is_some_and(|rest| !rest.is_empty())
        || after("_PORT_").is_some_and(of_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_variables_are_kept() {
        let environment = Environment::new([
            ("PATH", "/bin"),
            ("SIDESTREAM_PUBLISH_KEY", "k"),
            ("SIDESTREAM_PUBLIC_LISTEN", "a"),
            ("sidestream_public_listen", "b"),
            ("SIDESTREAM_SERVICE_HOST", "10.0.0.1"),
            ("SIDESTREAM_SERVICE_PORT", "80"),
            ("SIDESTREAM_SERVICE_PORT_HTTP", "80"),
            ("SIDESTREAM_PUBLIC_PORT", "80"),
            ("SIDESTREAM_PORT", "tcp://10.0.0.1:80"),
            ("SIDESTREAM_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("SIDESTREAM_REDIS_PORT_6379_TCP_ADDR", "10.0.0.2"),
        ]);
        assert_eq!(
            environment.unknown().collect::<Vec<_>>(),
            ["SIDESTREAM_PUBLIC_LISTEN", "SIDESTREAM_PUBLIC_PORT"]
        );
    }

    #[test]
    fn a_variable_that_nobody_asked_for_is_unknown() {
        let mut environment =
            Environment::new([("SIDESTREAM_REDIS_URL", "x"), ("SIDESTREAM_REDIS_URI", "y")]);
        assert!(environment.any_of("redis"));
        assert!(!environment.any_of("public"));
        assert_eq!(environment.take(&Environment::name("redis", "url")), Some(Some("x".to_owned())));
        assert_eq!(environment.take(&Environment::name("public", "listen")), None);
        assert_eq!(environment.unknown().collect::<Vec<_>>(), ["SIDESTREAM_REDIS_URI"]);
    }

    #[test]
    fn what_is_not_utf8_is_not_lost() {
        use std::os::unix::ffi::OsStringExt;
        let value = OsString::from_vec(vec![b'a', 0xff]);
        let mut environment = Environment::new([(OsString::from("SIDESTREAM_REDIS_URL"), value)]);
        assert_eq!(environment.take("SIDESTREAM_REDIS_URL"), Some(None));
    }
}
