//! The checksum that a PUT is signed with (`x-amz-checksum-sha256`): a bucket with
//! Object Lock takes nothing without one, and some services take nothing with one.

/// Whether a service that answers a PUT with this HTTP status may take it without its
/// checksum: it does not know such a header (501), or what it says of it (400).
/// Whoever signs PUTs by its own credentials, or tries a store, goes by this.
pub const fn may_be_unknown(status: u16) -> bool {
    matches!(status, 400 | 501)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_other_things_are_about_no_checksum() {
        assert!(may_be_unknown(400) && may_be_unknown(501));
        for status in [200, 403, 404, 409, 412, 429, 500, 503] {
            assert!(!may_be_unknown(status), "{status}");
        }
    }
}
