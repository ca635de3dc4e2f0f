//! Being let in, for replication.
//!
//! Source: the PostgreSQL manual, 55.2.1 (Start-up) and 55.3 (SASL).

use std::io;

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::{
    authentication::{
        md5_hash,
        sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256},
    },
    message::{
        backend::{AuthenticationSaslBody, Message},
        frontend,
    },
};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use zeroize::Zeroizing;

use super::{
    dial::{Dialled, dial},
    error_response::Said,
    wire::{Received, Wire, is_tls},
};
use crate::{
    connection::{
        APPLICATION_NAME, CONNECT_TIMEOUT, Connection, SEARCH_PATH, ServerError, SslMode, with_path,
    },
    sql,
    version::ServerVersion,
};

/// A connection that takes commands.
pub(super) struct LoggedIn {
    pub(super) wire: Wire,
    pub(super) version: ServerVersion,
}

/// Connects and is let in, as libpq does it: `prefer` falls back when TLS
/// does not come about, and when the server has no place for us with it.
pub(super) async fn log_in(connection: &Connection) -> Result<LoggedIn, ServerError> {
    let mode = connection.tls.mode;
    let (error, encrypted) = match attempt(connection, mode).await {
        Ok(logged_in) => return Ok(logged_in),
        Err(failed) => failed,
    };
    if mode != SslMode::Prefer {
        return Err(error);
    }
    let plain = match error {
        ServerError::Handshake { .. } => attempt(connection, SslMode::Disable).await,
        // What was said first is what is amiss.
        ServerError::Refused { .. } if encrypted => {
            let plain = attempt(connection, SslMode::Disable).await;
            plain.map_err(|_| (error, encrypted))
        }
        _ => return Err(error),
    };
    plain.map_err(|(error, _)| error)
}

/// With an error comes whether the connection was encrypted.
async fn attempt(connection: &Connection, mode: SslMode) -> Result<LoggedIn, (ServerError, bool)> {
    let mut encrypted = false;
    // A server may accept and then say nothing.
    let attempt = timeout(CONNECT_TIMEOUT, async {
        let dialled = dial(connection, mode).await?;
        encrypted = dialled.encrypted;
        Login::new(connection, dialled).run().await
    });
    let late = || ServerError::Unreachable {
        place: connection.address.to_string(),
        cause: format!("no answer in {} seconds", CONNECT_TIMEOUT.as_secs()),
    };
    let logged_in = attempt.await.unwrap_or_else(|_| Err(late()));
    logged_in.map_err(|error| (error, encrypted))
}

struct Login<'c> {
    connection: &'c Connection,
    place: String,
    wire: Wire,
    end_point: Option<Vec<u8>>,
}

impl<'c> Login<'c> {
    fn new(connection: &'c Connection, dialled: Dialled) -> Self {
        Self {
            connection,
            place: connection.address.to_string(),
            wire: dialled.wire,
            end_point: dialled.end_point,
        }
    }

    async fn run(mut self) -> Result<LoggedIn, ServerError> {
        let options = with_path(SEARCH_PATH);
        let parameters = [
            ("user", self.connection.address.user.as_str()),
            ("replication", "true"),
            ("application_name", APPLICATION_NAME),
            ("client_encoding", "UTF8"),
            ("options", options.as_str()),
        ];
        let encoded = frontend::startup_message(parameters, self.wire.outgoing());
        encoded.map_err(|error| self.broken(&error))?;
        self.authenticate().await?;
        self.greeting().await
    }

