//! The endpoint over real sockets: with the SDK, and with requests that are
//! forged in every way we could think of.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
};

use jiff::{SignedDuration, Timestamp};
use strongroom_layout::{Directory, ObjectId};
use strongroom_runtime::{
    clock::{Clock as _, SystemClock},
    pki::{CertificateAuthority, Validity, tls},
};
use strongroom_wire::grant::{Action, Grant};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

use super::*;
use crate::{
    stores::sign::{PutTerms, Signer},
    stores::{StoreClient, StoreConfig, StoreCredentials, StoreProblem},
};

mod bounds;
mod foreign;

const BUCKET: &str = "bucket";

struct Fixture {
    store: StoreConfig,
    root: TempDir,
    address: std::net::SocketAddr,
    server: JoinHandle<()>,
    stop: DropGuard,
}

impl Fixture {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(authority: Option<&CertificateAuthority>) -> Self {
        Self::start_bounded(authority, Bounds::of(256, 64)).await
    }

    async fn start_bounded(authority: Option<&CertificateAuthority>, bounds: Bounds) -> Self {
        let root = tempfile::tempdir().unwrap();
        let credentials = StoreCredentials {
            access_key_id: "SRTEST".into(),
            secret_access_key: Zeroizing::new("secret".into()),
            session_token: None,
        };
        let tls = authority.map(|authority| {
            let validity = Validity::starting(SystemClock.now(), SignedDuration::from_hours(1));
            let key = authority
                .issue_server(&["127.0.0.1".into()], validity)
                .unwrap();
            let identity = tls::ServerIdentity::new(key).unwrap();
            tls::server_config(&identity, tls::ALPN_HTTP1).unwrap()
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let store = EmbeddedStore::bind(EmbeddedConfig {
            directory: root.path().join("objects"),
            listen: "127.0.0.1:0".parse().unwrap(),
            tls,
            credentials: credentials.clone(),
            bounds,
        })
        .await
        .unwrap();
        store.ensure_bucket(BUCKET).unwrap();
        let address = store.address();
        let stop = CancellationToken::new();
        let server = tokio::spawn(store.serve(stop.clone()));
        Self {
            store: StoreConfig {
                name: "embedded".into(),
                endpoint: format!("{scheme}://{address}").parse().unwrap(),
                region: "us-east-1".into(),
                bucket: BUCKET.into(),
                prefix: String::new(),
                path_style: true,
                credentials,
                extra_ca_pem: authority.map(|authority| authority.certificate_pem().to_owned()),
                accept_risks: std::collections::BTreeSet::new(),
            },
            root,
            address,
            server,
            stop: stop.drop_guard(),
        }
    }

    fn client(&self) -> StoreClient {
        StoreClient::new(self.store.clone(), SystemClock::shared()).unwrap()
    }

    fn file(&self, key: &str) -> PathBuf {
        self.root.path().join("objects").join(BUCKET).join(key)
    }

    /// Nothing was left behind where uploads begin.
    fn assert_no_leftovers(&self) {
        let temporary = self.root.path().join("objects/.tmp");
        assert_eq!(fs::read_dir(temporary).unwrap().count(), 0);
    }

    fn grant(&self, key: &str, action: Action) -> Grant {
        grant(&self.store, key, action, SystemClock.now())
    }

    fn put_grant(&self, key: &str, body: &[u8]) -> Grant {
        self.grant(key, put(body))
    }

    /// Sends a grant as it is and gives status and body.
    async fn send(&self, grant: &Grant, body: &[u8]) -> (u16, String) {
        self.send_to(path_of(grant), grant, body).await
    }

    /// Sends a grant to another path than it was signed for.
    async fn send_to(&self, path: &str, grant: &Grant, body: &[u8]) -> (u16, String) {
        let mut stream = self.begin(path, grant).await;
        // The server may refuse before it has read the body.
        let _ = stream.write_all(body).await;
        let declared = grant
            .headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .and_then(|(_, length)| length.parse().ok());
        if declared.is_some_and(|length: usize| length > body.len()) {
            let _ = stream.shutdown().await;
        }
        answer(stream).await
    }

    /// Connects and sends the head of a request.
    async fn begin(&self, path: &str, grant: &Grant) -> TcpStream {
        let mut head = format!("{} {path} HTTP/1.1\r\n", grant.method);
        write!(head, "host: {}\r\nconnection: close\r\n", self.address).unwrap();
        for (name, value) in &grant.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head += "\r\n";
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }
}

/// Status and body of what is answered; [`HUNG_UP`] if nothing is.
async fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    if response.is_empty() {
        return (HUNG_UP, String::new());
    }
    let response = String::from_utf8_lossy(&response).into_owned();
    let status = response[9..12].parse().unwrap();
    let body = response.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

fn put(body: &[u8]) -> Action {
    Action::Put {
        length: body.len() as u64,
        sha256: sha256(body),
    }
}

/// As agents get them.
const ALL: PutTerms = PutTerms {
    only_new: true,
    checksum: true,
};

/// What [`Fixture::send`] says when the server closed without an answer.
const HUNG_UP: u16 = 0;

const GET: Action = Action::Get { range: None };

fn sha256(bytes: &[u8]) -> ObjectId {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    ObjectId::from_slice(digest.as_ref()).unwrap()
}

fn grant(store: &StoreConfig, key: &str, action: Action, at: Timestamp) -> Grant {
    Signer::new(store.clone())
        .unwrap()
        .sign(key, &action, PutTerms::default(), at)
        .unwrap()
}

fn path_of(grant: &Grant) -> &str {
    let start = grant.url.find(&format!("/{BUCKET}/")).unwrap();
    &grant.url[start..]
}

fn set_header(grant: &mut Grant, name: &str, value: &str) {
    grant.headers.retain(|(header, _)| header != name);
    grant.headers.push((name.into(), value.into()));
}

fn drop_header(grant: &mut Grant, name: &str) {
    grant.headers.retain(|(header, _)| header != name);
}

#[tokio::test]
async fn a_granted_put_is_stored_under_its_path_and_read_back() {
    let fixture = Fixture::start().await;
    let body = b"some ciphertext".repeat(100_000);
    let key = "prefix/web-1/data/ab/abcd";
    let (status, text) = fixture.send(&fixture.put_grant(key, &body), &body).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(fs::read(fixture.file(key)).unwrap(), body);
    let mode = fs::metadata(fixture.file(key)).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);

    let (status, read) = fixture.send(&fixture.grant(key, GET), b"").await;
    assert_eq!((status, read.as_bytes()), (200, &body[..]));
    fixture.assert_no_leftovers();
}

#[tokio::test]
async fn ranges_are_exact_and_unsatisfiable_ones_are_said_to_be() {
    let fixture = Fixture::start().await;
    let body = b"0123456789";
    fixture.send(&fixture.put_grant("k", body), body).await;
    for (range, status, expected) in [
        ((0, 0), 206, "0"),
        ((3, 5), 206, "345"),
        ((8, 99), 206, "89"),
    ] {
        let grant = fixture.grant("k", Action::Get { range: Some(range) });
        let answer = fixture.send(&grant, b"").await;
        assert_eq!(answer, (status, expected.to_owned()));
    }
    let range = Some((10, 11));
    let (status, text) = fixture
        .send(&fixture.grant("k", Action::Get { range }), b"")
        .await;
    assert_eq!(status, 416);
    assert!(text.contains("InvalidRange"), "{text}");
}

#[tokio::test]
async fn another_body_than_the_signed_one_is_refused_and_leaves_nothing() {
    let fixture = Fixture::start().await;
    let grant = fixture.put_grant("data/ab/x", b"what was signed");
    let (status, text) = fixture.send(&grant, b"what was forged").await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("XAmzContentSHA256Mismatch"), "{text}");
    let (status, _) = fixture.send(&grant, b"too short").await;
    assert!(matches!(status, 400 | HUNG_UP), "{status}");
    assert!(!fixture.file("data/ab/x").exists());
    fixture.assert_no_leftovers();
}

