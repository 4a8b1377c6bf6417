//! What is packed for a release, as far as no release has to be built for it: the crate, the Debian package's parts,
//! the npm package that runs the binary, versions. `make dist-test` installs and runs the packages themselves.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

use crate::harness::{Backend, repository, within};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(file: &str) -> String {
    std::fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The values of `key = ["…", …]` or of the first texts of its nested arrays, in Cargo.toml.
fn listed(key: &str) -> Vec<String> {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest.split_once(&format!("\n{key} = [\n")).expect("the list");
    let lines = rest.lines().take_while(|line| *line != "]");
    lines.filter_map(|line| Some(line.split('"').nth(1)?.to_owned())).collect()
}

#[test]
fn the_crate_has_what_it_is_built_of_and_neither_tests_nor_benchmarks() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut list = Command::new(cargo);
    list.args(["package", "--list", "--allow-dirty", "--offline"]).current_dir(repository());
    let output = list.output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).expect("text");
    let files: BTreeSet<&str> = listed.lines().collect();
    // What `src` includes from outside of it, and what somebody who installs it reads.
    for needed in [
        "Cargo.lock",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "config.example.toml",
        "docs/openapi.json",
        "src/main.rs",
        "src/web/vendor/uPlot.iife.min.js",
        "systemd/sidestream.service",
    ] {
        assert!(files.contains(needed), "{needed} is missing");
    }
    let tops: BTreeSet<&str> = files.iter().filter_map(|file| Some(file.split_once('/')?.0)).collect();
    assert_eq!(tops, BTreeSet::from(["docs", "src", "systemd"]));
}

