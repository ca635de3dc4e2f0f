//! Fuzz targets: names come from listings, requests and file systems.

use crate::{
    AgentId, ObjectId, SystemId, WalName,
    position::{Lsn, SegmentName, SegmentSize, TimelineId},
};

/// Every name and position that is read from a text. What was understood is
/// written as it was read, or as what reads the same.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(id) = text.parse::<ObjectId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(name) = text.parse::<WalName>() {
        assert_eq!(name.path(), text);
    }
    if let Ok(system) = text.parse::<SystemId>() {
        assert_eq!(system.to_string().parse(), Ok(system));
    }
    if let Ok(lsn) = text.parse::<Lsn>() {
        assert_eq!(lsn.to_string().parse(), Ok(lsn));
    }
    if let Some(agent) = AgentId::from_uri(text) {
        assert_eq!(AgentId::from_uri(&agent.to_uri()), Some(agent));
    }
    if let Some(timeline) = TimelineId::of_history_file(text) {
        assert_eq!(timeline.history_file(), text);
    }
    for power in 20..=30 {
        let size = SegmentSize::new(1 << power).unwrap();
        if let Some(segment) = SegmentName::parse(text, size) {
            assert_eq!(segment.file_name(size), text);
            assert_eq!(size.segment_of(segment.start(size)), segment.number);
        }
    }
}

#[cfg(test)]
mod runs {
    fn texts() -> Vec<Vec<u8>> {
        let id = "ab".repeat(32);
        [
            id.clone(),
            format!("wal/66ddf11f674f4b87/00000001/00000016b374d848-00000016b374d849-{id}"),
            format!("wal/66ddf11f674f4b87/00000001/history-{id}"),
            "7412345678901234567".into(),
            "16/B374D848".into(),
            "strongroom:agent:00000000-0000-0000-0000-000000000007".into(),
            "0000001F.history".into(),
            "000000010000000100000023".into(),
            "00000001FFFFFFFF00000FFF".into(),
        ]
        .map(String::into_bytes)
        .to_vec()
    }

    strongroom_fuzz::short_runs! {
        names: texts(),
    }
}
