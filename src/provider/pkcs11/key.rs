//! From a URI to a session that is logged in, and a key in it that may be used.

use cryptoki::context::Pkcs11 as Context;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};

use super::error::{GONE, PIN_NEEDED, Tries, mapped};
use super::module::held;
use super::uri::Uri;
use super::wrap::{self, Pkcs11Wrap};
use super::{Config, Result};
use crate::provider::{ProviderError, ProviderErrorKind};
use crate::secret;

/// The length of keys that are used, in bytes.
const KEY_LEN: std::ffi::c_ulong = 32;

/// A token, and a session in it that may use private keys.
pub(super) struct Entered {
    context: Context,
    slot: Slot,
    pub(super) session: Session,
}

/// A token's key, found and checked.
pub(super) struct Opened {
    pub(super) at: Entered,
    pub(super) key: ObjectHandle,
    /// CKA_ID.
    pub(super) id: Vec<u8>,
    /// Which of CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP and CKA_UNWRAP it has.
    pub(super) may: Uses,
}

/// What a key may be used for.
#[derive(Default)]
pub(super) struct Uses {
    pub(super) encrypt: bool,
    pub(super) decrypt: bool,
    pub(super) wrap: bool,
    pub(super) unwrap: bool,
}

fn refused(advice: &'static str) -> ProviderError {
    ProviderError::new(ProviderErrorKind::BadRequest, advice)
}

fn is_meant(token: &TokenInfo, uri: &Uri) -> bool {
    let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
    token.token_initialized()
        && is(&uri.token, token.label())
        && is(&uri.serial, token.serial_number())
        && is(&uri.manufacturer, token.manufacturer_id())
        && is(&uri.model, token.model())
}

impl Entered {
    fn of(config: &Config, writing: bool) -> Result<Self> {
        let context = config.module.context(&config.uri.module)?;
        let slot = slot_of(&context, &config.uri)?;
        let session = match writing {
            true => context.open_rw_session(slot),
            false => context.open_ro_session(slot),
        };
        let entered = Self {
            session: session.map_err(mapped)?,
            slot,
            context,
        };
        entered.log_in(config)?;
        Ok(entered)
    }

    fn token(&self) -> Result<TokenInfo> {
        self.context.get_token_info(self.slot).map_err(mapped)
    }

    fn is_logged_in(&self) -> Result<bool> {
        match self
            .session
            .get_session_info()
            .map_err(mapped)?
            .session_state()
        {
            SessionState::RoUser | SessionState::RwUser => Ok(true),
            SessionState::RoPublic | SessionState::RwPublic => Ok(false),
            SessionState::RwSecurityOfficer => Err(mapped(Error::Pkcs11(
                RvError::UserAnotherAlreadyLoggedIn,
                cryptoki::context::Function::Login,
            ))),
        }
    }

    fn log_in(&self, config: &Config) -> Result<()> {
        let _alone = held(&config.module.login);
        let token = self.token()?;
        if !token.login_required() || self.is_logged_in()? {
            return Ok(());
        }
        let pin = config
            .read_pin()?
            .ok_or_else(|| ProviderError::new(ProviderErrorKind::NeedsInteraction, PIN_NEEDED))?;
        config.check_not_refused(&pin)?;
        Tries::of(&token).allow()?;
        match self.session.login(UserType::User, Some(&pin)) {
            // Somebody else in this process was faster.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(
                error @ Error::Pkcs11(
                    RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
                    _,
                ),
            ) => {
                *held(&config.refused) = Some(pin);
                let tries = self.token().map_or(Tries::All, |token| Tries::of(&token));
                Err(tries.after_a_wrong_pin(error))
            }
            Err(error) => Err(mapped(error)),
        }
    }

    /// Whether the token does this, in both directions.
    pub(super) fn offers(&self, wrap: Pkcs11Wrap) -> Result<bool> {
        let mechanism = wrap.mechanism();
        let offered = self.context.get_mechanism_list(self.slot).map_err(mapped)?;
        if !offered.contains(&mechanism) {
            return Ok(false);
        }
        let info = self
            .context
            .get_mechanism_info(self.slot, mechanism)
            .map_err(mapped)?;
        Ok(match wrap {
            Pkcs11Wrap::AesGcm => info.encrypt() && info.decrypt(),
            _ => info.wrap() && info.unwrap(),
        })
    }

    fn keys(&self, uri: &Uri) -> Result<Vec<ObjectHandle>> {
        let mut template = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
        ];
        template.extend(
            uri.object
                .as_ref()
                .map(|label| Attribute::Label(label.as_bytes().to_vec())),
        );
        template.extend(uri.id.as_ref().map(|id| Attribute::Id(id.clone())));
        self.session.find_objects(&template).map_err(mapped)
    }
}

