use std::{fs, path::Path};

use strongroom_runtime::telemetry::LogFormat;

use super::*;

const STORE: &str = r#"
    [store.primary]
    endpoint = "https://s3.example.com"
    bucket = "backups"
    access_key_id_file = "keys/id"
    secret_access_key_file = "keys/secret"
"#;

fn load(text: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coordinator.toml");
    fs::write(&path, text).unwrap();
    Config::load(&path)
}

fn refusal(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

#[test]
fn the_sample_parses_and_shows_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/coordinator.toml");
    let sample = Config::load(&path).unwrap();
    let mut plain = load("data_directory = \"/var/lib/strongroom\"").unwrap();
    assert!(sample.stores.contains_key("primary"));
    plain.stores.clone_from(&sample.stores);
    plain
        .agents
        .public_names
        .clone_from(&sample.agents.public_names);
    assert_eq!(sample, plain, "the sample states the defaults");
}

#[test]
fn every_commented_key_of_the_sample_is_a_real_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/coordinator.toml");
    // `#key = …` and `#[section]` are settings; `# words` is prose.
    let text: String = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
                format!("{setting}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let config: Config = config_file::parse(&path, &text).unwrap();
    assert!(config.embedded.is_some() && config.telemetry.otlp_endpoint.is_some());
    assert_eq!(config.stores.len(), 2);
}

#[test]
fn relative_paths_start_at_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coordinator.toml");
    fs::write(
        &path,
        format!("data_directory = \"data\"\n{STORE}[embedded]\n"),
    )
    .unwrap();
    let config = Config::load(&path).unwrap();
    let data = directory.path().join("data");
    assert_eq!(config.data_directory, data);
    assert_eq!(
        config.embedded.as_ref().unwrap().directory,
        data.join("store")
    );
    assert_eq!(
        config.stores["primary"].credentials(),
        Some(CredentialsConfig::Files {
            access_key_id: directory.path().join("keys/id"),
            secret_access_key: directory.path().join("keys/secret"),
        })
    );
    assert_eq!(
        *config.catalog_url().unwrap(),
        format!("sqlite:{}", data.join("catalog.sqlite").display())
    );
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_key() {
    let message = refusal("data_directory = \"d\"\n[limits]\nper_agents = 3\n");
    assert!(message.contains("coordinator.toml:3:1"), "{message}");
    assert!(message.contains("did you mean `per_agent`"), "{message}");
}

