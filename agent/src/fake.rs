//! A coordinator for tests: real TLS, real gRPC, and no opinion of its own.
//! Whatever an agent asks arrives as a [`Call`] that the test answers.

use std::{path::Path, sync::Arc};

use futures::stream::BoxStream;
use jiff::{SignedDuration, Timestamp};
use strongroom_layout::{AgentId, AttemptRef, JobId, ObjectId};
use strongroom_proto::v1::{
    self,
    agent_gateway_server::{AgentGateway, AgentGatewayServer},
    enrolment_server::{Enrolment, EnrolmentServer},
};
use strongroom_runtime::{
    clock::{Clock, SystemClock},
    pki::{
        CertificateAuthority, Validity, new_key_and_request,
        tls::{ServerIdentity, agent_server_config},
    },
};
use strongroom_spec::{JobSpec, ListSpec, ResourceLimits};
use strongroom_tests::port::Port;
use strongroom_wire::{
    MAX_MESSAGE_BYTES,
    grant::{
        ListObjectsRequest, ListObjectsResponse, PublishRequest, PublishResponse,
        ReleaseLocksRequest, SignRequest, SignResponse,
    },
    identity::{EnrolRequest, EnrolResponse, RenewRequest, RenewResponse},
    job::{JobOffer, RepositoryAccess},
    session::{AgentHello, AgentMessage, CoordinatorHello, CoordinatorMessage},
    wal::{ArchivedWalRequest, ArchivedWalResponse, RecordWalRequest},
};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{mpsc, oneshot},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{config::Address, enrol::Identity};

/// Where a test puts its answer.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, Status>>;

/// What an agent asked.
pub(crate) enum Call {
    Enrol(EnrolRequest, Answer<EnrolResponse>),
    Session(FakeSession),
    Sign(SignRequest, Answer<SignResponse>),
    List(ListObjectsRequest, Answer<ListObjectsResponse>),
    Release(ReleaseLocksRequest, Answer<()>),
    Publish(Box<PublishRequest>, Answer<PublishResponse>),
    Renew(RenewRequest, Answer<RenewResponse>),
    RecordWal(Box<RecordWalRequest>, Answer<()>),
    ArchivedWal(ArchivedWalRequest, Answer<ArchivedWalResponse>),
}

/// The coordinator's end of a stream.
pub(crate) struct FakeSession {
    incoming: Streaming<v1::AgentMessage>,
    outgoing: mpsc::Sender<Result<v1::CoordinatorMessage, Status>>,
    /// The client's certificate, DER.
    pub(crate) certificate: Vec<u8>,
}

impl FakeSession {
    /// The agent's next message; `None` when it ended the stream.
    pub(crate) async fn hear(&mut self) -> Option<AgentMessage> {
        let message = self.incoming.message().await.ok().flatten()?;
        Some(message.try_into().unwrap())
    }

    /// The agent's next message that is no heartbeat.
    pub(crate) async fn hear_news(&mut self) -> Option<AgentMessage> {
        loop {
            match self.hear().await? {
                AgentMessage::Heartbeat(_) => {}
                news => return Some(news),
            }
        }
    }

    pub(crate) async fn say(&self, message: CoordinatorMessage) {
        self.outgoing.send(Ok(message.into())).await.unwrap();
    }

    /// Hears the Hello and answers it.
    pub(crate) async fn greet(&mut self, fenced: &[AttemptRef]) -> AgentHello {
        // So rarely that no busy machine makes us fall silent.
        self.greet_for_heartbeats(fenced, 30).await
    }

    /// As [`Self::greet`], for a heartbeat every so many seconds.
    pub(crate) async fn greet_for_heartbeats(
        &mut self,
        fenced: &[AttemptRef],
        heartbeat_seconds: u32,
    ) -> AgentHello {
        let Some(AgentMessage::Hello(hello)) = self.hear().await else {
            panic!("no Hello");
        };
        self.say(CoordinatorMessage::Hello(CoordinatorHello {
            session_id: Uuid::new_v4(),
            coordinator_version: "test".into(),
            protocol: strongroom_wire::PROTOCOL,
            heartbeat_seconds,
            lease_seconds: 3,
            fenced: fenced.to_vec(),
        }))
        .await;
        hello
    }

