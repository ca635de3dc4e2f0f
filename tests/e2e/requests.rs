//! How often the store is asked, by agent and coordinator together, counted
//! on the wire: packs set the number, not files.

use strongroom_tests::{
    coordinator::Setup,
    proxy::{FaultProxy, Seen},
    tree::Tree,
};

use crate::world::World;

const FILES: usize = 4_000;

/// Requests since the last look.
struct Counter<'a> {
    proxy: &'a FaultProxy,
    from: usize,
}

impl Counter<'_> {
    fn next(&mut self) -> Vec<Seen> {
        let from = self.from;
        let mut seen = self.proxy.seen(|seen| seen.number >= from);
        self.from += seen.len();
        // The coordinator looks every few seconds whether the store is there.
        seen.retain(|seen| !seen.path.ends_with("/.strongroom/here"));
        seen
    }
}

fn count(seen: &[Seen], wanted: impl Fn(&Seen) -> bool) -> usize {
    seen.iter().filter(|seen| wanted(seen)).count()
}

#[test]
fn a_backup_of_thousands_of_files_takes_a_few_requests() {
    let world = World::behind_proxy("requests", Setup::default());
    world.fill(&Tree {
        small_files: FILES,
        ..Tree::small(1)
    });
    let mut counter = Counter {
        proxy: world.proxy(),
        from: 0,
    };
    counter.next();
    let packs = |seen: &[Seen]| count(seen, |seen| seen.puts("data"));
    // The coordinator looks for every new name before it grants it, and for the
    // snapshot when it is reported.
    let looks = |seen: &[Seen]| count(seen, |seen| seen.method == "HEAD");

    let snapshot = world.backup();
    let first = counter.next();
    // Less than a pack of data, but each thread may begin one, four in all;
    // and one of trees.
    let stored = packs(&first);
    assert!((2..=5).contains(&stored), "{stored} packs");
    assert_eq!(count(&first, |seen| seen.puts("index")), 1);
    assert_eq!(count(&first, |seen| seen.puts("snapshots")), 1);
    let looked = looks(&first);
    assert!(looked <= stored + 5, "{}", show(&first));
    assert!(first.len() <= stored + looked + 25, "{}", show(&first));

    let unchanged = world.backup();
    let second = counter.next();
    assert_eq!(packs(&second), 0);
    assert_eq!(count(&second, |seen| seen.puts("index")), 0);
    assert_eq!(count(&second, |seen| seen.puts("snapshots")), 1);
    let trees = count(&second, |seen| seen.gets("data"));
    assert!(trees <= 2, "{trees} reads of trees");
    let looked = looks(&second);
    assert!(looked <= 3, "{}", show(&second));
    assert!(second.len() <= trees + looked + 15, "{}", show(&second));

    world.prove(&unchanged, "restored");
    let third = counter.next();
    let read = count(&third, |seen| seen.gets("data"));
    assert!(read <= stored + trees + 2, "{read} reads of {stored} packs");
    let looked = looks(&third);
    assert!(looked <= 1, "{}", show(&third));
    assert!(third.len() <= read + looked + 15, "{}", show(&third));
    println!(
        "{FILES} files: {} requests for a first backup, {} for an unchanged one, {} for a restore",
        first.len(),
        second.len(),
        third.len()
    );
    world.restic().check();
    assert_ne!(snapshot, unchanged);
}

fn show(seen: &[Seen]) -> String {
    let line = |seen: &Seen| format!("{} {}?{}", seen.method, seen.path, seen.query);
    seen.iter().map(line).collect::<Vec<_>>().join("\n")
}
