//! An operator at the command line: every call is a run of `strongroom`.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::program::{PATIENCE, binary};

/// What a command wrote and how it ended.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self:#?}"))
    }
}

/// An operator with a profile.
#[derive(Debug, Clone)]
pub struct Operator {
    profile: PathBuf,
}

impl Operator {
    /// The operator whose `operator.toml` this is.
    pub fn new(profile: impl Into<PathBuf>) -> Self {
        Self {
            profile: profile.into(),
        }
    }

    /// The profile's path.
    pub fn profile(&self) -> &Path {
        &self.profile
    }

    /// Runs a command and returns whatever comes of it.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Answer {
        let output = Command::new(binary("strongroom"))
            .args(arguments)
            .arg("--profile")
            .arg(&self.profile)
            .env_remove("STRONGROOM_PROFILE")
            .output()
            .expect("strongroom runs");
        Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command that must exit with 0, and returns its JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.json_with(0, arguments)
    }

    /// Runs a command that must exit with `code`, and returns its JSON.
    pub fn json_with(&self, code: i32, arguments: &[&str]) -> Value {
        let answer = self.run([arguments, &["--output", "json"]].concat());
        assert_eq!(answer.code, code, "strongroom {arguments:?}: {answer:#?}");
        answer.json()
    }

    /// Runs a command that must exit with `code`, and returns what it says on
    /// standard error.
    pub fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let answer = self.run(arguments);
        assert_eq!(answer.code, code, "strongroom {arguments:?}: {answer:#?}");
        answer.stderr
    }

    /// Applies a policy file.
    pub fn apply(&self, policies: &str) -> Value {
        let file = self.write_policies(policies);
        let applied = self.json(&["apply", "-f", file.to_str().expect("UTF-8")]);
        fs::remove_file(file).expect("the policy file is there");
        applied
    }

    /// Writes a policy file beside the profile.
    pub fn write_policies(&self, policies: &str) -> PathBuf {
        let name = format!("policies-{}.toml", uuid::Uuid::new_v4());
        let file = self.profile.with_file_name(name);
        fs::write(&file, policies).expect("a file can be written");
        file
    }

    /// Runs a policy on its only agent, waits, and returns the job, which must
    /// have succeeded without warnings.
    pub fn backup(&self, policy: &str) -> Value {
        let jobs = self.json(&["run", policy, "--wait"]);
        only(&jobs["jobs"])
    }

    /// Starts a policy on its only agent and returns the job's id.
    pub fn start(&self, policy: &str) -> String {
        let jobs = self.json(&["run", policy]);
        text(&only(&jobs["jobs"])["id"])
    }

    /// A job as it stands.
    pub fn job(&self, id: &str) -> Value {
        self.json(&["jobs", "show", id])
    }

    /// Waits until a job has ended, and returns it.
    pub fn wait_for_end(&self, id: &str) -> Value {
        eventually(&format!("end of job {id}"), || {
            let job = self.job(id);
            ["succeeded", "failed", "cancelled"]
                .contains(&text(&job["state"]).as_str())
                .then_some(job)
        })
    }

    /// Waits until a job is at work on its `attempt`.
    pub fn wait_until_running(&self, id: &str, attempt: usize) {
        eventually(&format!("attempt {attempt} of job {id}"), || {
            let job = self.job(id);
            let attempts = job["attempts"].as_array().map_or(0, Vec::len);
            (job["state"] == "running" && attempts >= attempt).then_some(())
        });
    }

    /// Restores a snapshot, waits, and returns the job, which must have
    /// succeeded without warnings.
    pub fn restore(&self, snapshot: &str, agent: &str, target: &Path) -> Value {
        let target = target.to_str().expect("the test's own path is UTF-8");
        let arguments = [
            "restore", snapshot, "--agent", agent, "--target", target, "--wait",
        ];
        only(&self.json(&arguments)["jobs"])
    }

    /// Entries of the audit log whose action begins with `action`.
    pub fn audit(&self, action: &str) -> Vec<Value> {
        let page = self.json(&["audit", "--action", action, "--limit", "1000"]);
        page["entries"].as_array().expect("entries").clone()
    }

    /// The one repository that the coordinator knows: its name, its location
    /// in restic's notation and its password.
    pub fn repository(&self) -> (String, String, String) {
        let repository = only(&self.json(&["repositories", "list"])["repositories"]);
        let name = text(&repository["name"]);
        let password = self.json(&["repositories", "password", &name]);
        (
            name,
            text(&password["location"]),
            text(&password["password"]),
        )
    }
}

/// The only element of a JSON array.
pub fn only(array: &Value) -> Value {
    match array.as_array().map(Vec::as_slice) {
        Some([only]) => only.clone(),
        _ => panic!("not an array of one: {array:#}"),
    }
}

/// A JSON string.
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value:#}"))
        .to_owned()
}

/// Asks again and again until there is an answer: for what a program has no
/// event for.
///
/// # Panics
/// After [`PATIENCE`].
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, ask)
}

/// [`eventually`] with another patience.
pub fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "no {what} within {patience:?}");
        thread::sleep(Duration::from_millis(50));
    }
}
