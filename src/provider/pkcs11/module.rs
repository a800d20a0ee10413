//! Libraries of tokens: each loaded once in a process and kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use super::error::mapped;
use crate::provider::ProviderError;

/// A library. It is never finalised: who else in this process uses it would lose his sessions.
#[derive(Default)]
pub(super) struct Module {
    context: Mutex<Option<Pkcs11>>,
    /// Held while somebody logs in, so that two at once do not use up two tries of a PIN.
    pub(super) login: Mutex<()>,
}

impl Module {
    pub(super) fn of(path: &Path) -> Arc<Self> {
        static MODULES: OnceLock<Mutex<HashMap<PathBuf, Arc<Module>>>> = OnceLock::new();
        let mut modules = held(MODULES.get_or_init(Mutex::default));
        Arc::clone(modules.entry(path.to_owned()).or_default())
    }

    /// The library, loaded and initialised. Others may have initialised it before, or finalised it meanwhile.
    pub(super) fn context(&self, path: &Path) -> Result<Pkcs11, ProviderError> {
        // Initialising is not safe for two threads at once.
        let mut context = held(&self.context);
        let pkcs11 = match &*context {
            Some(pkcs11) => pkcs11.clone(),
            None => Pkcs11::new(path).map_err(mapped)?,
        };
        match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(mapped(error)),
        }
        *context = Some(pkcs11.clone());
        Ok(pkcs11)
    }
}

pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
