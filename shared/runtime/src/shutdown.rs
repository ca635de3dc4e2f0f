//! Orderly shutdown: a soft token asks, tracked tasks finish, a second signal
//! or a time-out pulls the hard token, and the exit says which it was.

use std::{future::Future, io::IsTerminal, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by everything that runs in the background.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

/// How the shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every task finished by itself.
    Cleanly,
    /// Some had to be cut off.
    Forced,
}

/// SIGINT and SIGTERM from the moment on that this is made, and SIGHUP where it says
/// that the terminal is gone. Make it before anything begins that should end in order:
/// until then each of them kills.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

/// Whether the program was started by hand. Then SIGHUP says that the terminal was
/// closed, and ends it; a service has no terminal, and reads its configuration again.
fn is_by_hand() -> bool {
    std::io::stdin().is_terminal()
}

fn hangup() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// The next one of a signal that may not be listened for.
async fn next_of(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

impl Signals {
    /// Must be called within a runtime.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: is_by_hand().then(hangup).transpose()?,
        })
    }

    /// The next of them.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = next_of(&mut self.hangup) => {}
        }
    }
}

/// SIGHUP from the moment on that this is made: somebody wants the configuration read
/// again. Until then it kills. None come to a program that was started at a terminal:
/// there it is one of [`Signals`].
#[derive(Debug)]
pub struct Reloads(Option<Signal>);

impl Reloads {
    /// Must be called within a runtime.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self((!is_by_hand()).then(hangup).transpose()?))
    }

    /// The next one.
    pub async fn next(&mut self) {
        next_of(&mut self.0).await;
    }
}

impl Shutdown {
    /// Nothing asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when work should come to its end.
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when work must stop where it is.
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Asks everything to end.
    pub fn request(&self) {
        self.soft.cancel();
    }

    /// Runs a task that the shutdown waits for. At the hard token it is
    /// dropped where it stands.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hard = self.hard();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = hard.cancelled() => {}
            }
        });
    }

    /// Waits for a signal or [`Shutdown::request`], then for the tasks: at most
    /// `grace`, or until a second signal.
    pub async fn wait(&self, mut signals: Signals, grace: Duration) -> Ended {
        tokio::select! {
            () = signals.next() => {}
            () = self.soft.cancelled() => {}
        }
        self.soft.cancel();
        self.tasks.close();
        let ended = tokio::select! {
            () = self.tasks.wait() => Ended::Cleanly,
            () = signals.next() => Ended::Forced,
            () = tokio::time::sleep(grace) => Ended::Forced,
        };
        if ended == Ended::Forced {
            self.hard.cancel();
            self.tasks.wait().await;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signals() -> Signals {
        Signals::listen().unwrap()
    }

    #[tokio::test]
    async fn tasks_that_heed_the_soft_token_end_cleanly() {
        let shutdown = Shutdown::new();
        let soft = shutdown.soft();
        shutdown.spawn(async move { soft.cancelled().await });
        shutdown.request();
        let ended = shutdown.wait(signals(), Duration::from_mins(1)).await;
        assert_eq!(ended, Ended::Cleanly);
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_do_not_are_cut_off_after_the_grace() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending());
        shutdown.request();
        let ended = shutdown.wait(signals(), Duration::from_secs(5)).await;
        assert_eq!(ended, Ended::Forced);
    }
}
