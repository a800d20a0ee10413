//! Every error there is, and what its words must and must not say.

use super::*;
use crate::keyring::store::StoreFaultKind;
use crate::provider::ProviderErrorKind;

/// A position for every variant, with no wildcard: a new one does not compile until it has one,
/// and the test below fails until it is in the list.
fn position(error: &SealError) -> usize {
    match error {
        SealError::WrongKey => 0,
        SealError::WrongKeyring => 1,
        SealError::Unsealed { .. } => 2,
        SealError::StoreEmptied => 3,
        SealError::Corrupt { .. } => 4,
        SealError::CorruptKeyring { .. } => 5,
        SealError::UnknownGeneration { .. } => 6,
        SealError::UnsupportedVersion { .. } => 7,
        SealError::NotOpen => 8,
        SealError::ExcessiveKdfCost { .. } => 9,
        SealError::KdfOutOfBounds { .. } => 10,
        SealError::ForeignRecipe => 11,
        SealError::NoKeyring => 12,
        SealError::KeyringExists => 13,
        SealError::Occupied => 14,
        SealError::RolledBack { .. } => 15,
        SealError::RootChanged => 16,
        SealError::UnknownAccount => 17,
        SealError::AccountExists => 18,
        SealError::Shredded => 19,
        SealError::UnknownSlot => 20,
        SealError::SlotCount => 21,
        SealError::InUse => 22,
        SealError::Conflict => 23,
        SealError::Invalid { .. } => 24,
        SealError::TooLarge => 25,
        SealError::NoEntropy => 26,
        SealError::Provider(_) => 27,
        SealError::Keyring(_) => 28,
        SealError::LoneSlot => 29,
        SealError::Inner(_) => 30,
    }
}
const VARIANTS: usize = 31;

fn fault_position(fault: Fault) -> usize {
    match fault {
        Fault::Length => 0,
        Fault::Suite => 1,
        Fault::Authentication => 2,
        Fault::Padding => 3,
        Fault::Name => 4,
        Fault::ClearField => 5,
        Fault::Encoding => 6,
        Fault::MissingHalf => 7,
        Fault::Canary => 8,
    }
}
const FAULTS: [Fault; 9] = [
    Fault::Length,
    Fault::Suite,
    Fault::Authentication,
    Fault::Padding,
    Fault::Name,
    Fault::ClearField,
    Fault::Encoding,
    Fault::MissingHalf,
    Fault::Canary,
];

fn provider_position(kind: ProviderErrorKind) -> usize {
    match kind {
        ProviderErrorKind::Throttled { .. } => 0,
        ProviderErrorKind::Unavailable => 1,
        ProviderErrorKind::Denied => 2,
        ProviderErrorKind::Disabled => 3,
        ProviderErrorKind::Destroyed => 4,
        ProviderErrorKind::WrongKey => 5,
        ProviderErrorKind::ContextMismatch => 6,
        ProviderErrorKind::Corrupt => 7,
        ProviderErrorKind::BadRequest => 8,
        ProviderErrorKind::NeedsInteraction => 9,
        ProviderErrorKind::ExcessiveCost { .. } => 10,
        ProviderErrorKind::CostOutOfBounds { .. } => 11,
    }
}
const PROVIDER_KINDS: [ProviderErrorKind; 12] = [
    ProviderErrorKind::Throttled { retry_after: None },
    ProviderErrorKind::Unavailable,
    ProviderErrorKind::Denied,
    ProviderErrorKind::Disabled,
    ProviderErrorKind::Destroyed,
    ProviderErrorKind::WrongKey,
    ProviderErrorKind::ContextMismatch,
    ProviderErrorKind::Corrupt,
    ProviderErrorKind::BadRequest,
    ProviderErrorKind::NeedsInteraction,
    ProviderErrorKind::ExcessiveCost {
        needed: 2,
        allowed: 1,
    },
    ProviderErrorKind::CostOutOfBounds { parameter: "salt" },
];

fn store_position(kind: StoreFaultKind) -> usize {
    match kind {
        StoreFaultKind::Conflict => 0,
        StoreFaultKind::InUse => 1,
        StoreFaultKind::Io => 2,
        StoreFaultKind::Corrupt => 3,
        StoreFaultKind::NewerSchema => 4,
        StoreFaultKind::Invalid => 5,
    }
}
const STORE_KINDS: [StoreFaultKind; 6] = [
    StoreFaultKind::Conflict,
    StoreFaultKind::InUse,
    StoreFaultKind::Io,
    StoreFaultKind::Corrupt,
    StoreFaultKind::NewerSchema,
    StoreFaultKind::Invalid,
];

