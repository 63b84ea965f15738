//! Calls that OpenMLS has in two forms.
//!
//! With `virtual-clients-draft` a message of one's own stays readable until it is confirmed, because several clients can act
//! as one. The calls of [`Client`](super::Client) confirm at once, as they do without the draft. A virtual client needs
//! [`transact`](super::Client::transact).

use openmls::framing::MlsMessageOut;
use openmls::group::{CommitMessageBundle, MlsGroup};
use openmls_traits::signatures::Signer;

use super::{BoxError, CryptoProvider};
use crate::provider::Provider;

#[cfg(not(feature = "virtual-clients-draft"))]
pub(super) fn create_message<C: CryptoProvider>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    signer: &impl Signer,
    content: &[u8],
) -> Result<MlsMessageOut, BoxError> {
    Ok(group.create_message(provider, signer, content)?)
}

#[cfg(feature = "virtual-clients-draft")]
pub(super) fn create_message<C: CryptoProvider>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    signer: &impl Signer,
    content: &[u8],
) -> Result<MlsMessageOut, BoxError> {
    use openmls::prelude::OpenMlsProvider as _;
    let sent = group.create_unconfirmed_message(provider, signer, content)?;
    group.confirm_application_message(provider.storage(), sent.epoch, sent.generation)?;
    Ok(sent.message)
}

#[cfg(not(feature = "virtual-clients-draft"))]
pub(super) fn leave<C: CryptoProvider>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    signer: &impl Signer,
) -> Result<MlsMessageOut, BoxError> {
    Ok(group.leave_group(provider, signer)?)
}

#[cfg(feature = "virtual-clients-draft")]
pub(super) fn leave<C: CryptoProvider>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    signer: &impl Signer,
) -> Result<MlsMessageOut, BoxError> {
    use openmls::group::Propose;
    use openmls::prelude::{OpenMlsProvider as _, ProposalOrRefType};
    let own = Propose::Remove(group.own_leaf_index().u32());
    let (message, _, sent) = group.propose_unconfirmed(provider, signer, own, ProposalOrRefType::Reference)?;
    if let Some(sent) = sent {
        group.confirm_handshake_message(provider.storage(), sent.epoch, sent.generation)?;
    }
    Ok(message)
}

/// Says that a commit of one's own is not made again.
pub(super) fn confirm_commit<C: CryptoProvider>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    bundle: &CommitMessageBundle,
) -> Result<(), BoxError> {
    #[cfg(feature = "virtual-clients-draft")]
    if let Some(sent) = bundle.confirmation() {
        use openmls::prelude::OpenMlsProvider as _;
        group.confirm_handshake_message(provider.storage(), sent.epoch, sent.generation)?;
    }
    let _ = (group, provider, bundle);
    Ok(())
}
