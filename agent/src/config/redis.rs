//! The `[redis.NAME]` tables: the Redis servers that policies may name.

use std::{collections::BTreeMap, env};

use serde::{Deserialize, Deserializer, de};
use strongroom_redis::{Address, Connection, Password, Tls};
use strongroom_runtime::files::{self, FileError};
use zeroize::Zeroizing;

use super::{AbsolutePath, is_file_name};

/// A `[redis.NAME]` table. Holds no secret: only where one lies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConnection {
    /// Where the server listens.
    #[serde(deserialize_with = "url")]
    pub url: Address,
    /// The ACL user; absent: `default`.
    #[serde(default)]
    pub username: Option<String>,
    /// A file with the password, and maybe a line break at its end.
    #[serde(default)]
    pub password_file: Option<AbsolutePath>,
    /// The environment variable of the agent that holds the password.
    #[serde(default)]
    pub password_env: Option<String>,
    /// For `rediss://`.
    #[serde(default)]
    pub tls: Option<RedisTls>,
    /// Whether a restore may replace data on this server.
    #[serde(default)]
    pub allow_restore: bool,
}

/// A `[redis.NAME.tls]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisTls {
    /// Whom to trust (PEM); absent: what the host trusts.
    pub ca_file: Option<AbsolutePath>,
    /// The agent's certificate (PEM), for servers that ask for one.
    pub certificate_file: Option<AbsolutePath>,
    /// Its key (PEM).
    pub key_file: Option<AbsolutePath>,
    /// The name in the server's certificate; absent: the URL's host.
    pub server_name: Option<String>,
}

/// A connection that lacks something outside of `agent.toml`.
#[derive(Debug, thiserror::Error)]
pub enum RedisConnectionError {
    /// The password's file cannot be used.
    #[error("password_file: {0}")]
    PasswordFile(#[source] FileError),
    /// The agent was started without the variable.
    #[error(
        "the environment variable {0} is not set (or not UTF-8); set it where the agent is \
         started, for example in its systemd unit"
    )]
    PasswordVariable(String),
}

impl RedisConnection {
    /// Reads the password, as it is now. Blocks on the file system.
    pub fn resolve(&self) -> Result<Connection, RedisConnectionError> {
        let mut connection = Connection::new(self.url.clone());
        connection.username.clone_from(&self.username);
        connection.password = self.password()?.map(|it| Password::new(it.as_bytes()));
        if let Some(tls) = &self.tls {
            let path = |path: &AbsolutePath| path.as_path().to_owned();
            let identity = tls.certificate_file.as_ref().zip(tls.key_file.as_ref());
            connection.tls = Tls {
                ca_file: tls.ca_file.as_ref().map(path),
                identity: identity.map(|(certificate, key)| (path(certificate), path(key))),
                server_name: tls.server_name.clone(),
            };
        }
        Ok(connection)
    }

    fn password(&self) -> Result<Option<Zeroizing<String>>, RedisConnectionError> {
        if let Some(file) = &self.password_file {
            return files::read_secret_text(file.as_path())
                .map(Some)
                .map_err(RedisConnectionError::PasswordFile);
        }
        let Some(variable) = &self.password_env else {
            return Ok(None);
        };
        env::var(variable)
            .map(|password| Some(Zeroizing::new(password)))
            .map_err(|_| RedisConnectionError::PasswordVariable(variable.clone()))
    }

    /// What the keys say together.
    fn check(&self) -> Result<(), &'static str> {
        if self.password_file.is_some() && self.password_env.is_some() {
            return Err("set password_file or password_env, not both");
        }
        let password = self.password_file.is_some() || self.password_env.is_some();
        if self.username.is_some() && !password {
            return Err("username needs a password_file or a password_env");
        }
        let encrypted = matches!(self.url, Address::Tcp { tls: true, .. });
        match &self.tls {
            Some(_) if !encrypted => Err("tls holds for URLs that begin with rediss:// only"),
            Some(tls) if tls.certificate_file.is_some() != tls.key_file.is_some() => {
                Err("tls.certificate_file and tls.key_file belong together: set both or none")
            }
            _ => Ok(()),
        }
    }
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

