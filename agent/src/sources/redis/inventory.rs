//! What answers at a connection, for the operators' eyes.

use strongroom_redis::{Client, Info, RedisError, Role};
use strongroom_wire::session::{Database, Fact, Server};

use crate::config::RedisConnection;

/// What answers at a connection; else what is wrong, for people.
pub async fn inventory(connection: &RedisConnection) -> Result<Server, String> {
    let defined = connection.clone();
    let resolved = tokio::task::spawn_blocking(move || defined.resolve())
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    let look = async {
        let mut client = Client::connect(&resolved).await?;
        Info::ask(&mut client).await
    };
    let info = look.await.map_err(|error: RedisError| error.to_string())?;
    Ok(server(&info))
}

fn server(info: &Info) -> Server {
    let databases = info.databases.iter().map(|(number, counts)| Database {
        name: number.to_string(),
        bytes: 0,
        keys: counts.keys,
        closed: false,
    });
    let mut facts = vec![fact("used_memory", &info.used_memory)];
    if info.max_memory > 0 {
        facts.push(fact("maxmemory", &info.max_memory));
    }
    if let Role::Replica { host, port, linked } = &info.role {
        facts.push(fact("primary", &format!("{host}:{port}")));
        facts.push(fact("link", &if *linked { "up" } else { "down" }));
    }
    for (is_so, what) in [(info.loading, "loading"), (info.cluster, "cluster")] {
        if is_so {
            facts.push(fact(what, &"yes"));
        }
    }
    if !info.modules.is_empty() {
        let modules: Vec<&str> = info.modules.keys().map(String::as_str).collect();
        facts.push(fact("modules", &modules.join(", ")));
    }
    Server {
        product: info.product.to_string(),
        version: info.version.clone(),
        role: info.role.as_str().into(),
        databases: databases.collect(),
        facts,
    }
}

fn fact(name: &str, value: &dyn ToString) -> Fact {
    Fact {
        name: name.into(),
        value: value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_shows_whom_it_follows() {
        let info = Info::parse(
            "redis_version:7.0.15\nrole:slave\nmaster_host:db-1\nmaster_port:6379\n\
             master_link_status:down\nused_memory:1000\nmaxmemory:2000\n\
             module:name=bf,ver=1\ndb0:keys=3,expires=0,avg_ttl=0\n",
        )
        .unwrap();
        let server = server(&info);
        assert_eq!(server.product, "Redis");
        assert_eq!(
            (server.version.as_str(), server.role.as_str()),
            ("7.0.15", "replica")
        );
        assert_eq!(
            (server.databases[0].name.as_str(), server.databases[0].keys),
            ("0", 3)
        );
        let facts: Vec<String> = server
            .facts
            .iter()
            .map(|fact| format!("{}={}", fact.name, fact.value))
            .collect();
        assert_eq!(
            facts,
            [
                "used_memory=1000",
                "maxmemory=2000",
                "primary=db-1:6379",
                "link=down",
                "modules=bf"
            ]
        );
    }
}
