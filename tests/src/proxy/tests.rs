use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::*;

/// Answers every request with the length of its body; counts them.
fn service() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"end") {
                let mut buffer = [0; 100];
                let read = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
            }
            count.fetch_add(1, Ordering::SeqCst);
            assert!(String::from_utf8_lossy(&request).contains("Connection: close"));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789")
                .unwrap();
        }
    });
    (address, served)
}

/// Sends a PUT and returns what comes back.
fn put(proxy: &FaultProxy, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    let request =
        format!("PUT {path}?x=1 HTTP/1.1\r\nHost: s3\r\nContent-Length: 7\r\n\r\nbodyend");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn requests_pass_and_are_recorded() {
    let (service, _) = service();
    let proxy = FaultProxy::start(service);
    assert!(
        put(&proxy, "/bucket/data/00/ff")
            .unwrap()
            .ends_with("0123456789")
    );
    let seen = &proxy.seen(|seen| seen.puts("data"))[0];
    assert_eq!((seen.query.as_str(), seen.length), ("x=1", 7));
    assert_eq!(seen.header("host"), Some("s3"));
    assert!(!seen.puts("index"));
}

#[test]
fn each_fault_does_what_it_says() {
    let (service, served) = service();
    let proxy = FaultProxy::start(service);
    proxy.rule(|seen| {
        Some(match seen.path.as_str() {
            "/answer" => Action::Answer(503, "SlowDown"),
            "/reset-request" => Action::ResetRequest(3),
            "/reset-answer" => Action::ResetAnswer(4),
            "/lose" => Action::LoseAnswer,
            _ => return None,
        })
    });
    let answer = put(&proxy, "/answer").unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("<Code>SlowDown</Code>"));
    put(&proxy, "/reset-request").unwrap_err();
    assert_eq!(served.load(Ordering::SeqCst), 0, "neither was passed on");

    put(&proxy, "/reset-answer").unwrap_err();
    put(&proxy, "/lose").unwrap_err();
    assert_eq!(served.load(Ordering::SeqCst), 2, "both were passed on");

    put(&proxy, "/pass").unwrap();
    proxy.clear();
    put(&proxy, "/lose").unwrap();
}

#[test]
fn a_gate_holds_the_nth_request_and_no_other() {
    let (service, served) = service();
    let proxy = FaultProxy::start(service);
    let gate = proxy.hold(2, |seen| seen.method == "PUT");
    put(&proxy, "/first").unwrap();
    thread::scope(|scope| {
        let held = scope.spawn(|| put(&proxy, "/second"));
        gate.wait_until_reached();
        put(&proxy, "/third").unwrap();
        assert_eq!(served.load(Ordering::SeqCst), 2);
        gate.open();
        held.join().unwrap().unwrap();
    });
    assert_eq!(served.load(Ordering::SeqCst), 3);
}

#[test]
fn a_stalled_request_ends_when_the_client_gives_up() {
    let (service, served) = service();
    let proxy = FaultProxy::start(service);
    proxy.rule(|_| Some(Action::Stall));
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    proxy.wait_for("GET", 1, |seen| seen.method == "GET");
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    assert!(stream.read(&mut [0]).is_err(), "there is no answer");
    assert_eq!(served.load(Ordering::SeqCst), 0);
}

#[test]
fn chaos_repeats_itself_and_strikes_the_share_it_was_given() {
    let seen = Seen {
        number: 0,
        method: "PUT".into(),
        path: "/".into(),
        query: String::new(),
        headers: Vec::new(),
        length: 10,
    };
    let run = |seed| {
        let chaos = Chaos::new(seed, 0.1);
        (0..10_000)
            .map(|_| format!("{:?}", chaos.strike(&seen)))
            .collect::<Vec<_>>()
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
    let struck = first.iter().filter(|action| *action != "None").count();
    assert!((900..1100).contains(&struck), "{struck} of 10,000");
}
