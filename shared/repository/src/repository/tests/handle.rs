use crate::format::{blob_codec::blob_id, snapshot::Snapshot};

use super::*;

#[tokio::test]
async fn what_was_created_opens() {
    let repository = created().await;
    let opened = Repository::open(repository.store().clone(), PASSWORD)
        .await
        .unwrap();
    assert_eq!(opened.config(), repository.config());
    let id = repository
        .save_unpacked(ObjectKind::Index, b"{}")
        .await
        .unwrap();
    let json = opened.load_unpacked(ObjectName::index(id)).await.unwrap();
    assert_eq!(json, b"{}");
}

#[tokio::test]
async fn every_way_not_to_open_is_told_apart() {
    let nothing = Repository::open(memory(), PASSWORD).await;
    assert!(matches!(nothing, Err(RepositoryError::NoRepository)));

    let store = created().await.store().clone();
    let wrong = Repository::open(store.clone(), "wrong").await;
    assert!(matches!(
        wrong,
        Err(RepositoryError::WrongPassword { keys: 1 })
    ));
    let again = Repository::create(store.clone(), PASSWORD, owner()).await;
    assert!(matches!(again, Err(RepositoryError::AlreadyExists)));

    store
        .put(ObjectName::Config, Body::new(vec![1; 100]))
        .await
        .unwrap();
    let damaged = Repository::open(store.clone(), PASSWORD).await.unwrap_err();
    assert!(damaged.to_string().starts_with("config: "), "{damaged}");

    let key = store.list(Directory::Keys).await.unwrap()[0].id;
    store.remove(ObjectName::key(key)).await.unwrap();
    let keyless = Repository::open(store, PASSWORD).await;
    assert!(matches!(keyless, Err(RepositoryError::NoKeys)));
}

#[tokio::test]
async fn a_config_of_another_version_is_refused_by_number() {
    let repository = created().await;
    let json = repository.config().encode().unwrap();
    let json = String::from_utf8(json).unwrap().replace(":2,", ":3,");
    let sealed = repository.key().seal(json.as_bytes()).unwrap();
    let store = repository.store().clone();
    store
        .put(ObjectName::Config, Body::new(sealed))
        .await
        .unwrap();
    let error = Repository::open(store, PASSWORD).await.unwrap_err();
    assert!(error.to_string().contains("version 3"), "{error}");
}

#[tokio::test]
async fn any_key_opens_and_a_damaged_one_is_named_only_when_none_does() {
    let repository = created().await;
    let store = repository.store().clone();
    let second = KeyFile::create(repository.key(), "second", owner()).unwrap();
    let body = Body::new(second.encode().unwrap());
    let second = ObjectName::key(body.sha256);
    store.put(second, body).await.unwrap();
    for password in [PASSWORD, "second"] {
        Repository::open(store.clone(), password).await.unwrap();
    }
    let wrong = Repository::open(store.clone(), "third").await;
    assert!(matches!(
        wrong,
        Err(RepositoryError::WrongPassword { keys: 2 })
    ));

    store.put(second, Body::new(&b"{"[..])).await.unwrap();
    Repository::open(store.clone(), PASSWORD).await.unwrap();
    let error = Repository::open(store, "second").await.unwrap_err();
    assert!(error.to_string().contains(&second.path()), "{error}");
}

#[tokio::test]
async fn creation_goes_on_where_it_broke_off() {
    let repository = created().await;
    let store = repository.store().clone();
    store.remove(ObjectName::Config).await.unwrap();
    let stranger = Repository::create(store.clone(), "another", owner()).await;
    assert!(matches!(
        stranger,
        Err(RepositoryError::WrongPassword { keys: 1 })
    ));
    let resumed = Repository::create(store.clone(), PASSWORD, owner())
        .await
        .unwrap();
    assert_eq!(store.list(Directory::Keys).await.unwrap().len(), 1);
    let sealed = repository.key().seal(b"text").unwrap();
    resumed.key().open_into(&sealed, &mut Vec::new()).unwrap();
}

#[tokio::test]
async fn an_object_that_was_damaged_or_swapped_is_named() {
    let repository = created().await;
    let save = |json: &'static [u8]| repository.save_unpacked(ObjectKind::Index, json);
    let one = ObjectName::index(save(b"{\"a\":1}").await.unwrap());
    let two = ObjectName::index(save(b"{\"b\":2}").await.unwrap());
    let store = repository.store();
    let swapped = store.get(two, None).await.unwrap();
    let truncated = swapped.slice(..20);
    for wrong in [swapped, truncated] {
        store.put(one, Body::new(wrong)).await.unwrap();
        let error = repository.load_unpacked(one).await.unwrap_err();
        assert!(error.to_string().starts_with(&one.path()), "{error}");
        assert!(!error.is_retryable());
    }
}

fn snapshot(second: i64) -> Snapshot {
    Snapshot {
        time: Timestamp::new(second, 0).unwrap(),
        tree: blob_id(b"tree"),
        parent: None,
        paths: vec!["/srv".into()],
        hostname: "web-1".into(),
        username: "root".into(),
        uid: 0,
        gid: 0,
        excludes: Vec::new(),
        tags: Vec::new(),
        original: None,
        program_version: "strongroom 0.1.0".into(),
    }
}

#[tokio::test]
async fn snapshots_are_found_by_prefix_and_as_the_latest() {
    let repository = created().await;
    let none = repository.find_snapshot("latest").await;
    assert!(matches!(none, Err(RepositoryError::NoSuchSnapshot { .. })));
    let mut ids = Vec::new();
    // Seventeen ids: two at least begin with the same digit.
    for second in (0..17).rev() {
        let json = snapshot(second).encode().unwrap();
        let id = repository.save_unpacked(ObjectKind::Snapshot, &json).await;
        ids.push(id.unwrap());
    }
    let all = repository.snapshots().await.unwrap();
    assert!(all.iter().map(|(id, _)| id).eq(ids.iter().rev()));
    let (id, latest) = repository.find_snapshot("latest").await.unwrap();
    assert_eq!((id, latest), (ids[0], snapshot(16)));
    for (second, id) in (0..17).rev().zip(&ids) {
        let found = repository.find_snapshot(&id.to_string()).await.unwrap();
        assert_eq!(found, (*id, snapshot(second)));
    }
    let first_digit = |id: &ObjectId| id.to_string()[..1].to_owned();
    let twice = ids
        .iter()
        .map(first_digit)
        .find(|digit| ids.iter().filter(|id| first_digit(id) == *digit).count() > 1)
        .unwrap();
    let ambiguous = repository.find_snapshot(&twice).await;
    assert!(matches!(
        ambiguous,
        Err(RepositoryError::AmbiguousSnapshot { .. })
    ));
    for query in ["", "xyz", "../config"] {
        let error = repository.find_snapshot(query).await.unwrap_err();
        assert!(error.to_string().contains("holds 17"), "{error}");
    }
}
