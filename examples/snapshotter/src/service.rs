//! The snapshotter as a gRPC service.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, Iter};
use prost::Message;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::containerd::snapshots::{
    self, CleanupRequest, CommitRequest, Info, InfoResponse, KeyRequest, ListRequest, ListResponse,
    MountsResponse, NewRequest, SERVICE, UpdateRequest, UsageResponse,
};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::record::{Kind, Labels, Record};
use crate::snapshotter::Snapshotter;

/// `containerd.services.snapshots.v1.Snapshots`.
#[derive(Debug, Clone)]
pub struct SnapshotsService(Arc<Snapshotter>);

impl SnapshotsService {
    /// Offers `snapshotter`.
    pub fn new(snapshotter: Snapshotter) -> Self {
        Self(Arc::new(snapshotter))
    }
}

impl Service<http::Request<Body>> for SnapshotsService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, std::result::Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let snapshotter = Arc::clone(&self.0);
        async move { Ok(answer(snapshotter, request).await) }.boxed()
    }
}

async fn answer(on: Arc<Snapshotter>, request: http::Request<Body>) -> http::Response<Body> {
    let path = request.uri().path().to_owned();
    let method = path.strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE)?.strip_prefix('/'));
    match method {
        Some("Prepare") => unary(on, request, prepare).await,
        Some("View") => unary(on, request, view).await,
        Some("Mounts") => unary(on, request, mounts).await,
        Some("Commit") => unary(on, request, commit).await,
        Some("Remove") => unary(on, request, remove).await,
        Some("Stat") => unary(on, request, stat).await,
        Some("Update") => unary(on, request, update).await,
        Some("List") => list(on, request).await,
        Some("Usage") => unary(on, request, usage).await,
        Some("Cleanup") => unary(on, request, cleanup).await,
        _ => Status::unimplemented(path).into_http(),
    }
}

type Answer<T> = std::result::Result<T, Status>;

/// Answers a request with one message by `method`, which is run to its end even if the client goes away:
/// half a snapshot helps nobody.
async fn unary<M, R, F>(
    on: Arc<Snapshotter>,
    request: http::Request<Body>,
    method: impl Fn(Arc<Snapshotter>, M) -> F,
) -> http::Response<Body>
where
    M: Message + Default + 'static,
    R: Message + 'static,
    F: Future<Output = Result<R>> + Send + 'static,
{
    let service = service_fn(|request: Request<M>| {
        let working = tokio::spawn(method(Arc::clone(&on), request.into_inner()));
        async move { Ok(Response::new(working.await.map_err(|e| Status::internal(e.to_string()))??)) }
    });
    Grpc::new(ProstCodec::<R, M>::default()).unary(service, request).await
}

async fn prepare(on: Arc<Snapshotter>, asked: NewRequest) -> Result<MountsResponse> {
    let NewRequest { key, parent, labels, .. } = asked;
    let mounts = on.prepare(named(key)?, some(parent), labels.into_iter().collect()).await?;
    Ok(MountsResponse { mounts })
}

async fn view(on: Arc<Snapshotter>, asked: NewRequest) -> Result<MountsResponse> {
    let NewRequest { key, parent, labels, .. } = asked;
    let mounts = on.view(named(key)?, some(parent), labels.into_iter().collect()).await?;
    Ok(MountsResponse { mounts })
}

async fn mounts(on: Arc<Snapshotter>, asked: KeyRequest) -> Result<MountsResponse> {
    Ok(MountsResponse { mounts: on.mounts(asked.key).await? })
}

async fn commit(on: Arc<Snapshotter>, asked: CommitRequest) -> Result<()> {
    on.commit(named(asked.name)?, asked.key, asked.labels.into_iter().collect()).await
}

async fn remove(on: Arc<Snapshotter>, asked: KeyRequest) -> Result<()> {
    on.remove(asked.key).await
}

async fn stat(on: Arc<Snapshotter>, asked: KeyRequest) -> Result<InfoResponse> {
    Ok(InfoResponse { info: Some(info(on.stat(asked.key).await?)) })
}

async fn update(on: Arc<Snapshotter>, asked: UpdateRequest) -> Result<InfoResponse> {
    let Some(Info { name, labels, .. }) = asked.info else {
        return Err(Error::InvalidArgument("an update without a snapshot".to_owned()));
    };
    let new: Labels = labels.into_iter().collect();
    let paths = asked.update_mask.map(|mask| mask.paths).unwrap_or_default();
    if let Some(path) = paths.iter().find(|path| *path != "labels" && !path.starts_with(ONE_LABEL)) {
        return Err(Error::InvalidArgument(format!("{path:?} of a snapshot cannot be changed")));
    }
    let change = move |labels: &mut Labels| {
        if paths.is_empty() || paths.iter().any(|path| path == "labels") {
            *labels = new;
            return;
        }
        for key in paths.iter().filter_map(|path| path.strip_prefix(ONE_LABEL)) {
            match new.get(key) {
                Some(value) => labels.insert(key.to_owned(), value.clone()),
                None => labels.remove(key),
            };
        }
    };
    Ok(InfoResponse { info: Some(info(on.relabel(name, change).await?)) })
}

async fn usage(on: Arc<Snapshotter>, asked: KeyRequest) -> Result<UsageResponse> {
    let usage = on.usage(asked.key).await?;
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Ok(UsageResponse { size: number(usage.bytes), inodes: number(usage.inodes) })
}

async fn cleanup(on: Arc<Snapshotter>, _: CleanupRequest) -> Result<()> {
    on.cleanup().await
}

/// Answers with as many messages as the snapshots need.
async fn list(on: Arc<Snapshotter>, request: http::Request<Body>) -> http::Response<Body> {
    let service = service_fn(|request: Request<ListRequest>| {
        let on = Arc::clone(&on);
        async move { Ok(Response::new(pages(&on, request.into_inner()).await?)) }
    });
    Grpc::new(ProstCodec::<ListResponse, ListRequest>::default()).server_streaming(service, request).await
}

async fn pages(
    on: &Snapshotter,
    asked: ListRequest,
) -> Answer<Iter<std::vec::IntoIter<Answer<ListResponse>>>> {
    let filters = asked.filters.iter().map(|filter| Filter::parse(filter)).collect::<Result<_>>()?;
    let infos: Vec<_> = on.list(filters).await?.into_iter().map(info).collect();
    let pages: Vec<_> = infos.chunks(PAGE).map(|page| Ok(ListResponse { info: page.to_vec() })).collect();
    Ok(stream::iter(pages))
}

fn info(record: Record) -> Info {
    let kind = match record.kind {
        Kind::View => snapshots::Kind::View,
        Kind::Active => snapshots::Kind::Active,
        Kind::Committed => snapshots::Kind::Committed,
    };
    Info {
        name: record.name,
        parent: record.parent.unwrap_or_default(),
        kind: kind.into(),
        created_at: Some(record.created.into()),
        updated_at: Some(record.updated.into()),
        labels: record.labels.into_iter().collect(),
    }
}

/// A name, which is not empty.
fn named(name: String) -> Result<String> {
    some(name).ok_or_else(|| Error::InvalidArgument("a snapshot without a name".to_owned()))
}

/// In these messages, what is absent is empty.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A path of an update's mask that names one label.
const ONE_LABEL: &str = "labels.";

/// Snapshots in one message, which with their labels stays far below the 4 MiB that gRPC clients take.
const PAGE: usize = 100;
