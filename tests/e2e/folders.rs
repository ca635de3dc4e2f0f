//! Folders of a crate do not use each other in circles: whoever reads one need not have
//! read all. Read off its sources' `crate::…` paths, tests apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// For each module right below a crate's root, the others that it names.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// All sources below a directory but those of tests.
fn sources(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        if ["tests", "testing", "fake"].contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Without comments, and without what is only compiled for tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source");
    let text = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The first words of the paths that follow `crate::`, of all within braces.
fn named(code: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        let text = text.trim_start();
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, character) in list.char_indices() {
            if begins && depth == 0 && character.is_alphabetic() {
                names.insert(word(&list[at..]));
            }
            begins = character == ',' || (begins && character.is_whitespace());
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    names
}

fn uses(root: &Path) -> Uses {
    let mut paths = Vec::new();
    sources(root, &mut paths);
    let module = |path: &Path| -> String {
        let first = path.strip_prefix(root).expect("below").iter().next();
        let first = first.expect("a name").to_string_lossy().into_owned();
        first.trim_end_matches(".rs").to_owned()
    };
    let modules: BTreeSet<_> = paths.iter().map(|path| module(path)).collect();
    let mut uses = Uses::new();
    for path in &paths {
        let own = module(path);
        let others = named(&code(path)).into_iter();
        let others = others.filter(|it| *it != own && modules.contains(it));
        uses.entry(own.clone()).or_default().extend(others);
    }
    uses
}

/// Modules that lead back to themselves, each with the way.
fn circles(uses: &Uses) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    for start in uses.keys() {
        let mut ways = vec![vec![start.as_str()]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            let last = way.last().expect("a module");
            for next in uses.get(*last).into_iter().flatten() {
                if next == start {
                    found.push([&way[..], &[next.as_str()]].concat());
                } else if seen.insert(next.as_str()) {
                    ways.push([&way[..], &[next.as_str()]].concat());
                }
            }
        }
    }
    found
}

#[test]
fn no_folders_use_each_other_in_a_circle() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut roots = vec![top.join("agent/src"), top.join("coordinator/src")];
    for entry in fs::read_dir(top.join("shared")).expect("a directory") {
        roots.push(entry.expect("an entry").path().join("src"));
    }
    let mut edges = 0;
    for root in roots.iter().filter(|root| root.is_dir()) {
        let uses = uses(root);
        edges += uses.values().map(BTreeSet::len).sum::<usize>();
        // Files that lie side by side are one folder.
        let is_folder = |name: &&str| root.join(name).is_dir();
        let circles = circles(&uses);
        let circles: Vec<_> = circles
            .iter()
            .filter(|way| way.iter().any(is_folder))
            .collect();
        assert!(circles.is_empty(), "{}: {circles:#?}", root.display());
    }
    assert!(edges > 200, "the sources are read wrongly: {edges} uses");
}

#[test]
fn a_circle_is_found() {
    let code = "use crate::{\n    jobs::{self, Backoff},\n    model::Agent,\n};\nfn f() { crate::keys::g() }";
    let names: Vec<_> = named(code).into_iter().collect();
    assert_eq!(names, ["jobs", "keys", "model"]);
    let set = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
    let uses = Uses::from([
        ("a".to_owned(), set(&["b"])),
        ("b".to_owned(), set(&["c"])),
        ("c".to_owned(), set(&["a"])),
        ("d".to_owned(), set(&["a"])),
    ]);
    let ways = circles(&uses);
    assert_eq!(ways.len(), 3);
    assert!(ways.contains(&vec!["a", "b", "c", "a"]));
}
