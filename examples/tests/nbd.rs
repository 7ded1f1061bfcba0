//! `obd nbd`, read by the tools of qemu and by a client that does not keep to the protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use overlaybd_format::{LayerOptions, LayerWriter};

/// A device with data, holes and zeroed ranges.
fn layer(path: &Path) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = LayerWriter::new(file, LayerOptions::new(8 << 20)).unwrap();
    writer.write(0, &[1; 64 << 10]).unwrap();
    writer.zero(1 << 20, 1 << 20).unwrap();
    writer.write(4 << 20, &(0..255).cycle().take(1 << 20).collect::<Vec<u8>>()).unwrap();
    writer.finish().unwrap();
}

struct Server {
    child: Child,
    addr: String,
}

impl Server {
    fn of(input: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_obd"))
            .args(["--json", "nbd", "--listen", "127.0.0.1:0"])
            .arg(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.strip_prefix("listening on ").unwrap().trim().to_owned();
        Self { child, addr }
    }

    /// Ends the server as a service is ended; gives what it says.
    fn terminate(mut self) -> serde_json::Value {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success());
        serde_json::from_str(&said).unwrap()
    }

    fn connect(&self) -> TcpStream {
        let mut socket = TcpStream::connect(&self.addr).unwrap();
        let mut hello = [0; 18];
        socket.read_exact(&mut hello).unwrap();
        assert_eq!(&hello[..16], b"NBDMAGICIHAVEOPT");
        assert_eq!(hello[17], 3, "fixed newstyle, no zeroes");
        socket.write_all(&3u32.to_be_bytes()).unwrap();
        socket
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn option(socket: &mut TcpStream, number: u32, data: &[u8]) {
    socket.write_all(b"IHAVEOPT").unwrap();
    socket.write_all(&number.to_be_bytes()).unwrap();
    socket.write_all(&(data.len() as u32).to_be_bytes()).unwrap();
    socket.write_all(data).unwrap();
}

/// Enters the transmission of the export without a name; gives its size and flags.
fn transmission(socket: &mut TcpStream) -> (u64, u16) {
    option(socket, 1, b"");
    let mut answer = [0; 10];
    socket.read_exact(&mut answer).unwrap();
    let (size, flags) = answer.split_at(8);
    (u64::from_be_bytes(size.try_into().unwrap()), u16::from_be_bytes(flags.try_into().unwrap()))
}

/// Sends a request and gives the error and the cookie of the simple reply.
fn request(socket: &mut TcpStream, command: u16, offset: u64, len: u32) -> (u32, u64) {
    let mut bytes = 0x2560_9513u32.to_be_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(command.to_be_bytes());
    bytes.extend(77u64.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    socket.write_all(&bytes).unwrap();
    let mut reply = [0; 16];
    socket.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..4], 0x6744_6698u32.to_be_bytes());
    (u32::from_be_bytes(reply[4..8].try_into().unwrap()), u64::from_be_bytes(reply[8..].try_into().unwrap()))
}

fn ends(mut socket: TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = socket.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

#[test]
fn simple_clients_read_and_are_refused_what_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer.obd");
    layer(&path);
    let server = Server::of(&path);
    let mut socket = server.connect();
    let (size, flags) = transmission(&mut socket);
    assert_eq!(size, 8 << 20);
    assert_eq!(flags & 3, 3, "read only");

    assert_eq!(request(&mut socket, 0, (4 << 20) + 1, 300), (0, 77));
    let mut data = [0; 300];
    socket.read_exact(&mut data).unwrap();
    assert!(data.iter().enumerate().all(|(n, &byte)| byte as usize == (n + 1) % 255));

    const EPERM: u32 = 1;
    const EINVAL: u32 = 22;
    assert_eq!(request(&mut socket, 0, size - 1, 2).0, EINVAL, "beyond the end");
    assert_eq!(request(&mut socket, 0, u64::MAX, 2).0, EINVAL);
    assert_eq!(request(&mut socket, 4, 0, 4096).0, EPERM, "trim");
    assert_eq!(request(&mut socket, 99, 0, 0).0, EINVAL);
    assert_eq!(request(&mut socket, 7, 0, 4096).0, EINVAL, "block status was not agreed on");
    assert_eq!(request(&mut socket, 3, 0, 0).0, 0, "flush");
    assert_eq!(request(&mut socket, 5, 0, 1 << 20).0, 0, "cache");
}

#[test]
fn clients_that_break_the_protocol_are_left_and_others_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer.obd");
    layer(&path);
    let server = Server::of(&path);

