use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<AgentConfig, String> {
    strongroom_runtime::config::parse(Path::new("agent.toml"), text)
        .map_err(|error| error.to_string())
}

#[test]
fn the_sample_shows_every_key_and_parses() {
    let text = include_str!("../../../deploy/agent.toml");
    let config = parse(text).unwrap();
    assert_eq!(config.allow.sources.len(), 4);
    assert!(config.commands.contains_key("orders-dump"));
    // The keys that are commented out hold as well.
    let whole: String = text
        .lines()
        .map(|line| match line.strip_prefix("#: ") {
            Some(key) => key.to_owned() + "\n",
            None => line.to_owned() + "\n",
        })
        .collect();
    let config = parse(&whole).unwrap();
    assert!(config.coordinator.is_some());
    assert!(config.cache.directory.is_some());
    assert_eq!(config.wal_socket(), Some(DEFAULT_WAL_SOCKET.into()));
    let resources = config.limits.resources();
    assert!(resources.threads.is_some() && resources.memory.is_some());
    assert!(resources.upload.is_some() && resources.download.is_some());
    assert!(resources.read.is_some());
    assert_eq!(config.limits.ionice, IoNice::default());
    assert!(config.telemetry.otlp_endpoint.is_some());
}

#[test]
fn nothing_is_allowed_by_default() {
    let config = parse("").unwrap();
    assert_eq!(config.consent(), Consent::default());
    assert_eq!(config.state_dir, Path::new(DEFAULT_STATE));
}

#[test]
fn the_cache_lies_in_the_state_directory_unless_told_otherwise() {
    let config = parse("state_dir = '/state'").unwrap();
    assert_eq!(config.cache_directory(), Path::new("/state/cache"));
    let config = parse("[cache]\ndirectory = '/elsewhere'").unwrap();
    assert_eq!(config.cache_directory(), Path::new("/elsewhere"));
    assert_eq!(config.cache.size, ByteSize(1 << 30));
    for (size, bytes) in [("0", 0), ("'0'", 0), ("'16MiB'", 16 << 20)] {
        let config = parse(&format!("[cache]\nsize = {size}")).unwrap();
        assert_eq!(config.cache.size, ByteSize(bytes));
    }
}

#[test]
fn consent_shows_what_is_allowed() {
    let config = parse(
        "[allow]\nsources = ['files']\nread_paths = ['/srv/']\nrestore_paths = ['/r']\n\
         [commands.dump]\nargv = ['true']\n",
    )
    .unwrap();
    let consent = config.consent();
    assert_eq!(consent.sources, ["files"]);
    assert_eq!(consent.read_paths, ["/srv"]);
    assert_eq!(consent.restore_paths, ["/r"]);
    assert_eq!(consent.commands, ["dump"]);
}

#[test]
fn bad_files_are_named_with_line_and_remedy() {
    for (text, wanted) in [
        ("coordinater = 'a:1'", "agent.toml:1:1: unknown key"),
        ("\ncoordinator = 'a:b'", "agent.toml:2:15: "),
        ("[allow]\nread_path = []", "did you mean `read_paths`?"),
        ("[allow]\nread_paths = ['srv']", "must be absolute"),
        ("[allow]\nrestore_paths = ['/a/../b']", "without `..`"),
        ("[allow]\nsources = ['mysql']", "agent.toml:2:12: "),
        ("[commands.x]\nargv = []", "must name a program"),
        ("[commands.'a/b']\nargv = ['x']", "usable as a file name"),
        (
            "[commands.x]\nargv = ['x']\nfilename = '../y'",
            "without slashes",
        ),
        ("[cache]\ndirectory = 'x'", "must be absolute"),
        ("[cache]\nsize = '1MiB'", "at least 16MiB, or 0"),
        ("[cache]\nsize = 'much'", "not a size"),
        ("[cache]\ndir = '/x'", "unknown key `dir`"),
        ("[limits]\nnice = 20", "between -20 and 19"),
        ("[limits]\nmemory = '1TB'", "not a size"),
        (
            "[limits]\nmemory = '8MiB'",
            "agent.toml:2:10: limits.memory: \"8MiB\" is less than",
        ),
        ("[limits]\nmemory = 17", "give at least \"22MiB\""),
        (
            "[limits]\nthreads = 0",
            "agent.toml:2:11: limits.threads: 0 threads do no work: give at least 1",
        ),
        ("[limits]\nthreads = -2", "-2 threads"),
        ("[limits]\nthreads = 'all'", "limits.threads: "),
        (
            "[limits]\nupload = '0B/s'",
            "agent.toml:2:10: limits.upload: \"0B/s\" is too slow: write at least \"1KiB/s\"",
        ),
        (
            "[limits]\ndownload = '5B/s'",
            "limits.download: \"5B/s\" is",
        ),
        (
            "[limits]\nread = 'fast'",
            "limits.read: \"fast\" is not a rate",
        ),
        ("[limits]\nread = 7", "agent.toml:2:8: limits.read: "),
        (
            "[limits]\nionice = 'realtime'",
            "limits.ionice: \"realtime\"",
        ),
        ("[telemetry]\notlp = 'x'", "unknown key `otlp`"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(wanted), "{text:?}: {error}");
    }
}
