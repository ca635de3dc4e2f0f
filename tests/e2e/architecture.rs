//! What the dependency graph promises.

use std::{collections::BTreeMap, env, process::Command};

use serde_json::Value;

/// For each package of the workspace, all packages that its programs link.
fn linked() -> BTreeMap<String, Vec<String>> {
    // A build fetches only what its platform needs.
    let platform = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");

    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            (
                package["id"].as_str().expect("id"),
                package["name"].as_str().expect("name"),
            )
        })
        .collect();
    let edges: BTreeMap<&str, Vec<&str>> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| {
            let linked = node["deps"].as_array().expect("deps").iter();
            let linked = linked.filter(|edge| {
                // `null` is a normal dependency; the others are not linked.
                let kinds = edge["dep_kinds"].as_array().expect("dep_kinds");
                kinds.iter().any(|kind| kind["kind"].is_null())
            });
            (
                node["id"].as_str().expect("id"),
                linked
                    .map(|edge| edge["pkg"].as_str().expect("pkg"))
                    .collect(),
            )
        })
        .collect();

    let members = metadata["workspace_members"].as_array().expect("members");
    members
        .iter()
        .map(|member| {
            let mut seen = Vec::new();
            let mut open = vec![member.as_str().expect("id")];
            while let Some(id) = open.pop() {
                for next in &edges[id] {
                    if !seen.contains(next) {
                        seen.push(next);
                        open.push(next);
                    }
                }
            }
            let name = names[member.as_str().expect("id")].to_owned();
            (name, seen.iter().map(|id| names[id].to_owned()).collect())
        })
        .collect()
}

#[test]
fn the_coordinator_cannot_decrypt_and_the_agent_holds_no_s3_client_or_database() {
    let linked = linked();
    let links = |program: &str, package: &str| linked[program].iter().any(|name| name == package);

    assert!(
        links("strongroom-agent", "strongroom-repository"),
        "the graph is read wrongly: the agent is known to link the engine"
    );
    assert!(
        !links("strongroom", "strongroom-repository"),
        "the coordinator sees ciphertext only; it must not link the engine, not even indirectly"
    );
    for package in ["sqlx", "aws-sdk-s3", "s3s"] {
        assert!(
            !links("strongroom-agent", package),
            "the agent must not link {package}"
        );
    }
}

/// The sources below a directory, one behind the other.
fn sources(directory: &std::path::Path, into: &mut String) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let hidden = path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with('.') || name == "target"
        });
        if hidden {
            continue;
        }
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path).expect("a source"));
        }
    }
}

/// A test's name in the document is that of a function, and whole.
#[test]
fn every_test_that_security_md_names_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = std::fs::read_to_string(root.join("docs/security.md")).expect("the document");
    assert!(!document.contains("…`"), "a shortened name");
    let mut code = String::new();
    for part in ["agent", "coordinator", "shared", "tests"] {
        sources(&root.join(part), &mut code);
    }
    let names: Vec<&str> = document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| !quoted.contains([' ', '/', '.', '\n']))
        .filter_map(|quoted| quoted.rsplit("::").next())
        // Sentences: what is shorter is a setting or a function.
        .filter(|name| name.matches('_').count() >= 3)
        .collect();
    assert!(names.len() > 40, "{} names", names.len());
    for name in names {
        assert!(code.contains(&format!("fn {name}(")), "no test {name}");
    }
}

/// A path in a document for newcomers leads somewhere.
#[test]
fn every_file_that_a_document_names_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tops = [
        "agent/",
        "coordinator/",
        "shared/",
        "tests/",
        "proto/",
        "deploy/",
        "docs/",
    ];
    let mut named = 0;
    for document in ["README.md", "docs/architecture.md", "docs/contributing.md"] {
        let text = std::fs::read_to_string(root.join(document)).expect("the document");
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path = tops.iter().any(|top| quoted.starts_with(top));
            if !is_path || quoted.contains([' ', '{', '*', '\n']) {
                continue;
            }
            named += 1;
            assert!(root.join(quoted).exists(), "{document} names {quoted}");
        }
    }
    assert!(named > 60, "{named} paths");
}