    /// Ends the stream with an error.
    pub(crate) async fn fail(self, status: Status) {
        self.outgoing.send(Err(status)).await.unwrap();
    }
}

/// The running coordinator.
pub(crate) struct Fake {
    pub(crate) ca: Arc<CertificateAuthority>,
    pub(crate) address: Address,
    port: Port,
    calls: mpsc::Receiver<Call>,
    sender: mpsc::Sender<Call>,
    /// Its own, so that stopping it cuts every connection at once.
    runtime: Option<Runtime>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let (ca, _) = CertificateAuthority::create(SystemClock.now()).unwrap();
        let (sender, calls) = mpsc::channel(16);
        let port = Port::lease();
        let mut fake = Self {
            ca: Arc::new(ca),
            address: format!("localhost:{}", port.number()).parse().unwrap(),
            port,
            calls,
            sender,
            runtime: None,
        };
        let listener = TcpListener::bind(fake.port.address()).await.unwrap();
        fake.serve(listener);
        fake
    }

    fn serve(&mut self, listener: TcpListener) {
        let key = self
            .ca
            .issue_server(
                &["localhost".into()],
                Validity::starting(SystemClock.now(), SignedDuration::from_hours(1)),
            )
            .unwrap();
        let server = ServerIdentity::new(key).unwrap();
        let config = agent_server_config(&server, self.ca.certificate()).unwrap();
        let acceptor = TlsAcceptor::from(config);
        let listener = listener.into_std().unwrap();
        let calls = Gateway(self.sender.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let connections = futures::stream::unfold(listener, move |listener| {
                let acceptor = acceptor.clone();
                async move {
                    loop {
                        let (tcp, _) = listener.accept().await.ok()?;
                        if let Ok(tls) = acceptor.accept(tcp).await {
                            return Some((Ok::<_, std::io::Error>(tls), listener));
                        }
                    }
                }
            });
            let gateway =
                AgentGatewayServer::new(calls.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
            Server::builder()
                .add_service(EnrolmentServer::new(calls))
                .add_service(gateway)
                .serve_with_incoming(connections)
                .await
                .unwrap();
        });
        self.runtime = Some(runtime);
    }

    /// Cuts every connection and listens no more.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Serves again at the same address.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        let listener = loop {
            // The old socket is closed by its runtime's threads.
            match TcpListener::bind(self.port.address()).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        self.serve(listener);
    }

    /// The next thing an agent asks.
    pub(crate) async fn call(&mut self) -> Call {
        self.calls.recv().await.unwrap()
    }

    /// The next session.
    pub(crate) async fn session(&mut self) -> FakeSession {
        match self.call().await {
            Call::Session(session) => session,
            _ => panic!("no session"),
        }
    }

    /// A certificate as enrolment would give it.
    pub(crate) fn identity(&self, state: &Path, valid: Validity) -> Identity {
        let (key_pem, csr) = new_key_and_request().unwrap();
        let agent_id = AgentId(Uuid::new_v4());
        let issued = self
            .ca
            .issue_client(&csr, &agent_id.to_uri(), valid)
            .unwrap();
        let identity = Identity {
            agent_id,
            agent_name: "web-1".into(),
            coordinator: self.address.clone(),
            ca_pem: self.ca.certificate_pem().to_owned(),
            certificate_pem: issued.chain_pem,
            key_pem,
        };
        identity.save(state).unwrap();
        identity
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A certificate's usual life in these tests.
pub(crate) fn days(days: i64) -> Validity {
    let now: Timestamp = SystemClock.now();
    Validity::starting(now, SignedDuration::from_hours(24 * days))
}

#[derive(Clone)]
struct Gateway(mpsc::Sender<Call>);

impl Gateway {
    async fn ask<W, P, A, B>(
        &self,
        request: Request<W>,
        call: impl FnOnce(P, Answer<A>) -> Call,
    ) -> Result<Response<B>, Status>
    where
        P: TryFrom<W>,
        P::Error: std::fmt::Debug,
        B: From<A>,
    {
        let request = P::try_from(request.into_inner()).unwrap();
        let (answer, answered) = oneshot::channel();
        let gone = |_| Status::unavailable("the test is over");
        self.0
            .send(call(request, answer))
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        let answer = answered.await.map_err(gone)??;
        Ok(Response::new(answer.into()))
    }
}

#[tonic::async_trait]
impl Enrolment for Gateway {
    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        self.ask(request, Call::Enrol).await
    }
}

