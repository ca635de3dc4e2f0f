//! The flow: how many bytes are on their way to the store at once.
//!
//! What is under way when a run is cancelled or killed is lost and sent again.
//! So no more is under way than the link brings through in some 20 seconds, as
//! it was measured, and packs are closed while they are small where the link is
//! slow. Until the first pack has arrived nothing is known, and it goes alone;
//! on a fast link that is soon, and from then on the buffers are the bound.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

const MIB: usize = 1 << 20;

/// As much as the link brings through in this time may be under way; a single
/// pack always may.
const UNDER_WAY: f64 = 20.0;
/// A pack is closed when it would take longer than this, in seconds. So there is
/// room for as many packs as there are buffers by default: a store far away
/// brings a connection's share through each of them, and the measured rate is
/// the sum.
const PACK: f64 = UNDER_WAY / 8.0;
/// A pack of which nobody knows how long it will take, and the smallest that a
/// slow link makes.
const FIRST_PACK: usize = 4 * MIB;
const LEAST_PACK: usize = MIB;
/// A rate is known when so much has arrived, in bytes, …
const ENOUGH: f64 = MIB as f64;
/// … or when so many seconds were spent on what has.
const LONG: f64 = 10.0;
/// Seconds of which the measurement is; what is older counts less and less.
const MEMORY: f64 = 30.0;

/// Lets uploads begin.
#[derive(Debug)]
pub(super) struct Flow {
    measured: Mutex<Measured>,
    /// Bytes of a pack, by the last measurement.
    pack: AtomicUsize,
    left: Notify,
}

/// The link, as far as it is known.
#[derive(Debug, Default)]
struct Measured {
    /// Uploads under way, and their bytes.
    count: usize,
    under_way: u64,
    /// Bytes that arrived, and seconds in which any were under way; both fade.
    arrived: f64,
    busy: f64,
    /// Counted in `busy` up to here; none while nothing is under way.
    since: Option<Instant>,
}

/// An upload under way.
pub(super) struct Pass<'a> {
    flow: &'a Flow,
    bytes: u64,
    arrived: bool,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self {
            measured: Mutex::default(),
            pack: AtomicUsize::new(FIRST_PACK),
            left: Notify::new(),
        }
    }

    /// How large a pack may become that is never larger than `most`, in bytes.
    pub(super) fn pack(&self, most: usize) -> usize {
        self.pack.load(Relaxed).min(most)
    }

    /// Waits until an upload of `bytes` may begin.
    pub(super) async fn enter(&self, bytes: u64) -> Pass<'_> {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // From here on none is missed.
            left.as_mut().enable();
            {
                let (now, mut measured) = (Instant::now(), self.measured.lock());
                if measured.has_room(now, bytes) {
                    measured.enter(now, bytes);
                    return Pass {
                        flow: self,
                        bytes,
                        arrived: false,
                    };
                }
            }
            left.await;
        }
    }

    /// As if a link of this many bytes per second had been measured.
    #[cfg(test)]
    pub(super) fn assume(&self, rate: f64) {
        let mut measured = self.measured.lock();
        measured.busy += MEMORY;
        measured.arrived += rate * MEMORY;
        self.pack.store(usize::MAX, Relaxed);
    }
}

impl Pass<'_> {
    /// It is in the store.
    pub(super) fn arrived(mut self) {
        self.arrived = true;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut measured = self.flow.measured.lock();
        measured.leave(now, self.bytes, self.arrived);
        let pack = measured.pack();
        drop(measured);
        self.flow.pack.store(pack, Relaxed);
        self.flow.left.notify_waiters();
    }
}

impl Measured {
    fn has_room(&self, now: Instant, bytes: u64) -> bool {
        let within = |rate: f64| (self.under_way + bytes) as f64 <= rate * UNDER_WAY;
        self.count == 0 || self.rate(now).is_some_and(within)
    }

    fn enter(&mut self, now: Instant, bytes: u64) {
        self.since.get_or_insert(now);
        self.count += 1;
        self.under_way += bytes;
    }

    fn leave(&mut self, now: Instant, bytes: u64, arrived: bool) {
        self.busy += self.running(now);
        self.count -= 1;
        self.under_way -= bytes;
        self.since = (self.count > 0).then_some(now);
        if arrived {
            self.arrived += bytes as f64;
        }
        if self.busy > MEMORY {
            let keep = MEMORY / 2.0 / self.busy;
            self.busy *= keep;
            self.arrived *= keep;
        }
    }

    /// Seconds that are not in `busy` yet.
    fn running(&self, now: Instant) -> f64 {
        let running = self.since.map(|since| now.saturating_duration_since(since));
        running.unwrap_or(Duration::ZERO).as_secs_f64()
    }

