//! PostgreSQL servers.

pub mod logical;
pub mod physical;

use strongroom_postgres::{
    connection::{ServerError, Session},
    inventory::Inventory,
};
use strongroom_wire::session::{Database, Fact, Server};

use crate::config::PostgresConnection;

/// What answers at a connection; else what is wrong, for people.
pub async fn inventory(connection: &PostgresConnection) -> Result<Server, String> {
    let connection = connection.resolve().map_err(|error| error.to_string())?;
    let found = async {
        let session = Session::open(&connection, None).await?;
        let found = Inventory::of(&session).await?;
        session.close().await;
        Ok::<_, ServerError>(found)
    };
    let found = found.await.map_err(|error| error.to_string())?;
    let role = if found.standby { "standby" } else { "primary" };
    let fact = |name: &str, value| Fact {
        name: name.into(),
        value,
    };
    let identifier = found.system_identifier.map(|it| it.to_string());
    let facts = [
        Some(fact("wal_level", found.wal_level)),
        identifier.map(|value| fact("system_identifier", value)),
    ];
    // Every server has one that is closed for good.
    let databases = found.databases.into_iter();
    let databases = databases.filter(|it| it.connectable || it.name != "template0");
    Ok(Server {
        product: "PostgreSQL".into(),
        version: found.version.to_string(),
        role: role.into(),
        databases: databases
            .map(|database| Database {
                name: database.name,
                bytes: database.size.unwrap_or(0),
                keys: 0,
                closed: !database.connectable,
            })
            .collect(),
        facts: facts.into_iter().flatten().collect(),
    })
}
