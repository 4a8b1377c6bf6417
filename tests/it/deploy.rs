//! What operators install beside the daemon: alert rules, the dashboard and the service unit, held against the code and
//! against their own tools.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use sidestream::telemetry::{METRICS, MetricKind};

use crate::harness::{Authority, Daemon, repository};

fn read(file: &str) -> String {
    std::fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The names of metrics in a text, as they are asked for.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("sidestream_") || word.starts_with("process_")).collect()
}

/// Whether a metric can be asked for by this name.
fn is_known(name: &str) -> bool {
    METRICS.iter().any(|metric| match metric.kind {
        MetricKind::Histogram => {
            ["_bucket", "_sum", "_count"].iter().any(|part| name.strip_suffix(part) == Some(metric.name))
        }
        _ => metric.name == name,
    })
}

/// Runs one of the tools that tests/setup.sh installs.
fn run(program: &str, arguments: &[&str], folder: PathBuf) {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{program}, which tests/setup.sh installs: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_there_are() {
    for file in ["deploy/prometheus/sidestream.rules.yml", "deploy/grafana/sidestream.json"] {
        let text = read(file);
        let asked = names(&text);
        assert!(asked.len() > 20, "{file}: {asked:?}");
        let unknown: Vec<_> = asked.into_iter().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{file} asks for metrics that are not there: {unknown:?}");
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/grafana/sidestream.json")).expect("JSON");
    assert!(dashboard["panels"].as_array().expect("panels").len() > 15);
}

#[test]
fn every_rule_is_sound_fires_in_trouble_and_is_silent_otherwise() {
    let folder = repository().join("deploy/prometheus");
    run("promtool", &["check", "rules", "sidestream.rules.yml"], folder.clone());
    run("promtool", &["test", "rules", "sidestream.test.yml"], folder);
    let rules = read("deploy/prometheus/sidestream.rules.yml").matches("- alert: ").count();
    let tests = read("deploy/prometheus/sidestream.test.yml");
    assert!(tests.contains(&format!("value: {rules}}}]")), "the daemon in trouble lets all {rules} fire");
}

#[test]
fn the_service_is_confined() {
    assert!(read("systemd/sidestream.service").contains("\nLimitCORE=0\n"), "a dump would hold secrets");
    let arguments = ["security", "--offline=true", "--threshold=15", "systemd/sidestream.service"];
    run("systemd-analyze", &arguments, repository());
}

#[tokio::test]
async fn the_process_its_version_and_its_certificates_end_are_among_the_metrics() {
    let authority = Authority::new();
    let daemon = Daemon::start(&authority.config("", "")).await;
    let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"");
    assert_eq!(daemon.metric("sidestream_build_info", &[version]).await, 1.0);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    for (name, least, most) in [
        ("process_cpu_seconds_total", 0.0, 60.0),
        ("process_resident_memory_bytes", 1e6, 1e9),
        ("process_virtual_memory_bytes", 1e6, 1e13),
        ("process_threads", 2.0, 1000.0),
        ("process_open_fds", 8.0, 1000.0),
        ("process_max_fds", 8.0, 1e9),
        ("process_start_time_seconds", now - 60.0, now + 1.0),
        ("sidestream_certificate_expiry_seconds", now, 1e11),
    ] {
        let value = daemon.metric(name, &[]).await;
        assert!((least..=most).contains(&value), "{name} is {value}");
    }
    let text = daemon.ask("/metrics").await.text();
    assert!(text.contains("# TYPE process_cpu_seconds_total counter\n"), "{text}");
}

/// The arguments of a directive of the Containerfile, which stands there once.
fn directive(name: &str) -> String {
    let file = read("deploy/container/Containerfile");
    let mut lines = file.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let line = lines.next().unwrap_or_else(|| panic!("the Containerfile has no {name}")).to_owned();
    assert_eq!(lines.next(), None, "{name}");
    line
}

/// The words of a command in the form of a list, which needs no shell.
fn words(list: &str) -> String {
    serde_json::from_str::<Vec<String>>(list).unwrap_or_else(|error| panic!("{list}: {error}")).join(" ")
}

/// An engine is not needed for what one does; see `tests/deploy/container.sh`.
#[test]
fn the_container_runs_read_only_without_rights_and_is_healthy() {
    assert_eq!(directive("FROM"), "scratch");
    assert_eq!(directive("COPY"), "root /");
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    let root = root.to_str().expect("a path");
    run("deploy/container/root.sh", &[env!("CARGO_BIN_EXE_sidestream"), root], repository());
    let health = directive("HEALTHCHECK");
    let health = words(health.split_once("CMD ").expect("a command").1);
    let command = [words(&directive("ENTRYPOINT")), words(&directive("CMD"))].join(" ");
    let file = read("deploy/container/Containerfile");
    let variables = file.lines().filter_map(|line| line.strip_prefix("ENV ")?.split_once('='));
    let output = Command::new("unshare")
        .args(["--mount-proc", "--net", "--pid", "--fork", "--kill-child", "tests/deploy/container.sh"])
        .args([root, &directive("USER"), &command, &health])
        .envs(variables)
        .env("SIDESTREAM_CONFIG", "public.backend = \"http://127.0.0.1:9\"")
        .current_dir(repository())
        .output()
        .expect("unshare, of util-linux");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
