//! A path as it is on a host: mostly, but not always, UTF-8.

use std::{borrow::Cow, fmt};

use data_encoding::BASE64;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
    ser::SerializeStruct,
};

/// A path of a host or snapshot, or another name whose bytes are anybody's.
///
/// As JSON `{"text": …, "base64": …}`: the second has the exact bytes where the first, in
/// which U+FFFD stands for what is not UTF-8, has not.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawPath(pub Vec<u8>);

impl RawPath {
    /// For people; what is not UTF-8 is replaced by U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl fmt::Debug for RawPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text(), f)
    }
}

impl std::ops::Deref for RawPath {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<T: Into<Vec<u8>>> From<T> for RawPath {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl Serialize for RawPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let exact = std::str::from_utf8(&self.0).is_ok();
        let mut path = serializer.serialize_struct("RawPath", 2)?;
        path.serialize_field("text", &self.text())?;
        path.serialize_field("base64", &(!exact).then(|| BASE64.encode(&self.0)))?;
        path.end()
    }
}

impl<'de> Deserialize<'de> for RawPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = RawPath;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path as {\"text\": …, \"base64\": …}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawPath, A::Error> {
        let (mut text, mut exact) = (None::<String>, None::<String>);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "text" => text = Some(map.next_value()?),
                "base64" => exact = map.next_value()?,
                _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        let Some(exact) = exact else {
            let text = text.ok_or_else(|| A::Error::missing_field("text"))?;
            return Ok(RawPath(text.into_bytes()));
        };
        let bytes = BASE64.decode(exact.as_bytes());
        bytes.map(RawPath).map_err(A::Error::custom)
    }

    /// As catalogs and outboxes of earlier versions have them: numbers of bytes.
    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<RawPath, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        Ok(RawPath(bytes))
    }
}

#[cfg(feature = "schema")]
mod schema {
    use std::borrow::Cow;

    use utoipa::{PartialSchema, ToSchema, openapi::RefOr, openapi::schema::Schema};

    use super::RawPath;

    /// A path of a host or snapshot.
    #[derive(ToSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    #[schema(as = RawPath)]
    struct Shape {
        /// The path; what is not UTF-8 is replaced by U+FFFD.
        text: String,
        /// The exact bytes in base64, when `text` is not exact.
        base64: Option<String>,
    }

    impl PartialSchema for RawPath {
        fn schema() -> RefOr<Schema> {
            Shape::schema()
        }
    }

    impl ToSchema for RawPath {
        fn name() -> Cow<'static, str> {
            Shape::name()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(path: &RawPath) -> String {
        serde_json::to_string(path).unwrap()
    }

    #[test]
    fn keeps_the_bytes_of_what_is_not_utf8() {
        let plain = RawPath::from("/a");
        assert_eq!(json(&plain), r#"{"text":"/a","base64":null}"#);
        let odd = RawPath::from(&b"/a\xff"[..]);
        assert_eq!(json(&odd), r#"{"text":"/a�","base64":"L2H/"}"#);
        for path in [plain, odd] {
            assert_eq!(serde_json::from_str::<RawPath>(&json(&path)).unwrap(), path);
        }
    }

    #[test]
    fn reads_what_earlier_versions_stored() {
        let path: RawPath = serde_json::from_str("[47,97,255]").unwrap();
        assert_eq!(path, RawPath::from(&b"/a\xff"[..]));
        for wrong in ["[256]", "{}", r#"{"text":"a","base64":"!"}"#, "7"] {
            assert!(serde_json::from_str::<RawPath>(wrong).is_err(), "{wrong}");
        }
    }
}
