//! Creating, opening and finding, in memory.

mod handle;
mod judged_locks;
mod locks;
mod lost_answer;

use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::store::memory::MemoryStore;

const PASSWORD: &str = "correct horse";

fn owner() -> KeyOwner {
    KeyOwner {
        created: Timestamp::UNIX_EPOCH,
        username: "root".into(),
        hostname: "web-1".into(),
    }
}

fn memory() -> SharedStore {
    Arc::new(MemoryStore::new())
}

async fn created() -> Repository {
    Repository::create(memory(), PASSWORD, owner())
        .await
        .unwrap()
}
