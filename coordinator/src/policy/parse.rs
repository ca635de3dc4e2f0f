//! Reading policies from TOML: every problem with its file, line and key.

use std::{collections::BTreeMap, fmt, ops::Range, path::Path};

use serde::Deserialize;
use strongroom_runtime::{
    config,
    keys::Keys,
    units::{ByteRate, ByteSize},
};
use strongroom_spec::{FilesSource, ResourceLimits, Source};
use toml::de::{DeTable, ValueDeserializer};

use super::{Policy, PolicyLimits, patterns};
use crate::model::{SAFETY_POLICY, UPLOAD_POLICY, check_name};

/// A policy document with mistakes in it: nothing of it is applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidPolicies {
    /// In the order in which they stand in the file; at least one.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more: usize,
}

impl fmt::Display for InvalidPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\n… and {} more", self.more)?;
        }
        Ok(())
    }
}

/// One mistake in a policy document.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct Problem {
    /// As it was given.
    pub file: String,
    /// Counts from 1.
    pub line: usize,
    /// Like `policy[0].schedule.cron`; counts policies from 0. Empty for the
    /// document as a whole.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Reads a document of `[[policy]]` tables.
///
/// `file` is only named in problems. `stores` are those of the coordinator's
/// configuration.
pub fn parse(file: &str, text: &str, stores: &[String]) -> Result<Vec<Policy>, InvalidPolicies> {
    let mut document = Document {
        file,
        text,
        problems: Vec::new(),
        more: 0,
    };
    let policies = document.read(stores);
    if document.problems.is_empty() {
        Ok(policies)
    } else {
        document.problems.sort_by_key(|problem| problem.line);
        Err(InvalidPolicies {
            problems: document.problems,
            more: document.more,
        })
    }
}

struct Document<'a> {
    file: &'a str,
    text: &'a str,
    problems: Vec<Problem>,
    /// Problems that are not among them.
    more: usize,
}

impl Document<'_> {
    fn read(&mut self, stores: &[String]) -> Vec<Policy> {
        let root = match DeTable::parse(self.text) {
            Ok(root) => root.into_inner(),
            Err(error) => {
                let span = error.span().unwrap_or_default();
                self.problem(&span, String::new(), error.message().trim().into());
                return Vec::new();
            }
        };
        let keys = Keys::of(&root);
        let mut policies = Vec::new();
        for (key, value) in &root {
            let Some(elements) = value
                .get_ref()
                .as_array()
                .filter(|_| key.get_ref() == "policy")
            else {
                self.problem(&key.span(), key.get_ref().to_string(), NOT_A_POLICY.into());
                continue;
            };
            if elements.len() > MAX_POLICIES {
                let message = format!(
                    "holds {} policies: put at most {MAX_POLICIES} into one file",
                    elements.len()
                );
                self.problem(&key.span(), key.get_ref().to_string(), message);
                continue;
            }
            for (index, element) in elements.iter().enumerate() {
                let key = format!("policy[{index}]");
                match Policy::deserialize(ValueDeserializer::from(element.clone())) {
                    Ok(policy) => policies.push((key, policy)),
                    Err(error) => self.refused(&keys, element.span(), &error),
                }
            }
        }
        if policies.is_empty() && self.problems.is_empty() {
            self.problem(
                &(0..0),
                String::new(),
                "no policy is in it: begin one with [[policy]]".into(),
            );
        }
        self.check_all(&keys, &policies, stores);
        policies.into_iter().map(|(_, policy)| policy).collect()
    }

    /// What serde refused, at its place.
    fn refused(&mut self, keys: &Keys<'_>, whole: Range<usize>, error: &toml::de::Error) {
        let span = error.span().unwrap_or(whole);
        let key = keys.at(&span);
        self.problem(&span, key, config::explain(error.message().trim()));
    }

    /// What single values do not show.
    fn check_all(&mut self, keys: &Keys<'_>, policies: &[(String, Policy)], stores: &[String]) {
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, policy) in policies {
            let mut at = |field: &str, message: String| {
                let field = format!("{key}.{field}");
                let span = keys.span(&field).unwrap_or_default();
                self.problem(&span, field, message);
            };
            if let Err(error) = check_name("policy name", &policy.name) {
                at("name", error.to_string());
            }
            if policy.name == SAFETY_POLICY {
                let message = format!(
                    "{SAFETY_POLICY:?} is what safety backups are listed under: choose another name"
                );
                at("name", message);
            }
            if policy.name.starts_with(UPLOAD_POLICY) {
                let message = format!(
                    "what begins with {UPLOAD_POLICY:?} is what uploads are listed under: choose another name"
                );
                at("name", message);
            }
            if let Some(first) = names.insert(&policy.name, key) {
                let message = format!(
                    "{:?} is also the name of {first}: give each policy its own name",
                    policy.name
                );
                at("name", message);
            }
            if !stores.contains(&policy.store) {
                at("store", unknown_store(&policy.store, stores));
            }
            check_limits(&policy.limits, &mut at);
            check_source(&policy.source, &mut at);
            if let Some((field, message)) = policy
                .wal
                .as_ref()
                .and_then(|wal| wal.problem(&policy.source))
            {
                at(field, message);
            }
        }
    }

    /// Finding its line takes a look at the whole file, and an answer is for
    /// people: beyond [`MAX_PROBLEMS`] they are only counted.
    fn problem(&mut self, span: &Range<usize>, key: String, message: String) {
        if self.problems.len() >= MAX_PROBLEMS {
            self.more += 1;
            return;
        }
        let before = self.text.get(..span.start).unwrap_or(self.text);
        self.problems.push(Problem {
            file: self.file.into(),
            line: before.matches('\n').count() + 1,
            key: cut(key),
            message: cut(message),
        });
    }
}

