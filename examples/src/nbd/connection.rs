//! One client: its requests run side by side, and each is answered when it is done.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

use overlaybd_format::{ReadWriteAt, Warm};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Export;
use super::negotiation::{Agreed, LONGEST_REQUEST, negotiate};
use super::reply::{self, Data, EINVAL, EPERM, Refusal};
use super::request::{self, Request};

pub(super) async fn serve(
    mut socket: TcpStream,
    export: &Export,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    socket.set_nodelay(true)?;
    let agreed = tokio::select! {
        agreed = timeout(NEGOTIATION, negotiate(&mut socket, export)) => agreed??,
        _ = stop.wait_for(|&stop| stop) => return Ok(()),
    };
    let Some(agreed) = agreed else { return Ok(()) };
    let (mut requests, replies) = socket.into_split();
    let client = Arc::new(Client { export: export.clone(), agreed, replies: Mutex::new(replies) });
    let room = Arc::new(Semaphore::new(ROOM_KIB));
    let mut running = JoinSet::new();
    let ended = loop {
        while let Some(answered) = running.try_join_next() {
            answered.map_err(Error::other)??;
        }
        let mut bytes = [0; Request::SIZE];
        tokio::select! {
            read = requests.read_exact(&mut bytes) => match read {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break Ok(()),
                read => read?,
            },
            _ = stop.wait_for(|&stop| stop) => break Ok(()),
        };
        let Some(request) = Request::decode(&bytes) else {
            break Err(Error::new(ErrorKind::InvalidData, "a request that does not start as one"));
        };
        if request.command == request::DISCONNECT {
            break Ok(());
        }
        let mut payload = Vec::new();
        if request.command == request::WRITE {
            if request.len > LONGEST_REQUEST {
                break Err(Error::new(ErrorKind::InvalidData, "a write that is too long"));
            }
            payload.resize(request.len as usize, 0);
            requests.read_exact(&mut payload).await?;
        }
        if request.command == request::READ && client.read_warm(request).await? {
            continue;
        }
        let kib = request.len.min(LONGEST_REQUEST).div_ceil(1024);
        let permit = Arc::clone(&room).acquire_many_owned(kib).await.map_err(Error::other)?;
        let client = Arc::clone(&client);
        running.spawn(async move {
            let result = client.answer(request, payload).await;
            drop(permit);
            result
        });
    };
    while let Some(answered) = running.join_next().await {
        answered.map_err(Error::other)??;
    }
    ended
}

struct Client {
    export: Export,
    agreed: Agreed,
    replies: Mutex<OwnedWriteHalf>,
}

impl Client {
    /// Answers a small read at once if its bytes are at hand, without a task.
    async fn read_warm(&self, request: Request) -> Result<bool> {
        let Request { cookie, offset, len, .. } = request;
        if len > WARM_READ {
            return Ok(false);
        }
        let mut data = Data::new(len);
        match self.export.device.try_read_at(data.bytes_mut(), offset) {
            Ok(Warm::Yes) => {
                self.send(data.finish(self.agreed.structured, cookie, offset)).await?;
                Ok(true)
            }
            // Errors are answered where all others are.
            Ok(Warm::No) | Err(_) => Ok(false),
        }
    }

    async fn answer(&self, request: Request, payload: Vec<u8>) -> Result<()> {
        let Request { cookie, offset, .. } = request;
        let structured = self.agreed.structured;
        match self.run(request, payload).await {
            Ok(Answer::Data(mut data)) => self.send(data.finish(structured, cookie, offset)).await,
            Ok(Answer::Other(reply)) => self.send(&reply).await,
            Err(refusal) => self.send(&reply::refuse(structured, cookie, &refusal)).await,
        }
    }

    async fn run(&self, request: Request, payload: Vec<u8>) -> std::result::Result<Answer, Refusal> {
        let Request { flags, command, cookie, offset, len } = request;
        let Export { device, writable, .. } = &self.export;
        let Agreed { structured, allocation } = self.agreed;
        let end = offset.checked_add(len.into()).filter(|&end| end <= device.size());
        let end = end.ok_or_else(|| {
            Refusal::new(EINVAL, format!("{len} bytes at {offset} are not in {} bytes", device.size()))
        })?;
        let changes = matches!(command, request::WRITE | request::TRIM | request::WRITE_ZEROES);
        if changes && !writable {
            return Err(Refusal::new(EPERM, "the device cannot be written"));
        }
        match command {
            request::READ if len > LONGEST_REQUEST => {
                return Err(Refusal::new(EINVAL, format!("a read of {len} bytes is too long")));
            }
            request::READ => {
                if structured && len > 0 && self.export.allocation(offset..end)?.iter().all(|run| run.1) {
                    return Ok(Answer::Other(reply::hole(cookie, offset, len)));
                }
                let mut data = Data::new(len);
                device.read_at(data.bytes_mut(), offset).await?;
                return Ok(Answer::Data(data));
            }
            request::WRITE => device.write_at(&payload, offset).await?,
            request::TRIM | request::WRITE_ZEROES => device.discard(offset, len.into()).await?,
            request::FLUSH => flush(device).await?,
            // What is fetched stays in the cache below.
            request::CACHE => {
                let mut buf = vec![0; CACHE_READ];
                for at in (offset..end).step_by(CACHE_READ) {
                    let part = buf.get_mut(..CACHE_READ.min((end - at) as usize)).unwrap_or_default();
                    device.read_at(part, at).await?;
                }
            }
            request::BLOCK_STATUS if allocation && len > 0 => {
                let mut runs = self.export.allocation(offset..end)?;
                runs.truncate(if flags & request::FLAG_REQ_ONE == 0 { MOST_RUNS } else { 1 });
                return Ok(Answer::Other(reply::block_status(cookie, &runs)));
            }
            _ => return Err(Refusal::new(EINVAL, format!("command {command}"))),
        }
        if changes && flags & request::FLAG_FUA != 0 {
            flush(device).await?;
        }
        Ok(Answer::Other(reply::done(structured, cookie)))
    }

    async fn send(&self, reply: &[u8]) -> Result<()> {
        self.replies.lock().await.write_all(reply).await
    }
}

enum Answer {
    Data(Data),
    Other(Vec<u8>),
}

async fn flush(device: &Arc<dyn ReadWriteAt>) -> std::result::Result<(), Refusal> {
    let device = Arc::clone(device);
    let flushed = tokio::task::spawn_blocking(move || device.flush()).await;
    flushed.map_err(|panic| Refusal::new(reply::EIO, panic.to_string()))?.map_err(Refusal::from)
}

/// How long a client may take to agree.
const NEGOTIATION: Duration = Duration::from_secs(30);
/// What the requests of a client that run at once may want: two of the longest, with room for small ones.
const ROOM_KIB: usize = 2 * (LONGEST_REQUEST as usize >> 10) + 1024;
/// The longest read that is decoded between two looks at the socket.
const WARM_READ: u32 = 256 << 10;
const CACHE_READ: usize = 1 << 20;
/// Runs in one answer to a block status; the client asks again for what is behind them.
const MOST_RUNS: usize = 4096;
