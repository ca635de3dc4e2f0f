//! What fails as it begins says no secret: a restored server that does not start, and
//! an archive that cannot be begun.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt as _};

use strongroom_tests::{
    cluster::Cluster,
    operator::{eventually, text},
    scratch::Scratch,
};

use crate::{
    leaks,
    postgres_physical::site::Site,
    world::{AGENT, assert_says},
};

/// In the connections' password files, and in the cluster's own configuration.
const SECRETS: [&str; 4] = [
    "hush-right-password",
    "hush-wrong-password",
    "hush-conninfo-password",
    "hush-memory",
];
/// In whatever is signed for an agent.
const GRANT: [&str; 2] = ["X-Amz-Signature", "Signature="];

#[test]
fn what_fails_as_it_begins_says_no_secret() {
    let scratch = Scratch::new("wal-secrets");
    let cluster = Cluster::start(&scratch, "server");
    cluster.sql("CREATE ROLE keeper LOGIN REPLICATION PASSWORD 'hush-right-password'");
    cluster.sql("CREATE ROLE weak LOGIN PASSWORD 'hush-right-password'");
    cluster.sql("ALTER SYSTEM SET primary_conninfo = 'password=hush-conninfo-password'");
    let access = cluster.data().join("pg_hba.conf");
    let rules = fs::read_to_string(&access).expect("rules");
    let ours = "host all,replication keeper,weak all scram-sha-256\n";
    fs::write(&access, format!("{ours}{rules}")).expect("a file");
    // The server that runs has not read it; one that starts refuses it.
    let conf = cluster.data().join("postgresql.conf");
    let settings = fs::read_to_string(&conf).expect("settings");
    let mut tables = String::new();
    for (name, role, password) in [
        ("wrong", "keeper", "hush-wrong-password"),
        ("weak", "weak", "hush-right-password"),
        ("down", "keeper", "hush-right-password"),
    ] {
        let file = scratch.file(&format!("{name}.password"), password);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
        let mut url = cluster.url().replace("postgres@", &format!("{role}@"));
        if name == "down" {
            url = format!("postgres://{role}@127.0.0.1:1/postgres");
        }
        let _infallible = write!(
            tables,
            "[postgres.{name}]\nurl = '{url}'\npassword_file = '{}'\n",
            file.display()
        );
    }
    cluster.sql("SELECT pg_reload_conf()");
    let site = Site::of("wal-secrets-site", scratch, cluster, |agent| {
        agent.extra(&tables)
    });
    fs::write(&conf, format!("{settings}\nwork_mem = 'hush-memory'\n")).expect("a file");
    let (snapshot, _) = site.backup();
    fs::write(&conf, settings).expect("a file");
    let data = site.world.restores.join("data");
    let job = site.restore(1, &snapshot, &data, &["--start"]);
    let message = text(&job["failure"]["message"]);
    assert_says(&message, &["work_mem"]);

    for (connection, says) in [
        ("wrong", "authentication failed"),
        ("weak", "REPLICATION"),
        ("down", "refused"),
    ] {
        let operator = site.world.operator();
        // A policy of its own: another's slot stays until it can be dropped.
        operator.apply(&format!(
            "[[policy]]\nname = \"{connection}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
             store = \"primary\"\nwal = {{}}\n[policy.source.postgres]\n\
             connection = \"{connection}\"\nmethod = \"physical\"\n"
        ));
        let message = eventually("a failure of the archiving", || {
            let jobs = ["jobs", "list", "--kind", "wal", "--policy", connection];
            let jobs = operator.json(&jobs);
            let job = operator.job(jobs["jobs"][0]["id"].as_str()?);
            let message = job["attempts"][0]["failure"]["message"].as_str();
            message.map(ToOwned::to_owned)
        });
        assert_says(&message, &[connection, says]);
    }
    let (_, password) = site.world.repository();
    let password = fs::read_to_string(password).expect("a password");
    let secrets = [&SECRETS[..], &GRANT, &[password.trim()]].concat();
    leaks::assert_none_leaked(&site.world, &secrets);
}
