//! The cryptography alone, beside other libraries': in this process, interleaved round by round.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aes_gcm::aead::Aead;
use aes_gcm::{Aes256Gcm, KeyInit};
use anyhow::{Context, Result, anyhow, ensure};
use matrix_sdk_store_encryption::{EncryptedValue, StoreCipher};
use ring::aead;
use sealed_store::testing::Primitives;
use sealed_store::{Keyring, SqliteKeyring};
use tokio::runtime::Builder;

use crate::contestant::raw_key;
use crate::data::{address, bytes};
use crate::operations::Scale;
use crate::results::CryptoLine;

/// The key of the libraries that take one.
const KEY: [u8; 32] = [3; 32];
/// The row that records are bound to.
const ROW: &str = "token";
const NAME: &str = "5511987650001:3@c.us.0";

/// One library's way to do a thing with a record or a name, or `None` if it has no such thing.
trait Library {
    fn name(&self) -> &'static str;
    fn seal(&self, record: &[u8]) -> Result<Sealed>;
    fn open(&self, sealed: Sealed) -> Result<Vec<u8>>;
    fn token(&self, _name: &[u8]) -> Option<Result<()>> {
        None
    }
}

/// What a library makes of a record.
enum Sealed {
    Bytes([u8; 12], Vec<u8>),
    Matrix(EncryptedValue),
}

impl Sealed {
    fn bytes(self) -> Result<([u8; 12], Vec<u8>)> {
        match self {
            Self::Bytes(nonce, bytes) => Ok((nonce, bytes)),
            Self::Matrix(_) => Err(anyhow!("another library's record")),
        }
    }
}

struct Ours(Primitives);
struct Matrix(StoreCipher);
struct RawAesGcm(Aes256Gcm);
struct Ring(aead::LessSafeKey);

impl Library for Ours {
    fn name(&self) -> &'static str {
        "sealed-store"
    }

    fn seal(&self, record: &[u8]) -> Result<Sealed> {
        // Its nonce is inside.
        Ok(Sealed::Bytes([0; 12], self.0.seal(ROW, NAME, record)?))
    }

    fn open(&self, sealed: Sealed) -> Result<Vec<u8>> {
        Ok(self.0.open(ROW, NAME, &sealed.bytes()?.1)?)
    }

    fn token(&self, name: &[u8]) -> Option<Result<()>> {
        let made = self.0.tokens(&[name]).map(|tokens| drop(black_box(tokens)));
        Some(made.map_err(Into::into))
    }
}

impl Library for Matrix {
    fn name(&self) -> &'static str {
        "matrix-sdk-store-encryption"
    }

    fn seal(&self, record: &[u8]) -> Result<Sealed> {
        Ok(Sealed::Matrix(self.0.encrypt_value_data(record.to_vec())?))
    }

    fn open(&self, sealed: Sealed) -> Result<Vec<u8>> {
        match sealed {
            Sealed::Matrix(value) => Ok(self.0.decrypt_value_data(value)?),
            Sealed::Bytes(..) => Err(anyhow!("another library's record")),
        }
    }

    fn token(&self, name: &[u8]) -> Option<Result<()>> {
        black_box(self.0.hash_key("sessions", name));
        Some(Ok(()))
    }
}

fn nonce() -> Result<[u8; 12]> {
    let mut nonce = [0; 12];
    getrandom::fill(&mut nonce)?;
    Ok(nonce)
}

impl Library for RawAesGcm {
    fn name(&self) -> &'static str {
        "aes-gcm, raw"
    }

    fn seal(&self, record: &[u8]) -> Result<Sealed> {
        let nonce = nonce()?;
        let sealed = self.0.encrypt((&nonce).into(), record);
        Ok(Sealed::Bytes(
            nonce,
            sealed.map_err(|_| anyhow!("aes-gcm"))?,
        ))
    }

    fn open(&self, sealed: Sealed) -> Result<Vec<u8>> {
        let (nonce, bytes) = sealed.bytes()?;
        let opened = self.0.decrypt((&nonce).into(), bytes.as_slice());
        opened.map_err(|_| anyhow!("aes-gcm"))
    }
}

