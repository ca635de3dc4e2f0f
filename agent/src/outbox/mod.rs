//! Reports on disk until the coordinator has acknowledged them.
//!
//! One file per report, `outbox/<report id>.json`, written atomically and
//! synced: a report survives a crash of the agent and an absent coordinator.
//! A file that cannot be read is set aside as `<name>.damaged` and never
//! stops the agent: the coordinator fences an attempt that nobody reports.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use strongroom_layout::AttemptRef;
use strongroom_runtime::files::{self, FileError};
use strongroom_wire::job::Report;
use tokio::sync::watch;
use uuid::Uuid;

const DIRECTORY: &str = "outbox";
const SUFFIX: &str = "json";

/// The reports that wait. Cheap to share.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    waiting: Mutex<BTreeMap<Uuid, Waiting>>,
    /// The number of changes so far.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Waiting {
    attempt: AttemptRef,
    /// Only when it could not be written.
    unwritten: Option<Report>,
}

impl Outbox {
    /// Opens the outbox in the state directory and finds what waits there.
    /// Blocks on the file system.
    pub fn open(state: &Path) -> Result<Self, FileError> {
        let directory = state.join(DIRECTORY);
        files::create_private_dir(&directory)?;
        let mut waiting = BTreeMap::new();
        let entries = fs::read_dir(&directory)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(|source| FileError::Io {
                action: "list",
                path: directory.clone(),
                source,
            })?;
        for entry in entries {
            let path = entry.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(SUFFIX) => match read(&path) {
                    Ok(report) => {
                        let attempt = report.attempt;
                        let unwritten = None;
                        waiting.insert(report.report_id, Waiting { attempt, unwritten });
                    }
                    Err(problem) => set_aside(&path, &problem),
                },
                // A crash between writing and renaming: it was never a report.
                Some("tmp") => drop(fs::remove_file(&path)),
                _ => {}
            }
        }
        Ok(Self(Arc::new(Inner {
            directory,
            waiting: Mutex::new(waiting),
            changes: watch::Sender::new(0),
        })))
    }

    /// Keeps a report until it is acknowledged. On a full disk it is kept in
    /// memory, which is better than not at all. Blocks on the file system.
    pub fn put(&self, report: &Report) {
        let path = self.path(report.report_id);
        let written = serde_json::to_vec(report)
            .map_err(|error| error.to_string())
            .and_then(|json| {
                files::write_atomic(&path, &json, files::SECRET).map_err(|e| e.to_string())
            });
        if let Err(problem) = &written {
            tracing::error!(attempt = %report.attempt, %problem,
                "a report could not be written and would not survive a crash");
        }
        let waiting = Waiting {
            attempt: report.attempt,
            unwritten: written.is_err().then(|| report.clone()),
        };
        self.0.waiting.lock().insert(report.report_id, waiting);
        self.note_change();
    }

    /// Forgets a report that the coordinator has. Blocks on the file system.
    pub fn acknowledge(&self, report: Uuid) {
        if self.0.waiting.lock().remove(&report).is_none() {
            return;
        }
        let path = self.path(report);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error,
                    "an acknowledged report could not be removed and will be sent again");
            }
            _ => {}
        }
        self.note_change();
    }

    /// The reports that wait, by id.
    pub fn waiting(&self) -> Vec<(Uuid, AttemptRef)> {
        let waiting = self.0.waiting.lock();
        waiting
            .iter()
            .map(|(id, report)| (*id, report.attempt))
            .collect()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.waiting.lock().is_empty()
    }

    /// Reads one report; `None` when it was acknowledged meanwhile, or was
    /// damaged and has been set aside. Blocks on the file system.
    pub fn load(&self, report: Uuid) -> Option<Report> {
        match self.0.waiting.lock().get(&report) {
            None => return None,
            Some(Waiting {
                unwritten: Some(report),
                ..
            }) => return Some(report.clone()),
            Some(_) => {}
        }
        let path = self.path(report);
        match read(&path) {
            Ok(report) => Some(report),
            Err(problem) => {
                if self.0.waiting.lock().remove(&report).is_some() {
                    set_aside(&path, &problem);
                    self.note_change();
                }
                None
            }
        }
    }

    /// Changes whenever a report comes or goes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn note_change(&self) {
        self.0.changes.send_modify(|changes| *changes += 1);
    }

    fn path(&self, report: Uuid) -> PathBuf {
        self.0.directory.join(format!("{report}.{SUFFIX}"))
    }
}

fn read(path: &Path) -> Result<Report, String> {
    let text = files::read_text(path).map_err(|error| error.to_string())?;
    let report: Report = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let name = path.file_stem().and_then(|stem| stem.to_str());
    if name != Some(report.report_id.to_string().as_str()) {
        return Err(format!("it holds report {}", report.report_id));
    }
    Ok(report)
}

fn set_aside(path: &Path, problem: &str) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    match fs::rename(path, &aside) {
        Ok(()) => tracing::warn!(path = %path.display(), problem,
            "a damaged report was set aside; its attempt will be tried again"),
        Err(error) => tracing::warn!(path = %path.display(), problem, %error,
            "a damaged report could not be set aside"),
    }
}

#[cfg(test)]
mod tests;
