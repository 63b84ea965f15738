//! Another credential, or another signature key, for the same client.

use mls_keep_core::Result;
use openmls::credentials::{Credential, CredentialWithKey};
use openmls::prelude::OpenMlsProvider;
use tracing::instrument;

use super::load::ClientRecord;
use super::{Client, ClientSigner, CryptoProvider, Profile};

impl<C: CryptoProvider> Client<C> {
    /// Makes this the credential of the client, and `signer` its signature key, from here on: of new key packages and
    /// groups. In its groups the old ones stay until they are replaced there, by a commit with
    /// [`Change::credential`](crate::Change::credential) in each. Key packages that were published before carry the old
    /// ones, and still work. When nothing needs an external signer any more, [`prune_signers`](Self::prune_signers) forgets it. A signer that is external is asked for one signature here, to see that it has the key.
    ///
    /// # Errors
    /// `Invalid` if the signature key is not of the ciphersuite's scheme, or an external signer does not sign with it,
    /// `Aborted` if that fails, `Conflict`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn set_credential(&mut self, credential: Credential, signer: impl Into<ClientSigner>) -> Result<()> {
        let signer = signer.into().checked(&self.crypto, self.ciphersuite().signature_algorithm())?;
        let signature_key = signer.public_key().to_vec();
        self.repeat(&[], |tx| {
            let storage = tx.provider.storage();
            let client = ClientRecord {
                credential_type: credential.credential_type().into(),
                credential: credential.serialized_content().to_vec().into(),
                signature_key: signature_key.clone(),
                ..ClientRecord::read(storage)?
            };
            signer.store(storage, tx.provider.rand())?;
            Ok(client.write(storage)?)
        })
        .await?;
        self.profile.credential = CredentialWithKey { credential, signature_key: signature_key.into() };
        self.profile.given.give(&signer);
        self.profile.signer = signer;
        Ok(())
    }

    /// Takes over what another process has made of the client itself.
    pub(super) fn reload_profile(&mut self) -> Result<()> {
        self.profile = Profile::load(&self.profile.identity, &self.own, self.profile.given.clone())?;
        Ok(())
    }
}
