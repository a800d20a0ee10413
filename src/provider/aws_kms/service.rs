//! The SDK on a runtime of the provider's own.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_lock::Mutex;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kms::Client;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use futures_channel::oneshot;
use tokio::runtime::{self, Handle};
use tokio::task::JoinHandle;

use super::address::Address;
use super::errors::error;
use crate::provider::{ProviderError, ProviderErrorKind};
use crate::thread;

type Result<T> = std::result::Result<T, ProviderError>;

/// A thread with a runtime; it ends when this is dropped.
pub(super) struct Service {
    runtime: Handle,
    timeout: Duration,
    client: Mutex<Option<Client>>,
    _running: oneshot::Sender<()>,
}

impl Service {
    pub(super) async fn start(timeout: Duration) -> Result<Self> {
        let (started, is_started) = oneshot::channel();
        let (running, end) = oneshot::channel::<()>();
        let work = move || {
            let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            if started.send(runtime.handle().clone()).is_ok() {
                // An error: the provider is gone.
                let _ = runtime.block_on(end);
            }
            // A name that is being resolved can't be given up; its thread ends by itself.
            runtime.shutdown_background();
        };
        // Nobody waits for its end.
        drop(thread::start("sealed-store-aws-kms", work).ok_or_else(no_runtime)?);
        Ok(Self {
            runtime: is_started.await.map_err(|_| no_runtime())?,
            timeout,
            client: Mutex::new(None),
            _running: running,
        })
    }

    /// Runs `work` on the runtime. It ends with the future that waits for it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        Running(self.runtime.spawn(work)).await
    }

    /// The client of an address, always the same one, with the credentials that it found.
    pub(super) async fn client(&self, address: &Address) -> Result<Client> {
        let mut held = self.client.lock().await;
        if let Some(client) = &*held {
            return Ok(client.clone());
        }
        let region = Region::new(address.region().to_owned());
        let endpoint = address.endpoint().map(str::to_owned);
        let timeout = self.timeout;
        let client = self
            .run(async move { Ok(connect(region, endpoint, timeout).await) })
            .await?;
        *held = Some(client.clone());
        Ok(client)
    }

    /// The next call makes a client anew.
    pub(super) async fn forget_client(&self) {
        *self.client.lock().await = None;
    }
}

async fn connect(region: Region, endpoint: Option<String>, timeout: Duration) -> Client {
    // Calls are hours apart. A connection that was kept would often be dead, and nobody tries again here.
    let http = Builder::new()
        .tls_provider(Provider::rustls(CryptoMode::Ring))
        .pool_max_idle_per_host(0)
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(timeout / 3)
        .read_timeout(timeout)
        .operation_attempt_timeout(timeout)
        .operation_timeout(timeout)
        .build();
    let found = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(region)
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .load()
        .await;
    let mut config = aws_sdk_kms::config::Builder::from(&found);
    // Also where it is none: the way to the key is configured in one place.
    config.set_endpoint_url(endpoint);
    Client::from_conf(config.build())
}

/// A task that ends when nobody waits for it.
struct Running<T>(JoinHandle<Result<T>>);

impl<T> Future for Running<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|ended| ended.unwrap_or_else(|_| Err(no_runtime())))
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn no_runtime() -> ProviderError {
    error(
        ProviderErrorKind::Unavailable,
        "the AWS SDK's thread could not start or failed; free resources, then try again",
    )
}
