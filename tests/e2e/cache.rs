//! The agent's cache saves requests, and is never needed.

use std::{fs, path::Path};

use strongroom_tests::{coordinator::Setup, tree::Tree};

use crate::world::World;

/// Indexes and packs that were fetched so far.
fn fetched(world: &World) -> usize {
    let wanted = |seen: &strongroom_tests::proxy::Seen| seen.gets("index") || seen.gets("data");
    world.proxy().seen(wanted).len()
}

fn damage(directory: &Path) {
    for entry in fs::read_dir(directory).expect("the cache") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            damage(&path);
        } else {
            let mut bytes = fs::read(&path).expect("a file");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).expect("a file");
        }
    }
}

#[test]
fn an_unchanged_backup_fetches_no_index_and_no_tree_unless_the_cache_is_damaged() {
    let mut world = World::behind_proxy("cache", Setup::default());
    world.fill(&Tree::small(1));
    world.backup();
    let before = fetched(&world);
    world.backup();
    assert_eq!(fetched(&world), before);

    // As a new process it has to look at each file once.
    world.agent.stop();
    damage(&world.agent.state().join("cache/objects"));
    world.agent.start();
    let snapshot = world.backup();
    assert!(fetched(&world) > before);
    world.restic().check();
    world.prove(&snapshot, "all");
}
