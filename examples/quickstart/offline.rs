//! A bot without a network: the whole client on top of a storage, for tests and examples.

#![allow(dead_code)] // each example and test that includes this file uses its own part

use std::sync::Arc;

use anyhow::{Result, bail};
use wacore::net::{
    HttpClient, HttpRequest, HttpResponse, Transport, TransportEvent, TransportFactory,
};
use wacore::store::traits::Backend;
use whatsapp_rust::bot::{Bot, BotBuilderError};
use whatsapp_rust::{async_channel::Receiver, async_trait};

/// Builds a bot on `backend`. It can be started, and then tries to connect in vain.
pub async fn offline_bot(backend: Arc<dyn Backend>) -> Result<Bot, BotBuilderError> {
    Bot::builder()
        .with_backend_arc(backend)
        .with_transport_factory(NoNetwork)
        .with_http_client(NoNetwork)
        .build()
        .await
}

/// Stands in for the connection to WhatsApp, because there is no network here: it refuses.
///
/// A real bot has the features `tokio-transport` and `ureq-client` of `whatsapp-rust` instead.
struct NoNetwork;

#[async_trait]
impl TransportFactory for NoNetwork {
    async fn create_transport(&self) -> Result<(Arc<dyn Transport>, Receiver<TransportEvent>)> {
        bail!("this is a stand-in: there is no network here, so no connection to WhatsApp")
    }
}

#[async_trait]
impl HttpClient for NoNetwork {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse> {
        bail!(
            "this is a stand-in: there is no network here, so no answer from {}",
            request.url
        )
    }
}