impl Library for Ring {
    fn name(&self) -> &'static str {
        "ring, AES-256-GCM"
    }

    fn seal(&self, record: &[u8]) -> Result<Sealed> {
        let nonce = nonce()?;
        let mut bytes = Vec::with_capacity(record.len() + 16);
        bytes.extend_from_slice(record);
        self.0
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::empty(),
                &mut bytes,
            )
            .map_err(|_| anyhow!("ring"))?;
        Ok(Sealed::Bytes(nonce, bytes))
    }

    fn open(&self, sealed: Sealed) -> Result<Vec<u8>> {
        let (nonce, mut bytes) = sealed.bytes()?;
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let len = self
            .0
            .open_in_place(nonce, aead::Aad::empty(), &mut bytes)
            .map_err(|_| anyhow!("ring"))?
            .len();
        bytes.truncate(len);
        Ok(bytes)
    }
}

fn libraries() -> Result<Vec<Box<dyn Library>>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("keyring.db");
    let runtime = Builder::new_multi_thread().worker_threads(1).build()?;
    let account = runtime.block_on(async {
        let keyring = Keyring::open_or_create(SqliteKeyring::at(path), &raw_key()).await?;
        keyring.account_or_create("1").await
    })?;
    let ring = aead::UnboundKey::new(&aead::AES_256_GCM, &KEY).map_err(|_| anyhow!("ring"))?;
    Ok(vec![
        Box::new(Ours(Primitives::new(account))),
        Box::new(Matrix(StoreCipher::new()?)),
        Box::new(RawAesGcm(Aes256Gcm::new((&KEY).into()))),
        Box::new(Ring(aead::LessSafeKey::new(ring))),
    ])
}

/// All lines.
pub fn compare(rounds: u64, scale: Scale) -> Result<Vec<CryptoLine>> {
    let libraries = libraries()?;
    let all: Vec<&dyn Library> = libraries.iter().map(|library| &**library).collect();
    let run = Run {
        rounds,
        calls: match scale {
            Scale::Full => 4_096,
            Scale::Quick => 256,
        },
    };
    let mut lines = vec![];
    for (len, size) in [(1_200, "1,200 B"), (74, "74 B")] {
        for library in &all {
            let record = bytes(1, len);
            let opened = library.open(library.seal(&record)?)?;
            ensure!(opened == record, "{} lost a record", library.name());
        }
        lines.push(run.line(
            &format!("seal {size}"),
            &all,
            |_, n| Ok(bytes(n, len)),
            |library, record: &mut Vec<u8>| {
                black_box(library.seal(record)?);
                Ok(())
            },
        )?);
        lines.push(run.line(
            &format!("open {size}"),
            &all,
            |library, n| Ok(Some(library.seal(&bytes(n, len))?)),
            |library, sealed: &mut Option<Sealed>| {
                let sealed = sealed.take().context("opened already")?;
                black_box(library.open(sealed)?);
                Ok(())
            },
        )?);
    }
    let with_tokens: Vec<_> = all
        .into_iter()
        .filter(|library| library.token(b"name").is_some())
        .collect();
    lines.push(run.line(
        "token of an address, one alone",
        &with_tokens,
        |_, n| Ok(address(n)),
        |library, name: &mut String| library.token(name.as_bytes()).unwrap_or(Ok(())),
    )?);
    Ok(lines)
}

struct Run {
    rounds: u64,
    calls: u64,
}

impl Run {
    /// Times `act` on what `prepare` made of numbers that do not repeat; few at a time, so that all stay in the
    /// processor's cache.
    fn line<T>(
        &self,
        what: &str,
        libraries: &[&dyn Library],
        prepare: impl Fn(&dyn Library, u64) -> Result<T>,
        act: impl Fn(&dyn Library, &mut T) -> Result<()>,
    ) -> Result<CryptoLine> {
        const AT_A_TIME: u64 = 64;
        let mut found = vec![vec![]; libraries.len()];
        for round in 0..=self.rounds {
            for place in 0..libraries.len() {
                let place = (place + round as usize) % libraries.len();
                let library = libraries[place];
                let mut took = Duration::ZERO;
                for few in 0..self.calls / AT_A_TIME {
                    let first = round * self.calls + few * AT_A_TIME;
                    let mut values = (first..first + AT_A_TIME)
                        .map(|n| prepare(library, n))
                        .collect::<Result<Vec<_>>>()?;
                    let begin = Instant::now();
                    for value in &mut values {
                        act(library, value)?;
                    }
                    took += begin.elapsed();
                }
                if round > 0 {
                    found[place].push((took.as_nanos() as f64 / self.calls as f64).round());
                }
            }
        }
        let names = libraries.iter().map(|library| library.name().to_owned());
        Ok(CryptoLine {
            what: what.to_owned(),
            rounds: names.zip(found).collect(),
        })
    }
}
