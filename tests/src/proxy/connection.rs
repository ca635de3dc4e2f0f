//! One connection: read a request, decide, pass it on or not.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use super::{Action, Seen, Shared, Throttle};

/// More than any signed request needs.
const MAX_HEAD: usize = 64 * 1024;
const BUFFER: usize = 64 * 1024;

pub(super) async fn accept(listener: TcpListener, service: SocketAddr, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // Errors are the client's or the service's end of a connection that
        // a fault or a kill cut; the programs under test see them as well.
        tokio::spawn(async move { serve(client, service, &shared).await });
    }
}

async fn serve(mut client: TcpStream, service: SocketAddr, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Some((head, rest)) = read_head(&mut client).await? else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&head).into_owned();
    let (action, seen) = record(&text, shared)?;
    // curl and the AWS SDK wait for this before they send a large body.
    if seen.header("expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let mut exchange = Exchange {
        client,
        service,
        head: closing(&text),
        rest,
        length: seen.length,
        throttle: None,
    };
    match action {
        None => exchange.pass(None).await,
        Some(Action::Hold(gate)) => {
            gate.pass().await;
            exchange.pass(None).await
        }
        Some(Action::Delay(time)) => {
            sleep(time).await;
            exchange.pass(None).await
        }
        Some(Action::Slow(throttle)) => {
            exchange.throttle = Some(throttle);
            exchange.pass(None).await
        }
        Some(Action::Answer(status, code)) => exchange.answer(status, code).await,
        Some(Action::ResetRequest(after)) => exchange.reset_request(after).await,
        Some(Action::ResetAnswer(after)) => exchange.pass(Some(after)).await,
        Some(Action::LoseAnswer) => exchange.lose_answer().await,
        Some(Action::Stall) => exchange.stall().await,
    }
}

/// Reads up to the empty line; `None` when the client closes before a request.
async fn read_head(client: &mut TcpStream) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut head = Vec::new();
    loop {
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = head.split_off(end + 4);
            return Ok(Some((head, rest)));
        }
        if head.len() > MAX_HEAD || client.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
}

fn record(head: &str, shared: &Shared) -> io::Result<(Option<Action>, Seen)> {
    let mut lines = head.split("\r\n");
    let mut request = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target)) = (request.next(), request.next()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);

    let mut log = shared.log.lock();
    let seen = Seen {
        number: log.len(),
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        length,
    };
    let rules = shared.rules.lock();
    let action = rules.iter().find_map(|rule| rule(&seen));
    log.push((seen.clone(), action.clone()));
    shared.arrived.notify_all();
    Ok((action, seen))
}

/// The head as passed on: the service is to close after its answer, and must
/// not ask the client to continue (that has been done).
fn closing(head: &str) -> Vec<u8> {
    let kept = head.trim_end_matches("\r\n").split("\r\n").filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !name.eq_ignore_ascii_case("connection") && !name.eq_ignore_ascii_case("expect")
    });
    let mut closing = kept.collect::<Vec<_>>().join("\r\n");
    closing.push_str("\r\nConnection: close\r\n\r\n");
    closing.into_bytes()
}

struct Exchange {
    client: TcpStream,
    service: SocketAddr,
    head: Vec<u8>,
    /// The start of the body, read with the head.
    rest: Vec<u8>,
    length: u64,
    /// Of the request's body.
    throttle: Option<Throttle>,
}

impl Exchange {
    /// Passes the request and the answer, of whose body at most `limit`
    /// bytes; beyond it the connection is reset.
    async fn pass(mut self, limit: Option<u64>) -> io::Result<()> {
        let mut service = self.forward().await?;
        let mut buffer = vec![0; BUFFER];
        let Some(limit) = limit else {
            loop {
                let read = service.read(&mut buffer).await?;
                if read == 0 {
                    return self.client.shutdown().await;
                }
                self.client.write_all(&buffer[..read]).await?;
            }
        };
        let Some((head, rest)) = read_head(&mut service).await? else {
            return reset(self.client);
        };
        self.client.write_all(&head).await?;
        let mut body = rest;
        while (body.len() as u64) < limit && service.read_buf(&mut body).await? > 0 {}
        body.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        self.client.write_all(&body).await?;
        reset(self.client)
    }

    /// Sends the request to the service; its answer is left to read.
    async fn forward(&mut self) -> io::Result<TcpStream> {
        let mut service = TcpStream::connect(self.service).await?;
        service.set_nodelay(true)?;
        service.write_all(&self.head).await?;
        service.write_all(&self.rest).await?;
        let mut left = self.length.saturating_sub(self.rest.len() as u64);
        let mut buffer = vec![0; BUFFER];
        while left > 0 {
            let read = self.client.read(&mut buffer).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(throttle) = &self.throttle {
                throttle.pass(read as u64).await;
            }
            // A service may refuse before the body's end: its answer counts.
            if service.write_all(&buffer[..read]).await.is_err() {
                break;
            }
            left = left.saturating_sub(read as u64);
        }
        Ok(service)
    }

    /// Reads up to `limit` bytes of the request's body and drops them.
    async fn swallow(&mut self, limit: u64) -> io::Result<()> {
        let mut seen = self.rest.len() as u64;
        let mut buffer = vec![0; BUFFER];
        while seen < limit.min(self.length) {
            let read = self.client.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            seen += read as u64;
        }
        Ok(())
    }

    async fn answer(mut self, status: u16, code: &str) -> io::Result<()> {
        self.swallow(u64::MAX).await?;
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
             <Message>injected by the test's proxy</Message></Error>"
        );
        let answer = format!(
            "HTTP/1.1 {status} Injected\r\nContent-Type: application/xml\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        self.client.write_all(answer.as_bytes()).await?;
        self.client.shutdown().await
    }

    async fn reset_request(mut self, after: u64) -> io::Result<()> {
        self.swallow(after).await?;
        reset(self.client)
    }

    async fn lose_answer(mut self) -> io::Result<()> {
        let mut service = self.forward().await?;
        service.read_to_end(&mut Vec::new()).await?;
        reset(self.client)
    }

    /// Waits until the client gives up.
    async fn stall(mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        while self.client.read(&mut buffer).await? > 0 {}
        Ok(())
    }
}

/// Closes with RST rather than FIN.
fn reset(client: TcpStream) -> io::Result<()> {
    client.set_zero_linger()?;
    drop(client);
    Ok(())
}
