//! An HTTP origin on the loopback device, behind a link of a given rate.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// A blob of zeros, of any size, in a thread that lives as long as the program.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Where the blob is.
    pub url: String,
    /// Its size in bytes.
    pub size: u64,
}

/// All connections share the link.
#[derive(Debug)]
struct Link {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Origin {
    /// Serves a blob of `size` bytes at no more than `bytes_per_second`.
    ///
    /// # Panics
    ///
    /// If there is no address to listen on.
    #[must_use]
    pub fn start(size: u64, bytes_per_second: Option<u64>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
        listener.set_nonblocking(true).expect("a socket");
        let url = format!("http://{}/blob", listener.local_addr().expect("an address"));
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(listener, size, bytes_per_second)).expect("a server");
        });
        Self { url, size }
    }
}

async fn serve(listener: std::net::TcpListener, size: u64, bytes_per_second: Option<u64>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let link = bytes_per_second
        .map(|bytes_per_second| Arc::new(Link { bytes_per_second, free_at: Mutex::new(Instant::now()) }));
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(talk(socket, size, link.clone()));
    }
}

/// Answers requests for ranges, or for all, until the client has gone.
async fn talk(socket: TcpStream, size: u64, link: Option<Arc<Link>>) -> io::Result<()> {
    let mut socket = BufReader::new(socket);
    let (mut line, mut range) = (String::new(), None);
    let zeros = vec![0; PIECE];
    while socket.read_line(&mut line).await? > 0 {
        let field = line.trim_end().to_ascii_lowercase();
        line.clear();
        if let Some((first, last)) = field.strip_prefix("range: bytes=").and_then(|r| r.split_once('-')) {
            range = first.parse::<u64>().ok().zip(last.parse::<u64>().ok());
        }
        if !field.is_empty() {
            continue;
        }
        let (status, (first, last)) = match range.take() {
            Some(range) => ("206 Partial Content", range),
            None => ("200 OK", (0, size - 1)),
        };
        let mut left = last + 1 - first;
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {left}\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await?;
        while left > 0 {
            let piece = left.min(PIECE as u64);
            if let Some(link) = &link {
                link.pass(piece).await;
            }
            socket.write_all(&zeros[..piece as usize]).await?;
            left -= piece;
        }
    }
    Ok(())
}

impl Link {
    /// Waits until `bytes` have had their time.
    async fn pass(&self, bytes: u64) {
        let until = {
            let mut free_at = self.free_at.lock().await;
            // What is idle for a while owes nothing, and a timer that is late is made up for.
            let begin = (*free_at).max(Instant::now() - LATE);
            *free_at = begin + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
            *free_at
        };
        sleep_until(until).await;
    }
}

const PIECE: usize = 16 << 10;
/// Timers have a grain of a millisecond.
const LATE: Duration = Duration::from_millis(3);
