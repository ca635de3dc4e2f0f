//! How plain restic opens the repository: `restic.env` and a password file.

use strongroom_runtime::files;

use super::{data_dir::Place, prove::Proof};
use crate::{
    cli::{client::Client, render::format::quoted},
    http::dto::RepositoryPassword,
};

/// Writes `restic.env` and the password that it names, both mode 0600.
pub(super) async fn write_environment(
    place: &Place,
    client: &Client,
    proof: &Proof,
) -> anyhow::Result<()> {
    let path = ["repositories", &proof.repository, "password"];
    let answer: RepositoryPassword = client.post(&path, &()).await?;
    let password_file = place.data.join("restic.password");
    files::write_atomic(&password_file, answer.password.as_bytes(), files::SECRET)?;
    let text = environment(&answer.location, &password_file.to_string_lossy());
    files::write_atomic(
        &place.data.join("restic.env"),
        text.as_bytes(),
        files::SECRET,
    )?;
    Ok(())
}

fn environment(repository: &str, password_file: &str) -> String {
    format!(
        "# set -a; . this file; restic snapshots\n\
         RESTIC_REPOSITORY={}\nRESTIC_PASSWORD_FILE={}\n",
        quoted(repository),
        quoted(password_file)
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_odd_paths() {
        let odd = "/tmp/it's \"odd\" $HOME `x` \\ [*]\nnewline";
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("restic.env");
        std::fs::write(&file, environment(odd, odd)).unwrap();
        let script = format!(
            "set -a; . {}; env -0 | tr '\\0' '\\1'",
            quoted(file.to_str().unwrap())
        );
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for name in ["RESTIC_REPOSITORY", "RESTIC_PASSWORD_FILE"] {
            let expected = format!("{name}={odd}");
            assert!(text.split('\u{1}').any(|line| line == expected), "{text}");
        }
    }
}
