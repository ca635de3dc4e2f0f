//! A hostile agent: really enrolled, speaking gRPC by hand, asking for what
//! it must not have.
//!
//! It works with the generated types, so that it can send what the programs'
//! own types cannot express.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use sha2::{Digest as _, Sha256};
use strongroom_proto::v1::{
    self, agent_gateway_client::AgentGatewayClient, agent_message, coordinator_message,
    enrolment_client::EnrolmentClient,
};
use strongroom_runtime::pki::{new_key_and_request, tls};
use strongroom_wire::identity::JoinToken;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::{operator::text, program::PATIENCE};

/// Certificate, key and trust of an enrolled agent, all PEM.
#[derive(Clone)]
pub struct Credentials {
    /// The authority that is trusted.
    pub ca: String,
    /// Leaf first.
    pub chain: String,
    /// Of the leaf.
    pub key: String,
}

/// An agent that this test plays itself.
pub struct Rogue {
    runtime: Runtime,
    gateway: AgentGatewayClient<Channel>,
    credentials: Credentials,
    /// UUID that the coordinator gave.
    pub id: String,
}

/// An open session of a [`Rogue`]; it ends when dropped.
pub struct Session {
    sender: mpsc::Sender<v1::AgentMessage>,
    stream: Streaming<v1::CoordinatorMessage>,
    /// Signs of life whose answers have not been read.
    unanswered: usize,
}

impl Rogue {
    /// Enrols with a join token and connects.
    pub fn enrol(coordinator: SocketAddr, token: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let token: JoinToken = token.parse().expect("the coordinator's own token");
        let (key, csr_pem) = new_key_and_request().expect("a key can be made");
        let pinned = HEXLOWER.encode(&token.ca_fingerprint);
        let pinned = pinned.parse().expect("a fingerprint");
        let trust = tls::enrolment_client_config(pinned).expect("a configuration");
        let response = runtime.block_on(async {
            let channel = connect(coordinator, trust).await.expect("a connection");
            let request = v1::EnrolRequest {
                token_id: token.id.clone(),
                token_secret: token.secret.to_string(),
                csr_pem,
                hostname: "rogue".into(),
                agent_version: "0".into(),
            };
            let response = EnrolmentClient::new(channel).enrol(request).await;
            response.expect("the token is good").into_inner()
        });
        let credentials = Credentials {
            ca: response.ca_pem,
            chain: response.certificate_pem,
            key: key.to_string(),
        };
        let gateway = runtime
            .block_on(gateway(coordinator, &credentials))
            .expect("the certificate is good");
        Self {
            runtime,
            gateway,
            credentials,
            id: response.agent_id,
        }
    }

