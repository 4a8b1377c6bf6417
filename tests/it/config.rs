//! The operator's file as `sidestream check` and `serve` take it: each file of `tests/config/invalid` is refused in the
//! words of its neighbour `.expected`, each of `tests/config/valid` is taken.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

/// Every configuration file in `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    files.sort();
    files
}

/// Runs the daemon's binary in `folder`, without any variable of the test's own environment that is meant for it.
fn sidestream(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestream"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SIDESTREAM_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(folder)
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn every_invalid_file_is_refused_in_the_expected_words() {
    let folder = folder("invalid");
    let files = files(&folder);
    assert!(files.len() > 50);
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let expected = std::fs::read_to_string(file.with_extension("expected")).expect("its expected words");
        let output = sidestream(&folder, &["check", "--config", name], &[]);
        assert_eq!(text(&output.stderr), expected, "{name}");
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(output.stdout.is_empty(), "{name}");
        assert!(!expected.contains("s3cret"), "{name} shows a secret");
    }
}

#[test]
fn every_valid_file_is_taken() {
    let folder = folder("valid");
    for file in files(&folder) {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let output = sidestream(&folder, &["check", "--config", name], &[]);
        assert_eq!(text(&output.stderr), "", "{name}");
        assert_eq!(output.status.code(), Some(0), "{name}");
        let stdout = text(&output.stdout);
        assert!(stdout.starts_with(&format!("{name}: ok\n")), "{stdout}");
        assert!(!stdout.contains("s3cret"), "{name} shows a secret");
    }
}

#[test]
fn every_doubtful_file_is_warned_of_in_the_expected_words() {
    let folder = folder("warned");
    let files = files(&folder);
    assert!(files.len() > 2);
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let expected = std::fs::read_to_string(file.with_extension("expected")).expect("its expected words");
        let output = sidestream(&folder, &["check", "--config", name], &[]);
        assert_eq!(text(&output.stdout), expected, "{name}");
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert!(!expected.contains("s3cret"), "{name} shows a secret");
    }
}

