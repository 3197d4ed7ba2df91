//! This file gives tests short names for transitions that the rooms run through [`Hub::commit`] and [`Hub::apply`].

use iothub_models::{
    C2dMessage, DeviceId, DeviceIdentity, Identity, ModuleIdentity, ServiceStatistics, Twin,
};

use super::Hub;
use crate::core::c2d::LeasedC2d;
use crate::core::event::HubEvent;
use crate::core::feedback::LeasedFeedback;
use crate::core::lease::{LockToken, Settlement};
use crate::core::limits::C2D_LOCK;
use crate::core::refusal::{HubError, Precondition};
use crate::core::registry::{DeviceWrite, ModuleWrite};
use crate::core::service::Service;
use crate::core::twins::TwinWrite;
use crate::hub::DeviceSession;

impl Hub {
    pub(crate) async fn put_device(
        &self,
        write: DeviceWrite,
        precondition: &Precondition,
    ) -> Result<DeviceIdentity, HubError> {
        self.commit(|service, now| service.put_device(now, write, precondition)).await
    }

    pub(crate) async fn put_module(
        &self,
        write: ModuleWrite,
        precondition: &Precondition,
    ) -> Result<ModuleIdentity, HubError> {
        self.commit(|service, now| service.put_module(now, write, precondition)).await
    }

    pub(crate) async fn delete_device(
        &self,
        device: &DeviceId,
        precondition: &Precondition,
    ) -> Result<(), HubError> {
        self.commit(|service, now| service.delete_device(now, device, precondition)).await
    }

    pub(crate) fn device(&self, device: &DeviceId) -> Result<DeviceIdentity, HubError> {
        self.peek(|service, now| service.device(now, device))
    }

    pub(crate) fn devices(&self, top: usize) -> Vec<DeviceIdentity> {
        self.peek(|service, now| service.devices(now, top))
    }

    pub(crate) fn service_statistics(&self) -> ServiceStatistics {
        self.peek(|service, _| service.service_statistics())
    }

    pub(crate) fn is_connected(&self, device: &DeviceId) -> bool {
        self.peek(|service, _| service.is_connected(&device.into()))
    }

    pub(crate) async fn write_twin(
        &self,
        id: &Identity,
        write: &TwinWrite,
        precondition: &Precondition,
    ) -> Result<Twin, HubError> {
        self.commit(|service, now| service.write_twin(now, id, write, precondition)).await
    }

    pub(crate) fn telemetry_accepted(&self) -> u64 {
        self.events().telemetry_accepted()
    }

    pub(crate) async fn accept_telemetry(&self, batch: Vec<HubEvent>) -> Result<(), HubError> {
        let Some(first) = batch.first() else { return Ok(()) };
        let sender = Identity::new(first.device_id.clone(), first.module_id.clone());
        DeviceSession::of_request(self, sender)?.send_telemetry(batch).await
    }

    pub(crate) async fn enqueue_c2d(&self, device: &DeviceId, message: C2dMessage) -> Result<(), HubError> {
        self.commit(|service, now| service.enqueue_c2d(now, device, message)).await
    }

    pub(crate) fn lease_c2d(&self, device: &DeviceId, max: usize) -> Vec<LeasedC2d> {
        self.apply(|service, now| service.lease_c2d(now, device, max, None))
    }

    pub(crate) fn receive_c2d(&self, device: &DeviceId) -> Option<LeasedC2d> {
        self.apply(|service, now| service.lease_c2d(now, device, 1, Some(C2D_LOCK))).pop()
    }

    pub(crate) fn release_c2d(&self, device: &DeviceId, locks: &[LockToken]) {
        self.apply(|service, now| service.settle_c2d(now, device, locks, Settlement::Release));
    }

    pub(crate) async fn settle_c2d(
        &self,
        device: &DeviceId,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), HubError> {
        self.commit(|service, now| service.settle_one_c2d(now, device, lock, settlement)).await
    }

    pub(crate) async fn complete_c2d(&self, device: &DeviceId, locks: &[LockToken]) {
        let complete = |service: &mut Service, now| {
            Ok::<_, HubError>(service.settle_c2d(now, device, locks, Settlement::Complete))
        };
        self.commit(complete).await.unwrap();
    }

    pub(crate) async fn purge_c2d(&self, device: &DeviceId) -> Result<usize, HubError> {
        self.commit(|service, now| service.purge_c2d(now, device)).await
    }

    pub(crate) fn pending_c2d(&self, device: &DeviceId) -> usize {
        self.peek(|service, now| service.pending_c2d(now, device))
    }

    pub(crate) fn lease_feedback(&self) -> Option<LeasedFeedback> {
        self.apply(Service::lease_feedback)
    }

    pub(crate) async fn settle_feedback(
        &self,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), HubError> {
        self.commit(|service, now| service.settle_feedback(now, lock, settlement)).await
    }

    pub(crate) fn pending_feedback(&self) -> usize {
        self.peek(|service, _| service.pending_feedback())
    }
}
