//! `tpm2:` URIs.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use tss_esapi::tcti_ldr::{DeviceConfig, NetworkTPMConfig, TctiNameConf};

use crate::provider::{ProviderError, ProviderErrorKind};

type Result<T> = std::result::Result<T, ProviderError>;

/// Longer ones are no configuration.
const LONGEST: usize = 4096;
/// The TPM behind the kernel's resource manager.
const DEFAULT: &str = "/dev/tpmrm0";

/// What a URI says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Uri {
    pub(super) way: Way,
    pub(super) pin_file: Option<PathBuf>,
}

/// How the TPM is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Way {
    Device(PathBuf),
    /// swtpm, on this machine.
    Swtpm(IpAddr, u16),
}

fn wrong(advice: &'static str) -> ProviderError {
    ProviderError::new(ProviderErrorKind::BadRequest, advice)
}

fn malformed() -> ProviderError {
    wrong(
        "a TPM's URI is tpm2: or tpm2:?tcti=device:/dev/tpmrm0&pin-file=/path, with one of the two or both, each once; paths are \
         absolute and of letters, digits and -._~:/@+,= alone",
    )
}

impl Uri {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/@+,=?&".contains(&byte);
        let rest = text
            .strip_prefix("tpm2:")
            .filter(|_| text.len() <= LONGEST && text.bytes().all(plain))
            .ok_or_else(malformed)?;
        let (mut way, mut pin_file) = (None, None);
        let parameters = match rest.strip_prefix('?') {
            Some(parameters) => parameters.split('&').collect(),
            None if rest.is_empty() => Vec::new(),
            None => return Err(malformed()),
        };
        for parameter in parameters {
            let (name, value) = parameter.split_once('=').ok_or_else(malformed)?;
            let again = match name {
                "tcti" => way.replace(Way::parse(value)?).is_some(),
                "pin-file" => pin_file.replace(absolute(value)?).is_some(),
                "pin" => {
                    return Err(wrong(
                        "a PIN does not belong into a URI; use pin-file=PATH, or give it in code",
                    ));
                }
                _ => return Err(malformed()),
            };
            if again {
                return Err(malformed());
            }
        }
        Ok(Self {
            way: way.unwrap_or_else(|| Way::Device(PathBuf::from(DEFAULT))),
            pin_file,
        })
    }
}

fn absolute(path: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(malformed())
}

impl Way {
    fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("device:") {
            return absolute(path).map(Self::Device);
        }
        let odd = || {
            wrong(
                "tcti= is device:/dev/tpmrm0 or, for tests, swtpm:host=127.0.0.1,port=2321 with a loopback address; others are \
                 not used",
            )
        };
        let (host, port) = text
            .strip_prefix("swtpm:host=")
            .and_then(|rest| rest.split_once(",port="))
            .ok_or_else(odd)?;
        // A TPM elsewhere is no seal to this machine.
        let address = IpAddr::from_str(host)
            .ok()
            .filter(IpAddr::is_loopback)
            .ok_or_else(odd)?;
        // The control port is the next one.
        let port = u16::from_str(port)
            .ok()
            .filter(|number| (1..u16::MAX).contains(number) && number.to_string() == port)
            .ok_or_else(odd)?;
        Ok(Self::Swtpm(address, port))
    }

    /// As the TSS takes it.
    pub(super) fn tcti(&self) -> tss_esapi::Result<TctiNameConf> {
        Ok(match self {
            Self::Device(path) => {
                TctiNameConf::Device(DeviceConfig::from_str(path.to_str().unwrap_or_default())?)
            }
            Self::Swtpm(host, port) => TctiNameConf::Swtpm(NetworkTPMConfig::from_str(&format!(
                "host={host},port={port}"
            ))?),
        })
    }
}

#[cfg(test)]
mod tests;
