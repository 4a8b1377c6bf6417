//! Measures sidestream and its peers side by side, on this machine, in one run.
//!
//! Nothing here knows the daemon's code: servers are processes, reached over loopback.

mod clock;
mod figure;
mod floor;
mod load;
mod machine;
mod meter;
mod peers;
mod proc;
mod report;
mod rows;
mod wire;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use machine::Machine;
use peers::Server;
use rows::{Bench, ROWS};

type Failure = Box<dyn Error>;

#[derive(Parser)]
#[command(name = "sidestream-bench", about = "Measures sidestream and its peers side by side")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Runs the table's rows and writes the result
    Run(Run),
    /// Names the rows
    Rows,
    /// Serves streams with a loop of write(2): the floor
    Bare,
    /// Answers every request with the same small body: what stands behind a proxy
    Backend,
}

#[derive(Args)]
struct Run {
    /// Only these rows; may be given several times, or with commas
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these servers: sidestream, bare, nchan, centrifugo, mercure, node, better-sse, nginx
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    servers: Vec<String>,
    /// Small sizes and one repetition, to see that everything works; the figures say nothing
    #[arg(long)]
    quick: bool,
    /// Repetitions of every measurement (3, or 1 when quick)
    #[arg(long, value_name = "N")]
    repetitions: Option<usize>,
    /// sidestream's binary; without it, the one beside this program
    #[arg(long, value_name = "FILE")]
    sidestream: Option<PathBuf>,
    /// The core that servers get
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    server_core: usize,
    /// The core that the load gets
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    load_core: usize,
    /// Where the result goes; without it bench/results/<date>-<commit>.md, and nowhere when quick
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().what {
        What::Run(run) => run.run(),
        What::Rows => {
            for row in &ROWS {
                println!("{:10} {}", row.name, row.about);
            }
            Ok(())
        }
        What::Bare => floor::bare().map_err(Into::into),
        What::Backend => floor::backend().map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Run {
    fn run(self) -> Result<(), Failure> {
        if let Some(unknown) = self.only.iter().find(|name| ROWS.iter().all(|row| row.name != **name)) {
            return Err(format!("there is no row {unknown}; `rows` names them").into());
        }
        let cores = machine::cores()?;
        for core in [self.server_core, self.load_core] {
            if !cores.contains(&core) {
                return Err(format!("core {core} is not among those that may be used: {cores:?}").into());
            }
        }
        let machine = Machine::look();
        let binary = match self.sidestream {
            Some(binary) => binary,
            None => std::env::current_exe()?.with_file_name("sidestream"),
        };
        let servers = self.servers.iter().map(|word| {
            let found = Server::ALL.into_iter().find(|server| server.word() == *word);
            found.ok_or_else(|| format!("there is no server {word}"))
        });
        let bench = Bench {
            quick: self.quick,
            servers: servers.collect::<Result<_, _>>()?,
            repetitions: self.repetitions.unwrap_or(if self.quick { 1 } else { 3 }),
            binary,
            server_core: self.server_core,
            load_core: self.load_core,
        };
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|only| only == name);
        let outcomes: Vec<_> =
            ROWS.iter().filter(|row| wanted(row.name)).map(|row| (row.run)(&bench)).collect();
        println!("{}", report::verdicts(&outcomes));
        if let Some(warning) = report::disturbed(&outcomes) {
            println!("{warning}");
        }

        let out = match self.out {
            Some(file) => file,
            None if self.quick => return Ok(()),
            None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results"))
                .join(format!("{}-{}.md", machine.date, machine.commit)),
        };
        let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
        let command = format!("sidestream-bench {command}");
        std::fs::write(&out, report::document(&machine, &command, bench.repetitions, &outcomes))?;
        eprintln!("written to {}", out.display());
        Ok(())
    }
}