#[tokio::test]
async fn a_declared_empty_body_does_not_slip_past_the_hash() {
    let fixture = Fixture::start().await;
    let mut forged = fixture.put_grant("k", b"not empty");
    set_header(&mut forged, "content-length", "0");
    let (status, _) = fixture.send(&forged, b"").await;
    assert_eq!(status, 400);
    assert!(!fixture.file("k").exists());
    let (status, _) = fixture.send(&fixture.put_grant("k", b""), b"").await;
    assert_eq!(status, 200, "an empty object is an object");
}

#[tokio::test]
async fn a_grant_is_good_for_nothing_else() {
    let fixture = Fixture::start().await;
    fixture.send(&fixture.put_grant("a", b"a"), b"a").await;
    fixture.send(&fixture.put_grant("b", b"b"), b"b").await;
    let get = fixture.grant(
        "a",
        Action::Get {
            range: Some((0, 0)),
        },
    );
    let put = fixture.put_grant("a", b"a");

    let mut as_delete = get.clone();
    as_delete.method = "DELETE".into();
    let mut whole = get.clone();
    drop_header(&mut whole, "range");
    let mut other_range = get.clone();
    set_header(&mut other_range, "range", "bytes=0-9");
    let mut other_date = get.clone();
    let now = SystemClock.now() - SignedDuration::from_mins(1);
    set_header(&mut other_date, "x-amz-date", &amz_date(now));
    let mut other_hash = put.clone();
    set_header(
        &mut other_hash,
        "x-amz-content-sha256",
        &sha256(b"b").to_string(),
    );
    let mut copy = put.clone();
    set_header(&mut copy, "x-amz-copy-source", "/bucket/b");
    let mut twice = put.clone();
    twice
        .headers
        .push(("x-amz-content-sha256".into(), sha256(b"b").to_string()));
    let mut changed = put.clone();
    let authorization = header(&put, "authorization");
    let last = if authorization.ends_with('0') {
        "1"
    } else {
        "0"
    };
    let forged = format!("{}{last}", &authorization[..authorization.len() - 1]);
    set_header(&mut changed, "authorization", &forged);

    for (what, grant) in [
        ("as a DELETE", as_delete),
        ("without its range", whole),
        ("with another range", other_range),
        ("with another date", other_date),
        ("with another body", other_hash),
        ("as a copy", copy),
        ("with a second hash", twice),
        ("with another signature", changed),
    ] {
        let (status, text) = fixture.send(&grant, b"b").await;
        assert!(matches!(status, 400 | 403), "{what}: {status} {text}");
    }
    let (status, _) = fixture.send_to("/bucket/b", &get, b"").await;
    assert_eq!(status, 403, "for another object");
    let (status, _) = fixture.send_to("/bucket/a?versionId=1", &get, b"").await;
    assert_eq!(status, 403, "with a query");
    assert_eq!(fs::read(fixture.file("a")).unwrap(), b"a");
}

