//! The process's resident memory, as the kernel counts it (`proc(5)`).

use std::fs;

/// Resident now, bytes; 0 when the kernel does not say.
pub fn resident_bytes() -> u64 {
    status_field("VmRSS:")
}

/// Peak since the last [`forget_peak`], bytes; 0 when the kernel does not say.
pub(super) fn peak_resident_bytes() -> u64 {
    status_field("VmHWM:")
}

/// Starts counting the peak anew, where the kernel lets us.
pub(super) fn forget_peak() {
    // `5`: "reset the peak resident set size". Without it the peak of an
    // earlier job is reported, which is no harm.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn status_field(name: &str) -> u64 {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| parse(&status, name))
        .unwrap_or(0)
}

/// `VmHWM:     12345 kB`
fn parse(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_lines_are_understood() {
        let status = "Name:\tx\nVmHWM:\t   12345 kB\nVmRSS:\t   100 kB\n";
        assert_eq!(parse(status, "VmHWM:"), Some(12345 * 1024));
        assert_eq!(parse(status, "VmSwap:"), None);
        assert_eq!(parse("VmHWM: lots", "VmHWM:"), None);
    }

    #[test]
    fn this_process_takes_some() {
        assert!(resident_bytes() > 100_000);
        assert!(peak_resident_bytes() > 100_000);
    }
}
