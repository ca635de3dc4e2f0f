//! Some values of every type, the same ones every time: what fuzzing begins
//! with.

use proptest::{
    strategy::{Strategy, ValueTree as _},
    test_runner::TestRunner,
};
use strongroom_proto::{prost::Message, v1};

use super::values;

/// Of each type.
const SAMPLES: usize = 12;

fn some<T>(strategy: impl Strategy<Value = T>) -> impl Iterator<Item = T> {
    let mut runner = TestRunner::deterministic();
    (0..SAMPLES).map(move |_| strategy.new_tree(&mut runner).unwrap().current())
}

fn encoded<Wire: Message + From<T>, T>(
    which: u8,
    strategy: impl Strategy<Value = T>,
) -> impl Iterator<Item = Vec<u8>> {
    some(strategy).map(move |value| [&[which], &*Wire::from(value).encode_to_vec()].concat())
}

pub(crate) fn of_agents() -> Vec<Vec<u8>> {
    encoded::<v1::AgentMessage, _>(0, values::agent_message())
        .chain(encoded::<v1::SignRequest, _>(1, values::sign_request()))
        .chain(encoded::<v1::ListObjectsRequest, _>(
            2,
            values::list_objects_request(),
        ))
        .chain(encoded::<v1::ReleaseLocksRequest, _>(
            3,
            values::release_locks_request(),
        ))
        .chain(encoded::<v1::PublishRequest, _>(
            4,
            values::publish_request(),
        ))
        .chain(encoded::<v1::RecordWalRequest, _>(
            5,
            values::record_wal_request(),
        ))
        .chain(encoded::<v1::ArchivedWalRequest, _>(
            6,
            values::archived_wal_request(),
        ))
        .chain(encoded::<v1::RenewRequest, _>(7, values::renew_request()))
        .chain(encoded::<v1::EnrolRequest, _>(8, values::enrol_request()))
        .collect()
}

pub(crate) fn of_coordinators() -> Vec<Vec<u8>> {
    encoded::<v1::CoordinatorMessage, _>(0, values::coordinator_message())
        .chain(encoded::<v1::SignResponse, _>(1, values::sign_response()))
        .chain(encoded::<v1::ListObjectsResponse, _>(
            2,
            values::list_objects_response(),
        ))
        .chain(encoded::<v1::PublishResponse, _>(
            3,
            values::publish_response(),
        ))
        .chain(encoded::<v1::ArchivedWalResponse, _>(
            4,
            values::archived_wal_response(),
        ))
        .chain(encoded::<v1::RenewResponse, _>(5, values::renew_response()))
        .chain(encoded::<v1::EnrolResponse, _>(6, values::enrol_response()))
        .collect()
}
