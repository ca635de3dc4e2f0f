//! What a server runs as its `restore_command`.

use std::{
    fs::{self, File},
    process::Command,
};

use rustix::fs::{FlockOperation, flock};
use strongroom_tests::scratch::Scratch;

const FILE: &str = "000000010000000000000003";

#[test]
fn the_exit_status_says_what_a_server_should_do() {
    let scratch = Scratch::new("recovery-serving");
    let directory = scratch.dir("strongroom_wal");
    fs::write(directory.join(".plan"), format!("{FILE} 16777216\n")).expect("a plan");
    let ask = |file: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-agent"));
        command.args(["wal", "fetch"]).arg(&directory).arg(file);
        let output = command.arg(scratch.join("RECOVERYXLOG")).output();
        let output = output.expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(ask("00000002.history"), (Some(1), String::new()));
    // Nobody fetches: above 128 a server stops, and 143 it takes for SIGTERM.
    let (code, said) = ask(FILE);
    assert_eq!(code, Some(200), "{said}");
    assert!(
        said.contains(FILE) && said.contains("run it again"),
        "{said}"
    );
    let (code, said) = ask(".plan");
    assert_eq!(code, Some(200), "{said}");
    let lock = File::create(directory.join(".lock")).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("nobody has it");
    fs::write(directory.join(FILE), "log").expect("a segment");
    assert_eq!(ask(FILE), (Some(0), String::new()));
    assert_eq!(
        fs::read(scratch.join("RECOVERYXLOG")).expect("a copy"),
        b"log"
    );
}
