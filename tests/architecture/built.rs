//! What is built, and that it is built once.

use std::collections::BTreeSet;

/// Every dependency with its features, as `cargo tree` lists those of these kinds.
fn built(kinds: &str) -> BTreeSet<String> {
    let output = std::process::Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--offline", "--prefix", "none", "-f", "{p} {f}", "-e", kinds])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    text.lines().map(|line| line.trim_end_matches(" (*)").trim_end().to_owned()).collect()
}

/// A feature that only a dev-dependency asks for has that package, and all that stands on it, built once for `cargo
/// run` and once more for `cargo test`.
#[test]
fn the_daemon_and_its_tests_share_what_they_are_built_of() {
    let (daemon, tests) = (built("normal,build"), built("normal,build,dev"));
    let twice: Vec<_> = daemon.difference(&tests).collect();
    assert!(twice.is_empty(), "built twice, because dev-dependencies ask for further features: {twice:#?}");
}
