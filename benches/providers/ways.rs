//! The services, and a provider of each kind.

use std::path::PathBuf;
use std::sync::Arc;

use sealed_store::secrecy::SecretBox;
use sealed_store::{
    AwsKms, KeyProvider, Keychain, Passphrase, Pkcs11, RawKey, RecoveryCode, Tpm2, Vault,
};

use crate::front::Front;
use crate::openbao::OpenBao;
use crate::proxy::Proxy;
use crate::services::Service;
use crate::session;
use crate::softhsm::{PIN, Tokens};
use crate::swtpm::Swtpm;
use crate::world::{self, Cloud};

pub struct World {
    pub bao: OpenBao,
    pub moto: Cloud,
    pub localstack: Cloud,
    tokens: Tokens,
    tpm: Swtpm,
    _keychain: Service,
}

/// A provider to be measured, and how to see what its service was asked.
pub struct Way {
    pub name: &'static str,
    pub provider: Arc<dyn KeyProvider>,
    pub wire: Option<Wire>,
}

/// The same provider with somebody in between who counts.
pub struct Wire {
    pub provider: Arc<dyn KeyProvider>,
    pub requests: Box<dyn Fn() -> usize>,
}

impl World {
    pub fn start() -> Self {
        let conf = std::env::var_os("SOFTHSM2_CONF").map(PathBuf::from);
        let folder = conf.and_then(|conf| conf.parent().map(PathBuf::from));
        Self {
            bao: OpenBao::start(),
            moto: Cloud::moto(),
            localstack: Cloud::localstack(),
            tokens: Tokens {
                folder: folder.expect("a folder of tokens"),
                job: Vec::new(),
            },
            tpm: Swtpm::start(),
            _keychain: session::keychain(true),
        }
    }

    /// One line each. What needs a service of its own starts it in [`World::start`].
    pub async fn ways(&self) -> Vec<Way> {
        let recovery = RecoveryCode::generate().expect("a code");
        let keychain = Keychain::new("bench").expect("a name");
        vec![
            local("raw-key", RawKey::new(SecretBox::new(Box::new([7; 32])))),
            local(
                "passphrase, default cost",
                Passphrase::new("correct horse battery staple"),
            ),
            local("recovery-code", recovery),
            local("keychain (GNOME Keyring)", keychain),
            local("pkcs11 (SoftHSM)", self.pkcs11().await),
            local(
                "tpm2 (swtpm)",
                Tpm2::from_uri(&self.tpm.uri()).expect("a URI"),
            ),
            self.vault(),
            self.kms("aws-kms (LocalStack)", &self.localstack),
            self.kms("aws-kms (moto)", &self.moto),
        ]
    }

    async fn pkcs11(&self) -> Pkcs11 {
        let uri = self.tokens.uri("object=bench");
        let provider = Pkcs11::from_uri(&uri).expect("a URI").pin(PIN);
        provider.make_key().await.expect("a key is made");
        provider
    }

    fn vault(&self) -> Way {
        self.bao.derived_key("bench");
        let proxy = Proxy::to(self.bao.address());
        let at = |uri: String| Vault::from_uri(&uri).expect("a URI").token("root");
        Way {
            name: "vault (OpenBao)",
            provider: Arc::new(at(self.bao.uri("bench"))),
            wire: Some(Wire {
                provider: Arc::new(at(self.bao.uri_at(proxy.address(), "bench"))),
                requests: Box::new(move || {
                    let requests = proxy.seen().len();
                    proxy.set(None);
                    requests
                }),
            }),
        }
    }

    fn kms(&self, name: &'static str, cloud: &Cloud) -> Way {
        let arn = cloud.key();
        let front: Front = cloud.front();
        let counted: AwsKms = world::provider(&arn, &front.endpoint());
        Way {
            name,
            provider: Arc::new(cloud.provider(&arn)),
            wire: Some(Wire {
                provider: Arc::new(counted),
                requests: Box::new(move || front.calls().len()),
            }),
        }
    }
}

fn local(name: &'static str, provider: impl KeyProvider + 'static) -> Way {
    Way {
        name,
        provider: Arc::new(provider),
        wire: None,
    }
}
