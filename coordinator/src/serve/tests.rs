use std::{net::TcpListener, path::Path};

use strongroom_runtime::{
    clock::SystemClock,
    shutdown::{Ended, Shutdown, Signals},
};

use super::*;
use crate::{
    cli::client::Client,
    http::dto::{Operators, Status},
    profile::Profile,
};

/// Free ports on loopback, the embedded store included.
fn config(directory: &Path) -> Config {
    let path = directory.join("coordinator.toml");
    let text = "data_directory = \"data\"\n\
                [agents]\nlisten = \"127.0.0.1:0\"\n\
                [api]\nlisten = \"127.0.0.1:0\"\n\
                [embedded]\nlisten = \"127.0.0.1:0\"\n";
    std::fs::write(&path, text).unwrap();
    Config::load(&path).unwrap()
}

async fn open(config: &Config, shutdown: &Shutdown) -> Result<Coordinator, ServeError> {
    Coordinator::open(config, OtherKeys::Refuse, SystemClock::shared(), shutdown).await
}

async fn refusal(config: &Config) -> String {
    match open(config, &Shutdown::new()).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_first_start_makes_an_operator_who_gets_in() {
    let scratch = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    let coordinator = open(&config(scratch.path()), &shutdown).await.unwrap();
    let addresses = coordinator.addresses();
    let running = coordinator.run(&shutdown);

    let profile = Profile::load(&addresses.profile).unwrap();
    assert_eq!(profile.url, format!("https://{}", addresses.api));
    let client = Client::new(&profile).unwrap();
    let status: Status = client.get(&["status"], &[]).await.unwrap();
    assert_eq!(status.counts.agents, 0);

    // Another CA than the one that is pinned is refused.
    let (other, _) = strongroom_runtime::pki::CertificateAuthority::create(
        strongroom_runtime::clock::Clock::now(&SystemClock),
    )
    .unwrap();
    let stranger = Profile {
        ca_certificate: other.certificate_pem().to_owned(),
        ..profile
    };
    let error = Client::new(&stranger)
        .unwrap()
        .get::<Status>(&["status"], &[])
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("not from the CA in the profile"), "{error}");

    shutdown.request();
    assert_eq!(
        shutdown.wait(Signals::listen().unwrap(), GRACE).await,
        Ended::Cleanly
    );
    assert!(running.close().await);
}

#[tokio::test]
async fn a_restart_keeps_the_operator_and_corrects_the_url() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let mut profiles = Vec::new();
    for _ in 0..2 {
        let shutdown = Shutdown::new();
        let coordinator = open(&config, &shutdown).await.unwrap();
        let addresses = coordinator.addresses();
        let running = coordinator.run(&shutdown);
        let profile = Profile::load(&addresses.profile).unwrap();
        assert_eq!(profile.url, format!("https://{}", addresses.api));
        let client = Client::new(&profile).unwrap();
        let operators: Operators = client.get(&["operators"], &[]).await.unwrap();
        assert_eq!(operators.operators.len(), 1);
        profiles.push(profile);
        shutdown.request();
        shutdown.wait(Signals::listen().unwrap(), GRACE).await;
        running.close().await;
    }
    assert_eq!(profiles[0].token, profiles[1].token);
}

#[tokio::test]
async fn a_profile_without_its_operator_is_mended() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let first = open(&config, &Shutdown::new()).await.unwrap();
    let profile = first.addresses().profile;
    let token = Profile::load(&profile).unwrap().token;
    drop(first);
    // As after a crash between the profile and the catalog.
    for ending in ["", "-wal", "-shm"] {
        let file = format!("catalog.sqlite{ending}");
        let _ = std::fs::remove_file(config.data_directory.join(file));
    }
    let again = open(&config, &Shutdown::new()).await.unwrap();
    let hash = crate::model::SecretHash::of(&token);
    let operator = again.catalog.verify_operator(&hash).await.unwrap();
    assert_eq!(operator.unwrap().name, "admin");
}

