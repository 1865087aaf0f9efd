//! Errors about a request that contradicts itself. They hold what was asked for; `cli/hint.rs` names the options that
//! ask for it. All are of the class usage.

use crate::plan::parity::ParityError;

/// Why a request cannot be met, whatever the drives hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("there is neither a recipient nor a passphrase")]
    NoRecipient,
    /// So many folders were given for volumes that are staged in one.
    #[error("volumes are staged in one folder, and {0} are given")]
    StagedInSeveral(usize),
    /// Filling one drive after the other and losing one of them.
    #[error("files cannot stay together on one drive and survive its loss")]
    SequentialAndLoss,
    #[error(transparent)]
    Parity(ParityError),
}
