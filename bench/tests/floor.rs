//! The benchmark itself, from outside: a quick run against the one server that is always there.

use std::process::Command;

#[test]
fn a_quick_run_against_the_bare_loop_counts_every_delivery_without_a_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("result.md");
    let output = Command::new(env!("CARGO_BIN_EXE_sidestream-bench"))
        .args(["run", "--quick", "--only", "steady,crowd", "--servers", "bare", "--out"])
        .arg(&file)
        .output()
        .expect("the benchmark's binary");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let result = std::fs::read_to_string(&file).expect("a result");
    for row in ["steady", "crowd"] {
        let line = result.lines().find(|line| line.starts_with(&format!("| {row} | bare loop |")));
        let line = line.unwrap_or_else(|| panic!("no line for {row}: {said}"));
        assert!(line.contains("| none |"), "{line}");
    }
}

#[test]
fn an_unknown_row_or_server_is_refused_by_name() {
    for (option, name) in [("--only", "steadily"), ("--servers", "nginy")] {
        let output = Command::new(env!("CARGO_BIN_EXE_sidestream-bench"))
            .args(["run", "--quick", option, name])
            .output()
            .expect("the benchmark's binary");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains(name));
    }
}
