//! The `[postgres.NAME]` tables: the PostgreSQL servers that policies may
//! name.

use std::{collections::BTreeMap, env, path::Path};

use serde::{Deserialize, Deserializer, de};
use strongroom_postgres::connection::{Address, Connection, Service, ServiceError, SslMode, Tls};
use strongroom_runtime::files::{self, FileError};
use zeroize::Zeroizing;

use super::{AbsolutePath, is_file_name};

/// Where Debian looks for services.
const SERVICE_FILE: &str = "/etc/postgresql-common/pg_service.conf";

/// A `[postgres.NAME]` table. Holds no secret: only where one lies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConnection {
    /// Where the server listens, and as whom to ask.
    #[serde(deserialize_with = "url")]
    pub url: Option<Address>,
    /// Instead of the URL: a section of the service file.
    pub service: Option<String>,
    /// Absent: `/etc/postgresql-common/pg_service.conf`.
    pub service_file: Option<AbsolutePath>,
    /// A file (mode 0600) with the password, and maybe a line break at its
    /// end.
    pub password_file: Option<AbsolutePath>,
    /// The environment variable of the agent that holds the password.
    pub password_env: Option<String>,
    /// As libpq means it; absent: `prefer`, or what the service says.
    #[serde(deserialize_with = "sslmode")]
    pub sslmode: Option<SslMode>,
    /// Who may vouch for the server (PEM).
    pub ca_file: Option<AbsolutePath>,
    /// The agent's certificate (PEM), for servers that ask for one.
    pub cert_file: Option<AbsolutePath>,
    /// Its key (PEM, mode 0600).
    pub key_file: Option<AbsolutePath>,
    /// Where `pg_dump` and its siblings lie; absent: they are looked for.
    pub bin_dir: Option<AbsolutePath>,
    /// Whether a restore may create and replace databases on this server.
    pub allow_restore: bool,
}

/// A connection that lacks something outside of `agent.toml`.
#[derive(Debug, thiserror::Error)]
pub enum PostgresConnectionError {
    /// The password's file cannot be used.
    #[error("password_file: {source}")]
    PasswordFile {
        /// Why.
        #[source]
        source: FileError,
    },
    /// The agent was started without the variable.
    #[error(
        "the environment variable {variable} is not set (or not \
         UTF-8); set it where the agent is started, for example in its systemd unit"
    )]
    PasswordVariable {
        /// `password_env`.
        variable: String,
    },
    /// The service file cannot be read.
    #[error("service_file: {source}")]
    ServiceFile {
        /// Why.
        #[source]
        source: FileError,
    },
    /// The service cannot be used.
    #[error("service {service:?} in {file}: {source}")]
    Service {
        /// Its section.
        service: String,
        /// Where.
        file: String,
        /// Why not.
        #[source]
        source: ServiceError,
    },
}

impl PostgresConnection {
    /// Reads the password and the service, as they are now. Blocks on the file
    /// system.
    pub fn resolve(&self) -> Result<Connection, PostgresConnectionError> {
        let mut connection = match (&self.url, &self.service) {
            (Some(address), _) => Connection {
                address: address.clone(),
                password: None,
                tls: Tls::default(),
            },
            (None, service) => self.of_service(service.as_deref().unwrap_or_default())?,
        };
        if let Some(password) = self.password()? {
            connection.password = Some(password);
        }
        let path = |path: &AbsolutePath| path.as_path().to_owned();
        let tls = &mut connection.tls;
        tls.mode = self.sslmode.unwrap_or(tls.mode);
        if let Some(ca_file) = &self.ca_file {
            tls.ca_file = Some(path(ca_file));
        }
        if let Some(client) = self.cert_file.as_ref().zip(self.key_file.as_ref()) {
            tls.client = Some((path(client.0), path(client.1)));
        }
        Ok(connection)
    }

    fn of_service(&self, service: &str) -> Result<Connection, PostgresConnectionError> {
        let configured = self.service_file.as_ref().map(AbsolutePath::as_path);
        let file = configured.unwrap_or(Path::new(SERVICE_FILE));
        let text = files::read_text(file)
            .map_err(|source| PostgresConnectionError::ServiceFile { source })?;
        let text = Zeroizing::new(text);
        let found =
            Service::find(&text, service).map_err(|source| PostgresConnectionError::Service {
                service: service.to_owned(),
                file: file.display().to_string(),
                source,
            })?;
        Ok(Connection {
            address: found.address,
            password: found.password,
            tls: found.tls,
        })
    }

    fn password(&self) -> Result<Option<Zeroizing<String>>, PostgresConnectionError> {
        if let Some(file) = &self.password_file {
            let password = files::read_secret_text(file.as_path());
            return password
                .map(Some)
                .map_err(|source| PostgresConnectionError::PasswordFile { source });
        }
        let Some(variable) = &self.password_env else {
            return Ok(None);
        };
        match env::var(variable) {
            Ok(password) => Ok(Some(Zeroizing::new(password))),
            Err(_) => Err(PostgresConnectionError::PasswordVariable {
                variable: variable.clone(),
            }),
        }
    }