/// `()` has no generated counterpart of its own.
struct Nothing;

impl From<()> for Nothing {
    fn from((): ()) -> Self {
        Self
    }
}

#[tonic::async_trait]
impl AgentGateway for Gateway {
    type SessionStream = BoxStream<'static, Result<v1::CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let certificate = request
            .extensions()
            .get::<tonic::transport::server::TlsConnectInfo<
                tonic::transport::server::TcpConnectInfo,
            >>()
            .and_then(tonic::transport::server::TlsConnectInfo::peer_certs)
            .and_then(|chain| chain.first().map(|leaf| leaf.to_vec()))
            .ok_or_else(|| Status::unauthenticated("no certificate"))?;
        let (outgoing, queue) = mpsc::channel(16);
        let session = FakeSession {
            incoming: request.into_inner(),
            outgoing,
            certificate,
        };
        self.0
            .send(Call::Session(session))
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        self.ask(request, Call::Sign).await
    }

    async fn list_objects(
        &self,
        request: Request<v1::ListObjectsRequest>,
    ) -> Result<Response<v1::ListObjectsResponse>, Status> {
        self.ask(request, Call::List).await
    }

    async fn release_locks(
        &self,
        request: Request<v1::ReleaseLocksRequest>,
    ) -> Result<Response<v1::ReleaseLocksResponse>, Status> {
        self.ask::<_, _, (), Nothing>(request, Call::Release)
            .await?;
        Ok(Response::new(v1::ReleaseLocksResponse {}))
    }

    async fn publish(
        &self,
        request: Request<v1::PublishRequest>,
    ) -> Result<Response<v1::PublishResponse>, Status> {
        self.ask(request, |publish, answer| {
            Call::Publish(Box::new(publish), answer)
        })
        .await
    }

    async fn record_wal(
        &self,
        request: Request<v1::RecordWalRequest>,
    ) -> Result<Response<v1::RecordWalResponse>, Status> {
        let call = |record, answer| Call::RecordWal(Box::new(record), answer);
        self.ask::<_, _, (), Nothing>(request, call).await?;
        Ok(Response::new(v1::RecordWalResponse {}))
    }

    async fn archived_wal(
        &self,
        request: Request<v1::ArchivedWalRequest>,
    ) -> Result<Response<v1::ArchivedWalResponse>, Status> {
        self.ask(request, Call::ArchivedWal).await
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        self.ask(request, Call::Renew).await
    }
}

/// Job `n`, attempt 1.
pub(crate) fn offer(n: u128, timeout_seconds: Option<u32>) -> JobOffer {
    JobOffer {
        accept: Vec::new(),
        attempt: AttemptRef {
            job: JobId(Uuid::from_u128(n)),
            attempt: 1,
        },
        lease_seconds: 60,
        timeout_seconds,
        traceparent: String::new(),
        repository: RepositoryAccess {
            name: "r".into(),
            password: Zeroizing::new("p".into()),
            create: false,
        },
        limits: ResourceLimits::default(),
        spec: Ok(JobSpec::List(ListSpec {
            snapshot: ObjectId([0; 32]),
            path: "/".into(),
            recursive: false,
            limit: 1,
            after: None,
        })),
    }
}
