//! The variables of the environment that are meant for us: `SIDESTREAM_<SECTION>_<KEY>`.
//!
//! Invariant: a variable that looks like a key of ours is read, or known to be somebody else's, or an error.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use crate::config::raw::Rejection;

pub(super) const PREFIX: &str = "SIDESTREAM_";
/// Variables with our prefix that are the commands' own: the key that `publish` presents; and the build's.
const OTHERS: &[&str] = &["SIDESTREAM_PUBLISH_KEY", "SIDESTREAM_COMMIT", DOCUMENT];
/// Where platforms such as Heroku say on which port of all addresses a process has to listen.
pub(super) const PORT: &str = "PORT";
/// The variable that can hold the text of a whole configuration file.
pub(super) const DOCUMENT: &str = "SIDESTREAM_CONFIG";

/// What the command line of `serve` says of some keys. It goes before every variable.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct CommandLine {
    /// `--backend`
    pub backend: Option<String>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--internal-listen`
    pub internal_listen: Option<String>,
    /// `--redis`
    pub redis: Option<String>,
}

impl CommandLine {
    /// What is given, each with its option and the variable that it goes before.
    fn given(&self) -> impl Iterator<Item = (&'static str, String, &str)> {
        let all = [
            ("--backend", "public", "backend", &self.backend),
            ("--listen", "public", "listen", &self.listen),
            ("--internal-listen", "internal", "listen", &self.internal_listen),
            ("--redis", "redis", "url", &self.redis),
        ];
        all.into_iter().filter_map(|(option, section, key, value)| {
            Some((option, Environment::name(section, key), value.as_deref()?))
        })
    }
}

/// Our variables, and which of them have been asked for.
#[derive(Default)]
pub(super) struct Environment {
    /// A value that is not UTF-8 is None.
    variables: BTreeMap<String, Option<String>>,
    /// Those of them that the command line gives, each with its option.
    options: BTreeMap<String, &'static str>,
    /// Every variable, for `${NAME}` in a file.
    all: BTreeMap<String, Option<String>>,
    known: BTreeSet<String>,
}

impl Environment {
    /// Keeps those of `variables` that are meant for us.
    pub(super) fn new<N: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let all: BTreeMap<String, Option<String>> = variables
            .into_iter()
            .filter_map(|(name, value)| {
                Some((name.into().into_string().ok()?, value.into().into_string().ok()))
            })
            .collect();
        let variables = all
            .clone()
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX) && !OTHERS.contains(&name.as_str()))
            .filter(|(name, value)| !is_kubernetes_service(name, value.as_deref().unwrap_or_default()))
            .collect();
        Self { variables, options: BTreeMap::new(), all, known: BTreeSet::new() }
    }

    /// The same with what the command line says in place of its variables.
    pub(super) fn under(mut self, line: &CommandLine) -> Self {
        for (option, variable, value) in line.given() {
            self.options.insert(variable.clone(), option);
            self.variables.insert(variable, Some(value.to_owned()));
        }
        self
    }

    /// The option of the command line that a variable's value comes from, if it does.
    pub(super) fn option(&self, variable: &str) -> Option<&'static str> {
        self.options.get(variable).copied()
    }

    /// The configuration file that the environment holds.
    pub(super) fn document(&self) -> Variable {
        Variable::of(self.all.get(DOCUMENT))
    }

    /// The value of a variable without our prefix, unless it is empty or not UTF-8.
    pub(super) fn foreign(&self, name: &str) -> Option<&str> {
        self.all.get(name)?.as_deref().filter(|value| !value.is_empty())
    }

    /// `text` with `${NAME}` and `${NAME:-default}` replaced by the values of variables; `$${` stays `${`. As in a
    /// shell, the default also stands in for an empty value. A value is not looked into again.
    pub(super) fn expand(&self, text: &str) -> Result<String, Rejection> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                expanded.push_str(&rest[..at]);
                expanded.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            expanded.push_str(&rest[..at]);
            let (inside, behind) = rest[at + 2..].split_once('}').ok_or("has a `${` that is not closed")?;
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.is_empty();
            if !is_name {
                return Err(Rejection::with(
                    "has a `${` without the name of a variable",
                    "write ${NAME} or ${NAME:-default}; `$${` is a plain `${`",
                ));
            }
            match (self.all.get(name), default) {
                (Some(Some(value)), None) => expanded.push_str(value),
                (Some(Some(value)), Some(_)) if !value.is_empty() => expanded.push_str(value),
                (_, Some(default)) => expanded.push_str(default),
                (Some(None), None) => {
                    return Err(format!("needs the variable `{name}`, which is not UTF-8").into());
                }
                (None, None) => {
                    return Err(Rejection::with(
                        format!("needs the variable `{name}`, which is not set"),
                        format!("set it, or say what holds without it: ${{{name}:-default}}"),
                    ));
                }
            }
            rest = behind;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    /// The variable of a key: `public`, `listen` → `SIDESTREAM_PUBLIC_LISTEN`.
    pub(super) fn name(section: &str, key: &str) -> String {
        format!("{PREFIX}{section}_{key}").replace('.', "_").to_ascii_uppercase()
    }

    /// The value of a variable that is a key's.
    pub(super) fn take(&mut self, name: &str) -> Variable {
        self.known.insert(name.to_owned());
        Variable::of(self.variables.get(name))
    }

    /// Whether a variable of this section is set, known or not.
    pub(super) fn any_of(&self, section: &str) -> bool {
        let prefix = Self::name(section, "");
        self.variables.keys().any(|name| name.starts_with(&prefix))
    }

    /// The value of a variable, for a snippet.
    pub(super) fn peek(&self, name: &str) -> &str {
        let value = self.variables.get(name).or_else(|| self.all.get(name));
        value.and_then(Option::as_deref).unwrap_or("…")
    }

    /// The variables that nobody has asked for.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str).filter(|name| !self.known.contains(*name))
    }
}

/// What a variable is set to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Variable {
    Unset,
    NotUtf8,
    Text(String),
}

impl Variable {
    fn of(set: Option<&Option<String>>) -> Self {
        match set {
            None => Self::Unset,
            Some(None) => Self::NotUtf8,
            Some(Some(text)) => Self::Text(text.clone()),
        }
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
        assert_eq!(environment.take(&Environment::name("redis", "url")), Variable::Text("x".to_owned()));
        assert_eq!(environment.take(&Environment::name("public", "listen")), Variable::Unset);
        assert_eq!(environment.unknown().collect::<Vec<_>>(), ["SIDESTREAM_REDIS_URI"]);
    }

    #[test]
    fn variables_are_put_into_a_text() {
        let environment = Environment::new([("A", "1"), ("EMPTY", ""), ("NESTED", "${A}")]);
        let expand = |text| environment.expand(text).map_err(|rejection| rejection.message);
        for (text, expanded) in [
            ("plain $A {query.a}", "plain $A {query.a}"),
            ("${A}:${A}", "1:1"),
            ("${B:-2}/${EMPTY:-3}/${EMPTY}/${A:-4}/${B:-}", "2/3//1/"),
            ("${NESTED}", "${A}"),
            ("$${A}", "${A}"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expanded), "{text}");
        }
        assert_eq!(expand("${B}"), Err("needs the variable `B`, which is not set".to_owned()));
        for odd in ["${A", "${}", "${a b}", "${A-1}"] {
            assert!(expand(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_not_lost() {
        use std::os::unix::ffi::OsStringExt;
        let value = OsString::from_vec(vec![b'a', 0xff]);
        let mut environment = Environment::new([(OsString::from("SIDESTREAM_REDIS_URL"), value)]);
        assert_eq!(environment.take("SIDESTREAM_REDIS_URL"), Variable::NotUtf8);
    }
}