    let mut socket = server.connect();
    socket.write_all(&[0xff; 16]).unwrap();
    ends(socket);
    let mut socket = server.connect();
    socket.write_all(b"IHAVEOPT\0\0\0\x06\xff\xff\xff\xff").unwrap();
    ends(socket);
    let mut socket = server.connect();
    transmission(&mut socket);
    socket.write_all(&[7; 28]).unwrap();
    ends(socket);
    let mut socket = server.connect();
    transmission(&mut socket);
    socket.write_all(&[0x25, 0x60, 0x95, 0x13, 0, 0, 0, 0, 1]).unwrap();
    drop(socket);

    // GO with a name that is longer than the option.
    let mut socket = server.connect();
    option(&mut socket, 7, &[0, 0, 0, 9, b'a', 0, 0]);
    let mut reply = [0; 20];
    socket.read_exact(&mut reply).unwrap();
    assert_eq!(reply[12..16], (1u32 << 31 | 3).to_be_bytes(), "invalid");

    let mut socket = server.connect();
    assert_eq!(transmission(&mut socket).0, 8 << 20);
}

#[test]
fn what_was_written_is_there_after_the_end_whatever_clients_do() {
    let directory = tempfile::tempdir().unwrap();
    let obd = |args: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_obd")).args(args).current_dir(&directory).status();
        assert!(done.unwrap().success(), "{args:?}");
    };
    obd(&["create", "data", "index", "--vsize", "8388608"]);
    let config = directory.path().join("config");
    std::fs::write(&config, r#"{"lowers": [], "upper": {"data": "data", "index": "index"}}"#).unwrap();

    let server = Server::of(&config);
    // A request that never ends, and a write whose bytes never come.
    let mut half = server.connect();
    assert_eq!(transmission(&mut half).1 & 2, 0, "writable");
    half.write_all(&0x2560_9513u32.to_be_bytes()).unwrap();
    let mut silent = server.connect();
    transmission(&mut silent);
    silent.write_all(&write_of(0, 1 << 20)).unwrap();

    let mut socket = server.connect();
    transmission(&mut socket);
    socket.write_all(&write_of(4096, 1024)).unwrap();
    socket.write_all(&[7; 1024]).unwrap();
    let mut reply = [0; 16];
    socket.read_exact(&mut reply).unwrap();
    assert_eq!(reply[4..8], [0; 4]);
    assert_eq!(server.terminate()["virtual_size"], 8 << 20);

    obd(&["cat", "config", "-o", "device"]);
    let device = std::fs::read(directory.path().join("device")).unwrap();
    let written = |at: usize| if (4096..5120).contains(&at) { 7 } else { 0 };
    assert!(device.iter().enumerate().all(|(at, &byte)| byte == written(at)));
}

/// A request to write `len` bytes at `offset`, without these bytes.
fn write_of(offset: u64, len: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513u32.to_be_bytes().to_vec();
    bytes.extend([0, 0, 0, 1]);
    bytes.extend(77u64.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes
}

#[test]
fn qemu_reads_the_device_and_its_holes() {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "SKIPPED: qemu_reads_the_device_and_its_holes: there is no qemu-img").unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer.obd");
    layer(&path);
    let server = Server::of(&path);
    let url = format!("nbd://{}", server.addr);
    let copy = directory.path().join("copy");
    let run = |args: &[&str]| {
        let output = Command::new("qemu-img").args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["convert", "-f", "raw", "-O", "raw", &url, copy.to_str().unwrap()]);
    let copied = std::fs::read(&copy).unwrap();
    assert_eq!(copied.len(), 8 << 20);
    assert!(copied[..64 << 10].iter().all(|&byte| byte == 1));
    assert!(copied[64 << 10..4 << 20].iter().all(|&byte| byte == 0));
    assert!((0..255).cycle().zip(&copied[4 << 20..5 << 20]).all(|(expected, &byte)| byte == expected));

    let map: serde_json::Value =
        serde_json::from_str(&run(&["map", "--output=json", "-f", "raw", &url])).unwrap();
    let runs: Vec<_> = map
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["start"].as_u64().unwrap(), run["zero"].as_bool().unwrap()))
        .collect();
    assert_eq!(runs, [(0, false), (64 << 10, true), (4 << 20, false), (5 << 20, true)]);
}
