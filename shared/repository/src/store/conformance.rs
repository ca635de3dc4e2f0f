//! What every store must do, backend or decorator.

use bytes::Bytes;
use strongroom_layout::{
    Directory, ObjectId, ObjectKind, ObjectName, SystemId, WalName, WalPart, position::TimelineId,
};

use crate::format::sha256::sha256;

use super::{Body, ByteRange, SharedStore, StoreErrorKind};

/// Runs the suite on an empty store, and leaves it empty but for `config`.
pub(crate) async fn run(store: SharedStore) {
    absent_objects(&store).await;
    whole_objects_of_every_kind(&store).await;
    bodies_of_many_parts(&store).await;
    ranges(&store).await;
    writing_again(&store).await;
    many_at_once(&store).await;
}

async fn absent_objects(store: &SharedStore) {
    let absent = ObjectName::index(ObjectId([1; 32]));
    for object in [absent, ObjectName::Config] {
        let error = store.get(object, None).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert!(!error.is_retryable());
        assert_eq!(error.operation, "get");
        assert!(error.object.ends_with(&object.path()), "{}", error.object);
    }
    let range = ByteRange::new(0, 1);
    assert!(store.get(absent, range).await.unwrap_err().is_not_found());
    store.remove(absent).await.unwrap();
    for directory in Directory::ALL {
        assert_eq!(store.list(directory).await.unwrap(), []);
    }
}

async fn whole_objects_of_every_kind(store: &SharedStore) {
    for (n, kind) in ObjectKind::ALL.into_iter().enumerate() {
        let body = Body::new(vec![n as u8; 10 + n]);
        let object = match kind {
            ObjectKind::Config => ObjectName::Config,
            ObjectKind::Wal => ObjectName::Wal(WalName {
                system: SystemId(7),
                timeline: TimelineId(1),
                part: WalPart::History,
                id: body.sha256,
            }),
            kind => ObjectName::Hashed(kind, body.sha256),
        };
        store.put(object, body.clone()).await.unwrap();
        assert_eq!(store.get(object, None).await.unwrap(), body.parts[0]);
        let Some(directory) = kind.directory() else {
            continue;
        };
        let listed = store.list(directory).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].id, listed[0].size), (body.sha256, body.length));
        store.remove(object).await.unwrap();
        assert_eq!(store.list(directory).await.unwrap(), []);
        assert!(store.get(object, None).await.unwrap_err().is_not_found());
    }
}

async fn bodies_of_many_parts(store: &SharedStore) {
    let parts: Vec<Bytes> = (0..300_usize)
        .map(|n| Bytes::from(vec![n as u8; n * 7 % 5000]))
        .chain([Bytes::from(vec![42; 3 << 20])])
        .collect();
    let whole = parts.concat();
    let body = Body::hashed(parts, sha256(&whole));
    assert_eq!(body.length, whole.len() as u64);
    let object = ObjectName::data_pack(body.sha256);
    store.put(object, body).await.unwrap();
    assert_eq!(store.get(object, None).await.unwrap(), whole);
    store.remove(object).await.unwrap();

    let empty = Body::new(Bytes::new());
    let object = ObjectName::data_pack(empty.sha256);
    store.put(object, empty).await.unwrap();
    assert_eq!(store.get(object, None).await.unwrap(), Bytes::new());
    store.remove(object).await.unwrap();
}

async fn ranges(store: &SharedStore) {
    let bytes: Vec<u8> = (0..1000_u32).map(|n| n as u8).collect();
    let body = Body::new(bytes.clone());
    let object = ObjectName::tree_pack(body.sha256);
    store.put(object, body).await.unwrap();
    for (first, last) in [(0, 0), (0, 999), (10, 20), (999, 999)] {
        let range = Some(ByteRange {
            first: first as u64,
            last: last as u64,
        });
        let got = store.get(object, range).await.unwrap();
        assert_eq!(got, bytes[first..=last]);
    }
    for (first, length) in [(999, 2), (0, 1001), (1000, 1), (5000, 10)] {
        let error = store
            .get(object, ByteRange::new(first, length))
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind, StoreErrorKind::Truncated { expected, .. } if expected == length),
            "{error}"
        );
    }
    store.remove(object).await.unwrap();
}

async fn writing_again(store: &SharedStore) {
    let first = Body::new(&b"first"[..]);
    let object = ObjectName::lock(first.sha256);
    store.put(object, first.clone()).await.unwrap();
    store.put(object, first).await.unwrap();
    assert_eq!(store.get(object, None).await.unwrap(), &b"first"[..]);
    assert_eq!(store.list(Directory::Locks).await.unwrap().len(), 1);
    store.remove(object).await.unwrap();
    store.remove(object).await.unwrap();
    for text in [&b"one"[..], b"two"] {
        store
            .put(ObjectName::Config, Body::new(text))
            .await
            .unwrap();
        assert_eq!(store.get(ObjectName::Config, None).await.unwrap(), text);
    }
}

async fn many_at_once(store: &SharedStore) {
    let bodies: Vec<Body> = (0..40_u8).map(|n| Body::new(vec![n; 5000])).collect();
    let named = |body: &Body| ObjectName::data_pack(body.sha256);
    let puts = bodies
        .iter()
        .map(|body| store.put(named(body), body.clone()));
    futures::future::try_join_all(puts).await.unwrap();
    let mut listed: Vec<_> = store.list(Directory::Data).await.unwrap();
    listed.sort_by_key(|listed| listed.id);
    let mut expected: Vec<_> = bodies.iter().map(|body| body.sha256).collect();
    expected.sort();
    assert!(listed.iter().map(|listed| listed.id).eq(expected));
    let gets = bodies.iter().map(|body| store.get(named(body), None));
    let got = futures::future::try_join_all(gets).await.unwrap();
    assert!(got.iter().eq(bodies.iter().map(|body| &body.parts[0])));
    let removes = bodies.iter().map(|body| store.remove(named(body)));
    futures::future::try_join_all(removes).await.unwrap();
    assert_eq!(store.list(Directory::Data).await.unwrap(), []);
}