/// Every variant, with every table, fault and kind in it, and nasty sources.
fn every_error() -> Vec<SealError> {
    const NASTY: &str = "/home/alice/x.db is BUSY: database is locked";
    let mut errors = vec![
        SealError::WrongKey,
        SealError::WrongKeyring,
        SealError::Unsealed { table: None },
        SealError::StoreEmptied,
        SealError::CorruptKeyring {
            what: "it is damaged",
        },
        SealError::UnsupportedVersion {
            found: 2,
            supported: 1,
        },
        SealError::NotOpen,
        SealError::ExcessiveKdfCost {
            needed: 2,
            allowed: 1,
        },
        SealError::ForeignRecipe,
        SealError::NoKeyring,
        SealError::KeyringExists,
        SealError::Occupied,
        SealError::RolledBack {
            pinned: 2,
            found: 1,
        },
        SealError::RootChanged,
        SealError::UnknownAccount,
        SealError::AccountExists,
        SealError::Shredded,
        SealError::UnknownSlot,
        SealError::SlotCount,
        SealError::LoneSlot,
        SealError::InUse,
        SealError::Conflict,
        SealError::Invalid { what: "it is odd" },
        SealError::TooLarge,
        SealError::NoEntropy,
        SealError::Inner(StoreError::DeviceNotFound(1)),
    ];
    for parameter in ["m_kib", "passes", "lanes", "salt", "version"] {
        errors.push(SealError::KdfOutOfBounds { parameter });
    }
    for table in Table::ALL {
        errors.push(SealError::Unsealed { table: Some(table) });
        errors.push(SealError::UnknownGeneration {
            table,
            generation: 7,
        });
        errors.extend(FAULTS.map(|what| SealError::Corrupt { table, what }));
    }
    for kind in PROVIDER_KINDS {
        let error = ProviderError::new(kind, "check it").with_source(NASTY);
        errors.push(SealError::Provider(error));
    }
    for kind in STORE_KINDS {
        let fault = StoreFault::new(kind, "check it").with_source(NASTY);
        errors.push(SealError::Keyring(fault));
    }
    errors
}

fn is_complete(positions: impl Iterator<Item = usize>, count: usize) {
    let found: std::collections::BTreeSet<usize> = positions.collect();
    assert!(found.into_iter().eq(0..count));
}

#[test]
fn the_list_is_complete() {
    is_complete(every_error().iter().map(position), VARIANTS);
    is_complete(FAULTS.into_iter().map(fault_position), FAULTS.len());
    is_complete(
        PROVIDER_KINDS.into_iter().map(provider_position),
        PROVIDER_KINDS.len(),
    );
    is_complete(
        STORE_KINDS.into_iter().map(store_position),
        STORE_KINDS.len(),
    );
}

/// wacore tries again where it finds one of two words in the text of an error or of a source.
#[test]
fn no_text_at_any_depth_is_read_as_contention() {
    for error in every_error() {
        let mut layer: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(current) = layer {
            let text = current.to_string();
            let lower = text.to_lowercase();
            assert!(
                !lower.contains("locked") && !lower.contains("busy"),
                "{text}"
            );
            assert!(!text.is_empty() && !text.contains('{'), "{text}");
            assert!(!text.contains("alice"), "{text}");
            layer = current.source();
        }
        let debug = format!("{error:?} {error:#?}");
        assert!(
            !debug.contains("alice") && !debug.contains("BUSY"),
            "{debug}"
        );

        let number = position(&error);
        let outer = StoreError::from(error);
        assert!(!outer.is_database_busy_or_locked(), "{outer:?}");
        match SealError::of(&outer) {
            Some(found) => assert_eq!(position(found), number),
            // The inner store's own error stands alone.
            None => assert_eq!(number, VARIANTS - 1),
        }
    }
}

#[test]
fn only_a_passing_state_is_retryable() {
    let retryable: Vec<String> = every_error()
        .iter()
        .filter(|error| error.is_retryable())
        .map(|error| match error {
            SealError::Provider(error) => format!("{:?}", error.kind()),
            SealError::Keyring(fault) => format!("{:?}", fault.kind()),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        retryable,
        [
            "InUse",
            "Conflict",
            "NoEntropy",
            "Throttled { retry_after: None }",
            "Unavailable",
            "InUse",
            "Io"
        ]
    );
}
