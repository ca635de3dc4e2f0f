//! May a backup read this part of a pack? Only if it is the pack's header, and
//! all of it.
//!
//! A header says which blobs lie in a pack, as index files do, and nothing of
//! what is in them. A backup compares the two, so that an index file cannot
//! make it believe that something is stored. A stolen host must not read history:
//! a byte more would be the end of a blob. How long a header is stands in the
//! last four bytes of the pack, which the coordinator asks the store for.

use futures::{StreamExt, TryStreamExt, stream};
use strongroom_layout::ObjectKind;
use strongroom_wire::grant::{Action, RefusalReason, RequestToSign};

use super::{
    decide::Scope,
    service::{GrantError, Grants},
};
use crate::model::Repository;

/// Bytes of the length at a pack's end.
const TRAILER: u64 = 4;
/// The shortest sealed header and the longest that restic takes, bytes.
const SEALED: std::ops::RangeInclusive<u64> = 32..=16 << 20;
/// Packs whose ends are asked for at a time.
const AT_ONCE: usize = 16;

/// The part of a pack that is asked for, if it may be its header by the job
/// and by its length.
pub(super) fn asked_part(scope: Scope, wanted: &RequestToSign) -> Option<(u64, u64)> {
    let is_pack = matches!(
        wanted.object.kind(),
        ObjectKind::DataPack | ObjectKind::TreePack
    );
    let compares = matches!(scope, Scope::Backup { .. } | Scope::Upload { .. });
    let Action::Get {
        range: Some((first, last)),
    } = wanted.action
    else {
        return None;
    };
    let length = last.checked_sub(first)?.checked_add(1)?;
    let possible = length
        .checked_sub(TRAILER)
        .is_some_and(|sealed| SEALED.contains(&sealed));
    (is_pack && compares && possible).then_some((first, last))
}

/// Whether a part, both ends included, is the header of a pack of `length` bytes
/// that ends in `trailer`.
pub(super) fn is_header((first, last): (u64, u64), length: u64, trailer: [u8; 4]) -> bool {
    let header = u64::from(u32::from_le_bytes(trailer)) + TRAILER;
    last.checked_add(1) == Some(length) && first.checked_add(header) == Some(length)
}

impl Grants {
    /// Allows those of the refused reads that are of a pack's header. Asks the
    /// store for each.
    pub(super) async fn allow_headers(
        &self,
        repository: &Repository,
        scope: Scope,
        requests: &[RequestToSign],
        decisions: &mut [Result<(), RefusalReason>],
    ) -> Result<(), GrantError> {
        let asked: Vec<_> = requests
            .iter()
            .zip(decisions.iter())
            .enumerate()
            .filter(|(_, (_, decision))| **decision == Err(RefusalReason::ReadForbidden))
            .filter_map(|(index, (wanted, _))| {
                Some((index, wanted.object, asked_part(scope, wanted)?))
            })
            .collect();
        if asked.is_empty() {
            return Ok(());
        }
        let client = &self.store(repository)?.client;
        let looks = asked.into_iter().map(|(index, pack, part)| async move {
            let end = client.end_of(&repository.prefix, pack).await?;
            let allowed = end.is_some_and(|(length, trailer)| is_header(part, length, trailer));
            Ok::<_, GrantError>((index, allowed))
        });
        let looked: Vec<_> = stream::iter(looks)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        for (index, allowed) in looked {
            if let (true, Some(decision)) = (allowed, decisions.get_mut(index)) {
                *decision = Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use strongroom_layout::{ObjectId, ObjectName};

    use super::*;

    const ID: ObjectId = ObjectId([7; 32]);
    const BACKUP: Scope = Scope::Backup {
        create: false,
        parent: None,
    };

    fn get(object: ObjectName, range: Option<(u64, u64)>) -> RequestToSign {
        let action = Action::Get { range };
        RequestToSign { object, action }
    }

    #[test]
    fn only_backups_and_uploads_are_given_headers_and_only_of_packs() {
        let range = Some((100, 199));
        let pack = ObjectName::data_pack(ID);
        for scope in [BACKUP, Scope::Upload { create: true }] {
            for pack in [pack, ObjectName::tree_pack(ID)] {
                assert_eq!(asked_part(scope, &get(pack, range)), range);
            }
            assert_eq!(
                asked_part(scope, &get(ObjectName::snapshot(ID), range)),
                None
            );
            assert_eq!(asked_part(scope, &get(pack, None)), None);
        }
        let snapshot = ID;
        for scope in [Scope::Wal { create: true }, Scope::Download { snapshot }] {
            assert_eq!(asked_part(scope, &get(pack, range)), None);
        }
    }

    #[test]
    fn parts_that_can_be_no_header_are_not_looked_at() {
        let asked = |first, last| {
            asked_part(BACKUP, &get(ObjectName::data_pack(ID), Some((first, last)))).is_some()
        };
        // 32 bytes and the length are the shortest; 16 MiB and it the longest.
        assert!(asked(10, 45) && !asked(10, 44));
        let longest = (16 << 20) + 4;
        assert!(asked(10, 9 + longest) && !asked(10, 10 + longest));
        assert!(!asked(10, 9) && !asked(10, 5) && !asked(0, u64::MAX));
    }

    #[test]
    fn a_header_is_all_of_it_and_no_byte_more() {
        let trailer = 96_u32.to_le_bytes();
        assert!(is_header((900, 999), 1000, trailer));
        for (part, length) in [
            ((899, 999), 1000),
            ((901, 999), 1000),
            ((900, 998), 1000),
            ((900, 999), 1001),
            ((0, 999), 1000),
        ] {
            assert!(!is_header(part, length, trailer), "{part:?}, {length}");
        }
        // A pack that is not as long as its header says to be.
        assert!(!is_header((0, 49), 50, trailer));
    }
}
