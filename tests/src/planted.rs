//! A database whose owner means to become a superuser through whoever looks
//! at it.

use std::fs;

use crate::cluster::{Cluster, sql};

/// Twins of all that `pg_catalog` has, before it in the search path.
const PLANT: &str = include_str!("planted/plant.sql");

/// Names the owner.
pub const OWNER: &str = "mallory";

/// Makes the database, its owner, and what he has planted; and makes sure that
/// it is deadly to the careless.
///
/// # Panics
/// When it is not.
pub fn plant(cluster: &Cluster, database: &str) {
    let port = cluster.port();
    cluster.sql(&format!("CREATE ROLE {OWNER} LOGIN"));
    cluster.sql(&format!("CREATE DATABASE {database} OWNER {OWNER}"));
    let as_owner = format!("SET SESSION AUTHORIZATION {OWNER};\n{PLANT}");
    sql(port, database, &as_owner);
    let settings = format!(
        "SET SESSION AUTHORIZATION {OWNER};\n\
         ALTER DATABASE {database} SET search_path = evil, pg_catalog, public;\n\
         ALTER DATABASE {database} SET row_security = on;\n\
         ALTER ROLE {OWNER} SET search_path = evil, pg_catalog"
    );
    cluster.sql(&settings);
    assert_eq!(planted_ran(cluster), Vec::<String>::new());
    for careless in [
        "SELECT current_setting('server_version_num')",
        "SELECT count(*) FROM public.orders",
        "SELECT 1 = 1",
        "SELECT datname FROM pg_database",
        "SELECT '1'::text",
        "SET search_path = pg_catalog; SELECT count(*) FROM ONLY public.orders",
    ] {
        let before = planted_ran(cluster).len();
        let port = port.to_string();
        let mut psql = crate::cluster::as_postgres(crate::cluster::programs().join("psql"));
        psql.args(["-XAtq", "-h", "127.0.0.1", "-U", "postgres", "-p", &port])
            .args(["-d", database, "-c", careless]);
        // It may well fail.
        psql.output().expect("psql runs");
        assert!(planted_ran(cluster).len() > before, "{careless}");
    }
    assert!(owner_is_superuser(cluster), "nothing was to be gained");
    cluster.sql(&format!("ALTER ROLE {OWNER} NOSUPERUSER"));
    fs::write(cluster.log(), "").expect("a log can be emptied");
}

/// Asserts that nothing of it ran since.
///
/// # Panics
/// When something did.
pub fn assert_unharmed(cluster: &Cluster, by: &str) {
    assert_eq!(planted_ran(cluster), Vec::<String>::new(), "{by}");
    assert!(!owner_is_superuser(cluster), "{by}");
}

fn planted_ran(cluster: &Cluster) -> Vec<String> {
    let log = fs::read(cluster.log()).expect("a log");
    let log = String::from_utf8_lossy(&log);
    let lines = log.lines().filter(|line| line.contains("LOG:  PLANTED"));
    lines.map(ToOwned::to_owned).collect()
}

fn owner_is_superuser(cluster: &Cluster) -> bool {
    cluster.sql(&format!(
        "SELECT rolsuper FROM pg_roles WHERE rolname = '{OWNER}'"
    )) == "t"
}
