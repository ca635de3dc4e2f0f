//! One agent per state directory: two under one identity would each be taken
//! for a thief by the coordinator.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

const FILE: &str = "lock";

/// Held for as long as the agent runs.
#[derive(Debug)]
pub struct StateLock(#[expect(dead_code, reason = "what counts is when it is dropped")] File);

/// The state directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "another strongroom-agent{pid} runs on {directory}: stop that one first (`systemctl stop \
         strongroom-agent`), or give this one its own state_dir and enrol it"
    )]
    InUse {
        /// Which.
        directory: PathBuf,
        /// ` (process N)`, where it is known.
        pid: String,
    },
    /// The operating system's answer.
    #[error("cannot lock the state directory: {path}: {source}")]
    Io {
        /// The lock.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl StateLock {
    /// Takes the state directory until dropped, or until the process ends,
    /// however it does.
    pub fn take(state: &Path) -> Result<Self, LockError> {
        let path = state.join(FILE);
        let failed = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::InUse {
                    directory: state.to_owned(),
                    pid: holder(&path),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self(file))
    }
}

/// What the holder wrote, if it is a number.
fn holder(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim()
        .parse::<u32>()
        .map_or_else(|_| String::new(), |pid| format!(" (process {pid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_and_told_of_the_first() {
        let state = tempfile::tempdir().unwrap();
        let first = StateLock::take(state.path()).unwrap();
        let refused = StateLock::take(state.path()).unwrap_err().to_string();
        let pid = format!("(process {})", std::process::id());
        assert!(refused.contains(&pid), "{refused}");
        assert!(refused.contains("stop that one first"), "{refused}");
        drop(first);
        StateLock::take(state.path()).unwrap();
    }
}