#[test]
fn values_that_make_no_sense_are_refused_by_key() {
    let data = "data_directory = \"d\"\n";
    for (text, expected) in [
        ("[sessions]\nlease_seconds = 10", "[sessions] lease_seconds"),
        (
            "[sessions]\nheartbeat_seconds = 0",
            "[sessions] heartbeat_seconds",
        ),
        ("[limits]\nglobal = 0", "[limits] global"),
        ("[agents]\npublic_names = [\"host:7443\"]", "without a port"),
        (
            "[agents]\ncertificate_lifetime = \"7\"",
            "is not a duration",
        ),
        ("[agents]\nlisten = \"127.0.0.1:7480\"", "its own port"),
        ("[agents]\nstrangers = 4096", "[agents] strangers"),
        ("[api]\nstrangers = 0", "[api] strangers"),
        (
            "[catalog]\nurl = \"sqlite:a\"\nurl_file = \"b\"",
            "keep one",
        ),
        (
            "[embedded]\nlisten = \"0.0.0.0:1\"\ntls = false",
            "tls = true",
        ),
        ("[embedded]\nname = \"A b\"", "store name"),
    ] {
        let message = refusal(&format!("{data}{text}\n"));
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn a_store_must_be_complete() {
    let data = "data_directory = \"d\"\n";
    for (from, to, expected) in [
        ("https://s3", "s3", "is no URL"),
        (
            "bucket = \"backups\"",
            "bucket = \"bucket\"\naccept_risks = [\"everything\"]",
            "unsigned-copy-source",
        ),
        (
            "secret_access_key_file = \"keys/secret\"",
            "",
            "exactly one pair",
        ),
        (
            "access_key_id_file",
            "access_key_id_fil",
            "did you mean `access_key_id_file`",
        ),
    ] {
        let message = refusal(&format!("{data}{}", STORE.replace(from, to)));
        assert!(message.contains(expected), "{to}: {message}");
    }
    let twice = format!("{data}{STORE}[embedded]\nname = \"primary\"\n");
    assert!(refusal(&twice).contains("another name"));
}

#[test]
fn a_store_where_none_can_be_is_refused() {
    let data = "data_directory = \"d\"\n";
    let endpoint = "https://s3.example.com";
    let longest = format!("prefix = \"{}\"", "x".repeat(513));
    for (wrong, expected) in [
        (
            "https://key:hush@s3.example.com",
            "access keys stand in files",
        ),
        ("https://key@s3.example.com", "access keys stand in files"),
        ("key:hush@s3.example.com", "access keys stand in files"),
        ("ftp://s3.example.com", "no HTTP URL"),
        (
            "https://s3.example.com/backups",
            "belongs into bucket or prefix",
        ),
        ("https://s3.example.com?x=hush", "query"),
        ("https://192.0.2.1:9000", "path_style = true"),
        ("https://[2001:db8::1]", "path_style = true"),
    ] {
        let message = refusal(&format!("{data}{}", STORE.replace(endpoint, wrong)));
        assert!(message.contains(expected), "{wrong}: {message}");
        assert!(message.contains("[store.primary]"), "{message}");
        assert!(!message.contains("key:hush"), "{message}");
    }
    for bucket in [
        "",
        "ab",
        "Backups",
        "back_ups",
        "a/b",
        "-ab",
        "ab.",
        "a..b",
        "192.0.2.1",
    ] {
        let text = STORE.replace("\"backups\"", &format!("\"{bucket}\""));
        let message = refusal(&format!("{data}{text}"));
        assert!(message.contains(&format!("bucket {bucket:?}")), "{message}");
    }
    let dotted = STORE.replace("\"backups\"", "\"back.ups\"");
    assert!(refusal(&format!("{data}{dotted}")).contains("path_style"));
    load(&format!("{data}{dotted}path_style = true\n")).unwrap();
    for prefix in [
        "/x", "x/", "x//y", "../x", "x/../y", ".", "x/.", "x\\\\y", "x\\u0007",
    ] {
        let message = refusal(&format!("{data}{STORE}prefix = \"{prefix}\"\n"));
        assert!(message.contains("prefix"), "{prefix}: {message}");
    }
    assert!(refusal(&format!("{data}{STORE}{longest}\n")).contains("512"));
    load(&format!("{data}{STORE}prefix = \"fleet/.a/b c\"\n")).unwrap();
}

#[test]
fn a_risk_is_accepted_by_its_name() {
    use crate::stores::Risk;

    let accepting = STORE.replace(
        "bucket = \"backups\"",
        "bucket = \"backups\"\naccept_risks = [\"overwrite\"]",
    );
    let config = load(&format!("data_directory = \"d\"\n{accepting}")).unwrap();
    let accepted = &config.stores["primary"].accept_risks;
    assert!(accepted.iter().eq(&[Risk::Overwrite]));
    let config = load(&format!("data_directory = \"d\"\n{STORE}")).unwrap();
    assert!(config.stores["primary"].accept_risks.is_empty());
}

#[test]
fn credentials_are_read_from_private_files() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let id = directory.path().join("id");
    let secret = directory.path().join("secret");
    fs::write(&id, "AKIA\n").unwrap();
    fs::write(&secret, " hush \n").unwrap();
    let credentials = CredentialsConfig::Files {
        access_key_id: id.clone(),
        secret_access_key: secret.clone(),
    };
    for path in [&id, &secret] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let (id_text, secret_text) = credentials.read().unwrap();
    assert_eq!((id_text.as_str(), secret_text.as_str()), ("AKIA", "hush"));

    fs::write(&secret, "\n").unwrap();
    assert!(
        credentials
            .read()
            .unwrap_err()
            .to_string()
            .contains("is empty")
    );
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        credentials
            .read()
            .unwrap_err()
            .to_string()
            .contains("chmod 600")
    );
}

#[test]
fn a_missing_environment_variable_is_named() {
    let credentials = CredentialsConfig::Environment {
        access_key_id: "STRONGROOM_TEST_NOT_SET".into(),
        secret_access_key: "STRONGROOM_TEST_NOT_SET".into(),
    };
    let message = credentials.read().unwrap_err().to_string();
    assert!(message.contains("STRONGROOM_TEST_NOT_SET"), "{message}");
}

#[test]
fn telemetry_is_what_both_programs_take() {
    let config = load("data_directory = \"d\"\n[telemetry]\nlog_format = \"json\"\n").unwrap();
    assert_eq!(config.telemetry.log_format, LogFormat::Json);
}
