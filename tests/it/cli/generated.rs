//! What is made of the arguments: completions that a shell loads, pages that the manual shows without a warning.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::harness::{Shell, within};

/// Runs a program with this on standard input; gives its exit code and all that it printed.
async fn through(program: &str, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; `make setup` installs what is missing"));
    let mut stdin = child.stdin.take().expect("its input");
    let writing = async {
        stdin.write_all(input.as_bytes()).await.expect("it reads");
        drop(stdin);
    };
    let (output, ()) = within(program, async { tokio::join!(child.wait_with_output(), writing) }).await;
    let output = output.expect("its output");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn bash_completes_commands_and_options() {
    let script = Shell::run(&["completions", "bash"], &[], "").await;
    assert_eq!((script.code, &*script.stderr), (Some(0), ""), "{script:?}");
    let checked = through("bash", &["-n"], &script.stdout).await;
    assert_eq!(checked, (Some(0), String::new(), String::new()));
    let ask = "\
complete -p sidestream
COMP_WORDS=(sidestream conn); COMP_CWORD=1
_sidestream sidestream conn sidestream; echo \"${COMPREPLY[@]}\"
COMP_WORDS=(sidestream health --re); COMP_CWORD=2
_sidestream sidestream --re health; echo \"${COMPREPLY[@]}\"
";
    let (code, stdout, stderr) = through("bash", &[], &format!("{}\n{ask}", script.stdout)).await;
    assert_eq!((code, &*stderr), (Some(0), ""));
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].ends_with(" -F _sidestream sidestream"), "{stdout}");
    assert_eq!(lines[1..], ["connections", "--ready"], "{stdout}");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = Shell::run(&["completions", shell], &[], "").await;
        assert!(script.code == Some(0) && script.stdout.contains("connections"), "{shell}");
    }
}

#[tokio::test]
async fn every_command_has_a_page_of_the_manual_without_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("man1");
    let path = folder.to_str().expect("text");
    let made = Shell::run(&["man", "--out", path], &[], "").await;
    assert_eq!((made.code, &*made.stdout, &*made.stderr), (Some(0), "", ""));
    let help = Shell::run(&["--help"], &[], "").await.stdout;
    let commands = help.split("Commands:\n").nth(1).expect("commands").lines();
    let mut names: Vec<String> = commands
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(|name| format!("sidestream-{name}"))
        .collect();
    assert!(names.len() > 12, "{names:?}");
    names.extend(["sidestream", "sidestream-token-mint", "sidestream-key-new"].map(str::to_owned));
    for name in names {
        let page = folder.join(format!("{name}.1"));
        assert!(page.exists(), "{name}");
        let page = page.to_str().expect("text");
        let (code, shown, warnings) = through("man", &["--warnings", "-l", page], "").await;
        assert_eq!((code, &*warnings), (Some(0), ""), "{name}");
        assert!(shown.contains("SYNOPSIS") && !shown.contains("EXTRA"), "{name}: {shown}");
    }
    let one = Shell::run(&["man", "token", "mint"], &[], "").await;
    assert!(one.stdout.contains("sidestream\\-token\\-mint"), "{one:?}");
    let serve = Shell::run(&["man", "serve"], &[], "").await.stdout;
    assert!(serve.contains(".nf\nExamples:\n  sidestream serve \\-\\-backend"), "{serve}");
    assert_eq!(Shell::run(&["man", "nothing"], &[], "").await.code, Some(1));
}