fn slot_of(context: &Context, uri: &Uri) -> Result<Slot> {
    let mut found = None;
    for slot in context.get_slots_with_token().map_err(mapped)? {
        let token = match context.get_token_info(slot) {
            Ok(token) => token,
            // One that is taken out at this moment, or that is none of ours.
            Err(Error::Pkcs11(_, _)) => continue,
            Err(error) => return Err(mapped(error)),
        };
        if is_meant(&token, uri) && found.replace(slot).is_some() {
            return Err(refused(
                "several tokens are named so; name the meant one by serial= as well",
            ));
        }
    }
    found.ok_or_else(|| ProviderError::new(ProviderErrorKind::Unavailable, GONE))
}

impl Opened {
    pub(super) fn of(config: &Config) -> Result<Self> {
        let at = Entered::of(config, false)?;
        let key = match at.keys(&config.uri)?.as_slice() {
            [key] => *key,
            // Private keys are not shown to those who are not logged in.
            [] if at.token()?.login_required() && !at.is_logged_in()? => {
                return Err(ProviderError::new(
                    ProviderErrorKind::Unavailable,
                    "somebody in this process logged out of the token meanwhile; try again",
                ));
            }
            [] => {
                return Err(ProviderError::new(
                    ProviderErrorKind::Destroyed,
                    "the token holds no such key; check object= and id=, or open the keyring through another slot",
                ));
            }
            _ => {
                return Err(refused(
                    "several keys of the token are named so; name the meant one by id= as well",
                ));
            }
        };
        let mut opened = Self {
            at,
            key,
            id: Vec::new(),
            may: Uses::default(),
        };
        opened.check()?;
        Ok(opened)
    }

    /// Refuses a key that could leave the token. What the token does not say counts as no.
    fn check(&mut self) -> Result<()> {
        let asked = [
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::KeyType,
            AttributeType::ValueLen,
            AttributeType::Id,
            AttributeType::Encrypt,
            AttributeType::Decrypt,
            AttributeType::Wrap,
            AttributeType::Unwrap,
        ];
        let attributes = self
            .at
            .session
            .get_attributes(self.key, &asked)
            .map_err(mapped)?;
        let (mut sensitive, mut extractable, mut kind, mut len) = (false, true, None, None);
        for attribute in attributes {
            match attribute {
                Attribute::Sensitive(is) => sensitive = is,
                Attribute::Extractable(is) => extractable = is,
                Attribute::KeyType(is) => kind = Some(is),
                Attribute::ValueLen(is) => len = Some(*is),
                Attribute::Id(is) => self.id = is,
                Attribute::Encrypt(may) => self.may.encrypt = may,
                Attribute::Decrypt(may) => self.may.decrypt = may,
                Attribute::Wrap(may) => self.may.wrap = may,
                Attribute::Unwrap(may) => self.may.unwrap = may,
                _ => {}
            }
        }
        if !sensitive || extractable {
            return Err(refused(
                "the token's key could leave it; use one that is sensitive and not extractable",
            ));
        }
        if kind != Some(KeyType::AES) || len != Some(KEY_LEN) {
            return Err(refused(
                "the token's key is no AES key of 32 bytes; use one that is",
            ));
        }
        Ok(())
    }
}

/// Makes the key that the URI names.
pub(super) fn make(config: &Config) -> Result<()> {
    let exists =
        || refused("the token holds such a key already; use it, or name the new one otherwise");
    let at = Entered::of(config, true)?;
    if !at.keys(&config.uri)?.is_empty() {
        return Err(exists());
    }
    let wrap = wrap::offered(&at, config.wrap)?;
    let encrypts = matches!(wrap, Pkcs11Wrap::AesGcm);
    let id = match &config.uri.id {
        Some(id) => id.clone(),
        None => secret::random_id().map_err(wrap::no_random)?.to_vec(),
    };
    let mut template = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(KEY_LEN.into()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Modifiable(false),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(encrypts),
        Attribute::Decrypt(encrypts),
        Attribute::Wrap(!encrypts),
        Attribute::Unwrap(!encrypts),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Derive(false),
        Attribute::Id(id),
    ];
    template.extend(
        config
            .uri
            .object
            .as_ref()
            .map(|label| Attribute::Label(label.as_bytes().to_vec())),
    );
    let made = at
        .session
        .generate_key(&Mechanism::AesKeyGen, &template)
        .map_err(mapped)?;
    // Somebody else may have made one at the same time: then neither is kept, rather than one that can't be told.
    if at.keys(&config.uri)?.len() != 1 {
        at.session.destroy_object(made).map_err(mapped)?;
        return Err(exists());
    }
    Ok(())
}

impl Pkcs11Wrap {
    fn mechanism(self) -> MechanismType {
        match self {
            Self::AesGcm => MechanismType::AES_GCM,
            Self::AesKeyWrap => MechanismType::AES_KEY_WRAP,
            Self::AesKeyWrapPad => MechanismType::AES_KEY_WRAP_PAD,
        }
    }
}
