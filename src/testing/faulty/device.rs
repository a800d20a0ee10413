//! `DeviceStore`, passed through.

use async_trait::async_trait;
use wacore::stats::StorageResourceReport;
use wacore::store::Device;
use wacore::store::error::Result;
use wacore::store::traits::{Backend, DeviceStore};

use super::FaultyBackend;

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<B: Backend + ?Sized> DeviceStore for FaultyBackend<B> {
    async fn save(&self, device: &Device) -> Result<()> {
        self.around("save", self.inner.save(device)).await
    }

    async fn load(&self) -> Result<Option<Device>> {
        self.around("load", self.inner.load()).await
    }

    async fn exists(&self) -> Result<bool> {
        self.around("exists", self.inner.exists()).await
    }

    async fn create(&self) -> Result<i32> {
        self.around("create", self.inner.create()).await
    }

    async fn snapshot_db(&self, name: &str, extra_content: Option<&[u8]>) -> Result<()> {
        self.around("snapshot_db", self.inner.snapshot_db(name, extra_content))
            .await
    }

    async fn resource_report(&self) -> StorageResourceReport {
        self.around_infallible("resource_report", self.inner.resource_report())
            .await
    }
}
