//! Another credential, or another signature key, for the same client.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::credentials::{Credential, CredentialWithKey};
use openmls::prelude::OpenMlsProvider;
use openmls_basic_credential::SignatureKeyPair;

use super::load::ClientRecord;
use super::{Client, CryptoProvider, Profile};

impl<C: CryptoProvider> Client<C> {
    /// Makes this the credential of the client, and `signer` its signature key, from here on: of new key packages and
    /// groups. In its groups the old ones stay until they are replaced there, by a commit with
    /// [`Change::credential`](crate::Change::credential) in each. Key packages that were published before carry the old
    /// ones, and still work.
    ///
    /// # Errors
    /// `Invalid` if the signature key is not of the ciphersuite's scheme, `Conflict`; and the errors of the backend.
    pub async fn set_credential(&mut self, credential: Credential, signer: SignatureKeyPair) -> Result<()> {
        if signer.signature_scheme() != self.ciphersuite().signature_algorithm() {
            return Err(Error::new(ErrorKind::Invalid, "the signature key is not of the ciphersuite's scheme"));
        }
        let signature_key = signer.to_public_vec();
        self.repeat(&[], |tx| {
            let storage = tx.provider.storage();
            let client = ClientRecord {
                credential_type: credential.credential_type().into(),
                credential: credential.serialized_content().to_vec().into(),
                signature_key: signature_key.clone(),
                ..ClientRecord::read(storage)?
            };
            signer.store(storage)?;
            Ok(client.write(storage)?)
        })
        .await?;
        self.profile.credential = CredentialWithKey { credential, signature_key: signature_key.into() };
        self.profile.signer = signer;
        Ok(())
    }

    /// Takes over what another process has made of the client itself.
    pub(super) fn reload_profile(&mut self) -> Result<()> {
        self.profile = Profile::load(&self.profile.identity, &self.own)?;
        Ok(())
    }
}