/// A repository's first files, an index and the trees of a small backup.
const LEAST_NEW_DATA: ByteSize = ByteSize(16 << 20);

/// Policies in one file: each is an entry of the audit log, and all are applied
/// at once.
const MAX_POLICIES: usize = 1000;
/// Problems of one file that are told.
const MAX_PROBLEMS: usize = 50;
/// Characters of a key or of what is wrong with it: a file may hold long ones.
const MAX_TEXT: usize = 1000;

/// The beginning of a text that nobody reads to its end.
fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

const NOT_A_POLICY: &str = "is not known here: a policy document holds [[policy]] tables only";

fn unknown_store(store: &str, stores: &[String]) -> String {
    let known = if stores.is_empty() {
        "it names none".into()
    } else {
        format!("it names {}", stores.join(", "))
    };
    format!(
        "there is no store {store:?} in the coordinator's configuration ({known}): take one of \
         those or add it there"
    )
}

fn check_limits(limits: &PolicyLimits, at: &mut impl FnMut(&str, String)) {
    if !(1..=100).contains(&limits.attempts) {
        at("limits.attempts", "is out of range: write 1 to 100".into());
    }
    let rates = [
        ("limits.upload", limits.upload),
        ("limits.download", limits.download),
        ("limits.read", limits.read),
    ];
    for (key, rate) in rates {
        if let Some(Err(error)) = rate.map(ByteRate::checked) {
            at(key, error.to_string());
        }
    }
    if limits.threads == Some(0) {
        let message = "0 threads do no work: write at least 1, or leave it out for one per core";
        at("limits.threads", message.into());
    }
    if let Some(size) = limits.new_data.filter(|size| *size < LEAST_NEW_DATA) {
        at(
            "limits.new_data",
            format!(
                "\"{size}\" is less than the smallest backup may take: write at least \
                 \"{LEAST_NEW_DATA}\", or leave it out for no limit"
            ),
        );
    }
    let least = ByteSize(ResourceLimits::LEAST_MEMORY);
    if let Some(memory) = limits.memory.filter(|memory| *memory < least) {
        at(
            "limits.memory",
            format!(
                "\"{memory}\" is less than one thread and the smallest packs take: write at least \
                 \"{least}\""
            ),
        );
    }
}

fn check_source(source: &Source, at: &mut impl FnMut(&str, String)) {
    if let Source::Files(files) = source {
        check_files(files, at);
    }
    if let Some((key, name)) = source.named()
        && let Err(error) = check_name(key, name)
    {
        at(
            &format!("source.{}.{key}", source.kind()),
            error.to_string(),
        );
    }
}

fn check_files(files: &FilesSource, at: &mut impl FnMut(&str, String)) {
    if files.paths.is_empty() {
        at(
            "source.files.paths",
            "is empty: name at least one absolute path, for example [\"/srv\"]".into(),
        );
    }
    for (index, path) in files.paths.iter().enumerate() {
        if let Some(problem) = path_problem(path) {
            at(&format!("source.files.paths[{index}]"), problem);
        }
    }
    for (key, globs) in [("include", &files.include), ("exclude", &files.exclude)] {
        for (index, glob) in globs.iter().enumerate() {
            if let Some(problem) = patterns::problem(glob) {
                at(&format!("source.files.{key}[{index}]"), problem);
            }
        }
    }
}

fn path_problem(path: &str) -> Option<String> {
    let components = || Path::new(path).components();
    if path.contains('\0') {
        Some(format!("{path:?} holds a NUL byte"))
    } else if !path.starts_with('/') {
        Some(format!("{path:?} is not absolute: begin it with /"))
    } else if components().any(|it| it == std::path::Component::ParentDir) {
        Some(format!("{path:?} holds `..`: write the path it leads to"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