    /// What the keys say together.
    fn check(&self) -> Result<(), &'static str> {
        if self.url.is_some() == self.service.is_some() {
            return Err("set url, or service, and not both");
        }
        if self.service_file.is_some() && self.service.is_none() {
            return Err("service_file needs a service");
        }
        if self.password_file.is_some() && self.password_env.is_some() {
            return Err("set password_file or password_env, not both");
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err("cert_file and key_file belong together: set both or none");
        }
        match self.sslmode {
            Some(mode) if mode.needs_ca() && self.ca_file.is_none() && self.service.is_none() => {
                Err("sslmode verify-ca and verify-full need a ca_file")
            }
            _ => Ok(()),
        }
    }
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map(Some)
        .map_err(de::Error::custom)
}

fn sslmode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SslMode>, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map(Some)
        .map_err(de::Error::custom)
}

/// All tables, by name.
pub(super) fn connections<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, PostgresConnection>, D::Error> {
    let connections = BTreeMap::<String, PostgresConnection>::deserialize(deserializer)?;
    for (name, connection) in &connections {
        if !is_file_name(name) {
            return Err(de::Error::custom(format!(
                "connection name {name:?} must be usable as a file name"
            )));
        }
        connection
            .check()
            .map_err(|problem| de::Error::custom(format!("connection {name:?}: {problem}")))?;
    }
    Ok(connections)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{super::AgentConfig, *};

    fn parse(text: &str) -> Result<AgentConfig, String> {
        strongroom_runtime::config::parse(Path::new("agent.toml"), text)
            .map_err(|error| error.to_string())
    }

    fn connection(text: &str) -> PostgresConnection {
        let config = parse(&format!("[postgres.orders]\n{text}")).unwrap();
        config.postgres["orders"].clone()
    }

    #[test]
    fn a_url_is_enough_and_restores_are_off() {
        let connection = connection("url = 'postgres://backup@db/orders'");
        assert!(!connection.allow_restore);
        let resolved = connection.resolve().unwrap();
        assert_eq!(resolved.address.to_string(), "db:5432 as \"backup\"");
        assert!(resolved.password.is_none());
        assert_eq!(resolved.tls, Tls::default());
    }

    #[test]
    fn passwords_come_from_private_files_or_the_environment() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("password");
        fs::write(&file, "hush\n").unwrap();
        let connection = connection(&format!(
            "url = 'postgres://u@h'\npassword_file = '{}'",
            file.display()
        ));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = connection.resolve().unwrap_err().to_string();
        assert!(
            error.contains("password_file") && error.contains("chmod 600"),
            "{error}"
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let resolved = connection.resolve().unwrap();
        assert_eq!(resolved.password.unwrap().as_str(), "hush");

        let absent = PostgresConnection {
            password_file: None,
            password_env: Some("STRONGROOM_NO_SUCH_VARIABLE".into()),
            ..connection
        };
        let error = absent.resolve().unwrap_err().to_string();
        assert!(error.contains("STRONGROOM_NO_SUCH_VARIABLE"), "{error}");
    }

    #[test]
    fn services_are_read_and_the_table_s_own_keys_win() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("services");
        let text = "[orders]\nhost=db\nuser=u\npassword=hush\nsslmode=disable\n";
        fs::write(&file, text).unwrap();
        let keys = format!("service_file = '{}'", file.display());
        let resolved = connection(&format!("service = 'orders'\nsslmode = 'require'\n{keys}"))
            .resolve()
            .unwrap();
        assert_eq!(resolved.address.host.to_string(), "db");
        assert_eq!(resolved.tls.mode, SslMode::Require);
        assert_eq!(resolved.password.unwrap().as_str(), "hush");
        let error = connection(&format!("service = 'other'\n{keys}"))
            .resolve()
            .unwrap_err()
            .to_string();
        assert!(error.contains("[other]"), "{error}");
    }

    #[test]
    fn bad_tables_are_refused_and_no_password_is_shown() {
        for (keys, wanted) in [
            ("allow_restore = true", "set url, or service"),
            ("url = 'postgres://u@h'\nservice = 'x'", "not both"),
            ("url = 'postgres://u:hush@h'", "password_file"),
            ("url = 'mysql://u@h'", "postgres://USER@HOST"),
            (
                "url = 'postgres://u@h'\npassword = 'hush'",
                "unknown key `password`",
            ),
            ("url = 'postgres://u@h'\nsslmode = 'allow'", "no sslmode"),
            ("url = 'postgres://u@h'\nsslmode = 'verify-full'", "ca_file"),
            (
                "url = 'postgres://u@h'\ncert_file = '/c'",
                "belong together",
            ),
            (
                "url = 'postgres://u@h'\nservice_file = '/c'",
                "needs a service",
            ),
            (
                "url = 'postgres://u@h'\npassword_file = '/c'\npassword_env = 'X'",
                "not both",
            ),
            (
                "url = 'postgres://u@h'\nbin_dir = 'bin'",
                "must be absolute",
            ),
        ] {
            let error = parse(&format!("[postgres.orders]\n{keys}")).unwrap_err();
            assert!(error.contains(wanted), "{keys}: {error}");
            assert!(!error.contains("hush"), "{keys}: {error}");
        }
        let error = parse("[postgres.'a/b']\nurl = 'postgres://u@h'").unwrap_err();
        assert!(error.contains("usable as a file name"), "{error}");
    }
}
