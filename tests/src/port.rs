//! Ports for programs that must be told theirs.

use std::{
    env,
    fs::{self, File, TryLockError},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the range that the kernel hands out for outgoing connections, so
/// that no connection of another test can sit on a leased port.
const FIRST: u16 = 12_000;
const COUNT: u16 = 7_000;

/// A port on 127.0.0.1 that no other test takes while this lives: programs
/// can be stopped and started on it again.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Leases a free port.
    ///
    /// # Panics
    /// When there is none.
    pub fn lease() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let user = rustix::process::geteuid().as_raw();
        let directory = env::temp_dir().join(format!("strongroom-test-ports-{user}"));
        fs::create_dir_all(&directory).expect("the port locks' directory can be made");

        // Runs of the suite side by side begin at different ports.
        let offset = (std::process::id() % u32::from(COUNT)) as u16;
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(offset);
            let number = FIRST + step % COUNT;
            let lock = File::create(directory.join(number.to_string()))
                .expect("a port's lock file can be made");
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => panic!("a port cannot be locked: {error}"),
            }
            // A socket that listened on it for a moment could be inherited by a
            // program that another thread starts, and be in the way for longer.
            if TcpStream::connect((Ipv4Addr::LOCALHOST, number)).is_err() {
                return Self {
                    number,
                    _lock: lock,
                };
            }
        }
        panic!("no free port from {FIRST} to {}", FIRST + COUNT);
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1` with it.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}
