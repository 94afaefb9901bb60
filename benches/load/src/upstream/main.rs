//! `load-upstream`: a scripted LLM server that is faster than any relay before it.

mod answers;
mod connection;

use std::io::{self, Write as _};
use std::process::ExitCode;

use tokio::net::TcpListener;

const USAGE: &str = "usage: load-upstream [--port P]\n\
    P defaults to 0, any free one; the first line printed says which it is\n";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "load-upstream: {error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut port: u16 = 0;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("port") => port = arguments.value()?.to_string_lossy().parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // A client that leaves in the middle is part of a benchmark, not worth a word.
            let _ = connection::serve(stream).await;
        });
    }
}