    async fn authenticate(&mut self) -> Result<(), ServerError> {
        match self.receive().await? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                let password = self.password()?;
                self.send_password(password.as_bytes())?;
            }
            Message::AuthenticationMd5Password(body) => {
                let password = self.password()?;
                let user = self.connection.address.user.as_bytes();
                let hash = md5_hash(user, password.as_bytes(), body.salt());
                self.send_password(hash.as_bytes())?;
            }
            Message::AuthenticationSasl(body) => self.scram(&body).await?,
            Message::AuthenticationGss
            | Message::AuthenticationSspi
            | Message::AuthenticationKerberosV5
            | Message::AuthenticationScmCredential => {
                let cause = "it asks for a way to authenticate that is not supported";
                return Err(self.refused(cause.into()));
            }
            _ => return Err(self.strange()),
        }
        match self.receive().await? {
            Message::AuthenticationOk => Ok(()),
            _ => Err(self.strange()),
        }
    }

    fn send_password(&mut self, password: &[u8]) -> Result<(), ServerError> {
        let encoded = frontend::password_message(password, self.wire.outgoing());
        encoded.map_err(|error| self.refused(error.to_string()))
    }

    async fn scram(&mut self, body: &AuthenticationSaslBody) -> Result<(), ServerError> {
        let password = self.password()?;
        let offered: Vec<&str> = body.mechanisms().collect().unwrap_or_default();
        let offers = |mechanism| offered.contains(&mechanism);
        let (binding, mechanism) = match self.end_point.take() {
            Some(end_point) if offers(SCRAM_SHA_256_PLUS) => (
                ChannelBinding::tls_server_end_point(end_point),
                SCRAM_SHA_256_PLUS,
            ),
            // A server that could bind, and was kept from saying so, notices.
            Some(_) => (ChannelBinding::unrequested(), SCRAM_SHA_256),
            None => (ChannelBinding::unsupported(), SCRAM_SHA_256),
        };
        if !offers(mechanism) {
            return Err(self.refused("it asks for no kind of SASL that is supported".into()));
        }
        let mut scram = ScramSha256::new(password.as_bytes(), binding);
        let first = scram.message().to_vec();
        let encoded = frontend::sasl_initial_response(mechanism, &first, self.wire.outgoing());
        encoded.map_err(|error| self.broken(&error))?;
        let unproven = |login: &Self, error: io::Error| {
            login.refused(format!(
                "it does not prove that it knows the password: {error}"
            ))
        };
        let Message::AuthenticationSaslContinue(body) = self.receive().await? else {
            return Err(self.strange());
        };
        let updated = scram.update(body.data());
        updated.map_err(|error| unproven(self, error))?;
        let encoded = frontend::sasl_response(scram.message(), self.wire.outgoing());
        encoded.map_err(|error| self.broken(&error))?;
        let Message::AuthenticationSaslFinal(body) = self.receive().await? else {
            return Err(self.strange());
        };
        let finished = scram.finish(body.data());
        finished.map_err(|error| unproven(self, error))
    }

    /// What a server says before it takes commands.
    async fn greeting(mut self) -> Result<LoggedIn, ServerError> {
        let mut version = ServerVersion::default();
        loop {
            match self.receive().await? {
                Message::ParameterStatus(status) => {
                    if let (Ok("server_version"), Ok(value)) = (status.name(), status.value()) {
                        version = read_version(value);
                    }
                }
                Message::BackendKeyData(_) => {}
                Message::ReadyForQuery(_) => break,
                _ => return Err(self.strange()),
            }
        }
        if version.major() < 13 {
            return Err(ServerError::TooOld {
                place: self.place,
                found: version.to_string(),
            });
        }
        Ok(LoggedIn {
            wire: self.wire,
            version,
        })
    }

    /// The next message; what the server refuses is an error.
    async fn receive(&mut self) -> Result<Message, ServerError> {
        loop {
            let received = self.wire.receive().await;
            let Received::Message(message) = received.map_err(|error| self.broken(&error))? else {
                return Err(self.strange());
            };
            match message {
                Message::NoticeResponse(_) => {}
                Message::ErrorResponse(body) => {
                    return Err(self.said(&Said::read(body.fields())));
                }
                message => return Ok(message),
            }
        }
    }

    fn password(&self) -> Result<Zeroizing<String>, ServerError> {
        let password = self.connection.password.clone();
        password.ok_or_else(|| ServerError::NoPassword {
            place: self.place.clone(),
        })
    }

    fn said(&self, said: &Said) -> ServerError {
        let address = &self.connection.address;
        if said.state == SqlState::INSUFFICIENT_PRIVILEGE {
            let role = sql::identifier(&address.user);
            return ServerError::Privilege {
                what: format!("stream the write-ahead log at {}", self.place),
                cause: format!(
                    "{}; run as a superuser: ALTER ROLE {role} REPLICATION",
                    said.words()
                ),
            };
        }
        ServerError::refused(&self.place, &address.database, &said.state, said.words())
    }

    fn refused(&self, cause: String) -> ServerError {
        let place = self.place.clone();
        ServerError::Refused { place, cause }
    }

    fn strange(&self) -> ServerError {
        let place = self.place.clone();
        let cause = "what answers there does not speak as PostgreSQL does".into();
        ServerError::Unreachable { place, cause }
    }

    fn broken(&self, error: &io::Error) -> ServerError {
        let (place, cause) = (self.place.clone(), error.to_string());
        // Such as a certificate of ours that is missing: with TLS 1.3 that is
        // only said after the handshake.
        if is_tls(error) {
            ServerError::Handshake { place, cause }
        } else {
            ServerError::Unreachable { place, cause }
        }
    }
}

/// `15.18 (Debian 15.18-0+deb12u1)`, `18beta1`.
fn read_version(text: &str) -> ServerVersion {
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<i32>().ok().filter(|number| *number < 10_000)
    };
    let major = number(text).unwrap_or_default();
    let minor = text.split_once('.').and_then(|(_, minor)| number(minor));
    ServerVersion(major * 10_000 + minor.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, number) in [
            ("15.18 (Debian 15.18-0+deb12u1)", 150_018),
            ("18beta1", 180_000),
            ("9.6.24", 90_006),
            ("", 0),
            ("99999999999", 0),
        ] {
            assert_eq!(read_version(text), ServerVersion(number), "{text}");
        }
    }
}
