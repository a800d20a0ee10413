//! Requests and answers.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use ureq::http::{HeaderMap, HeaderValue, Request};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy};
use zeroize::Zeroizing;

use super::Result;
use super::credentials::Token;
use super::failure::{Refusal, misconfigured, not_vault};
use crate::provider::{ProviderError, ProviderErrorKind};

/// No answer that is asked for comes near.
const LONGEST_ANSWER: usize = 64 << 10;
const LONGEST_CA: u64 = 1 << 20;

#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    origin: String,
    namespace: Option<(String, HeaderValue)>,
}

/// What a service answered, wiped.
pub(super) struct Body(Zeroizing<Vec<u8>>);

impl Body {
    pub(super) fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        // The parser's error holds no part of the text, but its place and what was expected say nothing here.
        serde_json::from_slice(&self.0).map_err(|_| not_vault())
    }
}

/// A question as it is sent. It may hold a secret id.
pub(super) fn body(question: &impl Serialize) -> Result<Zeroizing<Vec<u8>>> {
    // Room for the longest secret id and its escapes, so that it is not moved.
    let mut text = Zeroizing::new(Vec::with_capacity(32 << 10));
    serde_json::to_writer(&mut *text, question).map_err(|error| {
        misconfigured("the request to Vault can not be written").with_source(error)
    })?;
    Ok(text)
}

impl Client {
    pub(super) fn new(origin: &str, namespace: Option<&str>, ca: Option<&Path>) -> Result<Self> {
        let roots = match ca {
            Some(path) => certificates(path)?,
            None => RootCerts::WebPki,
        };
        let config = Agent::config_builder()
            .https_only(origin.starts_with("https://"))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            // A token goes to the server that was named, and to no other.
            .proxy(None::<Proxy>)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            // A kept connection may have ended meanwhile, and a request over it fails for nothing.
            .max_idle_connections(0)
            .user_agent("sealed-store")
            .build();
        let namespace = namespace
            .map(|name| Ok((name.to_owned(), HeaderValue::from_str(name)?)))
            .transpose()
            .map_err(|_: ureq::http::header::InvalidHeaderValue| {
                misconfigured("the namespace is not one that a header can carry")
            })?;
        Ok(Self {
            agent: config.into(),
            origin: origin.to_owned(),
            namespace,
        })
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_ref().map(|(name, _)| name.as_str())
    }

    /// Sends one request, and reads an answer that says that it was granted.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&Token>,
        question: Option<&Zeroizing<Vec<u8>>>,
        deadline: Instant,
    ) -> std::result::Result<Body, Refusal> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Refusal::late());
        }
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.origin))
            .header("X-Vault-Request", "true");
        if let Some((_, namespace)) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose_secret())
                .map_err(|error| Refusal::Transport(ureq::Error::Http(error.into())))?;
            value.set_sensitive(true);
            request = request.header("X-Vault-Token", value);
        }
        let response = match question {
            Some(question) => self.run(
                request
                    .header("Content-Type", "application/json")
                    .body(question.as_slice()),
                left,
            ),
            None => self.run(request.body(()), left),
        };
        let (parts, mut body) = response.map_err(Refusal::Transport)?.into_parts();
        // One allocation, which holds the longest answer.
        let mut content = Zeroizing::new(Vec::with_capacity(LONGEST_ANSWER + 1));
        body.as_reader()
            .take(LONGEST_ANSWER as u64 + 1)
            .read_to_end(&mut content)
            .map_err(|error| Refusal::Transport(error.into()))?;
        if content.len() > LONGEST_ANSWER {
            return Err(Refusal::Transport(ureq::Error::BodyExceedsLimit(
                LONGEST_ANSWER as u64,
            )));
        }
        if parts.status.as_u16() == 200 {
            return Ok(Body(content));
        }
        Err(Refusal::Answer {
            status: parts.status.as_u16(),
            retry_after: retry_after(&parts.headers),
            errors: errors(&content),
        })
    }

    fn run(
        &self,
        request: std::result::Result<Request<impl ureq::AsSendBody>, ureq::http::Error>,
        left: Duration,
    ) -> std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let request = self
            .agent
            .configure_request(request?)
            .timeout_global(Some(left))
            .build();
        self.agent.run(request)
    }
}

/// The service's own words, if it is Vault that speaks.
fn errors(content: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        errors: Vec<String>,
    }
    let said: Said = serde_json::from_slice(content).ok()?;
    Some(said.errors.join("\n"))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u32 = headers.get("Retry-After")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

fn certificates(path: &Path) -> Result<RootCerts> {
    let unreadable = |error: std::io::Error| {
        ProviderError::new(
            ProviderErrorKind::Unavailable,
            "the file of the Vault server's CA can not be read; check its path and rights",
        )
        .with_source(error)
    };
    let wrong = || misconfigured("ca must be a regular file with PEM certificates");
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(wrong());
    }
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .map_err(unreadable)?
        .take(LONGEST_CA)
        .read_to_end(&mut pem)
        .map_err(unreadable)?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            // A private key has no place in it.
            _ => return Err(wrong()),
        }
    }
    if certificates.is_empty() {
        return Err(wrong());
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}