#[test]
fn check_says_what_a_configuration_comes_to() {
    let output = sidestream(
        &folder("valid"),
        &["check", "--config", "redis.toml", "--backend", "unix:/run/app.sock"],
        &[
            ("SIDESTREAM_INTERNAL_LISTEN", "127.0.0.1:9999"),
            ("SIDESTREAM_INTERNAL_PUBLISH_KEYS", "s3cret,s3cret2"),
        ],
    );
    let expected = "\
redis.toml: ok
  public    127.0.0.1:8080 in front of unix:/run/app.sock
  internal  127.0.0.1:9999, 2 publish keys
  stream    /events: {query.topic}
  redis     redis://127.0.0.1:6379/2, channels push, push:topic:*, chat:*:*, news, app:events

warning: a key of `publish_keys` has fewer than 16 bytes: it can be guessed
 --> the environment
  = `openssl rand -hex 32` makes a good one

warning: the stream /events is open to anyone who knows a topic's name
  = where topics are not for everybody: auth = \"jwt\", \"backend\" or \"ticket\"
";
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn what_is_wrong_outside_of_the_file_is_reported_with_the_rest() {
    let output = sidestream(
        &folder("invalid"),
        &["check", "--config", "unknown_key.toml", "--backend", "localhost:3000"],
        &[
            ("SIDESTREAM_SSE_HEARTBEAT", "soon"),
            ("SIDESTREAM_REDIS_URL", "rediss://:s3cret@localhost/#insecure"),
            ("SIDESTREAM_REDIS_URI", "redis://:s3cret@localhost"),
            // Set by Kubernetes beside a service called sidestream.
            ("SIDESTREAM_PORT", "tcp://10.0.0.1:80"),
        ],
    );
    let expected = "\
error: unknown key `lisen` in [public]
 --> unknown_key.toml:3:1
  |
3 | lisen = …
  | ^^^^^
  = did you mean `listen`?

error: unknown key `trusted-proxies` in [public]
 --> unknown_key.toml:4:1
  |
4 | trusted-proxies = []
  | ^^^^^^^^^^^^^^^
  = did you mean `trusted_proxies`?

error: `SIDESTREAM_SSE_HEARTBEAT` must be a time such as \"10s\", \"250ms\" or \"1h30m\"
 --> the environment
  |
  | SIDESTREAM_SSE_HEARTBEAT=soon
  |                          ^^^^

error: `SIDESTREAM_REDIS_URL` cannot end with #insecure: the server's certificate is always verified (`ca_file` names the authorities)
 --> the environment

error: unknown variable `SIDESTREAM_REDIS_URI`
 --> the environment
  = did you mean `SIDESTREAM_REDIS_URL`?

error: `--backend` must be http://host:port, https://host:port or unix:/path/to.sock
 --> the command line
  |
  | --backend localhost:3000
  |           ^^^^^^^^^^^^^^
  = did you mean \"http://localhost:3000\"?

6 problems
";
    assert_eq!(text(&output.stderr), expected);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_file_is_not_needed() {
    let nothing = sidestream(&folder("valid"), &["check"], &[]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).starts_with("error: `backend` is missing in [public]\n"));
    let variable = [("SIDESTREAM_PUBLIC_BACKEND", "http://127.0.0.1:3000")];
    let environment = sidestream(&folder("valid"), &["check"], &variable);
    assert_eq!(environment.status.code(), Some(0));
    assert!(text(&environment.stdout).starts_with("environment: ok\n"));
}

#[test]
fn whatever_a_file_can_say_a_variable_can() {
    for name in ["valid", "warned"] {
        let folder = folder(name);
        for file in files(&folder) {
            let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
            let whole = std::fs::read_to_string(&file).expect("its text");
            let by_file = sidestream(&folder, &["check", "--config", name], &[]);
            let by_variable = sidestream(&folder, &["check"], &[("SIDESTREAM_CONFIG", &whole)]);
            let said = |output: &Output, name: &str| text(&output.stdout).replace(name, "NAME");
            assert_eq!(text(&by_variable.stderr), "", "{name}");
            let variable = said(&by_variable, "SIDESTREAM_CONFIG").replace("environment: ok", "NAME: ok");
            assert_eq!(variable, said(&by_file, name), "{name}");
        }
    }
}

/// Ways to write an address with a secret in it, or behind it.
fn spellings(scheme: &str) -> Vec<String> {
    [
        "S://u:s3cret@h",
        "S://u:s3cret@h:1/p?x=1#y",
        "S://:s3cret@h",
        "S://s3cret@h",
        "S://u:s3cret@",
        "S:/u:s3cret@h",
        "S:u:s3cret@h",
        "u:s3cret@h:1",
        "//u:s3cret@h",
        " S://u:s3cret@h ",
        "S://u:s3cret@h h",
        "S://u: s3cret@h",
        "S://u:s3cret%zz@h",
        "S://u:a/s3cret@h",
        "S://u:a?s3cret@h",
        "S://u:a#s3cret@h",
        "S://u:a@s3cret@h",
        "S://u:a,s3cret@h",
        "S://u:a's3cret@h",
        "S://u:a s3cret@h",
        "S://u:a=s3cret@h",
        "S://u:\u{e4}s3cret@h",
        "S://h/p?key=s3cret",
        "S://h?key=s3cret",
        "S://h/p?a=1&key=s3cret&b",
        "S://h/p?key=a,s3cret",
        "S://h/p?key=a s3cret",
        "S://h/p#s3cret",
        "S://h:x/p?key=s3cret",
        "S:///p?key=s3cret",
    ]
    .map(|spelling| spelling.replace('S', scheme))
    .into()
}

#[test]
fn no_spelling_of_an_address_shows_what_is_secret_in_it() {
    let keys = [
        ("public.backend", "SIDESTREAM_PUBLIC_BACKEND", ["http", "HTTP", "ftp"]),
        ("redis.url", "SIDESTREAM_REDIS_URL", ["redis", "REDISS", "http"]),
        ("auth.jwt.jwks_url", "SIDESTREAM_AUTH_JWT_JWKS_URL", ["https", "HTTP", "ftp"]),
        ("auth.jwt.discover", "SIDESTREAM_AUTH_JWT_DISCOVER", ["https", "HTTP", "ftp"]),
        ("auth.backend.url", "SIDESTREAM_AUTH_BACKEND_URL", ["https", "HTTP", "ftp"]),
        ("outbound.proxy", "SIDESTREAM_OUTBOUND_PROXY", ["http", "HTTPS", "socks5"]),
    ];
    let folder = folder("valid");
    let mut shown = Vec::new();
    for (key, variable, schemes) in keys {
        for spelling in schemes.into_iter().flat_map(spellings) {
            let file = format!("{key} = \"{spelling}\"\n");
            for variables in [&[("SIDESTREAM_CONFIG", file.as_str())][..], &[(variable, spelling.as_str())]] {
                let output = sidestream(&folder, &["check"], variables);
                let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
                if said.contains("s3cret") {
                    shown.push(format!("{variables:?}:\n{said}"));
                }
            }
        }
    }
    for spelling in spellings("https") {
        let hook = format!("[[webhook]]\nname = \"a\"\nurl = \"{spelling}\"\n");
        for document in [hook, format!("redis.sentinels = [\"{spelling}\"]\n"), format!("{spelling}\n")] {
            let output = sidestream(&folder, &["check"], &[("SIDESTREAM_CONFIG", &document)]);
            let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
            if said.contains("s3cret") {
                shown.push(format!("{document}:\n{said}"));
            }
        }
    }
    assert!(shown.is_empty(), "{} spellings are shown:\n{}", shown.len(), shown.join("\n"));
}

#[test]
fn serve_refuses_what_check_refuses() {
    let folder = folder("invalid");
    let check = sidestream(&folder, &["check", "--config", "many_at_once.toml"], &[]);
    let serve = sidestream(&folder, &["serve", "--config", "many_at_once.toml"], &[]);
    assert_eq!(serve.status.code(), Some(1));
    assert_eq!(text(&serve.stderr), text(&check.stderr));
}

#[test]
fn a_variable_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let value = std::ffi::OsStr::from_bytes(b"redis://\xff");
    let output = Command::new(env!("CARGO_BIN_EXE_sidestream"))
        .args(["check", "--backend", "http://127.0.0.1:3000"])
        .env("SIDESTREAM_REDIS_URL", value)
        .output()
        .expect("the binary runs");
    assert_eq!(
        text(&output.stderr),
        "error: `SIDESTREAM_REDIS_URL` is not UTF-8\n --> the environment\n\n1 problem\n"
    );
}
