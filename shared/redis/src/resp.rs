//! RESP, version 2: what Redis speaks.
//!
//! Source: the RESP specification of the Redis documentation. Lengths that a
//! peer claims are capped, and nothing is allocated before it is there.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Longest line.
const LINE: usize = 64 << 10;
/// Longest answer to a command of ours, in bytes and in elements.
const LONGEST_BULK: u64 = 64 << 20;
const LONGEST_ARRAY: u64 = 1 << 20;
/// Deepest nesting.
const DEEPEST: u32 = 8;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR …`, without the minus.
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$…`; `None`: null.
    Bulk(Option<Vec<u8>>),
    /// `*…`; `None`: null.
    Array(Option<Vec<Reply>>),
}

/// Appends a command.
pub(crate) fn encode(command: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
    for part in command {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// Something that is not RESP.
pub(crate) fn malformed(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}

/// Reads a line without its end. Empty ones are signs of life between
/// primaries and replicas.
pub(crate) async fn line<R: AsyncBufRead + Unpin>(from: &mut R) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let read = from.take(LINE as u64).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.pop() != Some(b'\n') {
        return Err(if read >= LINE {
            malformed("a line without an end")
        } else {
            io::ErrorKind::UnexpectedEof.into()
        });
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// Reads an answer. Signs of life in front of it are passed over.
pub(crate) async fn reply<R: AsyncBufRead + Unpin + Send>(from: &mut R) -> io::Result<Reply> {
    nested(from, 0).await
}

async fn nested<R: AsyncBufRead + Unpin + Send>(from: &mut R, depth: u32) -> io::Result<Reply> {
    let mut first = line(from).await?;
    while first.is_empty() {
        first = line(from).await?;
    }
    let (kind, rest) = first.split_at(1);
    let text = || String::from_utf8_lossy(rest).into_owned();
    Ok(match kind[0] {
        b'+' => Reply::Simple(text()),
        b'-' => Reply::Error(text()),
        b':' => Reply::Integer(number(rest)?),
        b'$' => match number(rest)? {
            -1 => Reply::Bulk(None),
            length => Reply::Bulk(Some(bulk(from, length, LONGEST_BULK).await?)),
        },
        b'*' => match number(rest)? {
            -1 => Reply::Array(None),
            length => {
                let length = cap(length, LONGEST_ARRAY)?;
                if depth == DEEPEST {
                    return Err(malformed("arrays within arrays without end"));
                }
                let mut elements = Vec::new();
                for _ in 0..length {
                    elements.push(Box::pin(nested(from, depth + 1)).await?);
                }
                Reply::Array(Some(elements))
            }
        },
        other => return Err(malformed(format!("a line that begins with byte {other}"))),
    })
}

/// A number behind a type's sign.
pub(crate) fn number(text: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed("no number where one should be"))
}

/// A length that a peer claims.
pub(crate) fn cap(length: i64, most: u64) -> io::Result<u64> {
    u64::try_from(length)
        .ok()
        .filter(|length| *length <= most)
        .ok_or_else(|| malformed(format!("a length of {length}")))
}

/// The bytes of a bulk string whose length was read.
pub(crate) async fn bulk<R: AsyncBufRead + Unpin>(
    from: &mut R,
    length: i64,
    most: u64,
) -> io::Result<Vec<u8>> {
    let length = cap(length, most)?;
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut end = [0; 2];
    from.read_exact(&mut end).await?;
    if end != *b"\r\n" {
        return Err(malformed("a bulk string without an end"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(bytes: &[u8]) -> io::Result<Reply> {
        let mut from = bytes;
        reply(&mut from).await
    }

    #[tokio::test]
    async fn answers_of_every_kind() {
        let bulk = |text: &str| Reply::Bulk(Some(text.into()));
        for (text, expected) in [
            ("+OK\r\n", Reply::Simple("OK".into())),
            ("\n\n+OK\r\n", Reply::Simple("OK".into())),
            ("-ERR no\r\n", Reply::Error("ERR no".into())),
            (":-7\r\n", Reply::Integer(-7)),
            ("$3\r\na\nb\r\n", bulk("a\nb")),
            ("$0\r\n\r\n", bulk("")),
            ("$-1\r\n", Reply::Bulk(None)),
            ("*-1\r\n", Reply::Array(None)),
            (
                "*2\r\n:1\r\n*1\r\n$1\r\nx\r\n",
                Reply::Array(Some(vec![
                    Reply::Integer(1),
                    Reply::Array(Some(vec![bulk("x")])),
                ])),
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).await.unwrap(), expected, "{text:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        for text in [
            "",
            "+OK",
            "$5\r\nab",
            "$2\r\nabc\r\n",
            "$99999999999\r\n",
            "$-2\r\n",
            "*99999999999\r\n",
            "*3\r\n:1\r\n",
            ":x\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
        ] {
            assert!(parse(text.as_bytes()).await.is_err(), "{text:?}");
        }
        let deep = "*1\r\n".repeat(1000);
        assert!(parse(deep.as_bytes()).await.is_err());
        let long = vec![b'+'; 2 * LINE];
        assert!(parse(&long).await.is_err());
    }

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        encode(&[b"GET", b"a\r\n"], &mut out);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n");
    }
}
