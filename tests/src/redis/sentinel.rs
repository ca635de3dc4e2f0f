//! A Sentinel of a test's own.

use std::{fs, path::PathBuf, process::Command};

use super::{Client, Reply, Server, server_program};
use crate::{operator::eventually, port::Port, program::Program, scratch::Scratch};

/// The name under which it watches its primary.
const NAME: &str = "watched";

/// A Sentinel, alone in its quorum; killed when dropped.
#[derive(Debug)]
pub struct Sentinel {
    socket: PathBuf,
    _port: Port,
    _program: Program,
}

impl Sentinel {
    /// Starts one that watches `primary`, and waits until it has heard of it
    /// all that it says of itself.
    pub fn watch(scratch: &Scratch, primary: &Server) -> Self {
        let directory = scratch.dir("sentinel");
        let socket = directory.join("s");
        let port = Port::lease();
        let configuration = directory.join("sentinel.conf");
        let text = format!(
            "port {}\nbind 127.0.0.1\ndir {}\nunixsocket {}\n\
             sentinel monitor {NAME} 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds {NAME} 5000\n\
             sentinel failover-timeout {NAME} 10000\n",
            port.number(),
            directory.display(),
            socket.display(),
            primary.port(),
        );
        fs::write(&configuration, text).expect("a file can be written");
        let mut command = Command::new(server_program());
        command.arg(&configuration).arg("--sentinel");
        let program = Program::spawn("sentinel", command, &directory.join("log"));
        let sentinel = Self {
            socket,
            _port: port,
            _program: program,
        };
        eventually("the Sentinel's socket", || {
            sentinel.socket.exists().then_some(())
        });
        eventually("the Sentinel's first look", || {
            let listens = primary.run(&["PUBSUB", "NUMSUB", "__sentinel__:hello"]);
            let listens = listens.array()[1].clone().integer() > 0;
            let heard = !sentinel.field("runid").is_empty();
            (listens && heard).then_some(())
        });
        sentinel
    }

    /// What it says of its primary.
    fn field(&self, name: &str) -> String {
        let fields = Client::connect(&self.socket).run(&["SENTINEL", "MASTER", NAME]);
        let fields: Vec<String> = fields.array().into_iter().map(Reply::text).collect();
        let at = fields.iter().step_by(2).position(|field| field == name);
        fields[2 * at.expect("a field") + 1].clone()
    }

    /// The ports of the replicas that it knows.
    pub fn replicas(&self) -> Vec<u16> {
        let replicas = Client::connect(&self.socket).run(&["SENTINEL", "REPLICAS", NAME]);
        let port = |replica: Reply| {
            let fields: Vec<String> = replica.array().into_iter().map(Reply::text).collect();
            let at = fields.iter().step_by(2).position(|field| field == "port");
            fields[2 * at.expect("a port") + 1].parse().expect("a port")
        };
        replicas.array().into_iter().map(port).collect()
    }
}
