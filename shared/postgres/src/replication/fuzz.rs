//! Fuzz targets: whatever a server says once we are let in.

use std::io::Cursor;

use super::{Event, ReplicationSession, login::LoggedIn, wire::Wire};
use crate::{
    physical::{Lsn, TimelineId},
    version::ServerVersion,
};

thread_local! {
    /// Streams have deadlines. None comes: all that is said is there at once.
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
}

fn run<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// What a server answers to the question that the first byte names, and to
/// those that follow it.
pub fn replication_messages(data: &[u8]) {
    let Some((question, said)) = data.split_first() else {
        return;
    };
    let stream = tokio::io::join(Cursor::new(said.to_vec()), tokio::io::sink());
    let mut session = ReplicationSession::over(LoggedIn {
        wire: Wire::new(Box::new(stream)),
        version: ServerVersion(150_000),
    });
    run(async {
        match question % 3 {
            0 => drop(session.identify().await),
            1 => drop(session.history(TimelineId(2)).await),
            _ => {}
        }
        // As long as anything is left.
        while session
            .stream(Some("slot"), TimelineId(1), Lsn(9))
            .await
            .is_ok()
        {
            follow(&mut session).await;
        }
    });
}

async fn follow(session: &mut ReplicationSession) {
    let mut position = Lsn(9);
    while let Ok(event) = session.next().await {
        match event {
            Event::Data { start, bytes, .. } => {
                assert_eq!(start, position);
                position = Lsn(start.0 + bytes.len() as u64);
                session.probe(position, Lsn(9)).await.unwrap();
            }
            Event::Keepalive { .. } => session.confirm(position, Lsn(9)).await.unwrap(),
            Event::Ended { .. } => return,
        }
    }
}

#[cfg(test)]
pub(crate) use super::tests::conversations;
