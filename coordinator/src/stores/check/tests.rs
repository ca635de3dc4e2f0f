//! Against the embedded store, which must refuse everything.

use strongroom_layout::{
    ObjectId, ObjectKind, ObjectName, SystemId, WalName, WalPart, position::TimelineId,
};
use strongroom_wire::grant::Action;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::Coordinator;

/// The store, once the check at the start is over.
async fn checked(coordinator: &Coordinator) -> &Store {
    let store = coordinator.store();
    store.signing().await.unwrap();
    store
}

#[tokio::test]
async fn the_embedded_store_refuses_every_forgery_and_nothing_is_left() {
    let coordinator = Coordinator::start().await;
    let store = checked(&coordinator).await;
    let report = Box::pin(check(store, &CancellationToken::new()))
        .await
        .unwrap();
    assert!(report.terms.only_new && report.terms.checksum);
    for finding in &report.findings {
        assert_eq!(finding.verdict, Verdict::Refused, "{finding:?}");
    }
    let left = store.client.list_below(".strongroom/").await.unwrap();
    assert_eq!(left, []);
}

#[tokio::test]
async fn a_check_that_is_cut_off_cleans_up_and_is_no_report() {
    let coordinator = Coordinator::start().await;
    let store = checked(&coordinator).await;
    let cancelled = CancellationToken::new();
    let forger = Forger::new(store.client.config(), store.client.clock().clone()).unwrap();
    let mut lab = Lab::new(store, &forger);
    lab.prepare().await.unwrap();
    let left = store.client.list_below(".strongroom/").await.unwrap();
    assert_eq!(left.len(), 1);
    lab.clean().await.unwrap();
    assert_eq!(store.client.list_below(".strongroom/").await.unwrap(), []);
    cancelled.cancel();
    let error = Box::pin(check(store, &cancelled)).await.unwrap_err();
    assert!(error.to_string().contains("interrupted"), "{error}");
    assert_eq!(store.client.list_below(".strongroom/").await.unwrap(), []);
}

#[tokio::test]
async fn only_what_a_check_wrote_is_ever_deleted() {
    let coordinator = Coordinator::start().await;
    let client = &coordinator.store().client;
    client.put("web-1/config", b"x".to_vec()).await.unwrap();
    let refused = client.delete_below(".strongroom/check", "web-1/config");
    assert!(refused.await.is_err());
    assert_eq!(client.get("web-1/config").await.unwrap(), b"x");
}

#[tokio::test]
async fn every_put_is_signed_for_a_new_object_only() {
    let coordinator = Coordinator::start().await;
    let signing = coordinator.store().signing().await.unwrap();
    let id = ObjectId([7; 32]);
    let put = Action::Put {
        length: 1,
        sha256: id,
    };
    for kind in ObjectKind::ALL {
        let object = match kind {
            ObjectKind::Config => ObjectName::Config,
            ObjectKind::Wal => ObjectName::Wal(WalName {
                system: SystemId(1),
                timeline: TimelineId(1),
                part: WalPart::History,
                id,
            }),
            hashed => ObjectName::Hashed(hashed, id),
        };
        let grant = signing
            .sign("web-1", &object, &put, coordinator.now())
            .unwrap();
        let only_new = ("if-none-match".to_owned(), "*".to_owned());
        assert!(grant.headers.contains(&only_new), "{object}");
        let sum = data_encoding::BASE64.encode(&[7; 32]);
        let checksum = ("x-amz-checksum-sha256".to_owned(), sum);
        assert!(grant.headers.contains(&checksum), "{object}");
        let authorization = grant
            .headers
            .iter()
            .find(|(name, _)| name == "authorization");
        let authorization = &authorization.unwrap().1;
        for name in ["if-none-match", "x-amz-checksum-sha256"] {
            assert!(authorization.contains(&format!(";{name};")), "{object}");
        }
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_is_signed_for_by_nobody() {
    let coordinator = Coordinator::start().await;
    let mut away = coordinator.store().client.config().clone();
    away.bucket = "missing".into();
    let clock = coordinator.catalog.clock().clone();
    let stores = crate::stores::Stores::new([away], &clock).unwrap();
    let stop = CancellationToken::new();
    let catalog = coordinator.catalog.clone();
    let keeping = tokio::spawn(crate::stores::keep(stores.clone(), catalog, stop.clone()));
    let store = stores.get(crate::testing::STORE).unwrap();
    let error = store.signing().await.unwrap_err();
    assert!(matches!(error, NotSigned::Unchecked { .. }), "{error}");
    assert!(
        error.to_string().contains("bucket does not exist"),
        "{error}"
    );
    stop.cancel();
    keeping.await.unwrap();
}
