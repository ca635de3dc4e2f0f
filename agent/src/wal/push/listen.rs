//! The socket to which servers push.
//!
//! Whoever may connect may ask: what a job takes is decided by whose process
//! it is, and the agent reads nothing but files of logs that a policy wants.

use std::{
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedReadHalf},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    message::{Answer, LONGEST, Request, line},
    receivers::Desks,
};

/// For a request to be said.
const PATIENCE: Duration = Duration::from_secs(10);
/// After an error of the listener.
const REST: Duration = Duration::from_millis(100);

/// Listens until `stop`. Without a socket nothing can be pushed; all else goes
/// on.
pub async fn listen(socket: &Path, desks: Desks, stop: CancellationToken) {
    let listener = match bind(socket) {
        Ok(listener) => listener,
        Err(error) => {
            warn!(socket = %socket.display(), %error, "servers cannot push their logs: set [wal] \
                socket in agent.toml to a place where this agent may make one");
            return;
        }
    };
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (desks, stop) = (desks.clone(), stop.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        served = serve(stream, &desks) => {
                            if let Err(error) = served {
                                debug!(%error, "whoever pushed has hung up");
                            }
                        }
                        () = stop.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection of a server that pushes");
                tokio::time::sleep(REST).await;
            }
        }
    }
    // It names nobody any more.
    let _gone = std::fs::remove_file(socket);
    tasks.close();
    tasks.wait().await;
}

fn bind(socket: &Path) -> io::Result<UnixListener> {
    if let Some(above) = socket.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(above)?;
    }
    // One that was left by an agent that was killed; one at which somebody
    // listens stays.
    if std::os::unix::net::UnixStream::connect(socket).is_err() {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let listener = UnixListener::bind(socket)?;
    // The server's user is not ours.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

async fn serve(stream: UnixStream, desks: &Desks) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (input, mut output) = stream.into_split();
    // Strangers are sent away before they are listened to: nobody else can keep
    // connections open.
    let archived = match desks.admit(uid) {
        Ok(()) => hear(input, desks, uid).await?,
        refused => refused,
    };
    let answer = match archived {
        Ok(()) => Answer::Archived,
        Err(cause) => Answer::Failed(cause),
    };
    output.write_all(&line(&answer)).await?;
    output.shutdown().await
}

async fn hear(input: OwnedReadHalf, desks: &Desks, uid: u32) -> io::Result<Result<(), String>> {
    let mut said = String::new();
    let mut input = BufReader::new(input.take(LONGEST));
    tokio::time::timeout(PATIENCE, input.read_line(&mut said))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    Ok(match serde_json::from_str::<Request>(&said) {
        Ok(request) => desks.push(&request.directory, request.file, uid).await,
        Err(error) => Err(format!("this is no request: {error}")),
    })
}
