//! A real Redis of its own for each test; another server (Valkey) where `LLM_GATEWAY_REDIS_SERVER` names its program.

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
    arguments: Vec<String>,
    folder: TempDir,
}

impl Server {
    /// A server that accepts connections, with nothing kept on disk unless the arguments say so; none only where it is not
    /// installed and the environment has `LLM_GATEWAY_SKIP_MISSING=1`.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let folder = tempfile::tempdir().unwrap();
        // Somebody else may take the port between its choice and its use.
        for _ in 0..10 {
            let port = free_port();
            match launch(port, folder.path(), &arguments) {
                Ok(Some(process)) => {
                    return Some(Self {
                        process,
                        port,
                        arguments,
                        folder,
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

    /// Where it keeps its data.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it without a warning.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again on the same port with the same data.
    pub(crate) fn start_again(&mut self) {
        let process = launch(self.port, self.folder.path(), &self.arguments);
        self.process = process.unwrap().unwrap();
    }

    /// Starts it again, and does not wait until it has read its data.
    pub(crate) fn start_loading(&mut self, arguments: &[&str]) {
        let arguments = arguments.iter().map(ToString::to_string);
        let arguments: Vec<_> = self.arguments.iter().cloned().chain(arguments).collect();
        self.process = command(self.port, self.folder.path(), &arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert_eq!(self.process.try_wait().unwrap(), None, "it ended");
            std::thread::yield_now();
        }
    }

    /// Stops or continues the process: it keeps its sockets and answers nothing.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// What it answers to a command.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let (name, arguments) = command.split_first().unwrap();
        redis::cmd(name)
            .arg(arguments)
            .query(&mut client.get_connection().unwrap())
            .unwrap()
    }

    /// One value of what it tells of itself.
    pub(crate) fn info(&self, section: &str, name: &str) -> String {
        let text: String = self.ask(&["INFO", section]);
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let line = lines.find(|(key, _)| *key == name);
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .1
            .to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn may_skip() -> bool {
    std::env::var_os("LLM_GATEWAY_SKIP_MISSING").is_some_and(|value| value == "1")
}

fn command(port: u16, folder: &Path, arguments: &[String]) -> Command {
    let program = std::env::var_os("LLM_GATEWAY_REDIS_SERVER");
    let mut command = Command::new(program.unwrap_or("redis-server".into()));
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .args(arguments);
    command
}

fn launch(port: u16, folder: &Path, arguments: &[String]) -> std::io::Result<Option<Child>> {
    let mut process = command(port, folder, arguments)
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
