//! `strongroom-agent wal push`: what a server's `archive_command` runs.
//!
//! It reads nothing of the log: it tells the agent which file there is, waits,
//! and says to the server whether it is archived. The server runs one for each
//! segment and waits for it, so it starts no threads.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::message::{Answer, LONGEST, Request, line};

/// Why a file is not known to be archived: the server must keep it.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Not a file of a log.
    #[error("{path} is no file that can be pushed: {cause}; archive_command gives it as %p", path = .path.display())]
    Path {
        /// As given.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// No agent answers.
    #[error(
        "no agent answers at {}: {source}; does strongroom-agent run on this host, and does \
         [wal] socket in its agent.toml name this place?",
        .socket.display()
    )]
    NoAgent {
        /// Where.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It takes too long.
    #[error("{file} is not archived yet after {seconds} s: the server will ask again")]
    Late {
        /// Its name.
        file: String,
        /// As long as was waited.
        seconds: u64,
    },
    /// The connection broke.
    #[error("the agent hung up before {file} was archived: {source}")]
    HungUp {
        /// Its name.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The agent says no.
    #[error("{file} is not archived: {cause}")]
    Refused {
        /// Its name.
        file: String,
        /// In the agent's words.
        cause: String,
    },
}

/// Has the agent archive a file of a log, and waits until that is done.
pub fn push(path: &Path, socket: &Path, patience: Duration) -> Result<(), PushError> {
    let request = request(path)?;
    let file = request.file.clone();
    let no_agent = |source| PushError::NoAgent {
        socket: socket.to_owned(),
        source,
    };
    let mut stream = UnixStream::connect(socket).map_err(no_agent)?;
    stream.set_read_timeout(Some(patience)).map_err(no_agent)?;
    stream.write_all(&line(&request)).map_err(no_agent)?;
    let mut said = String::new();
    let read = BufReader::new(stream).take(LONGEST).read_line(&mut said);
    let answer = match read {
        Ok(_) => serde_json::from_str(&said).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let seconds = patience.as_secs();
            return Err(PushError::Late { file, seconds });
        }
        Err(error) => Err(error),
    };
    match answer {
        Ok(Answer::Archived) => Ok(()),
        Ok(Answer::Failed(cause)) => Err(PushError::Refused { file, cause }),
        Err(source) => Err(PushError::HungUp { file, source }),
    }
}

fn request(path: &Path) -> Result<Request, PushError> {
    let refused = |cause: String| PushError::Path {
        path: path.to_owned(),
        cause,
    };
    let file = path.file_name().and_then(|name| name.to_str());
    let file = file.ok_or_else(|| refused("it has no name in UTF-8".into()))?;
    let above = match path.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    let directory = above
        .canonicalize()
        .map_err(|error| refused(error.to_string()))?;
    if directory.to_str().is_none() {
        return Err(refused("its directory's path is not UTF-8".into()));
    }
    Ok(Request {
        directory,
        file: file.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use strongroom_tests::scratch::Scratch;

    use super::*;

    /// An agent that says this, and gives what it was asked.
    fn agent(scratch: &Scratch, says: &'static [u8]) -> thread::JoinHandle<Request> {
        let listener = UnixListener::bind(scratch.join("socket")).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(says).unwrap();
            serde_json::from_str(&line).unwrap()
        })
    }

    fn pushed(scratch: &Scratch, patience: Duration) -> Result<(), String> {
        let path = scratch.dir("pg_wal").join("000000010000000000000002");
        push(&path, &scratch.join("socket"), patience).map_err(|error| error.to_string())
    }

    #[test]
    fn the_agent_is_told_where_a_file_really_lies() {
        let scratch = Scratch::new("push-client");
        let real = scratch.dir("elsewhere");
        std::os::unix::fs::symlink(&real, scratch.join("pg_wal")).unwrap();
        let agent = agent(&scratch, b"\"archived\"\n");
        assert_eq!(pushed(&scratch, Duration::from_secs(10)), Ok(()));
        let asked = agent.join().unwrap();
        assert_eq!(asked.directory, real.canonicalize().unwrap());
        assert_eq!(asked.file, "000000010000000000000002");
    }

    #[test]
    fn whatever_is_not_a_yes_is_a_no() {
        for (says, hears) in [
            (&b"{\"failed\":\"the store is on fire\"}\n"[..], "on fire"),
            (b"", "hung up"),
            (b"archived\n", "hung up"),
        ] {
            let scratch = Scratch::new("push-client");
            let agent = agent(&scratch, says);
            let error = pushed(&scratch, Duration::from_secs(10)).unwrap_err();
            assert!(error.contains(hears), "{error}");
            agent.join().unwrap();
        }
    }

    #[test]
    fn an_agent_that_is_not_there_or_says_nothing_is_named() {
        let scratch = Scratch::new("push-client");
        let error = pushed(&scratch, Duration::from_secs(1)).unwrap_err();
        assert!(error.contains("[wal] socket"), "{error}");
        let _silent = UnixListener::bind(scratch.join("socket")).unwrap();
        let error = pushed(&scratch, Duration::from_millis(10)).unwrap_err();
        assert!(error.contains("not archived yet"), "{error}");
    }

    #[test]
    fn a_path_that_is_none_is_refused() {
        let scratch = Scratch::new("push-client");
        for path in ["/", "nowhere/at/all", ".."] {
            let pushed = push(
                Path::new(path),
                &scratch.join("socket"),
                Duration::from_secs(1),
            );
            assert!(matches!(pushed, Err(PushError::Path { .. })), "{path}");
        }
    }
}
