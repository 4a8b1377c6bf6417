//! `init`: the configuration that it writes for each kind of application, which `check` takes and `serve` runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::harness::{Finished, SECRET, Shell};

/// Runs `init` for an application of these files.
async fn init(files: &[(&str, &str)]) -> (tempfile::TempDir, Finished) {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, text) in files {
        std::fs::write(folder.path().join(file), text).expect("a file");
    }
    let finished = again(folder.path(), &[]).await;
    (folder, finished)
}

async fn again(folder: &Path, more: &[&str]) -> Finished {
    let folder = folder.to_str().expect("text");
    Shell::run(&[&["init", "--dir", folder], more].concat(), &[], "").await
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).expect(file)
}

/// What `check` says of the configuration, which it has to take.
async fn checked(folder: &Path, environment: &[(&str, &str)]) -> Finished {
    let config = folder.join("sidestream.toml");
    let finished = Shell::run(&["check", "--config", config.to_str().expect("text")], environment, "").await;
    assert_eq!(finished.code, Some(0), "{finished:?}\n{}", read(folder, "sidestream.toml"));
    finished
}

#[tokio::test]
async fn every_ecosystem_gets_a_configuration_that_check_takes() {
    for (file, text, name, page) in [
        ("package.json", "{\"dependencies\": {\"express\": \"^5\"}}", "Express", Some("express")),
        ("package.json", "{\"dependencies\": {\"next\": \"16\"}}", "Next.js", Some("nextjs")),
        ("requirements.txt", "Django>=5\n", "Django", Some("django")),
        ("requirements.txt", "fastapi[standard]\n", "FastAPI", Some("fastapi")),
        ("pyproject.toml", "[project]\ndependencies = [\"flask\"]\n", "Flask", Some("flask")),
        ("composer.json", "{\"require\": {\"laravel/framework\": \"^12\"}}", "Laravel", Some("php")),
        ("Gemfile", "gem \"rails\"\n", "Rails", Some("rails")),
        ("go.mod", "module shop\n", "Go", Some("go")),
        ("README", "", "No known framework", None),
    ] {
        let (folder, finished) = init(&[(file, text)]).await;
        assert_eq!((finished.code, &*finished.stderr), (Some(0), ""), "{finished:?}");
        assert!(finished.stdout.contains(&format!("\n{name}")), "{name}: {}", finished.stdout);
        if let Some(page) = page {
            assert!(finished.stdout.contains(&format!("docs/frameworks/{page}.md")), "{}", finished.stdout);
        }
        let said = checked(folder.path(), &[]).await.stdout;
        // The file says itself that the stream is open, and how to close it.
        let warnings: Vec<&str> = said.lines().filter(|line| line.starts_with("warning: ")).collect();
        assert!(warnings.iter().all(|line| line.contains("is open to anyone")), "{said}");
    }
}

#[tokio::test]
async fn the_key_is_for_its_owner_alone_and_nothing_is_written_over() {
    let (folder, finished) = init(&[("go.mod", "module x\n")]).await;
    let folder = folder.path();
    let key = read(folder, "sidestream.key");
    assert!(key.trim().len() >= 32 && !finished.stdout.contains(key.trim()), "{finished:?}");
    let mode = std::fs::metadata(folder.join("sidestream.key")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let config = read(folder, "sidestream.toml");
    assert!(!config.contains(key.trim()));

    std::fs::write(folder.join("sidestream.toml"), "mine").expect("a file");
    let finished = again(folder, &[]).await;
    assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr.contains("is there already: --force writes over it"), "{finished:?}");
    assert_eq!(read(folder, "sidestream.toml"), "mine");
    let finished = again(folder, &["--force"]).await;
    assert!(finished.code == Some(0) && finished.stdout.contains("kept: the publish key"), "{finished:?}");
    assert_eq!((read(folder, "sidestream.toml"), read(folder, "sidestream.key")), (config, key));

    std::fs::create_dir(folder.join(".git")).expect("a folder");
    let finished = again(folder, &["--force"]).await;
    assert!(finished.stdout.contains("add it to .gitignore"), "{finished:?}");
    std::fs::write(folder.join(".gitignore"), "/sidestream.key\n").expect("a file");
    let finished = again(folder, &["--force"]).await;
    assert!(!finished.stdout.contains(".gitignore"), "{finished:?}");
    let finished = again(&folder.join("nowhere"), &[]).await;
    assert!(finished.code == Some(1) && finished.stderr.contains("nowhere cannot be read"), "{finished:?}");
}