    /// Connects with what a thief finds in an agent's `state_dir`.
    pub fn stolen(coordinator: SocketAddr, state_dir: &Path) -> Self {
        let identity = std::fs::read(state_dir.join("identity.json")).expect("an identity");
        let identity: serde_json::Value = serde_json::from_slice(&identity).expect("JSON");
        let text = |name: &str| text(&identity[name]);
        let credentials = Credentials {
            ca: text("ca_pem"),
            chain: text("certificate_pem"),
            key: text("key_pem"),
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let gateway = runtime
            .block_on(gateway(coordinator, &credentials))
            .expect("the certificate is good");
        Self {
            runtime,
            gateway,
            credentials,
            id: text("agent_id"),
        }
    }

    /// What it enrolled with.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Opens a session and waits for the coordinator's greeting.
    pub fn open_session(&self) -> Session {
        self.open_session_as(hello())
    }

    /// The same, with an introduction of the test's.
    pub fn open_session_as(&self, hello: v1::AgentHello) -> Session {
        let mut gateway = self.gateway.clone();
        self.within(async move { open_session(&mut gateway, hello).await })
            .expect("a session")
    }

    /// Sends whatever the test wants to say.
    pub fn say(&self, session: &Session, message: agent_message::Message) {
        assert!(self.within(send(session, message)), "the session stands");
    }

    /// Waits for the next job and accepts it.
    pub fn accept_job(&self, session: &mut Session) -> v1::JobOffer {
        self.within(async {
            loop {
                match next_alive(session).await.expect("the session stands") {
                    coordinator_message::Message::JobOffer(offer) => {
                        let accepted = v1::JobAccepted {
                            attempt: offer.attempt.clone(),
                        };
                        let accepted = agent_message::Message::JobAccepted(accepted);
                        assert!(send(session, accepted).await, "the session stands");
                        return offer;
                    }
                    _other => {}
                }
            }
        })
    }

    /// Sends a sign of life for an attempt and waits for the answer; returns
    /// whether the lease was renewed. It was not when the session has ended.
    pub fn heartbeat(&self, session: &mut Session, attempt: &v1::AttemptRef) -> bool {
        let heartbeat = v1::Heartbeat {
            running: vec![v1::Progress {
                attempt: Some(attempt.clone()),
                stage: "lurking".into(),
                ..v1::Progress::default()
            }],
            resident_bytes: 0,
            ..v1::Heartbeat::default()
        };
        self.within(async {
            if !send(session, agent_message::Message::Heartbeat(heartbeat)).await {
                return false;
            }
            let mut before = std::mem::take(&mut session.unanswered);
            while let Some(message) = next(session).await {
                if let coordinator_message::Message::HeartbeatAck(ack) = message {
                    if before == 0 {
                        return ack.renewed.contains(attempt);
                    }
                    before -= 1;
                }
            }
            false
        })
    }

    /// Waits until the coordinator ends the session; returns its goodbye if
    /// there was one.
    pub fn wait_for_end(&self, session: &mut Session) -> Option<v1::Goodbye> {
        self.within(async {
            let mut goodbye = None;
            while let Some(message) = next_alive(session).await {
                if let coordinator_message::Message::Goodbye(said) = message {
                    goodbye = Some(said);
                }
            }
            goodbye
        })
    }

    /// Asks for grants.
    pub fn sign(
        &self,
        attempt: &v1::AttemptRef,
        requests: Vec<v1::RequestToSign>,
    ) -> Result<Vec<v1::SignAnswer>, Status> {
        let mut gateway = self.gateway.clone();
        let request = v1::SignRequest {
            attempt: Some(attempt.clone()),
            requests,
        };
        self.within(async move { gateway.sign(request).await })
            .map(|response| response.into_inner().answers)
    }

    /// Asks for one grant and returns it, or the reason of the refusal.
    pub fn sign_one(
        &self,
        attempt: &v1::AttemptRef,
        request: v1::RequestToSign,
    ) -> Result<v1::Grant, String> {
        let mut answers = match self.sign(attempt, vec![request]) {
            Ok(answers) => answers,
            Err(status) => return Err(format!("{:?}: {}", status.code(), status.message())),
        };
        assert_eq!(answers.len(), 1);
        match answers.remove(0).answer.expect("an answer") {
            v1::sign_answer::Answer::Grant(grant) => Ok(grant),
            v1::sign_answer::Answer::Refusal(refusal) => Err(refusal.reason),
        }
    }

    /// Writes an object that it is granted; returns its id.
    pub fn write(&self, attempt: &v1::AttemptRef, kind: v1::ObjectKind, body: &[u8]) -> Vec<u8> {
        let request = put(kind, body);
        let id = request.sha256.clone();
        let grant = self.sign_one(attempt, request);
        let grant = grant.unwrap_or_else(|reason| panic!("refused: {reason}"));
        let (status, said) = self.s3(&grant.method, &grant.url, &grant.headers, body.to_vec());
        assert_eq!(status, 200, "{said}");
        id
    }

    /// Reports the end of an attempt and waits until that is acknowledged.
    pub fn report(&self, session: &mut Session, report: v1::Report) {
        let id = report.report_id.clone();
        self.within(async {
            let sent = send(session, agent_message::Message::Report(report)).await;
            assert!(sent, "the session stands");
            while let Some(message) = next_alive(session).await {
                if let coordinator_message::Message::ReportAck(ack) = message
                    && ack.report_id == id
                {
                    return;
                }
            }
            panic!("the session ended before the report was acknowledged");
        });
    }

    /// Asks to publish a snapshot.
    pub fn publish(&self, request: v1::PublishRequest) -> Result<v1::PublishResponse, Status> {
        let mut gateway = self.gateway.clone();
        self.within(async move { gateway.publish(request).await })
            .map(tonic::Response::into_inner)
    }

    /// Lists a directory of the attempt's repository: ids, hexadecimal.
    pub fn list(
        &self,
        attempt: &v1::AttemptRef,
        directory: v1::Directory,
    ) -> Result<Vec<String>, Status> {
        let mut gateway = self.gateway.clone();
        let request = v1::ListObjectsRequest {
            attempt: Some(attempt.clone()),
            directory: directory.into(),
            after: Vec::new(),
        };
        let answer = self.within(async move { gateway.list_objects(request).await })?;
        let objects = answer.into_inner().objects;
        Ok(objects.iter().map(|it| HEXLOWER.encode(&it.id)).collect())
    }

    /// Asks that locks be deleted.
    pub fn release_locks(&self, attempt: &v1::AttemptRef, ids: Vec<Vec<u8>>) -> Result<(), Status> {
        let mut gateway = self.gateway.clone();
        let request = v1::ReleaseLocksRequest {
            attempt: Some(attempt.clone()),
            ids,
        };
        self.within(async move { gateway.release_locks(request).await })
            .map(drop)
    }

    /// Says what it finds at its connections.
    pub fn tell_inventory(&self, session: &Session, connections: Vec<v1::Connection>) {
        let inventory = agent_message::Message::Inventory(v1::Inventory { connections });
        let sent = self.within(send(session, inventory));
        assert!(sent, "the session stands");
    }

    /// Enters a part of a log of which there is nothing in the store.
    pub fn record_wal(&self, attempt: &v1::AttemptRef) -> Result<v1::RecordWalResponse, Status> {
        let mut gateway = self.gateway.clone();
        let place = v1::WalPlace {
            system: 7,
            timeline: 1,
            start: 0,
            end: 100,
        };
        let request = v1::RecordWalRequest {
            attempt: Some(attempt.clone()),
            stored: vec![v1::StoredWal {
                place: Some(place),
                id: vec![1; 32],
                length: 100,
                ..v1::StoredWal::default()
            }],
            ..v1::RecordWalRequest::default()
        };
        self.within(async move { gateway.record_wal(request).await })
            .map(tonic::Response::into_inner)
    }

    /// Asks what is known of a log.
    pub fn archived_wal(
        &self,
        attempt: &v1::AttemptRef,
    ) -> Result<v1::ArchivedWalResponse, Status> {
        let mut gateway = self.gateway.clone();
        let request = v1::ArchivedWalRequest {
            attempt: Some(attempt.clone()),
            system: 7,
            ..v1::ArchivedWalRequest::default()
        };
        self.within(async move { gateway.archived_wal(request).await })
            .map(tonic::Response::into_inner)
    }

    /// Asks for a new certificate.
    pub fn renew(&self) -> Result<v1::RenewResponse, Status> {
        let mut gateway = self.gateway.clone();
        let (_, csr_pem) = new_key_and_request().expect("a key can be made");
        self.within(async move { gateway.renew(v1::RenewRequest { csr_pem }).await })
            .map(tonic::Response::into_inner)
    }

    /// Sends a request to S3, signed or not, and returns status and body.
    pub fn s3(
        &self,
        method: &str,
        url: &str,
        headers: &[v1::Header],
        body: Vec<u8>,
    ) -> (u16, String) {
        self.within(async {
            let client = reqwest::Client::builder()
                .tls_backend_preconfigured(
                    tls::client_config(&self.credentials.ca, tls::ALPN_HTTP)
                        .expect("a configuration"),
                )
                .no_proxy()
                .build()
                .expect("a client");
            let method = method.parse().expect("a method");
            let mut request = client.request(method, url);
            for header in headers {
                // The client computes the length itself.
                if !header.name.eq_ignore_ascii_case("content-length") {
                    request = request.header(&header.name, &header.value);
                }
            }
            let response = request.body(body).send().await.expect("S3 answers");
            let status = response.status().as_u16();
            (status, response.text().await.expect("a body"))
        })
    }

    fn within<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async {
            let patient = timeout(PATIENCE, work).await;
            patient.expect("the coordinator answers in time")
        })
    }
}

