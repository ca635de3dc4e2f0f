//! A plain client, not the one under test.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use crate::program::PATIENCE;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    /// Null.
    Nil,
    /// An integer.
    Integer(i64),
    /// A string, of any kind.
    Bytes(Vec<u8>),
    /// An error.
    Error(String),
    /// An array.
    Array(Vec<Reply>),
}

impl Reply {
    /// A string.
    ///
    /// # Panics
    /// When it is none.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes,
            other => panic!("no string: {other:?}"),
        }
    }

    /// A string.
    ///
    /// # Panics
    /// When it is none.
    pub fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// An integer.
    ///
    /// # Panics
    /// When it is none.
    pub fn integer(self) -> i64 {
        match self {
            Self::Integer(number) => number,
            other => panic!("no integer: {other:?}"),
        }
    }

    /// An array.
    ///
    /// # Panics
    /// When it is none.
    pub fn array(self) -> Vec<Reply> {
        match self {
            Self::Array(elements) => elements,
            other => panic!("no array: {other:?}"),
        }
    }
}

/// A connection. Panics when the server does not answer.
#[derive(Debug)]
pub struct Client(BufReader<UnixStream>);

impl Client {
    /// Connects to a socket.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket)
            .unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket has timeouts");
        Self(BufReader::new(stream))
    }

    /// Runs a command that must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn run<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Reply {
        match self.ask(command) {
            Reply::Error(message) => {
                let words: Vec<_> = command
                    .iter()
                    .map(|word| String::from_utf8_lossy(word.as_ref()))
                    .collect();
                panic!("{words:?}: {message}")
            }
            reply => reply,
        }
    }

    /// Runs a command.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn ask<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Reply {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for word in command {
            let word = word.as_ref();
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.0
            .get_mut()
            .write_all(&bytes)
            .expect("the server reads");
        self.reply()
    }

    fn reply(&mut self) -> Reply {
        let mut line = Vec::new();
        self.0
            .read_until(b'\n', &mut line)
            .expect("the server answers");
        let line = line.strip_suffix(b"\r\n").expect("a whole line");
        let (kind, rest) = line.split_first().expect("a kind");
        let number = || -> i64 {
            let text = std::str::from_utf8(rest).expect("a number");
            text.parse().expect("a number")
        };
        match kind {
            b'+' => Reply::Bytes(rest.to_vec()),
            b'-' => Reply::Error(String::from_utf8_lossy(rest).into_owned()),
            b':' => Reply::Integer(number()),
            b'$' | b'*' if number() < 0 => Reply::Nil,
            b'$' => {
                let mut bytes = vec![0; number() as usize + 2];
                self.0.read_exact(&mut bytes).expect("the server answers");
                bytes.truncate(bytes.len() - 2);
                Reply::Bytes(bytes)
            }
            b'*' => Reply::Array((0..number()).map(|_| self.reply()).collect()),
            other => panic!("an answer of kind {other}"),
        }
    }
}
