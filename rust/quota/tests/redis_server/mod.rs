//! A real redis-server of its own for each test.

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
    arguments: Vec<String>,
}

impl Server {
    /// A server that accepts connections; none only where it is not installed and the environment
    /// has `LLM_GATEWAY_SKIP_MISSING=1`.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        // Somebody else may take the port between its choice and its use.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            match launch(port, &arguments) {
                Ok(Some(process)) => {
                    return Some(Self {
                        process,
                        port,
                        arguments,
                    });
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::NotFound && may_skip() => {
                    eprintln!("skipped: redis-server is not installed");
                    return None;
                }
                Err(error) => panic!("redis-server ({error}): apt-get install redis-server"),
            }
        }
        panic!("redis-server did not start on any of ten free ports");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.process = launch(self.port, &self.arguments).unwrap().unwrap();
    }

    /// Stops or continues the process: it keeps its sockets and answers nothing.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let (name, arguments) = command.split_first().unwrap();
        redis::cmd(name)
            .arg(arguments)
            .query(&mut client.get_connection().unwrap())
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn may_skip() -> bool {
    std::env::var_os("LLM_GATEWAY_SKIP_MISSING").is_some_and(|value| value == "1")
}

fn launch(port: u16, arguments: &[String]) -> std::io::Result<Option<Child>> {
    let mut process = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()?;
    let log = BufReader::new(process.stdout.take().ok_or(ErrorKind::BrokenPipe)?);
    let mut lines = log.lines().map_while(Result::ok);
    if lines.any(|line| line.contains("Ready to accept connections")) {
        // The log must be read on, or the server blocks once the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        return Ok(Some(process));
    }
    process.wait()?;
    Ok(None)
}
