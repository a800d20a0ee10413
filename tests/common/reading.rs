//! What reading a row gave, in a form that tests can compare.

use sealed_store::{Fault, SealError};
use wacore::store::traits::Backend;

use super::samples::Sample;

/// What reading a row gave.
#[derive(Debug, PartialEq)]
pub enum Read {
    Refused(Why),
    Absent,
    Value(String),
}

/// Why a row was refused: the errors that a bad row may cause.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Why {
    Unsealed,
    Corrupt(Fault),
    UnsupportedVersion,
    UnknownGeneration,
    WrongKeyring,
    StoreEmptied,
}

/// Altered, or moved from another place.
pub const MOVED: Why = Why::Corrupt(Fault::Authentication);

/// Why a row was refused.
pub fn why(error: &SealError) -> Why {
    match error {
        SealError::Unsealed { .. } => Why::Unsealed,
        SealError::Corrupt { what, .. } => Why::Corrupt(*what),
        SealError::UnsupportedVersion { .. } => Why::UnsupportedVersion,
        SealError::UnknownGeneration { .. } => Why::UnknownGeneration,
        SealError::WrongKeyring => Why::WrongKeyring,
        SealError::StoreEmptied => Why::StoreEmptied,
        other => panic!("{other:?} is not expected of a bad row"),
    }
}

/// Reads a row.
pub async fn read(store: &dyn Backend, sample: &Sample) -> Read {
    match sample.get(store).await {
        Ok(Some(value)) => Read::Value(value),
        Ok(None) => Read::Absent,
        Err(error) => match SealError::of(&error) {
            Some(ours) => Read::Refused(why(ours)),
            None => panic!("{sample:?}: the inner store refused: {error:?}"),
        },
    }
}
