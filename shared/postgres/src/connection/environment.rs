//! What libpq programs are told, and nothing else of ours.

use std::{ffi::OsString, fmt, process::Command};

use super::{Connection, Host, session::APPLICATION_NAME, startup};
use crate::name;

/// The whole environment of a libpq program. Holds the password: never
/// printed. Other processes of the same user, and root, can read it from the
/// running program, as they can read the password's file.
pub struct Environment(Vec<(&'static str, OsString)>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

impl Connection {
    /// For programs that connect to `database`. The name is given by
    /// environment too: on a command line libpq would take `a=b` for
    /// connection parameters.
    pub fn environment(&self, database: &str) -> Environment {
        self.environment_with(database, &[("search_path", startup::SEARCH_PATH)])
    }

    /// For `pg_dump`. The texts of rows do not depend on the server's settings,
    /// so that they can be compared.
    pub fn environment_of_dump(&self, database: &str) -> Environment {
        let mut settings = vec![("search_path", startup::SEARCH_PATH)];
        settings.extend(startup::TEXTS);
        self.environment_with(database, &settings)
    }

    /// With these settings, which outrank what is set for databases and roles.
    pub fn environment_with(&self, database: &str, settings: &[(&str, &str)]) -> Environment {
        let address = &self.address;
        let host = match &address.host {
            Host::Tcp(host) => host.into(),
            Host::Unix(directory) => directory.clone().into_os_string(),
        };
        let mut all: Vec<(&'static str, OsString)> = vec![
            ("PGHOST", host),
            ("PGPORT", address.port.to_string().into()),
            ("PGUSER", name::os(&address.user)),
            ("PGDATABASE", name::os(database)),
            ("PGAPPNAME", APPLICATION_NAME.into()),
            ("PGOPTIONS", name::os(&startup::options(settings))),
            ("PGCONNECT_TIMEOUT", "15".into()),
            ("PGSSLMODE", self.tls.mode.as_str().into()),
            // Nothing of the user's who happens to run the agent.
            ("PGPASSFILE", "/nonexistent/pgpass".into()),
            ("PGSERVICEFILE", "/dev/null".into()),
            ("PSQLRC", "/dev/null".into()),
            ("PGGSSENCMODE", "disable".into()),
            ("HOME", "/nonexistent".into()),
            ("PATH", "/usr/local/bin:/usr/bin:/bin".into()),
            // Messages that we may have to understand.
            ("LC_ALL", "C".into()),
        ];
        if let Some(password) = &self.password {
            all.push(("PGPASSWORD", password.as_str().into()));
        }
        if let Some(ca_file) = &self.tls.ca_file {
            all.push(("PGSSLROOTCERT", ca_file.into()));
        }
        if let Some((certificate, key)) = &self.tls.client {
            all.push(("PGSSLCERT", certificate.into()));
            all.push(("PGSSLKEY", key.into()));
        }
        Environment(all)
    }
}

impl Environment {
    /// Gives `command` this environment and nothing else.
    pub fn give(&self, command: &mut Command) {
        command.env_clear();
        command.envs(self.0.iter().map(|(name, value)| (name, value)));
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn connection() -> Connection {
        Connection {
            address: "postgres://backup@db:5433/orders".parse().unwrap(),
            password: Some(Zeroizing::new("hush".into())),
            tls: super::super::Tls::default(),
        }
    }

    #[test]
    fn programs_get_the_connection_and_no_more() {
        let environment = connection().environment("a=b 'c'");
        let mut command = Command::new("env");
        command.env("SECRET_OF_ANOTHER", "x");
        command.env("PGOPTIONS", "-c search_path=evil");
        environment.give(&mut command);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for line in [
            "PGHOST=db",
            "PGPORT=5433",
            "PGDATABASE=a=b 'c'",
            "PGPASSWORD=hush",
            "PGOPTIONS=-c search_path=pg_catalog,\\ pg_temp",
        ] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
        assert!(!text.contains("SECRET_OF_ANOTHER"));
        assert!(!text.contains("PGSSLROOTCERT"));
    }

    #[test]
    fn nothing_prints_the_password() {
        let connection = connection();
        assert!(!format!("{connection:?}").contains("hush"));
        assert!(!format!("{:?}", connection.environment("d")).contains("hush"));
    }
}
