//! A disk with a bad block: a file system of the test's own, by FUSE.
//!
//! It holds `good`, `bad`, of which what lies behind the first 64 KiB cannot be read,
//! `also-good`, and a directory `lost` that cannot be listed. As much of FUSE's protocol
//! (Linux, `include/uapi/linux/fuse.h`, 7.31) as it takes to read that.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

/// Bytes of each good file.
const GOOD: u64 = 100_000;
/// The first byte of `bad` that cannot be read.
const ROTTEN: u64 = 64 << 10;
const BAD: u64 = 256 << 10;

const ROOT: u64 = 1;
/// Name, is a directory. The inodes are behind the root's, in this order.
const ENTRIES: [(&str, bool); 4] = [
    ("also-good", false),
    ("bad", false),
    ("good", false),
    ("lost", true),
];
const LOST: u64 = ROOT + 4;

const EIO: i32 = 5;
const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;
/// Every read of a file comes here as it was asked for.
const DIRECT_IO: u32 = 1;
/// 2026-01-01, seconds.
const TIME: u64 = 1_767_225_600;

/// It, mounted; gone when dropped.
#[derive(Debug)]
pub struct OddDisk(PathBuf);

impl OddDisk {
    /// Mounts it on a directory that is made if it is missing. `None`, and a word of it:
    /// this host has no `/dev/fuse`, or does not let us.
    pub fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory");
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = match device {
            Ok(device) => device,
            Err(error) => return skipped(&format!("/dev/fuse: {error}")),
        };
        let options = "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other,ro";
        let mounted = Command::new("mount")
            .args(["-i", "-n", "-t", "fuse", "-o", options, "odd"])
            .arg(at)
            // The descriptor that the options name.
            .stdin(Stdio::from(device.try_clone().expect("a descriptor")))
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            return skipped("mount -t fuse failed");
        }
        thread::spawn(move || serve(device));
        Some(Self(at.to_owned()))
    }

    /// What a good file holds.
    pub fn good() -> Vec<u8> {
        crate::noise(24, GOOD.try_into().expect("a few bytes"))
    }
}

impl Drop for OddDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn skipped(why: &str) -> Option<OddDisk> {
    eprintln!("SKIPPED: no file system of this test's own: {why}");
    None
}

/// Answers until it is unmounted.
fn serve(mut device: File) {
    let good = OddDisk::good();
    let mut buffer = vec![0; 1 << 20];
    while let Ok(length) = device.read(&mut buffer) {
        let Some(request) = Request::read(&buffer[..length]) else {
            return;
        };
        let answer = match request.opcode {
            // FORGET, INTERRUPT, BATCH_FORGET: nobody waits.
            2 | 36 | 42 => continue,
            _ => answer(&request, &good),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut message = Vec::with_capacity(16 + body.len());
        let length = u32::try_from(16 + body.len()).expect("a short answer");
        message.extend(length.to_ne_bytes());
        message.extend(error.to_ne_bytes());
        message.extend(request.unique.to_ne_bytes());
        message.extend(body);
        // One that was interrupted is not there any more.
        let _answered = device.write(&message);
    }
}

struct Request<'a> {
    opcode: u32,
    unique: u64,
    node: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(message: &'a [u8]) -> Option<Self> {
        Some(Self {
            opcode: u32_at(message, 4)?,
            unique: u64_at(message, 8)?,
            node: u64_at(message, 16)?,
            body: message.get(40..)?,
        })
    }
}

fn answer(request: &Request<'_>, good: &[u8]) -> Result<Vec<u8>, i32> {
    match request.opcode {
        1 => lookup(request.body),
        3 => Ok([pairs(&[0, 0]), attributes(request.node)].concat()),
        14 | 27 => {
            let flags = if request.opcode == 14 { DIRECT_IO } else { 0 };
            Ok([pairs(&[0]), words(&[flags, 0])].concat())
        }
        15 => read(request, good),
        17 => Ok([
            pairs(&[1, 0, 0, 5, 0]),
            words(&[4096, 255, 4096, 0]),
            vec![0; 24],
        ]
        .concat()),
        // RELEASE, FLUSH, RELEASEDIR, DESTROY, ACCESS.
        18 | 25 | 29 | 34 | 38 => Ok(Vec::new()),
        26 => Ok([words(&[7, 31, 1 << 16, 0, 0, 1 << 16, 1]), vec![0; 36]].concat()),
        28 => list(request),
        _ => Err(ENOSYS),
    }
}

fn lookup(name: &[u8]) -> Result<Vec<u8>, i32> {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let number = ENTRIES.iter().position(|(it, _)| it.as_bytes() == name);
    let node = ROOT + 1 + number.ok_or(ENOENT)? as u64;
    Ok([pairs(&[node, 0, 0, 0]), words(&[0, 0]), attributes(node)].concat())
}

fn attributes(node: u64) -> Vec<u8> {
    let (size, mode) = match node {
        ROOT | LOST => (4096, 0o40_755),
        node if node == ROOT + 2 => (BAD, 0o100_644),
        _ => (GOOD, 0o100_644),
    };
    let numbers = [node, size, size.div_ceil(512), TIME, TIME, TIME];
    [
        pairs(&numbers),
        words(&[0, 0, 0, mode, 1, 0, 0, 0, 4096, 0]),
    ]
    .concat()
}

fn read(request: &Request<'_>, good: &[u8]) -> Result<Vec<u8>, i32> {
    let from = u64_at(request.body, 8).ok_or(EIO)?;
    let most = u64::from(u32_at(request.body, 16).ok_or(EIO)?);
    if request.node == ROOT + 2 {
        let end = BAD.min(from + most);
        if end > ROTTEN {
            return Err(EIO);
        }
        return Ok(vec![b'b'; usize::try_from(end - from).map_err(|_| EIO)?]);
    }
    let at = |position: u64| usize::try_from(position).map_or(good.len(), |it| it.min(good.len()));
    Ok(good[at(from)..at(from + most)].to_vec())
}

fn list(request: &Request<'_>) -> Result<Vec<u8>, i32> {
    if request.node == LOST {
        return Err(EIO);
    }
    let from = u64_at(request.body, 8).ok_or(EIO)?;
    let mut entries = Vec::new();
    for (number, (name, is_directory)) in (0_u64..).zip(ENTRIES) {
        if number < from {
            continue;
        }
        let kind = if is_directory { 4 } else { 8 };
        entries.extend(pairs(&[ROOT + 1 + number, number + 1]));
        entries.extend(words(&[u32::try_from(name.len()).map_err(|_| EIO)?, kind]));
        entries.extend(name.as_bytes());
        entries.resize(entries.len().next_multiple_of(8), 0);
    }
    Ok(entries)
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|it| it.to_ne_bytes()).collect()
}

fn pairs(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|it| it.to_ne_bytes()).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_ne_bytes(bytes))
}
