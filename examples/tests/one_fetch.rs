//! Many readers of a chunk that is not here yet, over real HTTP: the registry's log shows one successful read
//! of it, whoever leaves meanwhile, and one request for a token.

use std::sync::Arc;
use std::time::Duration;

use examples::access::Access;
use examples::lazy_image::OpenBlob;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, poll};
use lazy_fetch::Blob;
use referrers::{Credential, Repository};
use registry::{Account, Auth, Bearer, Link, LoggedRequest, Registry, Server};

/// A registry with one blob, over a link slow enough that readers can leave before an answer comes.
struct Scene {
    server: Server,
    content: Arc<[u8]>,
    open: OpenBlob,
}

impl Scene {
    async fn new(auth: Auth) -> Self {
        let link = Link::mbit(1000, Duration::from_millis(20));
        let server = Registry::builder().auth(auth).link(link).serve().await.unwrap();
        let content: Arc<[u8]> = (0u32..1 << 20).flat_map(u32::to_le_bytes).collect();
        let digest = server.put_blob("demo", content.to_vec().into()).unwrap();
        let access = Access {
            plain_http: true,
            credential: Some(Credential::password("user", "secret")),
            ..Access::default()
        };
        let origin = access.origin(&Repository::new(&server.addr().to_string(), "demo").unwrap()).unwrap();
        let open = origin.open(&digest.as_str().parse().unwrap(), content.len() as u64).unwrap();
        Self { server, content, open }
    }

    async fn with_token() -> Self {
        Self::new(Auth::Bearer(Bearer::new(Account::new("user", "secret")))).await
    }

    fn blob(&self) -> &Blob {
        self.open.remote.as_ref().unwrap()
    }

    /// Reads 100 bytes at `offset` and compares them.
    fn read(&self, offset: usize) -> BoxFuture<'static, ()> {
        let (blob, content) = (self.blob().clone(), Arc::clone(&self.content));
        let read = async move {
            let mut buf = [0; 100];
            blob.read_at(&mut buf, offset as u64).await.unwrap();
            assert_eq!(buf, content[offset..][..100]);
        };
        read.boxed()
    }

    /// 64 readers of one chunk, all of whom have begun.
    async fn readers(&self) -> Vec<BoxFuture<'static, ()>> {
        let mut readers: Vec<_> = (0..READERS).map(|n| self.read(5 * CHUNK + 997 * n)).collect();
        for reader in &mut readers {
            assert!(poll!(reader).is_pending(), "the chunk is not here yet");
        }
        assert_eq!(self.blob().stats().joined, READERS as u64 - 1);
        readers
    }

    /// Waits until the request for the blob has come in; its answer takes a round trip more.
    async fn asked(&self) {
        while self.requests("/blobs/").is_empty() {
            tokio::task::yield_now().await;
        }
    }

    fn requests(&self, path: &str) -> Vec<LoggedRequest> {
        self.server.log().into_iter().filter(|request| request.path.contains(path)).collect()
    }

    /// Ranges of the blob that were served.
    fn served(&self) -> Vec<String> {
        let requests = self.requests("/blobs/").into_iter();
        requests.filter(|request| request.status == Some(206)).map(|request| request.range.unwrap()).collect()
    }
}

fn range(chunk: usize) -> String {
    format!("bytes={}-{}", chunk * CHUNK, (chunk + 1) * CHUNK - 1)
}

#[tokio::test]
async fn sixty_four_readers_are_one_request() {
    let scene = Scene::new(Auth::None).await;
    join_all(scene.readers().await).await;
    assert_eq!(scene.served(), [range(5)]);
    assert_eq!(scene.server.log().len(), 1);
    assert_eq!(scene.blob().stats().bytes_fetched, CHUNK as u64);
    // And none for those who come later.
    scene.read(5 * CHUNK).await;
    assert_eq!(scene.server.log().len(), 1);
}

#[tokio::test]
async fn sixty_three_that_leave_harm_nobody() {
    for survivor in [0, 1, READERS - 1] {
        let scene = Scene::new(Auth::None).await;
        let mut readers = scene.readers().await;
        scene.asked().await;
        let survivor = readers.swap_remove(survivor);
        drop(readers);
        survivor.await;
        assert_eq!(scene.served(), [range(5)]);
        assert_eq!(scene.server.log().len(), 1);
    }
}

#[tokio::test]
async fn a_chunk_whose_readers_all_left_is_there_for_the_next_one() {
    let scene = Scene::new(Auth::None).await;
    let readers = scene.readers().await;
    scene.asked().await;
    drop(readers);
    scene.read(5 * CHUNK).await;
    assert_eq!(scene.served(), [range(5)]);
}

#[tokio::test]
async fn with_a_token_it_is_one_request_for_that_too() {
    let scene = Scene::with_token().await;
    join_all(scene.readers().await).await;
    assert_eq!(scene.served(), [range(5)]);
    assert_eq!(scene.requests("/token").len(), 1);
    let statuses: Vec<_> = scene.server.log().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(401), Some(200), Some(206)]);
}

#[tokio::test]
async fn sixty_three_that_leave_before_the_token_came_harm_nobody() {
    let scene = Scene::with_token().await;
    let mut readers = scene.readers().await;
    scene.asked().await;
    let survivor = readers.pop().unwrap();
    drop(readers);
    survivor.await;
    assert_eq!((scene.served(), scene.requests("/token").len()), (vec![range(5)], 1));
}

#[tokio::test]
async fn readers_of_as_many_chunks_share_one_token() {
    let scene = Scene::with_token().await;
    // Every second chunk, so that no two share a request.
    let chunks: Vec<_> = (0..READERS / 2).map(|n| 2 * n).collect();
    join_all(chunks.iter().map(|chunk| scene.read(chunk * CHUNK))).await;
    let mut served = scene.served();
    served.sort();
    let mut expected: Vec<_> = chunks.into_iter().map(range).collect();
    expected.sort();
    assert_eq!(served, expected);
    assert_eq!(scene.requests("/token").len(), 1);
}

const READERS: usize = 64;

/// What lazy-fetch fetches at once by default.
const CHUNK: usize = 64 << 10;
