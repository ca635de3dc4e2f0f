//! The listing of a directory: those of a bucket's keys that name its objects.

use strongroom_layout::Directory;
use strongroom_s3::{ListedObject, ObjectPage};

use crate::store::{Listed, StoreErrorKind, Written};

/// Adds a page to `listed`; gives the token of the next. `directory_key` is
/// the key of the directory, with a slash at its end.
pub(super) fn add_page(
    xml: &[u8],
    directory: Directory,
    directory_key: &str,
    listed: &mut Vec<Listed>,
) -> Result<Option<String>, StoreErrorKind> {
    let page = ObjectPage::from_xml(xml)?;
    let objects = page.objects.iter();
    listed.extend(objects.filter_map(|object| named(object, directory, directory_key)));
    Ok(page.next)
}

fn named(object: &ListedObject, directory: Directory, directory_key: &str) -> Option<Listed> {
    let key = std::str::from_utf8(&object.key).ok()?;
    let path = key.strip_prefix(directory_key)?;
    let name = match directory {
        Directory::Data => path.split_once('/')?.1,
        _ => path,
    };
    Some(Listed {
        id: name.parse().ok()?,
        size: object.size,
        written: object.modified.map_or(Written::Unknown, Written::At),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_foreign_keys_are_left_out() {
        let id = "ab".repeat(32);
        let xml = format!(
            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>a/b=</NextContinuationToken>\
             <Contents><Key>p/data/ab/{id}</Key><LastModified>2026-03-01T12:00:00.000Z</LastModified>\
             <Size>7</Size></Contents>\
             <Contents><Key>p/data/ab/README</Key><Size>1</Size></Contents>\
             <Contents><Key>p/data/{id}</Key><Size>2</Size></Contents>\
             </ListBucketResult>"
        );
        let mut listed = Vec::new();
        let next = add_page(xml.as_bytes(), Directory::Data, "p/data/", &mut listed).unwrap();
        assert_eq!(next.as_deref(), Some("a/b="));
        let expected = Listed {
            id: id.parse().unwrap(),
            size: 7,
            written: Written::At("2026-03-01T12:00:00Z".parse().unwrap()),
        };
        assert_eq!(listed, [expected]);
    }

    #[test]
    fn empty_and_damaged_pages() {
        let mut listed = Vec::new();
        let empty = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        let next = add_page(empty, Directory::Index, "index/", &mut listed).unwrap();
        assert_eq!((next, listed.len()), (None, 0));
        for damaged in [
            &b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"[..],
            b"<ListBucketResult><Contents><Key>x</Key></Contents></ListBucketResult>",
            b"not XML",
        ] {
            add_page(damaged, Directory::Index, "index/", &mut listed).unwrap_err();
        }
    }
}
