//! The scripted service: gives each request the next answer of a script, byte for
//! byte.

use std::{collections::VecDeque, future::pending, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads it all, and sends these bytes; then closes.
    Answer(String),
    /// Reads its head, sends these bytes, and reads no body.
    AnswerAtOnce(String),
    /// Reads its head, and nothing more.
    Stall,
    /// Reads it all, sends these bytes, and then nothing more.
    StallAfter(String),
    /// Reads its head, and breaks the connection.
    Reset,
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Scripted {
    /// `s3:http://…/bucket/p`.
    pub location: String,
    /// The heads of the requests that came.
    pub heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Scripted {
    /// On a port of its own.
    ///
    /// # Panics
    /// When there is none; and later, with a request too many, in its own task.
    pub async fn start(script: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Mutex<VecDeque<Step>>> = Arc::new(Mutex::new(script.into_iter().collect()));
        let heads = Arc::default();
        let seen = Arc::clone(&heads);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                connections.spawn(async move {
                    serve(stream, &script, &seen).await;
                });
            }
        });
        Self {
            location: format!("s3:http://{address}/bucket/p"),
            heads,
            _tasks: tasks,
        }
    }
}

async fn serve(mut stream: TcpStream, script: &Mutex<VecDeque<Step>>, seen: &Mutex<Vec<String>>) {
    let Some((head, body_so_far)) = read_head(&mut stream).await else {
        return;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    seen.lock().push(head);
    let step = script.lock().pop_front();
    match step.expect("the script is longer") {
        Step::Answer(bytes) => {
            read_body(&mut stream, length - body_so_far).await;
            stream.write_all(bytes.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        Step::AnswerAtOnce(bytes) => {
            stream.write_all(bytes.as_bytes()).await.unwrap();
            pending::<()>().await;
        }
        Step::StallAfter(bytes) => {
            read_body(&mut stream, length - body_so_far).await;
            stream.write_all(bytes.as_bytes()).await.unwrap();
            pending::<()>().await;
        }
        Step::Stall => pending().await,
        Step::Reset => {
            stream.set_zero_linger().unwrap();
        }
    }
}

/// The head in lower case names, and how much of the body came with it.
async fn read_head(stream: &mut TcpStream) -> Option<(String, usize)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            return Some((head, bytes.len() - end - 4));
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

async fn read_body(stream: &mut TcpStream, mut left: usize) {
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(got) => left -= got,
        }
    }
}

/// A whole HTTP answer.
pub fn answer(status: &str, headers: &str, body: &str) -> Step {
    Step::Answer(head(status, headers, body.len()) + body)
}

/// The head of an answer whose body has `length` bytes.
pub fn head(status: &str, headers: &str, length: usize) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n")
}

/// An S3 error.
pub fn error(status: &str, code: &str, extra: &str) -> Step {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>as it happens</Message>{extra}<RequestId>1</RequestId></Error>"
    );
    answer(
        status,
        "content-type: application/xml\r\ndate: Sat, 21 Nov 2026 03:00:00 GMT\r\n",
        &body,
    )
}