fn header<'a>(grant: &'a Grant, name: &str) -> &'a str {
    let (_, value) = grant
        .headers
        .iter()
        .find(|(header, _)| header == name)
        .unwrap();
    value
}

fn amz_date(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[tokio::test]
async fn old_and_future_requests_are_refused() {
    let fixture = Fixture::start().await;
    for minutes in [-16, 16] {
        let at = SystemClock.now() + SignedDuration::from_mins(minutes);
        let (status, text) = fixture
            .send(&grant(&fixture.store, "k", put(b"x"), at), b"x")
            .await;
        assert_eq!(status, 403, "{text}");
        assert!(text.contains("RequestTimeTooSkewed"), "{text}");
    }
    let at = SystemClock.now() - SignedDuration::from_mins(14);
    let (status, _) = fixture
        .send(&grant(&fixture.store, "k", put(b"x"), at), b"x")
        .await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn other_keys_and_no_keys_are_refused() {
    let fixture = Fixture::start().await;
    let mut wrong_secret = fixture.store.clone();
    wrong_secret.credentials.secret_access_key = Zeroizing::new("guess".into());
    let mut wrong_id = fixture.store.clone();
    wrong_id.credentials.access_key_id = "SRGUESS".into();
    for store in [wrong_secret, wrong_id] {
        let forged = grant(&store, "k", put(b"x"), SystemClock.now());
        let (status, _) = fixture.send(&forged, b"x").await;
        assert_eq!(status, 403);
    }
    let mut anonymous = fixture.put_grant("k", b"x");
    drop_header(&mut anonymous, "authorization");
    let (status, _) = fixture.send(&anonymous, b"x").await;
    assert_eq!(status, 403);
    assert!(!fixture.file("k").exists());
}

#[tokio::test]
async fn no_path_leads_out_of_the_bucket() {
    let fixture = Fixture::start().await;
    let outside = fixture.root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), b"secret").unwrap();
    fs::write(fixture.root.path().join("objects/top"), b"top").unwrap();
    symlink(&outside, fixture.file("link")).unwrap();
    symlink(outside.join("secret"), fixture.file("file-link")).unwrap();
    symlink(&outside, fixture.root.path().join("objects/linked")).unwrap();

    for key in [
        "../top",
        "../../outside/secret",
        "link/secret",
        "file-link",
        "a/../../top",
        "./config",
        "a//b",
        "a/",
        ".",
        "..",
        "a\0b",
    ] {
        for (action, body) in [(GET, &b""[..]), (put(b"evil"), b"evil")] {
            let grant = fixture.grant(key, action);
            let (status, text) = fixture.send(&grant, body).await;
            if key == "file-link" && grant.method == "PUT" {
                // The link is replaced; what it pointed to is not touched.
                assert_eq!(status, 200);
                continue;
            }
            assert!(
                matches!(status, 400 | 403 | 404),
                "{key:?}: {status} {text}"
            );
            let escaped = path_of(&grant).replace("..", "%2E%2E");
            let (status, text) = fixture.send_to(&escaped, &grant, body).await;
            assert!(
                matches!(status, 400 | 403 | 404),
                "{key:?}: {status} {text}"
            );
        }
    }
    let mut linked = fixture.store.clone();
    linked.bucket = "linked".into();
    let forged = grant(&linked, "secret", GET, SystemClock.now());
    let (status, _) = fixture.send_to("/linked/secret", &forged, b"").await;
    assert_eq!(status, 404);
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    fixture.assert_no_leftovers();
}

