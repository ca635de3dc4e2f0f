//! The embedded store, run for the measurements by a coordinator that does
//! nothing else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use strongroom_tests::{port::Port, program::Program};

const BUCKET: &str = "strongroom";
const PREFIX: &str = "bench";

/// A running store; it ends with its last clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    endpoint: String,
    key_id: String,
    secret: String,
    /// Of the bucket's objects below [`PREFIX`].
    objects: PathBuf,
    _program: Arc<(Program, [Port; 3])>,
}

impl Store {
    /// Starts it, keeping everything in `directory`.
    pub(crate) fn start(programs: &Path, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let ports = [Port::lease(), Port::lease(), Port::lease()];
        let config = directory.join("coordinator.toml");
        fs::write(
            &config,
            format!(
                "data_directory = \"data\"\n[agents]\nlisten = \"{}\"\n\
                 public_names = [\"127.0.0.1\"]\n[api]\nlisten = \"{}\"\n\
                 [embedded]\nname = \"primary\"\nlisten = \"{}\"\ntls = false\n",
                ports[0].address(),
                ports[1].address(),
                ports[2].address()
            ),
        )?;
        let mut command = Command::new(programs.join("strongroom"));
        command.arg("serve").arg("--config").arg(&config);
        let program = Program::spawn("strongroom", command, &directory.join("log"));
        program.wait_for_line("that it serves", |line| line.contains("serving"));
        let credentials = fs::read(directory.join("data/embedded.json"))?;
        let credentials: Value = serde_json::from_slice(&credentials)?;
        let text = |name: &str| {
            let text = credentials[name].as_str().map(str::to_owned);
            text.with_context(|| format!("no {name} in the store's credentials"))
        };
        Ok(Self {
            endpoint: format!("http://{}", ports[2].address()),
            key_id: text("access_key_id")?,
            secret: text("secret_access_key")?,
            objects: directory.join("data/store").join(BUCKET).join(PREFIX),
            _program: Arc::new((program, ports)),
        })
    }

    /// A repository of this name, as restic and `offline` write it.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("s3:{}/{BUCKET}/{PREFIX}/{name}", self.endpoint)
    }

    /// Where the repository's objects lie.
    pub(crate) fn objects(&self, name: &str) -> PathBuf {
        self.objects.join(name)
    }

    /// The credentials, as S3 clients read them.
    pub(crate) fn environment(&self) -> [(&'static str, &str); 3] {
        [
            ("AWS_ACCESS_KEY_ID", &self.key_id),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ]
    }

    /// The same and the place, as rustic hands them to opendal's S3 service.
    pub(crate) fn opendal(&self, name: &str) -> [(&'static str, String); 6] {
        [
            ("OPENDAL_ENDPOINT", self.endpoint.clone()),
            ("OPENDAL_BUCKET", BUCKET.into()),
            ("OPENDAL_ROOT", format!("/{PREFIX}/{name}")),
            ("OPENDAL_REGION", "us-east-1".into()),
            ("OPENDAL_ACCESS_KEY_ID", self.key_id.clone()),
            ("OPENDAL_SECRET_ACCESS_KEY", self.secret.clone()),
        ]
    }
}
