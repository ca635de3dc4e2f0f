//! Callers that send too much, too slowly or nothing at all.

use std::time::Duration;

use super::*;
use crate::embedded::{
    key::Key,
    tree::{BeginError, Tree},
};

impl Fixture {
    /// A grant as agents get it, for an object that must not be there.
    fn new_object(&self, key: &str, body: &[u8]) -> Grant {
        Signer::new(self.store.clone())
            .unwrap()
            .sign(key, &put(body), ALL, SystemClock.now())
            .unwrap()
    }

    fn unfinished(&self) -> usize {
        let temporary = self.root.path().join("objects/.tmp");
        fs::read_dir(temporary).unwrap().count()
    }

    /// Sends the head and the body but for its last byte, and waits until the
    /// upload is under way.
    async fn upload_most_of(&self, grant: &Grant, body: &[u8]) -> TcpStream {
        let before = self.unfinished();
        let mut stream = self.begin(path_of(grant), grant).await;
        stream.write_all(&body[..body.len() - 1]).await.unwrap();
        while self.unfinished() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stream
    }
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out() {
    let fixture = Fixture::start_bounded(None, Bounds::of(16, 4)).await;
    let body = b"an object";
    let honest = fixture.put_grant("slow", body);
    let mut known = fixture.upload_most_of(&honest, body).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(fixture.address).await.unwrap());
    }
    // They wait in front of this one to be accepted.
    let (status, text) = fixture.send(&fixture.put_grant("k", body), body).await;
    assert_eq!(status, 200, "{text}");
    known.write_all(&body[body.len() - 1..]).await.unwrap();
    assert_eq!(answer(known).await.0, 200, "the known give way to nobody");
    let mut first = silent.swap_remove(0);
    let mut rest = Vec::new();
    let left = first.read_to_end(&mut rest).await;
    assert_eq!(left.unwrap_or(0), 0, "the oldest had to leave");
}

#[tokio::test]
async fn unsigned_requests_make_nobody_known() {
    let mut bounds = Bounds::of(16, 4);
    bounds.limits.stranger_life = Duration::from_millis(50);
    let fixture = Fixture::start_bounded(None, bounds).await;
    let mut forged = fixture.put_grant("k", b"x");
    set_header(&mut forged, "x-amz-date", &amz_date(Timestamp::UNIX_EPOCH));
    let mut stream = fixture.begin(path_of(&forged), &forged).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    assert_eq!(stream.read_to_end(&mut rest).await.unwrap_or(0), 0);
}

/// It fills no disk: while one upload is under way, others of the same key are
/// turned away with what S3 says then, and afterwards the object is there.
#[tokio::test]
async fn a_grant_that_is_sent_on_many_connections_is_one_upload() {
    let fixture = Fixture::start().await;
    let body = b"a pack".repeat(100_000);
    let grant = fixture.new_object("data/ab/x", &body);
    let mut first = fixture.upload_most_of(&grant, &body).await;
    let again = (0..40).map(|_| fixture.send(&grant, &body));
    for (status, text) in futures::future::join_all(again).await {
        assert_eq!(status, 409, "{text}");
        assert!(text.contains("ConditionalRequestConflict"), "{text}");
    }
    let plain = fixture.put_grant("data/ab/x", &body);
    let (status, text) = fixture.send(&plain, &body).await;
    assert_eq!(status, 409, "{text}");
    assert!(text.contains("OperationAborted"), "{text}");
    assert_eq!(fixture.unfinished(), 1);

    first.write_all(&body[body.len() - 1..]).await.unwrap();
    assert_eq!(answer(first).await.0, 200);
    assert_eq!(fs::read(fixture.file("data/ab/x")).unwrap(), body);
    fixture.assert_no_leftovers();
}

#[tokio::test]
async fn an_object_that_is_there_is_seen_before_its_body_is_received() {
    let fixture = Fixture::start().await;
    let body = b"a pack".repeat(100_000);
    let grant = fixture.new_object("data/ab/x", &body);
    assert_eq!(fixture.send(&grant, &body).await.0, 200);
    // Now no upload can begin.
    fs::remove_dir(fixture.root.path().join("objects/.tmp")).unwrap();
    let (status, text) = fixture.send(&grant, &body).await;
    assert_eq!(status, 412, "{text}");
    let another = fixture.new_object("data/ab/y", &body);
    assert_eq!(fixture.send(&another, &body).await.0, 500);
}

#[tokio::test]
async fn a_body_has_the_time_that_its_length_justifies() {
    let mut bounds = Bounds::of(16, 4);
    (bounds.patience, bounds.slowest) = (Duration::from_millis(200), u64::MAX);
    let fixture = Fixture::start_bounded(None, bounds).await;
    let body = b"an object";
    let slow = fixture
        .upload_most_of(&fixture.put_grant("k", body), body)
        .await;
    let (status, text) = answer(slow).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("RequestTimeout"), "{text}");
    fixture.assert_no_leftovers();
    assert_eq!(
        Bounds::of(16, 4).allowance(64 << 20),
        Duration::from_secs(5 * 60 + 8192)
    );
}

#[tokio::test]
async fn an_answer_that_is_not_read_ends() {
    let mut bounds = Bounds::of(16, 4);
    (bounds.patience, bounds.slowest) = (Duration::from_millis(200), u64::MAX);
    let fixture = Fixture::start_bounded(None, bounds).await;
    // More than sockets hold.
    let file = fs::File::create(fixture.file("large")).unwrap();
    file.set_len(64 << 20).unwrap();
    let grant = fixture.grant("large", GET);
    let mut stream = fixture.begin(path_of(&grant), &grant).await;
    // An error of its own kind once the server has closed.
    while stream.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    assert!(read.len() < 64 << 20, "{}", read.len());
}

#[tokio::test]
async fn unfinished_uploads_have_a_bound_together() {
    let mut bounds = Bounds::of(16, 4);
    bounds.unfinished = 12;
    let fixture = Fixture::start_bounded(None, bounds).await;
    let body = b"an object";
    let first = fixture
        .upload_most_of(&fixture.put_grant("a", body), body)
        .await;
    let (status, text) = fixture.send(&fixture.put_grant("b", body), body).await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("SlowDown"), "{text}");
    drop(first);
    while fixture.unfinished() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (status, text) = fixture.send(&fixture.put_grant("b", body), body).await;
    assert_eq!(status, 200, "{text}");
}

#[test]
fn what_does_not_fit_on_the_disk_is_not_begun() {
    let root = tempfile::tempdir().unwrap();
    let tree = std::sync::Arc::new(Tree::open(root.path(), u64::MAX).unwrap());
    tree.create_bucket(BUCKET).unwrap();
    let key = Key::parse(BUCKET, "k").unwrap();
    match tree.begin(&key, u64::MAX, true) {
        Err(BeginError::Disk(error)) => assert_eq!(error.kind(), std::io::ErrorKind::StorageFull),
        other => panic!("{other:?}"),
    }
    assert!(tree.begin(&key, 1, true).is_ok());
}
