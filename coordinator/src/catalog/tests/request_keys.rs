//! A request under a key is known again.

use jiff::SignedDuration;

use super::{Fixture, contract};
use crate::model::{Actor, KeptAnswer, KeptBody, KeyState, KeyedRequest};

fn request(sender: &str, key: &str, hash: &str) -> KeyedRequest {
    KeyedRequest {
        sender: Actor::Operator(sender.into()),
        key: key.into(),
        hash: hash.into(),
    }
}

fn answer() -> KeptAnswer {
    KeptAnswer {
        status: 202,
        location: Some("/api/v1/jobs/1".into()),
        body: KeptBody::Json("{}".into()),
    }
}

async fn a_request_is_answered_once_and_known_again(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let first = request("eve", "k", "a");
    assert_eq!(catalog.begin_request(&first).await.unwrap(), KeyState::New);
    let under_way = KeyState::UnderWay(catalog.clock().now());
    assert_eq!(catalog.begin_request(&first).await.unwrap(), under_way);
    catalog.answer_request(&first, &answer()).await.unwrap();
    let answered = KeyState::Answered(answer());
    assert_eq!(catalog.begin_request(&first).await.unwrap(), answered);
    // An answer is not taken back.
    catalog.release_request(&first).await.unwrap();
    assert_eq!(catalog.begin_request(&first).await.unwrap(), answered);

    let other = request("eve", "k", "b");
    assert_eq!(
        catalog.begin_request(&other).await.unwrap(),
        KeyState::Reused
    );
    for new in [request("eve", "K", "a"), request("adam", "k", "a")] {
        assert_eq!(catalog.begin_request(&new).await.unwrap(), KeyState::New);
    }
}

async fn what_was_answered_is_told_from_what_is_not_known(fixture: Fixture) {
    let catalog = &fixture.catalog;
    for (key, body) in [("s", KeptBody::Secret), ("l", KeptBody::TooLong)] {
        let answer = KeptAnswer { body, ..answer() };
        let sent = request("eve", key, "a");
        catalog.begin_request(&sent).await.unwrap();
        catalog.answer_request(&sent, &answer).await.unwrap();
        let answered = KeyState::Answered(answer);
        assert_eq!(catalog.begin_request(&sent).await.unwrap(), answered);
    }
    let broken = request("eve", "k", "a");
    catalog.begin_request(&broken).await.unwrap();
    catalog.doubt_request(&broken, 500).await.unwrap();
    catalog.release_request(&broken).await.unwrap();
    let unknown = KeyState::Unknown(catalog.clock().now());
    assert_eq!(catalog.begin_request(&broken).await.unwrap(), unknown);
}

async fn what_did_nothing_may_be_sent_again(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let first = request("eve", "k", "a");
    catalog.begin_request(&first).await.unwrap();
    catalog.release_request(&first).await.unwrap();
    let other = request("eve", "k", "b");
    assert_eq!(catalog.begin_request(&other).await.unwrap(), KeyState::New);
}

async fn a_key_is_forgotten_after_a_day(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let first = request("eve", "k", "a");
    let second = request("eve", "l", "a");
    for it in [&first, &second] {
        catalog.begin_request(it).await.unwrap();
        catalog.answer_request(it, &answer()).await.unwrap();
    }
    fixture.clock.advance(SignedDuration::from_hours(24));
    catalog.forget_request_keys().await.unwrap();
    let answered = KeyState::Answered(answer());
    assert_eq!(catalog.begin_request(&first).await.unwrap(), answered);
    fixture.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(catalog.begin_request(&first).await.unwrap(), KeyState::New);
    catalog.forget_request_keys().await.unwrap();
    assert_eq!(catalog.begin_request(&second).await.unwrap(), KeyState::New);
}

contract!(
    a_request_is_answered_once_and_known_again,
    what_was_answered_is_told_from_what_is_not_known,
    what_did_nothing_may_be_sent_again,
    a_key_is_forgotten_after_a_day,
);
