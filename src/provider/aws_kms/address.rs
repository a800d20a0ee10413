//! Which key, and where it is reached: a strict reading of the URI.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::KEY;
use super::errors::error;
use crate::provider::{Fields, ProviderError, ProviderErrorKind};

/// No ARN and no endpoint is longer, in bytes.
const LONGEST: usize = 512;

pub(super) struct Address {
    arn: String,
    region: String,
    endpoint: Option<String>,
}

impl Address {
    pub(super) fn parse(uri: &str) -> Result<Self, ProviderError> {
        let rest = uri.strip_prefix("awskms:").ok_or_else(no_uri)?;
        if rest.len() > 2 * LONGEST {
            return Err(no_uri());
        }
        let (arn, query) = match rest.split_once('?') {
            Some((arn, query)) => (arn, Some(query)),
            None => (rest, None),
        };
        let region = region_of(arn).ok_or_else(no_arn)?.to_owned();
        let endpoint = match query {
            None => None,
            Some(query) => Some(endpoint_of(query).ok_or_else(no_endpoint)?.to_owned()),
        };
        Ok(Self {
            arn: arn.to_owned(),
            region,
            endpoint,
        })
    }

    /// The key that a reference names; it has no endpoint of its own.
    pub(super) fn of(reference: &Fields) -> Result<Self, ProviderError> {
        let only = reference.get(KEY).filter(|_| reference.len() == 1);
        let (arn, region) = only
            .and_then(|arn| Some((arn, region_of(arn)?)))
            .ok_or_else(no_arn)?;
        Ok(Self {
            arn: arn.clone(),
            region: region.to_owned(),
            endpoint: None,
        })
    }

    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    pub(super) fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }
}

/// The region of `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`, if it is exactly that.
fn region_of(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    let mut next = || parts.next();
    let (scheme, partition, service) = (next()?, next()?, next()?);
    let (region, account, resource) = (next()?, next()?, next()?);
    let id = resource.strip_prefix("key/")?;
    let fits = scheme == "arn"
        && (partition == "aws" || partition.starts_with("aws-"))
        && is_name(partition)
        && service == "kms"
        && is_name(region)
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && is_key_id(id)
        && next().is_none();
    fits.then_some(region)
}

/// A word of an ARN.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(plain)
}

/// A UUID in its usual form, or `mrk-` and 32 digits.
fn is_key_id(id: &str) -> bool {
    let digits = |text: &str, count: usize| {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.len() == count && text.bytes().all(digit)
    };
    if let Some(rest) = id.strip_prefix("mrk-") {
        return digits(rest, 32);
    }
    let mut parts = id.split('-');
    [8, 4, 4, 4, 12]
        .into_iter()
        .all(|count| parts.next().is_some_and(|part| digits(part, count)))
        && parts.next().is_none()
}

/// The endpoint in `endpoint=URL`, if there is nothing else.
fn endpoint_of(query: &str) -> Option<&str> {
    let url = query.strip_prefix("endpoint=")?;
    let (is_encrypted, authority) = if let Some(rest) = url.strip_prefix("https://") {
        (true, rest)
    } else {
        (false, url.strip_prefix("http://")?)
    };
    let (host, port) = if authority.starts_with('[') {
        let (host, port) = authority.split_once(']')?;
        (host.strip_prefix('[')?, port)
    } else {
        authority.split_at(authority.find(':').unwrap_or(authority.len()))
    };
    let is_here = if authority.starts_with('[') {
        host.parse::<Ipv6Addr>().ok()?.is_loopback()
    } else if let Ok(address) = host.parse::<Ipv4Addr>() {
        address.is_loopback()
    } else {
        is_host(host).then_some(host == "localhost")?
    };
    (is_port(port) && (is_encrypted || is_here)).then_some(url)
}

/// Labels of letters, digits and hyphens, between dots.
fn is_host(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits alone is an IPv4 address in one of its odd spellings.
    let is_numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    host.len() <= 253
        && host.split('.').all(label)
        && !host.rsplit('.').next().is_some_and(is_numeric)
}

/// Nothing, or `:` and a port.
fn is_port(port: &str) -> bool {
    let Some(digits) = port.strip_prefix(':') else {
        return port.is_empty();
    };
    digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits.parse::<u16>().is_ok_and(|port| port != 0)
}

fn no_uri() -> ProviderError {
    error(
        ProviderErrorKind::BadRequest,
        "a KMS key is configured as awskms:ARN, or awskms:ARN?endpoint=URL",
    )
}

fn no_arn() -> ProviderError {
    error(
        ProviderErrorKind::BadRequest,
        "a KMS key is named by its ARN, arn:aws:kms:REGION:ACCOUNT:key/ID; an alias, a key id alone or a pattern is not taken",
    )
}

fn no_endpoint() -> ProviderError {
    error(
        ProviderErrorKind::BadRequest,
        "the only parameter is endpoint=https://HOST or https://HOST:PORT; http is for this machine only, and credentials are found by the SDK",
    )
}