/// Tries to open a session with these credentials; returns why it failed.
pub fn try_session(coordinator: SocketAddr, credentials: &Credentials) -> Result<(), String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let mut gateway = gateway(coordinator, credentials).await?;
        let opened = timeout(PATIENCE, open_session(&mut gateway, hello())).await;
        opened
            .expect("the coordinator answers in time")
            .map(drop)
            .map_err(|status| format!("{:?}: {}", status.code(), status.message()))
    })
}

/// A request to write `body` as an object of this kind, named by its hash.
pub fn put(kind: v1::ObjectKind, body: &[u8]) -> v1::RequestToSign {
    let hash = Sha256::digest(body).to_vec();
    v1::RequestToSign {
        verb: v1::Verb::Put.into(),
        object: Some(object(kind, &hash)),
        length: body.len() as u64,
        sha256: hash,
        ..v1::RequestToSign::default()
    }
}

/// A request to read a part of an object, both ends included.
pub fn ask_part(kind: v1::ObjectKind, id: &[u8], (first, last): (u64, u64)) -> v1::RequestToSign {
    v1::RequestToSign {
        ranged: true,
        range_start: first,
        range_end: last,
        ..ask(v1::Verb::Get, kind, id)
    }
}

/// A request to read or delete an object.
pub fn ask(verb: v1::Verb, kind: v1::ObjectKind, id: &[u8]) -> v1::RequestToSign {
    v1::RequestToSign {
        verb: verb.into(),
        object: Some(object(kind, id)),
        ..v1::RequestToSign::default()
    }
}

