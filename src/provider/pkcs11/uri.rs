//! `pkcs11:` URIs, RFC 7512.

use std::path::PathBuf;

use crate::provider::{Fields, ProviderError, ProviderErrorKind};

type Result<T> = std::result::Result<T, ProviderError>;

/// Longer ones are no configuration.
const LONGEST: usize = 4096;
/// The longest `id` of a key, in bytes.
pub(super) const LONGEST_ID: usize = 64;

/// What a URI says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Uri {
    pub(super) token: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) manufacturer: Option<String>,
    pub(super) model: Option<String>,
    pub(super) object: Option<String>,
    pub(super) id: Option<Vec<u8>>,
    pub(super) module: PathBuf,
    pub(super) pin_source: Option<PathBuf>,
}

fn wrong(advice: &'static str) -> ProviderError {
    ProviderError::new(ProviderErrorKind::BadRequest, advice)
}

impl Uri {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let rest = text
            .strip_prefix("pkcs11:")
            .filter(|_| text.len() <= LONGEST)
            .ok_or_else(|| {
                wrong("a token's URI begins with pkcs11: and is no longer than 4096 bytes")
            })?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        let mut module = None;
        for (name, value) in attributes(path, ';')? {
            match name {
                "token" => once(&mut uri.token, utf8(value)?)?,
                "serial" => once(&mut uri.serial, utf8(value)?)?,
                "manufacturer" => once(&mut uri.manufacturer, utf8(value)?)?,
                "model" => once(&mut uri.model, utf8(value)?)?,
                "object" => once(&mut uri.object, utf8(value)?)?,
                "id" if value.is_empty() || value.len() > LONGEST_ID => {
                    return Err(wrong(
                        "the id of a key in a pkcs11: URI is 1 to 64 bytes, as %01%02",
                    ));
                }
                "id" => once(&mut uri.id, value)?,
                "type" if value == b"secret-key" => {}
                "pin-value" => return Err(pin_value()),
                _ => return Err(unknown()),
            }
        }
        for (name, value) in attributes(query, '&')? {
            match name {
                "module-path" => once(&mut module, absolute(utf8(value)?)?)?,
                "pin-source" => once(&mut uri.pin_source, pin_file(utf8(value)?)?)?,
                "pin-value" => return Err(pin_value()),
                _ => return Err(unknown()),
            }
        }
        uri.module = module
            .ok_or_else(|| wrong("the pkcs11: URI needs ?module-path=, the token's library"))?;
        if uri.token.is_none() && uri.serial.is_none() {
            return Err(wrong(
                "the pkcs11: URI must name its token: token=LABEL or serial=NUMBER",
            ));
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err(wrong(
                "the pkcs11: URI must name its key: object=LABEL or id=%01%02",
            ));
        }
        Ok(uri)
    }

    /// Which key it is, wherever the library and the PIN are on this machine.
    pub(super) fn reference(&self) -> Fields {
        let id = self
            .id
            .as_ref()
            .map(|id| data_encoding::HEXLOWER.encode(id));
        [
            ("token", &self.token),
            ("serial", &self.serial),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("object", &self.object),
            ("id", &id),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
        .collect()
    }
}

fn pin_value() -> ProviderError {
    wrong("a PIN does not belong into a URI; use pin-source=file:PATH, or give it in code")
}

fn unknown() -> ProviderError {
    wrong(
        "the pkcs11: URI holds an attribute that is not used here; token, serial, manufacturer, model, object, id, \
         type=secret-key, module-path and pin-source are",
    )
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(wrong("the pkcs11: URI names an attribute twice")),
    }
}

/// `name=value` parts, values decoded.
fn attributes(text: &str, between: char) -> Result<Vec<(&str, Vec<u8>)>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(between)
        .map(|part| {
            let (name, value) = part.split_once('=').ok_or_else(malformed)?;
            Ok((name, decoded(value)?))
        })
        .collect()
}

fn malformed() -> ProviderError {
    wrong(
        "the pkcs11: URI is not of the form of RFC 7512: pkcs11:token=T;object=K?module-path=/lib.so, odd characters as %20",
    )
}

/// Undoes percent-encoding. Only what RFC 7512 lets stand for itself does.
fn decoded(text: &str) -> Result<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next(), bytes.next()].map(|digit| digit.unwrap_or(b'%'));
                let mut value = [0];
                data_encoding::HEXLOWER_PERMISSIVE
                    .decode_mut(&digits, &mut value)
                    .map_err(|_| malformed())?;
                out.extend(value);
            }
            byte if byte.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=/|&".contains(&byte) => {
                out.push(byte);
            }
            _ => return Err(malformed()),
        }
    }
    Ok(out)
}

fn utf8(value: Vec<u8>) -> Result<String> {
    String::from_utf8(value)
        .ok()
        .filter(|text| !text.is_empty() && !text.contains('\0'))
        .ok_or_else(malformed)
}

fn absolute(path: String) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(wrong(
        "paths in a pkcs11: URI are absolute, so that the working folder never decides what is loaded",
    ))
}

/// RFC 8089's forms of a local file: `file:/path` and `file:///path`. Commands (`|…`) are not run.
fn pin_file(source: String) -> Result<PathBuf> {
    let path = source
        .strip_prefix("file:")
        .ok_or_else(|| wrong("pin-source= is file:PATH here; commands are not run"))?;
    let path = path.strip_prefix("//").unwrap_or(path);
    absolute(path.to_owned())
}

#[cfg(test)]
mod tests;
