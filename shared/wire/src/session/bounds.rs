//! What the coordinator keeps of what an agent says.
//!
//! Whoever speaks may be a thief. Nothing here is refused, for an honest agent may
//! have a host of ten thousand databases or an error as long as a page: lists and
//! texts are cut, and figures end where every reader of JSON still takes them
//! exactly, so that no sum of them overflows.

use strongroom_spec::{Failure, LINE, NAME, Warning, cut, limit};

use crate::{
    job::Report,
    session::{AgentHello, AgentMessage, Connection, Consent, Heartbeat, Progress, Server},
};

/// Messages of failures; bytes.
const PAGE: usize = 16 << 10;
/// Attempts that one agent works on or reports.
const ATTEMPTS: usize = 1_000;
/// Entries of `agent.toml`.
const ENTRIES: usize = 1_000;
/// Databases of all servers of a host together.
const DATABASES: usize = 20_000;
/// All that is kept of what a host has, as the JSON that it is kept as; bytes.
const INVENTORY: usize = 2 << 20;
/// What is worth knowing about a server.
const FACTS: usize = 100;

impl AgentMessage {
    /// Cut to what is kept of it.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        match &mut self {
            Self::Hello(hello) => bound_hello(hello),
            Self::Heartbeat(heartbeat) => bound_heartbeat(heartbeat),
            Self::JobAccepted(_) => {}
            Self::Report(report) => bound_report(report),
            Self::Inventory(connections) => bound_inventory(connections),
        }
        self
    }
}

fn bound_hello(hello: &mut AgentHello) {
    for text in [
        &mut hello.agent_version,
        &mut hello.hostname,
        &mut hello.os,
        &mut hello.architecture,
    ] {
        cut(text, NAME);
    }
    hello.running.truncate(ATTEMPTS);
    hello.reported.truncate(ATTEMPTS);
    let Consent {
        sources,
        read_paths,
        restore_paths,
        commands,
    } = &mut hello.consent;
    for list in [sources, read_paths, restore_paths, commands] {
        list.truncate(ENTRIES);
        for entry in list {
            cut(entry, LINE);
        }
    }
}

fn bound_heartbeat(heartbeat: &mut Heartbeat) {
    heartbeat.running.truncate(ATTEMPTS);
    for progress in &mut heartbeat.running {
        bound_progress(progress);
    }
    limit([&mut heartbeat.resident_bytes]);
}

fn bound_progress(progress: &mut Progress) {
    // Not every catalog takes them, and one agent's must not stand in the way of others'.
    progress.stage.retain(|letter| !letter.is_control());
    cut(&mut progress.stage, NAME);
    limit([
        &mut progress.files,
        &mut progress.bytes,
        &mut progress.bytes_stored,
        &mut progress.warnings,
    ]);
    limit(progress.total_files.as_mut());
    limit(progress.total_bytes.as_mut());
}

fn bound_inventory(connections: &mut Vec<Connection>) {
    let (mut databases, mut bytes) = (DATABASES, INVENTORY);
    connections.retain_mut(|connection| {
        cut(&mut connection.kind, NAME);
        cut(&mut connection.name, NAME);
        match &mut connection.state {
            Ok(server) => {
                let all = std::mem::take(&mut server.databases);
                bound_server(server);
                // First what it is, then what it holds.
                if !take(&mut bytes, connection) {
                    return false;
                }
                if let Ok(server) = &mut connection.state {
                    let kept = all.into_iter().take(databases).map(|mut database| {
                        cut(&mut database.name, NAME);
                        limit([&mut database.bytes, &mut database.keys]);
                        database
                    });
                    server.databases = kept.take_while(|it| take(&mut bytes, it)).collect();
                    databases -= server.databases.len();
                }
                true
            }
            Err(problem) => {
                cut(problem, LINE);
                take(&mut bytes, connection)
            }
        }
    });
}

/// Whether there is room for it, which it then takes.
fn take(room: &mut usize, kept: &impl serde::Serialize) -> bool {
    // Plain types serialise; with a comma.
    let needed = serde_json::to_vec(kept).map_or(usize::MAX, |json| json.len() + 1);
    let left = room.checked_sub(needed);
    *room = left.unwrap_or(*room);
    left.is_some()
}

fn bound_server(server: &mut Server) {
    cut(&mut server.product, NAME);
    cut(&mut server.version, NAME);
    cut(&mut server.role, NAME);
    server.facts.truncate(FACTS);
    for fact in &mut server.facts {
        cut(&mut fact.name, NAME);
        cut(&mut fact.value, LINE);
    }
}

fn bound_report(report: &mut Report) {
    limit([
        &mut report.warning_count,
        &mut report.peak_resident_bytes,
        &mut report.duration_ms,
    ]);
    for Warning { path, cause, .. } in &mut report.warnings {
        path.0.truncate(LINE);
        cut(cause, LINE);
    }
    match &mut report.outcome {
        Ok(outcome) => outcome.bound(),
        Err(Failure { message, .. }) => cut(message, PAGE),
    }
}

