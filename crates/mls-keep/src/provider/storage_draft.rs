//! The virtual clients draft: what it keeps of an emulation epoch, and for how long.

use mls_keep_core::Result;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::overlay::Overlay;
use crate::records::{Kind, codec};

impl Overlay {
    /// Writes the advanced operation tree and what it was advanced for, or nothing.
    pub(super) fn retain_key_package_material(
        &mut self,
        epoch_id: &impl Serialize,
        operation_tree: &impl Serialize,
        materials: &[(impl Serialize, impl Serialize)],
    ) -> Result<()> {
        let tree = codec::encode(Kind::VcOperationTree, operation_tree, 0)?;
        let tree_key = Kind::VcOperationTree.by_encoded(&codec::encode_key(epoch_id)?);
        let mut records = vec![(tree_key, tree)];
        for (reference, material) in materials {
            let reference = codec::encode_key(reference)?;
            let key = Kind::RetainedKeyPackageMaterial.by_encoded(&reference);
            records.push((key, codec::encode(Kind::RetainedKeyPackageMaterial, &(epoch_id, material), 0)?));
        }
        for (key, value) in records {
            self.client.put(key, value);
        }
        Ok(())
    }

    pub(super) fn retained_key_package_material<T: DeserializeOwned>(
        &self,
        reference: &impl Serialize,
    ) -> Result<Option<T>> {
        let pair: Option<(IgnoredAny, T)> = self.read_client(reference, Kind::RetainedKeyPackageMaterial)?;
        Ok(pair.map(|(_epoch_id, material)| material))
    }

    pub(super) fn is_epoch_retained(&self, epoch_id: &impl Serialize) -> Result<bool> {
        Ok(self.client.find(Kind::RetainedKeyPackageMaterial, epoch_id)?.is_some())
    }

    /// Whether it deleted the epoch's state and operation tree.
    pub(super) fn delete_epoch_unless_retained(&mut self, epoch_id: &impl Serialize) -> Result<bool> {
        if self.is_epoch_retained(epoch_id)? {
            return Ok(false);
        }
        self.delete_client(epoch_id, Kind::VcEmulationEpochState)?;
        self.delete_client(epoch_id, Kind::VcOperationTree)?;
        Ok(true)
    }
}
