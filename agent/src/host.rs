//! The name of this host.

/// This host's own name.
pub(crate) fn hostname() -> String {
    // What gethostname(2) gives.
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_name() {
        assert!(!hostname().is_empty());
        assert!(!hostname().contains('\n'));
    }
}