fn object(kind: v1::ObjectKind, id: &[u8]) -> v1::ObjectName {
    v1::ObjectName {
        kind: kind.into(),
        id: id.to_vec(),
        wal: None,
    }
}

async fn gateway(
    coordinator: SocketAddr,
    credentials: &Credentials,
) -> Result<AgentGatewayClient<Channel>, String> {
    let Credentials { ca, chain, key } = credentials;
    let trust = tls::agent_client_config(ca, chain, key).map_err(|error| error.to_string())?;
    let channel = connect(coordinator, trust).await?;
    Ok(AgentGatewayClient::new(channel))
}

async fn connect(coordinator: SocketAddr, trust: ClientConfig) -> Result<Channel, String> {
    let connector = TlsConnector::from(Arc::new(trust));
    let dial = tower::service_fn(move |_: http::Uri| {
        let connector = connector.clone();
        async move {
            let tcp = TcpStream::connect(coordinator).await?;
            // As the agent does: a question must not wait for the last answer
            // to be acknowledged.
            tcp.set_nodelay(true)?;
            let name = ServerName::from(coordinator.ip());
            connector.connect(name, tcp).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{coordinator}")).expect("an address");
    endpoint
        .connect_timeout(Duration::from_secs(10))
        .connect_with_connector(dial)
        .await
        .map_err(|error| format!("{error:?}"))
}

/// What an agent begins with.
pub fn hello() -> v1::AgentHello {
    v1::AgentHello {
        boot_id: uuid::Uuid::new_v4().to_string(),
        agent_version: "0".into(),
        protocol: strongroom_wire::PROTOCOL,
        hostname: "rogue".into(),
        os: "linux".into(),
        architecture: "x86_64".into(),
        consent: Some(v1::Consent::default()),
        ..v1::AgentHello::default()
    }
}

async fn open_session(
    gateway: &mut AgentGatewayClient<Channel>,
    hello: v1::AgentHello,
) -> Result<Session, Status> {
    let (sender, receiver) = mpsc::channel(16);
    let hello = v1::AgentMessage {
        message: Some(agent_message::Message::Hello(hello)),
    };
    sender.send(hello).await.expect("the channel is open");
    let stream = gateway.session(ReceiverStream::new(receiver)).await?;
    let mut session = Session {
        sender,
        stream: stream.into_inner(),
        unanswered: 0,
    };
    match session.stream.message().await?.and_then(|m| m.message) {
        Some(coordinator_message::Message::Hello(_)) => Ok(session),
        other => Err(Status::new(
            Code::Unknown,
            format!("no greeting: {other:?}"),
        )),
    }
}

async fn next(session: &mut Session) -> Option<coordinator_message::Message> {
    // An error ends the session as well as its orderly end does.
    session.stream.message().await.ok().flatten()?.message
}

/// The next message, with signs of life while there is none: whoever gives none
/// is sent away. No lease is renewed by them.
async fn next_alive(session: &mut Session) -> Option<coordinator_message::Message> {
    let mut alive = tokio::time::interval(Duration::from_secs(1));
    alive.reset();
    loop {
        tokio::select! {
            message = next(session) => {
                if let Some(coordinator_message::Message::HeartbeatAck(_)) = message {
                    session.unanswered = session.unanswered.saturating_sub(1);
                }
                return message;
            }
            _ = alive.tick() => {
                let heartbeat = agent_message::Message::Heartbeat(v1::Heartbeat::default());
                // If the session has ended, that is heard above.
                if send(session, heartbeat).await {
                    session.unanswered += 1;
                }
            }
        }
    }
}

/// Whether the session still stood.
async fn send(session: &Session, message: agent_message::Message) -> bool {
    let message = v1::AgentMessage {
        message: Some(message),
    };
    session.sender.send(message).await.is_ok()
}
