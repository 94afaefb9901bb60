//! A way to Redis that fails when it is told to.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::redis_server::Server;

/// A relay in front of Redis, for one connection at a time.
pub(crate) struct Cutter {
    pub(crate) url: String,
    turns: mpsc::Sender<Turn>,
}

/// What is done to the next script.
pub(crate) enum Turn {
    /// It runs, its reply is swallowed and the connection closed.
    Cut,
    /// It is swallowed, and the connection stays as it is.
    Hush,
}

impl Cutter {
    pub(crate) async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (turns, mut taken) = mpsc::channel(8);
        let port = server.port;
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                if let Some(Turn::Hush) = carry(&mut client, server, &mut taken).await {
                    silent.push(client);
                }
            }
        });
        Self { url, turns }
    }

    pub(crate) fn next(&self, turn: Turn) {
        assert!(self.turns.try_send(turn).is_ok());
    }
}

/// Carries one connection to its end, which may be a turn.
async fn carry(
    client: &mut TcpStream,
    mut server: TcpStream,
    turns: &mut mpsc::Receiver<Turn>,
) -> Option<Turn> {
    let (mut asked, mut told) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let asked = &asked[..read.ok()?];
                let is_script = asked.windows(4).any(|word| word == b"EVAL");
                let turn = if is_script { turns.try_recv().ok() } else { None };
                if asked.is_empty() || matches!(turn, Some(Turn::Hush)) {
                    return turn;
                }
                server.write_all(asked).await.unwrap();
                if turn.is_some() {
                    assert!(server.read(&mut told).await.unwrap() > 0);
                    return turn;
                }
            }
            read = server.read(&mut told) => {
                let told = &told[..read.ok()?];
                if told.is_empty() {
                    return None;
                }
                client.write_all(told).await.ok()?;
            }
        }
    }
}