#[cfg(test)]
mod tests {
    use strongroom_layout::{AttemptRef, JobId, ObjectId};
    use uuid::Uuid;

    use super::*;
    use strongroom_spec::{BackupOutcome, FailureCode, MAX_FIGURE, Outcome, WarningCode};

    use crate::session::{Database, Fact};

    fn server(databases: usize) -> Connection {
        let database = Database {
            name: "d".repeat(1_000),
            bytes: u64::MAX,
            keys: u64::MAX,
            closed: false,
        };
        let fact = Fact {
            name: "f".repeat(1_000),
            value: "v".repeat(100_000),
        };
        Connection {
            kind: "postgres".into(),
            name: "n".repeat(1_000),
            restore: false,
            checked_at: jiff::Timestamp::UNIX_EPOCH,
            state: Ok(Server {
                databases: vec![database; databases],
                facts: vec![fact; 1_000],
                ..Server::default()
            }),
        }
    }

    #[test]
    fn an_inventory_of_every_database_there_is_becomes_a_small_one() {
        let told = AgentMessage::Inventory(vec![server(9_000); 5]);
        let AgentMessage::Inventory(kept) = told.bounded() else {
            panic!("it is still an inventory");
        };
        let servers: Vec<_> = kept.iter().map(|it| it.state.as_ref().unwrap()).collect();
        let databases: Vec<_> = servers.iter().map(|it| it.databases.len()).collect();
        assert!(databases[0] > 1_000, "{databases:?}");
        assert!(databases.iter().sum::<usize>() <= DATABASES);
        let bytes = serde_json::to_vec(&kept).unwrap().len();
        assert!(bytes <= INVENTORY + 2, "{bytes} bytes");
        assert_eq!(servers[0].databases[0].bytes, MAX_FIGURE);
    }

    #[test]
    fn an_honest_hosts_inventory_is_kept_whole() {
        let database = |n| Database {
            name: format!("customer_{n:05}"),
            bytes: 8 << 20,
            keys: 0,
            closed: false,
        };
        let mut connection = server(0);
        connection.name = "orders".into();
        if let Ok(server) = &mut connection.state {
            server.facts.truncate(0);
            server.databases = (0..10_000).map(database).collect();
        }
        let told = AgentMessage::Inventory(vec![connection]);
        assert_eq!(told.clone().bounded(), told);
    }

    #[test]
    fn what_becomes_longer_as_it_is_kept_is_counted_as_that() {
        // Six bytes each in JSON.
        let problem = "\u{1}".repeat(4_000);
        let connection = Connection {
            state: Err(problem),
            ..server(0)
        };
        let AgentMessage::Inventory(kept) =
            AgentMessage::Inventory(vec![connection; 256]).bounded()
        else {
            panic!("it is still an inventory");
        };
        assert!((10..256).contains(&kept.len()), "{}", kept.len());
        let bytes = serde_json::to_vec(&kept).unwrap().len();
        assert!(bytes <= INVENTORY + 2, "{bytes} bytes");
    }

    fn report(outcome: Result<Outcome, Failure>) -> Report {
        let attempt = AttemptRef {
            job: JobId(Uuid::nil()),
            attempt: 1,
        };
        let warning = Warning {
            code: WarningCode::Unreadable,
            path: vec![b'p'; 100_000].into(),
            cause: "ü".repeat(100_000),
            accepted: false,
        };
        Report {
            report_id: Uuid::nil(),
            attempt,
            outcome,
            warnings: vec![warning],
            warning_count: u64::MAX,
            peak_resident_bytes: u64::MAX,
            duration_ms: u64::MAX,
        }
    }

    #[test]
    fn texts_end_at_a_character_and_figures_where_sums_still_hold() {
        let failure = Failure {
            code: FailureCode::Internal,
            message: format!("x{}", "ü".repeat(100_000)),
            retryable: true,
        };
        let AgentMessage::Report(kept) = AgentMessage::Report(report(Err(failure))).bounded()
        else {
            panic!("it is still a report");
        };
        let message = kept.outcome.unwrap_err().message;
        assert_eq!(message.len(), PAGE - 1);
        assert_eq!(kept.warnings[0].cause.len(), LINE);
        assert_eq!(kept.warnings[0].path.len(), LINE);

        let most = u64::MAX;
        let result = BackupOutcome {
            snapshot: ObjectId([1; 32]),
            files: most,
            directories: most,
            files_unmodified: most,
            bytes_read: most,
            bytes_total: most,
            bytes_new: most,
            bytes_stored: most,
            blobs_new: most,
            packs_new: most,
            cluster: None,
            partial: false,
        };
        let told = AgentMessage::Report(report(Ok(Outcome::Backup(result))));
        let AgentMessage::Report(kept) = told.bounded() else {
            panic!("it is still a report");
        };
        let shown = format!("{kept:?}");
        assert!(!shown.contains(&most.to_string()), "{shown}");
        assert_eq!(kept.duration_ms, MAX_FIGURE);
    }
}
