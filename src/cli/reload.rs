//! `sidestream reload`: a running daemon reads its configuration anew, and says what that came to.

use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;

use crate::cli::daemon::{DaemonArguments, DaemonClient};
use crate::cli::error::Error;
use crate::cli::output::{note_lines, plain, plain_json, print};
use crate::cli::run::block_on;

const EXAMPLES: &str = "\
Examples:
  sidestream reload --config sidestream.toml
  sidestream reload --url http://127.0.0.1:8081 --key-file /etc/sidestream/key

The daemon reads its own file, its environment and the files that these name. If
all of it is sound it takes up what has changed, and no stream ends by that.
Printed is, key by key, what holds from now on (applied), and what holds when
the daemon is started again (needs a restart).

Ends with 1 when the configuration is refused, and everything goes on as it was.
SIGHUP does the same, and says what came of it in the daemon's log.";

/// How large an answer may be.
const MAX_ANSWER: usize = 4 << 20;

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReloadCommand {
    /// The daemon's own answer, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArguments,
}

/// What the daemon took up.
#[derive(Deserialize)]
struct TakenUp {
    applied: Vec<String>,
    needs_restart: Vec<String>,
}

/// Why it took up nothing.
#[derive(Deserialize)]
struct NotTakenUp {
    problems: Vec<RefusedKey>,
}

#[derive(Deserialize)]
struct RefusedKey {
    key: String,
    message: String,
    #[serde(default)]
    place: String,
}

impl ReloadCommand {
    pub(super) fn run(self) -> ExitCode {
        block_on(async { self.ask(&self.daemon.client()?).await })
    }

    async fn ask(&self, daemon: &DaemonClient) -> Result<ExitCode, Error> {
        let mut request = Request::new(Full::<Bytes>::default());
        *request.method_mut() = Method::POST;
        let mut answer = daemon.send("/reload", request).await?;
        let status = answer.head.status;
        if !matches!(status, StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY) {
            return Err(answer.refusal().await);
        }
        let body = answer.whole(MAX_ANSWER).await?;
        let strange = |_| Error::NotTheDaemon { peer: daemon.peer() };
        let taken = if status == StatusCode::OK {
            Ok(serde_json::from_slice::<TakenUp>(&body).map_err(strange)?)
        } else {
            Err(serde_json::from_slice::<NotTakenUp>(&body).map_err(strange)?)
        };
        let printed = match &taken {
            _ if self.json => {
                print(format_args!("{}\n", plain_json(String::from_utf8_lossy(&body).trim_end())))
            }
            Ok(taken) => print(taken.lines()),
            Err(refused) => {
                note_lines(refused.lines());
                ExitCode::SUCCESS
            }
        };
        Ok(if taken.is_ok() { printed } else { ExitCode::FAILURE })
    }
}

impl TakenUp {
    fn lines(&self) -> String {
        if self.applied.is_empty() && self.needs_restart.is_empty() {
            return "nothing has changed\n".to_owned();
        }
        let line = |what: &'static str| move |key: &String| format!("{what}: {}\n", plain(key));
        let applied = self.applied.iter().map(line("applied"));
        applied.chain(self.needs_restart.iter().map(line("needs a restart"))).collect()
    }
}

impl NotTakenUp {
    fn lines(&self) -> String {
        let line = |problem: &RefusedKey| {
            let RefusedKey { key, message, place } = problem;
            let place = if place.is_empty() { key } else { place };
            if place.is_empty() { format!("{message}\n") } else { format!("{place}: {message}\n") }
        };
        let problems: String = self.problems.iter().map(line).collect();
        format!("{problems}the configuration is refused, and nothing has changed")
    }
}
