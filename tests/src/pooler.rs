//! What stands between a client and a PostgreSQL server, as a session pooler does.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

/// Passes everything on to the server at that port but the startup parameter
/// `options`, as PgBouncer does with `ignore_startup_parameters = options`. Gives the
/// port at which it does.
///
/// # Panics
/// When there is no port.
pub fn pooler(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || relay(client, server));
        }
    });
    port
}

fn relay(mut client: TcpStream, server: u16) -> Option<()> {
    let mut startup = startup(&mut client)?;
    if startup.get(4..8) == Some(&80_877_103_u32.to_be_bytes()) {
        client.write_all(b"N").ok()?; // no TLS
        startup = self::startup(&mut client)?;
    }
    let mut words = startup.get(8..)?.split(|byte| *byte == 0);
    let mut kept = startup[4..8].to_vec();
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        if !name.is_empty() && name != b"options" {
            for word in [name, value] {
                kept.extend_from_slice(word);
                kept.push(0);
            }
        }
    }
    kept.push(0);
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).ok()?;
    let length = u32::try_from(kept.len() + 4).ok()?;
    upstream.write_all(&length.to_be_bytes()).ok()?;
    upstream.write_all(&kept).ok()?;
    let (mut back_from, mut back_to) = (upstream.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut client, &mut upstream);
    upstream.shutdown(Shutdown::Both).ok()
}

fn startup(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length).ok()?;
    let mut packet = length.to_vec();
    packet.resize(u32::from_be_bytes(length) as usize, 0);
    client.read_exact(&mut packet[4..]).ok()?;
    Some(packet)
}