#[tokio::test]
async fn if_none_match_keeps_what_is_there() {
    let fixture = Fixture::start().await;
    let signer = Signer::new(fixture.store.clone()).unwrap();
    for (body, expected) in [(b"first", 200), (b"other", 412)] {
        let grant = signer
            .sign("config", &put(body), ALL, SystemClock.now())
            .unwrap();
        let (status, text) = fixture.send(&grant, body).await;
        assert_eq!(status, expected, "{text}");
    }
    assert_eq!(fs::read(fixture.file("config")).unwrap(), b"first");
    fixture.assert_no_leftovers();
}

#[tokio::test]
async fn a_new_repository_gets_the_directories_that_restic_expects() {
    let fixture = Fixture::start().await;
    let grant = fixture.put_grant("web-1/config", b"x");
    fixture.send(&grant, b"x").await;
    for directory in Directory::ALL {
        assert!(fixture.file(&format!("web-1/{directory}")).is_dir());
    }
}

#[tokio::test]
async fn objects_and_directories_do_not_take_each_others_place() {
    let fixture = Fixture::start().await;
    fixture.send(&fixture.put_grant("a", b"x"), b"x").await;
    fixture.send(&fixture.put_grant("d/e", b"x"), b"x").await;
    for key in ["a/b", "d"] {
        let (status, text) = fixture.send(&fixture.put_grant(key, b"x"), b"x").await;
        assert_eq!(status, 400, "{text}");
    }
    let (status, _) = fixture.send(&fixture.grant("d", GET), b"").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn the_coordinators_client_lists_reads_and_deletes() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    client.probe().await.unwrap();
    let ids: Vec<ObjectId> = (0..1001_u16)
        .map(|number| sha256(&number.to_be_bytes()))
        .collect();
    let locks = fixture.file("web-1/locks");
    fs::create_dir_all(&locks).unwrap();
    for id in &ids {
        fs::write(locks.join(id.to_string()), b"lock").unwrap();
    }
    fs::write(locks.join("not-an-id"), b"").unwrap();

    let mut listed: Vec<ObjectId> = client
        .list("web-1", Directory::Locks)
        .await
        .unwrap()
        .iter()
        .map(|object| {
            assert_eq!(object.size, 4);
            object.id
        })
        .collect();
    let mut expected = ids.clone();
    expected.sort();
    listed.sort();
    assert_eq!(listed, expected, "more than one page");

    let page = client.list_page("web-1", Directory::Locks, None, 900);
    let first = page.await.unwrap();
    assert!(first.more && first.objects.len() >= 900);
    let last = first.objects.last().map(|object| object.id);
    let page = client.list_page("web-1", Directory::Locks, last, 900);
    let second = page.await.unwrap();
    assert!(!second.more);
    let both = first.objects.iter().chain(&second.objects);
    assert!(both.map(|object| object.id).eq(expected), "ascending");

    for _ in 0..2 {
        client.delete_lock("web-1", ids[0]).await.unwrap();
    }
    assert_eq!(
        client.list("web-1", Directory::Locks).await.unwrap().len(),
        1000
    );
    client
        .put(".strongroom/a.json", b"{}".to_vec())
        .await
        .unwrap();
    assert_eq!(client.get(".strongroom/a.json").await.unwrap(), b"{}");
    let missing = client.get(".strongroom/b.json").await.unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
}

