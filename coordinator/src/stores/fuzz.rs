//! Fuzz target: a store answers what it likes.

use jiff::Timestamp;

use super::{check::forge::element, error::skew};

/// A `date` header up to a line feed, and an error in XML. What is kept of it is
/// short, and a part of it.
pub fn store_answer(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (date, xml) = text.split_once('\n').unwrap_or((&text, ""));
    for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        let _ = skew(Some(date), now);
    }
    for name in ["Code", "Message"] {
        if let Some(found) = element(xml, name) {
            assert!(found.chars().count() <= 200 && xml.contains(&found));
        }
    }
}
