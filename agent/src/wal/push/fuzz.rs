//! Fuzz target: whoever may connect to the socket asks for what he likes.

use strongroom_layout::position::SegmentSize;
use strongroom_postgres::wal::Layout;

use super::{
    files::Kind,
    message::{Request, line},
};

/// A request: it comes back as it was read. A name in it that is taken stays in
/// its directory.
pub fn push_request(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Request>(data) else {
        return;
    };
    let written = line(&request);
    assert_eq!(
        serde_json::from_slice::<Request>(&written).unwrap(),
        request
    );
    for size in [1 << 20, 16 << 20, 1 << 30] {
        let layout = Layout {
            major: 15,
            system_identifier: 7,
            segment_size: SegmentSize::new(size).unwrap(),
            block_size: 8192,
        };
        let file = request.file.as_str();
        match Kind::of(file, layout) {
            Some(Kind::Segment(segment)) => {
                assert_eq!(segment.file_name(layout.segment_size), file);
            }
            Some(Kind::History(timeline)) => {
                assert_eq!(timeline.history_file(), file);
            }
            Some(Kind::Needless) => assert!(!file.contains('/') && !file.starts_with('.')),
            None => {}
        }
    }
}