#[tokio::test]
async fn a_probe_says_what_is_wrong() {
    let fixture = Fixture::start().await;
    let probe = async |store: StoreConfig, clock| {
        let client = StoreClient::new(store, clock).unwrap();
        client.probe().await.unwrap_err()
    };
    let clock = SystemClock::shared;

    let mut store = fixture.store.clone();
    store.bucket = "another".into();
    let error = probe(store, clock()).await;
    assert!(matches!(error.problem, StoreProblem::NoBucket), "{error}");
    assert!(error.to_string().contains("\"another\""), "{error}");
    assert!(error.to_string().contains("\"embedded\""), "{error}");

    let mut store = fixture.store.clone();
    store.credentials.secret_access_key = Zeroizing::new("wrong".into());
    let error = probe(store.clone(), clock()).await;
    assert!(matches!(error.problem, StoreProblem::Denied(_)), "{error}");

    // The store's answer says that it is an hour later than here.
    let behind = strongroom_runtime::clock::ManualClock::new(
        SystemClock.now() - SignedDuration::from_hours(1),
    );
    let error = probe(store, behind).await;
    assert!(error.to_string().contains("behind the store's"), "{error}");

    let mut store = fixture.store.clone();
    store.endpoint = "http://127.0.0.1:1".parse().unwrap();
    let error = probe(store, clock()).await;
    assert!(
        matches!(error.problem, StoreProblem::Unreachable(_)),
        "{error}"
    );
    assert!(error.is_retryable());
}

#[tokio::test]
async fn over_tls_only_those_who_trust_the_authority_get_in() {
    let (authority, _) = CertificateAuthority::create(SystemClock.now()).unwrap();
    let fixture = Fixture::start_with(Some(&authority)).await;
    fixture.client().probe().await.unwrap();
    let (other, _) = CertificateAuthority::create(SystemClock.now()).unwrap();
    let mut store = fixture.store.clone();
    store.extra_ca_pem = Some(other.certificate_pem().to_owned());
    let client = StoreClient::new(store, SystemClock::shared()).unwrap();
    let error = client.probe().await.unwrap_err();
    assert!(
        matches!(error.problem, StoreProblem::Unreachable(_)),
        "{error}"
    );
}

#[tokio::test]
async fn plain_http_stays_on_this_machine_and_a_taken_port_is_named() {
    let fixture = Fixture::start().await;
    let config = |listen: &str| EmbeddedConfig {
        directory: fixture.root.path().join("objects"),
        listen: listen.parse().unwrap(),
        tls: None,
        credentials: fixture.store.credentials.clone(),
        bounds: Bounds::of(16, 4),
    };
    let error = EmbeddedStore::bind(config("0.0.0.0:0")).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::PlainText { .. }));
    let taken = fixture.address.to_string();
    let error = EmbeddedStore::bind(config(&taken)).await.unwrap_err();
    assert!(error.to_string().contains(&taken), "{error}");
}

#[tokio::test]
async fn what_an_interrupted_upload_left_is_removed_at_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    let temporary = root.path().join(".tmp");
    fs::create_dir(&temporary).unwrap();
    fs::write(temporary.join("7"), b"half").unwrap();
    let config = EmbeddedConfig {
        directory: root.path().to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        credentials: StoreCredentials {
            access_key_id: "SRTEST".into(),
            secret_access_key: Zeroizing::new("secret".into()),
            session_token: None,
        },
        bounds: Bounds::of(16, 4),
    };
    EmbeddedStore::bind(config).await.unwrap();
    assert_eq!(fs::read_dir(temporary).unwrap().count(), 0);
}

#[tokio::test]
async fn the_server_ends_when_asked_and_closes_idle_connections() {
    let fixture = Fixture::start().await;
    let mut idle = TcpStream::connect(fixture.address).await.unwrap();
    fixture.client().probe().await.unwrap();
    let Fixture { server, stop, .. } = fixture;
    drop(stop);
    server.await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(idle.read_to_end(&mut rest).await.unwrap_or(0), 0);
}
