//! An agent as the coordinator sees it: certificates, streams, requests.

use std::{net::SocketAddr, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use strongroom_layout::{AgentId, AttemptRef, ObjectName};
use strongroom_proto::v1::{
    self, agent_gateway_client::AgentGatewayClient, enrolment_client::EnrolmentClient,
};
use strongroom_runtime::pki::{Fingerprint, new_key_and_request, tls};
use strongroom_spec::{BackupOutcome, Outcome, RestoreOutcome};
use strongroom_wire::{
    grant::{Action, Grant, RequestToSign, SignAnswer, SignRequest, SignResponse},
    identity::{EnrolRequest, EnrolResponse},
    job::Report,
    session::{AgentHello, AgentMessage, Consent, CoordinatorMessage, Heartbeat, Progress},
};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint, Uri},
};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Coordinator, sha256};

/// Nothing in these tests takes so long; it turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// An enrolled agent.
#[derive(Clone)]
pub(crate) struct TestAgent {
    pub(crate) id: AgentId,
    pub(crate) name: String,
    pub(crate) key_pem: Zeroizing<String>,
    pub(crate) chain_pem: String,
    pub(crate) ca_pem: String,
    address: SocketAddr,
}

/// A live session.
pub(crate) struct TestSession {
    sender: mpsc::Sender<v1::AgentMessage>,
    inbound: Streaming<v1::CoordinatorMessage>,
}

/// A gRPC channel over TLS; connects when first used.
pub(crate) fn connect(address: SocketAddr, config: ClientConfig) -> Channel {
    let connector = TlsConnector::from(std::sync::Arc::new(config));
    Endpoint::from_static("http://coordinator").connect_with_connector_lazy(tower::service_fn(
        move |_: Uri| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = "localhost".try_into().unwrap();
                let stream = connector.connect(name, stream).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        },
    ))
}

impl TestAgent {
    /// Trades a join token over the wire.
    pub(crate) async fn enrol(
        coordinator: &Coordinator,
        token: &str,
        secret: &str,
        hostname: &str,
    ) -> Result<Self, Status> {
        let fingerprint: Fingerprint = coordinator.authority.fingerprint();
        let config = tls::enrolment_client_config(fingerprint).unwrap();
        let mut client = EnrolmentClient::new(connect(coordinator.address, config));
        let (key_pem, csr_pem) = new_key_and_request().unwrap();
        let request = EnrolRequest {
            token_id: token.into(),
            token_secret: Zeroizing::new(secret.into()),
            csr_pem,
            hostname: hostname.into(),
            agent_version: "0.1.0".into(),
        };
        let response = client
            .enrol(v1::EnrolRequest::from(request))
            .await?
            .into_inner();
        let response = EnrolResponse::try_from(response).unwrap();
        Ok(Self {
            id: response.agent_id,
            name: response.agent_name,
            key_pem,
            chain_pem: response.certificate_pem,
            ca_pem: response.ca_pem,
            address: coordinator.address,
        })
    }

    /// A client that shows the agent's certificate.
    pub(crate) fn client(&self) -> AgentGatewayClient<Channel> {
        AgentGatewayClient::new(self.channel())
    }

    /// A connection under the agent's certificate.
    pub(crate) fn channel(&self) -> Channel {
        let config =
            tls::agent_client_config(&self.ca_pem, &self.chain_pem, &self.key_pem).unwrap();
        connect(self.address, config)
    }

    /// A session of the process `boot` that has said hello.
    pub(crate) async fn session(&self, boot: u128, running: &[AttemptRef]) -> TestSession {
        self.try_session(boot, running).await.unwrap()
    }

    pub(crate) async fn try_session(
        &self,
        boot: u128,
        running: &[AttemptRef],
    ) -> Result<TestSession, Status> {
        TestSession::open(self.client(), boot, running).await
    }

    /// A session of an agent that does not know challenges.
    pub(crate) async fn older_session(&self, boot: u128) -> TestSession {
        let hello = AgentHello {
            answers_challenges: false,
            ..hello(boot, &[])
        };
        TestSession::greet(self.client(), hello).await.unwrap()
    }

    /// Asks for grants.
    pub(crate) async fn sign(
        &self,
        attempt: AttemptRef,
        requests: Vec<(ObjectName, Action)>,
    ) -> Vec<SignAnswer> {
        let requests = requests
            .into_iter()
            .map(|(object, action)| RequestToSign { object, action })
            .collect();
        let request = SignRequest { attempt, requests };
        let response = self.client().sign(v1::SignRequest::from(request)).await;
        let response = response.unwrap().into_inner();
        SignResponse::try_from(response).unwrap().answers
    }

