//! A TCP connection that a test can cut.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use tokio::{
    io::copy_bidirectional,
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::watch,
};

/// Passes bytes on between clients and one server, until it is cut.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    /// Counts the cuts; `None` while the cable is out.
    state: watch::Sender<Option<u64>>,
    cuts: u64,
    _runtime: Runtime,
}

impl Cable {
    /// A cable to `server`, listening on a free port.
    pub fn to(server: SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.set_nonblocking(true).expect("sockets can be set");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let state = watch::Sender::new(Some(0));
        let watched = state.clone();
        runtime.spawn(async move {
            let listener =
                tokio::net::TcpListener::from_std(listener).expect("the runtime takes the socket");
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, server, watched.subscribe()));
            }
        });
        Self {
            address,
            state,
            cuts: 0,
            _runtime: runtime,
        }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets every connection; new ones are possible at once.
    pub fn cut(&mut self) {
        self.cuts += 1;
        self.state.send_replace(Some(self.cuts));
    }

    /// Resets every connection and refuses new ones until [`Self::plug`].
    pub fn unplug(&mut self) {
        self.state.send_replace(None);
    }

    /// Lets connections through again.
    pub fn plug(&mut self) {
        self.cut();
    }
}

async fn relay(
    mut client: TcpStream,
    server: SocketAddr,
    mut state: watch::Receiver<Option<u64>>,
) -> io::Result<()> {
    if state.borrow_and_update().is_some() {
        let mut server = TcpStream::connect(server).await?;
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        tokio::select! {
            // One end closed it.
            ended = copy_bidirectional(&mut client, &mut server) => return ended.map(drop),
            // Cut, or the cable is gone.
            _cut = state.changed() => server.set_zero_linger()?,
        }
    }
    client.set_zero_linger()
}
