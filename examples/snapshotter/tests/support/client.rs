//! containerd's side of the service.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::path::Path;

use http::uri::PathAndQuery;
use prost::Message;
use snapshotter::containerd::snapshots::{
    CleanupRequest, CommitRequest, Info, InfoResponse, KeyRequest, ListRequest, ListResponse, Mount,
    MountsResponse, NewRequest, SERVICE, UpdateRequest, UsageResponse,
};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// A client. Its methods panic where they say that they succeed.
pub(crate) struct Client(Channel);

impl Client {
    pub(crate) async fn connect(socket: &Path) -> Self {
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
        Self(endpoint.connect().await.unwrap())
    }

    pub(crate) async fn call<M, R>(&self, method: &str, message: M) -> Result<R, Status>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        let mut client = Grpc::new(self.0.clone());
        client.ready().await.unwrap();
        let path = PathAndQuery::try_from(format!("/{SERVICE}/{method}")).unwrap();
        let answer = client.unary(Request::new(message), path, ProstCodec::<M, R>::default()).await;
        answer.map(|answer| answer.into_inner())
    }

    pub(crate) async fn prepare(
        &self,
        key: &str,
        parent: &str,
        labels: &[(&str, &str)],
    ) -> Result<Vec<Mount>, Code> {
        let new = NewRequest { labels: owned(labels), ..new(key, parent) };
        let answer = self.call::<_, MountsResponse>("Prepare", new).await;
        answer.map(|answer| answer.mounts).map_err(|status| status.code())
    }

    pub(crate) async fn view(&self, key: &str, parent: &str) -> Result<Vec<Mount>, Code> {
        let answer = self.call::<_, MountsResponse>("View", new(key, parent)).await;
        answer.map(|answer| answer.mounts).map_err(|status| status.code())
    }

    pub(crate) async fn mounts(&self, key: &str) -> Result<Vec<Mount>, Code> {
        let answer = self.call::<_, MountsResponse>("Mounts", of(key)).await;
        answer.map(|answer| answer.mounts).map_err(|status| status.code())
    }

    pub(crate) async fn commit(&self, name: &str, key: &str, labels: &[(&str, &str)]) -> Result<(), Code> {
        let (name, key, labels) = (name.to_owned(), key.to_owned(), owned(labels));
        let asked = CommitRequest { name, key, labels, ..CommitRequest::default() };
        self.call("Commit", asked).await.map_err(|status| status.code())
    }

    pub(crate) async fn remove(&self, key: &str) -> Result<(), Code> {
        self.call("Remove", of(key)).await.map_err(|status| status.code())
    }

    pub(crate) async fn stat(&self, key: &str) -> Result<Info, Code> {
        let answer = self.call::<_, InfoResponse>("Stat", of(key)).await;
        answer.map(|answer| answer.info.unwrap()).map_err(|status| status.code())
    }

    pub(crate) async fn update(&self, asked: UpdateRequest) -> Result<Info, Code> {
        let answer = self.call::<_, InfoResponse>("Update", asked).await;
        answer.map(|answer| answer.info.unwrap()).map_err(|status| status.code())
    }

    pub(crate) async fn usage(&self, key: &str) -> Result<UsageResponse, Code> {
        self.call("Usage", of(key)).await.map_err(|status| status.code())
    }

    pub(crate) async fn cleanup(&self) {
        self.call::<_, ()>("Cleanup", CleanupRequest::default()).await.unwrap();
    }

    /// The names of the snapshots that a filter lets through.
    pub(crate) async fn list(&self, filters: &[&str]) -> Result<Vec<String>, Code> {
        let filters = filters.iter().map(ToString::to_string).collect();
        let asked = ListRequest { filters, ..ListRequest::default() };
        let mut client = Grpc::new(self.0.clone());
        client.ready().await.unwrap();
        let path = PathAndQuery::try_from(format!("/{SERVICE}/List")).unwrap();
        let codec = ProstCodec::<ListRequest, ListResponse>::default();
        let answer = client.server_streaming(Request::new(asked), path, codec).await;
        let mut pages = answer.map_err(|status| status.code())?.into_inner();
        let mut names = Vec::new();
        while let Some(page) = pages.message().await.unwrap() {
            names.extend(page.info.into_iter().map(|info| info.name));
        }
        Ok(names)
    }
}

fn new(key: &str, parent: &str) -> NewRequest {
    NewRequest { key: key.to_owned(), parent: parent.to_owned(), ..NewRequest::default() }
}

fn of(key: &str) -> KeyRequest {
    KeyRequest { key: key.to_owned(), ..KeyRequest::default() }
}

pub(crate) fn owned(labels: &[(&str, &str)]) -> std::collections::HashMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}