#[tokio::test]
async fn who_holds_the_host_makes_a_token_when_all_are_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let unserved = reset(&config, SystemClock::shared(), "admin", None, None).await;
    let unserved = unserved.unwrap_err().to_string();
    assert!(unserved.contains("`strongroom serve`"), "{unserved}");

    let shutdown = Shutdown::new();
    let coordinator = open(&config, &shutdown).await.unwrap();
    let addresses = coordinator.addresses();
    let running = coordinator.run(&shutdown);
    let lost = Profile::load(&addresses.profile).unwrap();
    std::fs::remove_file(&addresses.profile).unwrap();
    // The port was chosen, and only the profile knew it.
    let no_url = reset(&config, SystemClock::shared(), "admin", None, None).await;
    assert!(matches!(no_url, Err(ResetError::NoUrl)), "{no_url:?}");
    let url = Some(lost.url.clone());
    let done = reset(&config, SystemClock::shared(), "admin", None, url)
        .await
        .unwrap();
    assert!(done.renewed);
    assert_eq!(done.profile, addresses.profile);
    let found = Profile::load(&done.profile).unwrap();
    let get = async |profile: &Profile| {
        let client = Client::new(profile).unwrap();
        client.get::<Status>(&["status"], &[]).await
    };
    get(&found).await.unwrap();
    get(&lost).await.unwrap_err();
    // With a profile there, nothing need be said; another one goes elsewhere.
    let elsewhere = scratch.path().join("elsewhere.toml");
    let write = Some(elsewhere.clone());
    let done = reset(&config, SystemClock::shared(), "night", write, None)
        .await
        .unwrap();
    assert!(!done.renewed);
    get(&Profile::load(&elsewhere).unwrap()).await.unwrap();
    get(&found).await.unwrap();

    shutdown.request();
    shutdown.wait(Signals::listen().unwrap(), GRACE).await;
    running.close().await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_key() {
    let scratch = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["[agents] listen", "[api] listen", "[embedded]"] {
        let mut config = config(scratch.path());
        match key {
            "[agents] listen" => config.agents.listen = address,
            "[api] listen" => config.api.listen = address,
            _ => config.embedded.as_mut().unwrap().listen = address,
        }
        let message = refusal(&config).await;
        assert!(message.contains(&address.to_string()), "{message}");
        assert!(message.contains(key), "{message}");
    }
}

#[tokio::test]
async fn a_second_coordinator_on_the_same_catalog_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = config(scratch.path());
    let _first = open(&config, &Shutdown::new()).await.unwrap();
    let message = refusal(&config).await;
    assert!(
        message.contains("in use by another coordinator"),
        "{message}"
    );

    let url = config.catalog_url().unwrap().to_string();
    config.data_directory = scratch.path().join("other");
    config.catalog.url = Some(url);
    let message = refusal(&config).await;
    assert!(
        message.contains("in use by another coordinator"),
        "{message}"
    );
}

#[test]
fn invitations_name_what_agents_can_reach() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = config(scratch.path());
    let bound = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 7443);
    let public = |config: &Config, ip| public_address(&server_names(config), config, bound(ip));
    assert_eq!(public(&config, "10.0.0.1"), "10.0.0.1:7443");
    assert_eq!(public(&config, "::1"), "[::1]:7443");
    config.agents.public_names = vec!["backup.example.com".into()];
    assert_eq!(public(&config, "0.0.0.0"), "backup.example.com:7443");
    assert!(server_names(&config).contains(&"127.0.0.1".to_owned()));
}

/// Two data directories and one catalog.
#[tokio::test]
async fn a_catalog_is_served_with_the_keys_that_it_was_written_with() {
    let scratch = tempfile::tempdir().unwrap();
    let beside = |name: &str| {
        let directory = scratch.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let mut config = config(&directory);
        config.catalog.url = Some(format!(
            "sqlite:{}",
            scratch.path().join("catalog").display()
        ));
        config
    };
    let (one, two) = (beside("one"), beside("two"));
    let start = async |config: &Config, others: OtherKeys| {
        let shutdown = Shutdown::new();
        let opened = Coordinator::open(config, others, SystemClock::shared(), &shutdown);
        opened.await.map(drop).map_err(|error| error.to_string())
    };
    start(&one, OtherKeys::Refuse).await.unwrap();
    start(&one, OtherKeys::Refuse).await.unwrap();

    // Nothing is made beside a catalog that names others.
    let said = start(&two, OtherKeys::Refuse).await.unwrap_err();
    for word in [
        "certificate authority",
        "is not there",
        "ca.pem and ca.key",
        "--replace-keys",
    ] {
        assert!(said.contains(word), "{said}");
    }
    let keys = || {
        let entries = std::fs::read_dir(&two.data_directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("key")).count()
    };
    assert_eq!(keys(), 0);

    // One of the two is not enough.
    for file in ["ca.pem", "ca.key"] {
        std::fs::copy(one.data_directory.join(file), two.data_directory.join(file)).unwrap();
    }
    let said = start(&two, OtherKeys::Refuse).await.unwrap_err();
    assert!(said.contains("key-encryption.key is not there"), "{said}");

    start(&two, OtherKeys::Replace).await.unwrap();
    start(&two, OtherKeys::Refuse).await.unwrap();
    let said = start(&one, OtherKeys::Refuse).await.unwrap_err();
    assert!(said.contains("key-encryption.key holds"), "{said}");
    let catalog = one.catalog_url().unwrap();
    let catalog = Catalog::open(&catalog, SystemClock::shared())
        .await
        .unwrap();
    let replaced = crate::catalog::AuditFilter {
        action: Some("keys.replace".into()),
        ..Default::default()
    };
    let audited = catalog.audit_log(&replaced, 10).await.unwrap().items;
    assert_eq!(audited.len(), 1, "only what was another");
}
