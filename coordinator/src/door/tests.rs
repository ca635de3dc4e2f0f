//! Visits, and connections over real TLS.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use rustls::pki_types::ServerName;
use strongroom_runtime::{
    clock::{Clock as _, SystemClock},
    pki::{CertificateAuthority, Validity, tls},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Limits, testing::visit, visit::Over};
use crate::http::server::ApiServer;

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_mins(1);

fn limits() -> Limits {
    Limits {
        stranger_life: LONG,
        idle: LONG,
        ..Limits::of(16, 4)
    }
}

#[tokio::test]
async fn a_stranger_has_to_leave_however_busy_it_is() {
    let visit = visit(
        "192.0.2.1",
        Limits {
            stranger_life: SHORT,
            ..limits()
        },
    );
    let _busy = visit.request();
    assert_eq!(visit.over().await, Over::Stranger);
}

#[tokio::test]
async fn a_known_caller_has_to_leave_when_it_is_idle_and_not_before() {
    let limits = Limits {
        stranger_life: LONG,
        idle: SHORT,
        ..limits()
    };
    let (idle, busy) = (visit("192.0.2.1", limits), visit("192.0.2.2", limits));
    assert!(idle.recognise("one") && busy.recognise("other"));
    let answering = busy.request();
    tokio::select! {
        biased;
        over = busy.over() => panic!("{over}"),
        over = idle.over() => assert_eq!(over, Over::Idle),
    }
    drop(answering);
    assert_eq!(busy.over().await, Over::Idle);
}

#[tokio::test]
async fn a_known_caller_has_to_leave_when_its_request_takes_too_long() {
    let visit = visit("192.0.2.1", limits());
    assert!(visit.recognise("one"));
    let first = visit.request();
    visit.answer_by(tokio::time::Instant::now());
    assert_eq!(visit.over().await, Over::Slow);
    drop(first);
    let _second = visit.request();
    visit.answer_by(tokio::time::Instant::now() + LONG);
    tokio::select! {
        biased;
        over = visit.over() => panic!("{over}"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn a_stranger_that_asks_too_much_has_to_leave() {
    let limits = Limits {
        stranger_requests: 2,
        ..limits()
    };
    let (stranger, known) = (visit("192.0.2.1", limits), visit("192.0.2.1", limits));
    assert!(known.recognise("agent"));
    for _ in 0..3 {
        let _ = stranger.request();
        let _ = known.request();
    }
    tokio::select! {
        biased;
        over = known.over() => panic!("{over}"),
        over = stranger.over() => assert_eq!(over, Over::Dismissed),
    }
}

/// A server that answers `/` and `/slow`, which never ends.
struct Server {
    address: std::net::SocketAddr,
    ca_pem: String,
    _stop: DropGuard,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let (ca, _) = CertificateAuthority::create(SystemClock.now()).unwrap();
        let validity = Validity::starting(SystemClock.now(), jiff::SignedDuration::from_hours(1));
        let key = ca.issue_server(&["127.0.0.1".into()], validity).unwrap();
        let identity = tls::ServerIdentity::new(key).unwrap();
        let config = tls::server_config(&identity, tls::ALPN_HTTP).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let server = ApiServer::bind(any, config, limits).await.unwrap();
        let address = server.address();
        let stop = CancellationToken::new();
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/slow", get(std::future::pending::<&'static str>));
        tokio::spawn(server.serve(router, stop.clone()));
        Self {
            address,
            ca_pem: ca.certificate_pem().to_owned(),
            _stop: stop.drop_guard(),
        }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let config = tls::client_config(&self.ca_pem, &[b"http/1.1"]).unwrap();
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::from(self.address.ip());
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, tcp).await.unwrap()
    }
}

/// Asks for a path and gives what comes until the answer's text.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

/// Waits for the other side to close.
async fn closed(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut rest = Vec::new();
    // Closed in order or not: what counts is that it ends.
    let _ = stream.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn connections_that_say_nothing_or_no_more_are_closed() {
    let server = Server::start(Limits {
        handshake: SHORT,
        ..limits()
    })
    .await;
    closed(TcpStream::connect(server.address).await.unwrap()).await;

    // Long enough for a handshake and a question.
    let server = Server::start(Limits {
        stranger_life: Duration::from_secs(2),
        ..limits()
    })
    .await;
    let silent = async { closed(server.connect().await).await };
    let done = async {
        let mut stream = server.connect().await;
        assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
        closed(stream).await;
    };
    let waiting = async {
        let mut stream = server.connect().await;
        let request = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        closed(stream).await;
    };
    tokio::join!(silent, done, waiting);
}

#[tokio::test]
async fn whoever_hangs_gives_way_to_whoever_comes() {
    let server = Server::start(limits()).await;
    let mut hanging = Vec::new();
    for _ in 0..50 {
        hanging.push(TcpStream::connect(server.address).await.unwrap());
        hanging.push(server.connect().await.into_inner().0);
    }
    let mut stream = server.connect().await;
    assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
    // Three places are held by the last of them; all others were closed.
    hanging.truncate(hanging.len() - 4);
    for stream in hanging {
        closed(stream).await;
    }
}
