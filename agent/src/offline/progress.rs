//! A progress bar, on a terminal only.

use std::{
    io::IsTerminal,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{runtime::Handle, task::spawn_blocking};

use super::{Output, Session};
use crate::monitor::Monitor;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(200);

const KNOWN: &str = "{msg:<12} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}";
const UNKNOWN: &str = "{msg:<12} {spinner} {bytes} {bytes_per_sec} {elapsed}";

/// Runs what blocks on a thread of its own and shows how far it is.
pub(super) async fn watch<T: Send + 'static>(
    session: &Session,
    output: Output,
    work: impl FnOnce(Handle, Arc<Monitor>) -> T + Send + 'static,
) -> anyhow::Result<T> {
    let monitor = session.monitor.clone();
    let (runtime, for_work) = (Handle::current(), monitor.clone());
    let mut running = spawn_blocking(move || work(runtime, for_work));
    if output == Output::Json || !std::io::stderr().is_terminal() {
        return Ok(running.await?);
    }
    let bar = ProgressBar::new(0);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            done = &mut running => {
                bar.finish_and_clear();
                return Ok(done?);
            }
            _ = ticks.tick() => show(&bar, &monitor),
        }
    }
}

fn show(bar: &ProgressBar, monitor: &Monitor) {
    let total = monitor.total_bytes.load(Relaxed);
    let template = if total == 0 { UNKNOWN } else { KNOWN };
    // The templates are ours, and right.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_length(total);
    bar.set_message(monitor.stage());
    bar.set_position(monitor.bytes.load(Relaxed));
}