#[test]
fn the_debian_package_is_made_of_files_that_are_there() {
    let assets = listed("assets");
    assert!(assets.len() > 10, "{assets:?}");
    for asset in assets.iter().filter(|asset| !asset.starts_with("target/")) {
        assert!(repository().join(asset).exists(), "{asset} is not there");
    }
    for unit in ["systemd/sidestream.service", "systemd/sidestream.socket"] {
        assert!(assets.iter().any(|asset| asset == unit), "{unit} is not packed");
    }
    for script in ["postinst", "prerm", "postrm"] {
        let path = repository().join("packaging/deb").join(script);
        let output = Command::new("sh").arg("-n").arg(&path).output().expect("a shell");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_service_reads_the_configuration_that_the_package_installs_and_that_is_sound() {
    assert!(read("Cargo.toml").contains("\nconf-files = [\"/etc/sidestream/config.toml\"]\n"));
    let unit = read("systemd/sidestream.service");
    for command in ["ExecStartPre=sidestream check", "ExecStart=sidestream serve"] {
        assert!(unit.contains(&format!("\n{command} --config /etc/sidestream/config.toml\n")), "{unit}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(repository().join("packaging/deb/config.toml"), folder.path().join("config.toml"))
        .expect("a copy");
    // As postinst makes it.
    std::fs::write(folder.path().join("publish_keys"), "40ed80972c652f08f1556ff23748068a2494b9d9\n")
        .expect("a file");
    let mut check = Command::new(env!("CARGO_BIN_EXE_sidestream"));
    let output =
        check.args(["check", "--config"]).arg(folder.path().join("config.toml")).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_package_has_the_version_of_the_crate() {
    let manifest: Value = serde_json::from_str(&read("packaging/npm/sidestream/package.json")).expect("JSON");
    assert_eq!(manifest["version"], VERSION);
    let platforms = manifest["optionalDependencies"].as_object().expect("packages of the platforms");
    let packed = read("packaging/dist.py");
    for (name, version) in platforms {
        assert_eq!(version, VERSION, "{name}");
        let platform = name.strip_prefix("@sidestream/").expect("the scope");
        assert!(packed.contains(&format!("Platform(\"{platform}\", ")), "{platform} is not built");
    }
    assert_eq!(packed.matches("    Platform(\"").count(), platforms.len());
}

#[test]
fn the_helm_chart_has_the_version_of_the_crate() {
    let chart = read("deploy/helm/sidestream/Chart.yaml");
    for key in ["version", "appVersion"] {
        assert!(chart.contains(&format!("\n{key}: {VERSION}\n")), "{key}: {chart}");
    }
}

#[test]
fn a_release_is_made_and_tested_by_the_make_targets_of_the_repository() {
    let workflow = read(".github/workflows/release.yml");
    for step in ["tags: [\"v*\"]", "run: make dist\n", " make dist-test\n"] {
        assert!(workflow.contains(step), "{step} is missing");
    }
    let targets = read("Makefile");
    assert!(targets.contains("\ndist: ") && targets.contains("\ndist-test:"));
}

/// The npm package as it is installed, with the daemon of these tests as what its platform's package carries.
fn installed() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let modules = folder.path().join("node_modules");
    let main = modules.join("sidestream");
    std::fs::create_dir_all(&main).expect("a folder");
    for file in ["cli.js", "package.json"] {
        std::fs::copy(repository().join("packaging/npm/sidestream").join(file), main.join(file))
            .expect("a copy");
    }
    let cpu = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let platform = modules.join(format!("@sidestream/linux-{cpu}"));
    std::fs::create_dir_all(&platform).expect("a folder");
    symlink(env!("CARGO_BIN_EXE_sidestream"), platform.join("sidestream")).expect("a link");
    folder
}

fn wrapper(folder: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("node");
    command.arg(folder.join("node_modules/sidestream/cli.js")).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A daemon that the npm package has started.
async fn serving(folder: &Path, backend: &str) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut command = wrapper(folder);
    command.args(["serve", "--backend", backend]);
    for listener in ["PUBLIC", "INTERNAL"] {
        command.env(format!("SIDESTREAM_{listener}_LISTEN"), "127.0.0.1:0");
    }
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("node");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    within("that it listens", async {
        while let Some(line) = lines.next_line().await.expect("text") {
            if line.contains("listening") {
                return;
            }
        }
        panic!("it has ended");
    })
    .await;
    (child, lines)
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().expect("it runs")).ok().and_then(Pid::from_raw).expect("an id");
    kill_process(pid, signal).expect("it is there");
}

#[tokio::test]
async fn the_npm_package_passes_a_signal_on_once_and_ends_with_the_daemons_code() {
    let (folder, backend) = (installed(), Backend::start().await);
    let (mut child, mut lines) = serving(folder.path(), &backend.url).await;
    // As a terminal and npm do it: twice at once.
    send(&child, Signal::INT);
    send(&child, Signal::INT);
    let status = within("its end", child.wait()).await.expect("a status");
    assert_eq!(status.code(), Some(0));
    let mut stops = 0;
    while let Some(line) = within("the last lines", lines.next_line()).await.expect("text") {
        stops += usize::from(line.contains("asked to stop"));
    }
    assert_eq!(stops, 1);
}

#[tokio::test]
async fn the_npm_package_gives_the_programs_exit_code() {
    let folder = installed();
    for (argument, code) in [("--version", 0), ("--no-such-flag", 2)] {
        let output = within("its end", wrapper(folder.path()).arg(argument).output()).await.expect("node");
        assert_eq!(output.status.code(), Some(code), "{argument}");
    }
}

#[tokio::test]
async fn the_npm_package_says_what_is_missing() {
    let folder = installed();
    let scope = folder.path().join("node_modules/@sidestream");
    std::fs::remove_dir_all(scope).expect("the platform's package");
    let output = within("its end", wrapper(folder.path()).output()).await.expect("node");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--omit=optional"));
    let other = folder.path().join("other.cjs");
    std::fs::write(&other, "Object.defineProperty(process, 'platform', { value: 'freebsd' });")
        .expect("a file");
    let mut elsewhere = wrapper(folder.path());
    elsewhere.env("NODE_OPTIONS", format!("--require {}", other.display()));
    let output = within("its end", elsewhere.output()).await.expect("node");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no build for freebsd-"));
}