#[tokio::test]
async fn a_secret_of_tokens_is_used_by_its_name_and_never_read_out() {
    let env = format!("PORT=3000\nJWT_SECRET={SECRET}\n");
    let (folder, finished) = init(&[("package.json", "{}"), (".env", &env), ("compose.yaml", "")]).await;
    let config = read(folder.path(), "sidestream.toml");
    assert!(!finished.stdout.contains(SECRET) && !config.contains(SECRET), "{config}");
    assert!(config.contains("secret = \"${JWT_SECRET}\"") && config.contains("compose.yaml"), "{config}");
    assert!(finished.stdout.contains("JWT_SECRET in .env"), "{finished:?}");
    let said = checked(folder.path(), &[("JWT_SECRET", SECRET)]).await.stdout;
    assert!(!said.contains("warning"), "{said}");
    let config = folder.path().join("sidestream.toml");
    let arguments = ["token", "mint", "--user", "u1", "--config", config.to_str().expect("text")];
    let minted = Shell::run(&arguments, &[("JWT_SECRET", SECRET)], "").await;
    assert_eq!((minted.code, &*minted.stderr), (Some(0), ""), "{minted:?}");
}

/// A network of its own, in which the well-known ports are free: servers in Python, then `init`.
async fn init_beside(servers: &str, folder: &Path) -> String {
    let script = format!(
        "ip link set lo up\n{servers}\n{} init --dir {}",
        env!("CARGO_BIN_EXE_sidestream"),
        folder.display()
    );
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--map-root-user", "--net", "bash", "-c", &script]).kill_on_drop(true);
    let output = crate::harness::within("init", command.output()).await.expect("unshare(1)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A server in Python at a port, which answers every line with this, and is there before the next command begins.
fn server(port: u16, answer: &str) -> String {
    let code = format!(
        "import socket,threading,sys,os\ns=socket.create_server((\"127.0.0.1\",{port}))\nprint(1,flush=True)\n\
         os.close(1)\n\
         while True:\n  c,_=s.accept()\n  c.settimeout(1)\n  try:\n    c.recv(64) and c.sendall(b\"{answer}\")\n  except OSError: pass\n"
    );
    format!("read -r < <(exec timeout 20 python3 -c '{code}' 2>/dev/null & )")
}

#[tokio::test]
async fn what_listens_on_this_machine_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let servers = [server(8080, ""), server(6379, "+PONG\\r\\n")].join("\n");
    let said = init_beside(&servers, folder).await;
    assert!(said.contains("the application listens on 127.0.0.1:8080"), "{said}");
    assert!(said.contains("Redis on 127.0.0.1:6379: its channels are heard"), "{said}");
    let config = read(folder, "sidestream.toml");
    assert!(config.contains("backend = \"http://127.0.0.1:8080\""), "{config}");
    // The application has the daemon's usual port.
    assert!(config.contains("listen  = \"127.0.0.1:8090\""), "{config}");
    assert!(config.contains("\n[redis]\nurl = \"redis://127.0.0.1:6379\""), "{config}");
    checked(folder, &[]).await;

    std::fs::remove_file(folder.join("sidestream.toml")).expect("a file");
    let said = init_beside(&server(6379, "-NOAUTH Authentication required.\\r\\n"), folder).await;
    assert!(said.contains("the application is expected on 127.0.0.1:3000"), "{said}");
    assert!(said.contains("wants a password"), "{said}");
    assert!(read(folder, "sidestream.toml").contains("\n# [redis]\n"));
}
