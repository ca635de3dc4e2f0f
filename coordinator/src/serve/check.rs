//! Whether a configuration can be used, without using it: nothing is made, bound or
//! asked.

use std::{fs, os::unix::fs::PermissionsExt as _};

use strongroom_runtime::{clock::SystemClock, telemetry};

use super::stores::external;
use crate::{config::Config, stores::Stores};

/// Everything for which a coordinator would refuse to start, beside what
/// [`Config::load`] refuses itself; empty: it would start, if its ports are free.
pub fn check(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(error) = config.catalog_url() {
        problems.push(format!("[catalog] url_file: {error}"));
    }
    problems.extend(data_directory(config));
    let mut stores = Vec::new();
    for (name, configured) in &config.stores {
        match external(name, configured) {
            Ok(store) => stores.push(store),
            Err(error) => problems.push(error.to_string()),
        }
    }
    if let Err(error) = Stores::new(stores, &SystemClock::shared()) {
        problems.push(error.to_string());
    }
    if let Err(error) = telemetry::check(&config.telemetry) {
        problems.push(error.to_string());
    }
    problems
}

/// One that is not there yet is made at the first start.
fn data_directory(config: &Config) -> Option<String> {
    let path = &config.data_directory;
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("data_directory {}: {error}", path.display())),
    };
    let mode = metadata.permissions().mode() & 0o7777;
    match mode & 0o077 {
        _ if !metadata.is_dir() => {
            Some(format!("data_directory {} is no directory", path.display()))
        }
        0 => None,
        _ => Some(format!(
            "data_directory {path} is open to others (mode {mode:04o}): run `chmod 700 {path}`",
            path = path.display()
        )),
    }
}
