//! Fuzz target: an operator uploads whatever file is at hand.

use strongroom_spec::UploadFormat;

use super::dump;

/// The beginning of an upload in each of the formats.
pub fn upload_head(data: &[u8]) {
    for format in [
        UploadFormat::File,
        UploadFormat::Sql,
        UploadFormat::SqlGzip,
        UploadFormat::Custom,
    ] {
        if let Err(error) = dump::check(format, data) {
            assert!(!error.to_string().is_empty());
        }
    }
}

#[cfg(test)]
pub(crate) mod seeds {
    /// Heads of the custom format, of two versions.
    pub(crate) fn heads() -> Vec<Vec<u8>> {
        [14, 15]
            .map(|minor| {
                let mut head = b"PGDMP".to_vec();
                head.extend([1, minor, 0, 4, 8, 1]);
                let integer = |value: u32| [&[0][..], &value.to_le_bytes()].concat();
                match minor {
                    14 => head.extend(integer(0)),
                    _ => head.push(1),
                }
                for value in 0..7 {
                    head.extend(integer(value));
                }
                for text in ["shop", "15.18 (Debian)", "15.18"] {
                    head.extend(integer(text.len() as u32));
                    head.extend(text.as_bytes());
                }
                head
            })
            .to_vec()
    }
}
