//! Configurations and starts that cannot work: refused at once, saying what,
//! where and what to do.

use std::{fs, net::TcpListener, path::Path};

use strongroom_tests::{
    agent::Agent,
    coordinator::{Coordinator, Setup},
    program::PATIENCE,
    scratch::Scratch,
};

use crate::world::assert_says;

/// Starts a coordinator that must refuse, and returns what it says.
fn refusal(coordinator: &Coordinator) -> String {
    let mut program = coordinator.spawn();
    let status = program.wait(PATIENCE);
    assert!(
        !status.success(),
        "it should have refused: {}",
        program.log()
    );
    program.log()
}

#[test]
fn an_unknown_key_is_named_with_file_and_line() {
    let scratch = Scratch::new("unknown-key");
    let coordinator = Setup::default().prepare(&scratch, "coordinator");
    coordinator.edit_config(|config| config.replace("[api]\n", "[api]\nlisen = \"x\"\n"));
    let config = fs::read_to_string(coordinator.config()).expect("the configuration");
    let line = config
        .lines()
        .position(|line| line.starts_with("lisen"))
        .expect("the line")
        + 1;
    assert_says(
        &refusal(&coordinator),
        &["coordinator.toml", &format!("{line}"), "lisen", "listen"],
    );

    let agent = Agent::prepare(&scratch, "typo").extra("[limits]\nthread = 2\n");
    let mut program = agent.spawn();
    assert!(!program.wait(PATIENCE).success());
    assert_says(&program.log(), &["agent.toml", "thread", "threads"]);
}

#[test]
fn a_missing_configuration_is_named() {
    let scratch = Scratch::new("no-config");
    let coordinator = Setup::default().prepare(&scratch, "coordinator");
    fs::remove_file(coordinator.config()).expect("the configuration");
    assert_says(&refusal(&coordinator), &["coordinator.toml"]);
}

#[test]
fn a_port_in_use_is_named() {
    let scratch = Scratch::new("port");
    let coordinator = Setup::default().prepare(&scratch, "coordinator");
    for address in [
        coordinator.agents_address(),
        coordinator.api_address(),
        coordinator.s3_address(),
    ] {
        let taken = TcpListener::bind(address).expect("the leased port is free");
        assert_says(&refusal(&coordinator), &[&address.to_string(), "in use"]);
        drop(taken);
    }
}

#[test]
fn a_second_coordinator_on_the_same_sqlite_file_is_refused() {
    let scratch = Scratch::new("second");
    let first = Setup::default().start(&scratch, "first");
    let second = Setup::default().prepare(&scratch, "second");
    let data = first.directory().join("data");
    second.edit_config(|config| {
        config.replace(
            "data_directory = \"data\"",
            &format!("data_directory = '{}'", data.display()),
        )
    });
    assert_says(
        &refusal(&second),
        &["another coordinator", &data.display().to_string()],
    );
    first.operator().json(&["status"]);
}

#[test]
fn data_of_a_newer_version_are_not_touched() {
    let scratch = Scratch::new("newer");
    let mut coordinator = Coordinator::start(&scratch);
    coordinator.stop();
    let catalog = coordinator.directory().join("data/catalog.sqlite");
    // A migration that this version does not have.
    sqlite(
        &catalog,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99990101000000, 'from the future', 1, x'00', 0)",
    );
    let before = fs::read(&catalog).expect("the catalog");
    assert_says(&refusal(&coordinator), &["newer", "catalog"]);
    assert!(
        before == fs::read(&catalog).expect("the catalog"),
        "the catalog was changed"
    );
}

fn sqlite(file: &Path, statement: &str) {
    use sqlx::{Connection as _, Executor as _};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime starts").block_on(async {
        let url = format!("sqlite:{}", file.display());
        let mut connection = sqlx::SqliteConnection::connect(&url)
            .await
            .expect("the catalog opens");
        connection
            .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement)))
            .await
            .expect("the statement runs");
        connection.close().await.expect("the catalog closes");
    });
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let scratch = Scratch::new("data-directory");
    let coordinator = Setup::default().prepare(&scratch, "coordinator");
    fs::write(coordinator.directory().join("data"), "a file in its place").expect("a file");
    assert_says(&refusal(&coordinator), &["data"]);
}

#[test]
fn half_a_certificate_authority_is_not_replaced() {
    let scratch = Scratch::new("half-ca");
    let mut coordinator = Coordinator::start(&scratch);
    coordinator.stop();
    fs::remove_file(coordinator.find("ca.key")).expect("the key of the CA");
    assert_says(
        &refusal(&coordinator),
        &["restore it from a backup", "lock out"],
    );
}

#[test]
fn the_command_line_says_what_is_wrong() {
    let scratch = Scratch::new("cli");
    let coordinator = Coordinator::start(&scratch);
    let operator = coordinator.operator();
    assert_says(
        &operator.refused(4, &["agents", "show", "nobody"]),
        &["nobody", "agents list"],
    );
    assert_says(
        &operator.refused(4, &["run", "nothing"]),
        &["nothing", "policies list"],
    );
    assert_says(
        &operator.refused(2, &["jobs", "list", "--state", "odd"]),
        &["odd", "pending"],
    );

    // A token that was revoked, and a coordinator that is not there.
    let profile = scratch.join("second.toml");
    let profile_text = profile.to_str().expect("UTF-8");
    operator.json(&["operators", "create", "second", "--write", profile_text]);
    let second = strongroom_tests::operator::Operator::new(&profile);
    second.json(&["status"]);
    operator.json(&["operators", "revoke", "second"]);
    second.refused(5, &["status"]);

    let address = coordinator.api_address().to_string();
    let operator = operator.clone();
    let mut coordinator = coordinator;
    coordinator.stop();
    assert_says(&operator.refused(5, &["status"]), &[&address]);
}

#[test]
fn the_openapi_document_is_served_and_nothing_else_without_a_token() {
    let scratch = Scratch::new("openapi");
    let coordinator = Coordinator::start(&scratch);
    let profile = fs::read_to_string(coordinator.operator().profile()).expect("the profile");
    let profile: toml::Table = toml::from_str(&profile).expect("TOML");
    let get = |path: &str, token: Option<&str>| {
        let ca = profile["ca_certificate"].as_str().expect("a CA");
        let url = format!("https://{}{path}", coordinator.api_address());
        strongroom_tests::http::get(&url, ca, token)
    };
    assert_eq!(get("/api/v1/status", profile["token"].as_str()).0, 200);
    let (status, document) = get("/api/v1/openapi.json", None);
    assert_eq!(status, 200, "{document}");
    let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 10, "{paths:#?}");
    // What needs no token says so, and that is all there is of it.
    let open = |(_, methods): &(&String, &serde_json::Value)| {
        methods["get"]["security"] == serde_json::json!([{}])
    };
    let opened: Vec<_> = paths.iter().filter(open).map(|it| it.0).collect();
    assert_eq!(
        opened,
        ["/api/v1/openapi.json", "/healthz", "/problems/{code}"]
    );
    let readable = paths
        .iter()
        .filter(|it| !open(it) && !it.0.contains('{') && !it.1["get"].is_null());
    for (path, _) in readable {
        for wrong in [None, Some("wrong")] {
            let (status, answer) = get(path, wrong);
            assert_eq!(
                status, 401,
                "{path} answers {answer} to the token {wrong:?}"
            );
        }
    }
}