/// All tables, by name.
pub(super) fn connections<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, RedisConnection>, D::Error> {
    let connections = BTreeMap::<String, RedisConnection>::deserialize(deserializer)?;
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
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::super::AgentConfig;

    fn parse(text: &str) -> Result<AgentConfig, String> {
        strongroom_runtime::config::parse(Path::new("agent.toml"), text)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_is_enough_and_restores_are_off() {
        let config = parse("[redis.cache]\nurl = 'redis://127.0.0.1'").unwrap();
        let connection = &config.redis["cache"];
        assert_eq!(connection.url.to_string(), "redis://127.0.0.1:6379");
        assert!(!connection.allow_restore);
        assert_eq!(connection.password_file, None);
    }

    #[test]
    fn passwords_come_from_private_files_or_the_environment() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("password");
        fs::write(&file, "hush\n").unwrap();
        let with = |more: &str| {
            let config = parse(&format!("[redis.a]\nurl = 'redis://h'\n{more}")).unwrap();
            config.redis["a"].resolve()
        };
        let by_file = format!("username = 'u'\npassword_file = '{}'", file.display());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = with(&by_file).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let connection = with(&by_file).unwrap();
        assert_eq!(connection.username.as_deref(), Some("u"));
        assert!(connection.password.is_some());
        let error = with("password_env = 'STRONGROOM_NO_SUCH_VARIABLE'").unwrap_err();
        assert!(error.to_string().contains("STRONGROOM_NO_SUCH_VARIABLE"));
        assert!(with("").unwrap().password.is_none());
    }

    #[test]
    fn everything_can_be_said() {
        let config = parse(
            "[redis.sessions]\nurl = 'rediss://db:6380'\nusername = 'strongroom'\n\
             password_file = '/etc/strongroom/redis.password'\nallow_restore = true\n\
             [redis.sessions.tls]\nca_file = '/ca.pem'\ncertificate_file = '/c.pem'\n\
             key_file = '/k.pem'\nserver_name = 'redis.internal'\n",
        )
        .unwrap();
        let connection = &config.redis["sessions"];
        assert!(connection.allow_restore);
        let tls = connection.tls.as_ref().unwrap();
        assert_eq!(tls.server_name.as_deref(), Some("redis.internal"));
    }

    #[test]
    fn mistakes_are_named_and_passwords_are_not_shown() {
        let with = |more: &str| format!("[redis.a]\nurl = 'redis://h'\n{more}");
        for (text, wanted) in [
            ("[redis.a]\n".to_owned(), "url"),
            (with("pasword_file = '/x'"), "did you mean `password_file`?"),
            (with("password = 'hunter2'"), "unknown key `password`"),
            (
                "[redis.a]\nurl = 'redis://u:hunter2@h'".to_owned(),
                "agent.toml:2:7: redis.a.url: the URL must not hold user or password",
            ),
            ("[redis.a]\nurl = 'redis://h/3'".to_owned(), "all databases"),
            (
                with("password_file = '/x'\npassword_env = 'X'"),
                "\"a\": set password_file or password_env, not both",
            ),
            (with("password_file = 'x'"), "must be absolute"),
            (with("username = 'u'"), "needs a password_file"),
            (with("[redis.a.tls]\nca_file = '/x'"), "rediss:// only"),
            (
                "[redis.a]\nurl = 'rediss://h'\ntls = { key_file = '/k' }".to_owned(),
                "belong together",
            ),
            (with("tls = { verify = false }"), "unknown key `verify`"),
            (
                "[redis.'a/b']\nurl = 'redis://h'".to_owned(),
                "usable as a file name",
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(wanted), "{text:?}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
