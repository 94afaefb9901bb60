//! `load-client`: clients in a closed loop over keep-alive connections, each answer verified.

mod answer;
mod connection;
mod histogram;
mod options;
mod request;
mod tally;

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, timeout};

use crate::connection::Load;
use crate::options::{Options, USAGE};
use crate::tally::{Report, Tally};

/// How long after the last start an answer may still take.
const GRACE: Duration = Duration::from_secs(15);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(report) => {
            let _ = writeln!(io::stdout(), "{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "load-client: {error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<String, Box<dyn std::error::Error>> {
    let options = Options::parse(lexopt::Parser::from_env())?;
    let report = measure(&options).await?;
    Ok(serde_json::to_string(&report)?)
}

async fn measure(options: &Options) -> io::Result<Report> {
    let address = options.target.resolve().await?;
    let duration = Duration::from_secs_f64(options.duration_s);
    let started = Instant::now();
    let tally = Rc::new(RefCell::new(Tally::default()));
    let load = Rc::new(Load::new(
        options,
        address,
        started + duration,
        Rc::clone(&tally),
    ));

    let clients = LocalSet::new();
    let mut running = JoinSet::new();
    // Paced clients start spread over one pause, else all streams would tick together.
    let stagger = Duration::from_micros(options.script.pause_us) / options.connections;
    for index in 0..options.connections {
        let load = Rc::clone(&load);
        running.spawn_local_on(
            async move {
                sleep(stagger * index).await;
                connection::run(&load).await;
            },
            &clients,
        );
    }
    let all_done = clients.run_until(async { while running.join_next().await.is_some() {} });
    if timeout(duration + GRACE, all_done).await.is_err() {
        tally
            .borrow_mut()
            .fail("answers were still not complete when the run had to end");
    }
    let elapsed_s = started.elapsed().as_secs_f64();
    let report = tally.borrow().report(elapsed_s);
    Ok(report)
}
