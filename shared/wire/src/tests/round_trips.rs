//! Through the encoded bytes and back.

use proptest::prelude::*;
use prost::Message;
use strongroom_layout::position::{Lsn, TimelineId};
use strongroom_proto::v1;

use super::values;
use crate::{grant::*, identity::*, job::*, session::*, wal::*};

macro_rules! round_trips {
    ($($name:ident: $plain:ty => $wire:ty,)*) => {
        proptest! {
            $(#[test]
            fn $name(value in values::$name()) {
                let bytes = <$wire>::from(value.clone()).encode_to_vec();
                let decoded = <$wire>::decode(bytes.as_slice()).unwrap();
                prop_assert_eq!(<$plain>::try_from(decoded), Ok(value));
            })*
        }
    };
}

round_trips! {
    enrol_request: EnrolRequest => v1::EnrolRequest,
    enrol_response: EnrolResponse => v1::EnrolResponse,
    renew_request: RenewRequest => v1::RenewRequest,
    renew_response: RenewResponse => v1::RenewResponse,
    agent_message: AgentMessage => v1::AgentMessage,
    coordinator_message: CoordinatorMessage => v1::CoordinatorMessage,
    offer: JobOffer => v1::JobOffer,
    report: Report => v1::Report,
    sign_request: SignRequest => v1::SignRequest,
    sign_response: SignResponse => v1::SignResponse,
    list_objects_request: ListObjectsRequest => v1::ListObjectsRequest,
    list_objects_response: ListObjectsResponse => v1::ListObjectsResponse,
    release_locks_request: ReleaseLocksRequest => v1::ReleaseLocksRequest,
    publish_request: PublishRequest => v1::PublishRequest,
    publish_response: PublishResponse => v1::PublishResponse,
    record_wal_request: RecordWalRequest => v1::RecordWalRequest,
    archived_wal_request: ArchivedWalRequest => v1::ArchivedWalRequest,
    archived_wal_response: ArchivedWalResponse => v1::ArchivedWalResponse,
}

#[test]
fn an_earlier_version_tells_one_tail_and_is_told_one() {
    let earlier = v1::ArchivedWalResponse {
        tail_timeline: 2,
        tail_lsn: 20,
        ..v1::ArchivedWalResponse::default()
    };
    let mut known = ArchivedWalResponse::try_from(earlier).unwrap();
    assert_eq!(known.tails, [(TimelineId(2), Lsn(20))].into());
    known.tails.insert(TimelineId(1), Lsn(50));
    let told = v1::ArchivedWalResponse::from(known);
    assert_eq!((told.tail_timeline, told.tail_lsn), (2, 20));
}