    /// Bytes per second; `None` while it is not known.
    fn rate(&self, now: Instant) -> Option<f64> {
        let busy = self.busy + self.running(now);
        let known = self.arrived >= ENOUGH || (self.arrived > 0.0 && busy >= LONG);
        known.then(|| self.arrived / busy.max(1e-6))
    }

    /// Bytes of a pack.
    fn pack(&self) -> usize {
        let known = self.arrived >= ENOUGH || (self.arrived > 0.0 && self.busy >= LONG);
        if !known {
            return FIRST_PACK;
        }
        ((self.arrived / self.busy.max(1e-6) * PACK) as usize).max(LEAST_PACK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK_BYTES: u64 = 4 << 20;

    /// A link of `rate` bytes per second that has brought one pack through.
    fn measured(rate: f64) -> (Measured, Instant) {
        let start = Instant::now();
        let mut measured = Measured::default();
        assert!(measured.has_room(start, PACK_BYTES));
        measured.enter(start, PACK_BYTES);
        assert!(!measured.has_room(start, 1), "the first one goes alone");
        let end = start + Duration::from_secs_f64(PACK_BYTES as f64 / rate);
        measured.leave(end, PACK_BYTES, true);
        (measured, end)
    }

    /// Packs that begin at once on a link of this rate.
    fn at_once(rate: f64) -> u64 {
        let (mut measured, now) = measured(rate);
        let mut count = 0;
        while count < 1000 && measured.has_room(now, PACK_BYTES) {
            measured.enter(now, PACK_BYTES);
            count += 1;
        }
        count
    }

    #[test]
    fn a_slow_link_takes_one_and_a_fast_one_as_many_as_there_are() {
        assert_eq!(at_once(64_000.0), 1);
        assert_eq!(at_once(250_000.0), 1);
        // 20 MB in 20 s: four of 4 MiB.
        assert_eq!(at_once(1_000_000.0), 4);
        assert!(at_once(100_000_000.0) > 400);
    }

    #[test]
    fn packs_are_small_on_slow_links_only() {
        let pack = |rate| measured(rate).0.pack();
        assert_eq!(Measured::default().pack(), FIRST_PACK);
        assert_eq!(pack(10_000.0), LEAST_PACK);
        assert_eq!(pack(1_000_000.0), 2_500_000);
        assert!(pack(10_000_000.0) > 16 * MIB);
    }

    /// Packs under way in the end, and their bytes, where every connection has a
    /// rate of its own, however many there are.
    fn connections(rate: f64, buffers: usize, most: usize) -> usize {
        let mut measured = Measured::default();
        let mut now = Instant::now();
        let mut ends: Vec<(Instant, u64)> = Vec::new();
        let mut reached = 0;
        for _ in 0..400 {
            while ends.len() < buffers {
                let bytes = measured.pack().min(most) as u64;
                if !measured.has_room(now, bytes) {
                    break;
                }
                measured.enter(now, bytes);
                ends.push((now + Duration::from_secs_f64(bytes as f64 / rate), bytes));
            }
            reached = ends.len();
            ends.sort_unstable();
            let (end, bytes) = ends.remove(0);
            now = end;
            measured.leave(now, bytes, true);
        }
        reached
    }

    #[test]
    fn slow_connections_of_a_wide_link_are_all_used() {
        for rate in [200_000.0, 500_000.0, 800_000.0, 2_000_000.0, 20_000_000.0] {
            assert_eq!(connections(rate, 7, 16 * MIB), 7, "{rate}");
        }
    }

    #[test]
    fn pauses_of_the_source_do_not_count_and_the_past_fades() {
        let (mut measured, end) = measured(1_000_000.0);
        let later = end + Duration::from_hours(1);
        let rate = measured.rate(later).unwrap();
        assert!((rate - 1_000_000.0).abs() < 1.0, "{rate}");
        // Now it is ten times slower.
        let mut now = later;
        for _ in 0..10 {
            measured.enter(now, PACK_BYTES);
            now += Duration::from_secs_f64(PACK_BYTES as f64 / 100_000.0);
            measured.leave(now, PACK_BYTES, true);
        }
        let rate = measured.rate(now).unwrap();
        assert!((90_000.0..130_000.0).contains(&rate), "{rate}");
        // One that hangs makes it slower with every second.
        measured.enter(now, PACK_BYTES);
        let hanging = measured.rate(now + Duration::from_mins(2)).unwrap();
        assert!(hanging < rate / 2.0, "{hanging}");
    }

    #[test]
    fn what_did_not_arrive_took_its_time() {
        let (mut measured, end) = measured(1_000_000.0);
        measured.enter(end, PACK_BYTES);
        measured.leave(end + Duration::from_secs(4), PACK_BYTES, false);
        let rate = measured.rate(end).unwrap();
        assert!(rate < 600_000.0, "{rate}");
        assert_eq!((measured.count, measured.under_way), (0, 0));
    }
}