    /// Writes an object by a grant of its own; gives the store's status.
    pub(crate) async fn put(&self, attempt: AttemptRef, object: ObjectName, body: &[u8]) -> u16 {
        let action = Action::Put {
            length: body.len() as u64,
            sha256: sha256(body),
        };
        match self.sign(attempt, vec![(object, action)]).await.remove(0) {
            SignAnswer::Grant(grant) => self.send(&grant, body).await,
            SignAnswer::Refusal(refusal) => panic!("{}", refusal.message),
        }
    }

    /// Sends a grant as it is.
    pub(crate) async fn send(&self, grant: &Grant, body: &[u8]) -> u16 {
        let tls = tls::client_config(&self.ca_pem, &[]).unwrap();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .build()
            .unwrap();
        let method = grant.method.parse().unwrap();
        let mut request = client.request(method, &grant.url);
        for (name, value) in &grant.headers {
            request = request.header(name, value);
        }
        let response = request.body(body.to_vec()).send().await.unwrap();
        response.status().as_u16()
    }
}

fn hello(boot: u128, running: &[AttemptRef]) -> AgentHello {
    AgentHello {
        boot_id: Uuid::from_u128(boot),
        agent_version: "0.1.0".into(),
        protocol: strongroom_wire::PROTOCOL,
        hostname: "host".into(),
        os: "linux".into(),
        architecture: "x86_64".into(),
        running: running.to_vec(),
        reported: Vec::new(),
        consent: Consent::default(),
        transfer_key: None,
        answers_challenges: true,
        clock: None,
    }
}

impl TestSession {
    pub(crate) async fn open(
        client: AgentGatewayClient<Channel>,
        boot: u128,
        running: &[AttemptRef],
    ) -> Result<Self, Status> {
        Self::greet(client, hello(boot, running)).await
    }

    async fn greet(
        mut client: AgentGatewayClient<Channel>,
        hello: AgentHello,
    ) -> Result<Self, Status> {
        let (sender, receiver) = mpsc::channel(16);
        sender
            .send(AgentMessage::Hello(hello).into())
            .await
            .unwrap();
        let inbound = client.session(ReceiverStream::new(receiver)).await?;
        Ok(Self {
            sender,
            inbound: inbound.into_inner(),
        })
    }

    /// The next message; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<CoordinatorMessage> {
        let message = tokio::time::timeout(PATIENCE, self.inbound.message()).await;
        let message = message.expect("a message in time").ok()??;
        Some(CoordinatorMessage::try_from(message).unwrap())
    }

    pub(crate) async fn send(&self, message: AgentMessage) {
        self.sender.send(message.into()).await.unwrap();
    }

    /// Says how the attempt goes; gives what was renewed.
    pub(crate) async fn heartbeat(&mut self, attempts: &[AttemptRef]) -> Vec<AttemptRef> {
        let running = attempts.iter().map(|attempt| Progress {
            attempt: *attempt,
            stage: "backing up".into(),
            files: 7,
            bytes: 70,
            total_files: None,
            total_bytes: None,
            bytes_stored: 0,
            warnings: 0,
        });
        self.send(AgentMessage::Heartbeat(Heartbeat {
            running: running.collect(),
            resident_bytes: 1,
            challenge: None,
            leaving: false,
            clock: None,
        }))
        .await;
        match self.next().await {
            Some(CoordinatorMessage::HeartbeatAck(renewed)) => renewed,
            other => panic!("{other:?}"),
        }
    }

    /// Reports and waits for the acknowledgement.
    pub(crate) async fn report(&mut self, report: Report) {
        let id = report.report_id;
        self.send(AgentMessage::Report(report)).await;
        assert_eq!(self.next().await, Some(CoordinatorMessage::ReportAck(id)));
    }
}

/// A report of a backup, or, without a snapshot, of a restore.
pub(crate) fn success(attempt: AttemptRef, backup: Option<BackupOutcome>) -> Report {
    let restored = || {
        Outcome::Restore(RestoreOutcome {
            server: None,
            files: 1,
            directories: 0,
            bytes_written: 1,
            files_kept: 0,
            bytes_fetched: 1,
            plan: Vec::new(),
            plan_count: 0,
            notes: Vec::new(),
        })
    };
    Report {
        report_id: Uuid::new_v4(),
        attempt,
        outcome: Ok(backup.map_or_else(restored, Outcome::Backup)),
        warnings: Vec::new(),
        warning_count: 0,
        peak_resident_bytes: 1,
        duration_ms: 1,
    }
}
