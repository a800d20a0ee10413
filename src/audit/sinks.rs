//! Where events can go without further code.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{AuditEvent, AuditSink};

/// Emits each event through `tracing`, target `sealed_store::audit`: refused rows and openings as
/// warnings, all else as information. The default sink.
#[derive(Debug, Default, Clone, Copy)]
pub struct TracingSink;

impl AuditSink for TracingSink {
    fn record(&self, event: &AuditEvent) {
        match event {
            AuditEvent::RowRefused { .. }
            | AuditEvent::OpenRefused { .. }
            | AuditEvent::DocumentRefused { .. }
            | AuditEvent::SlotRefused { .. }
            | AuditEvent::StoreRefused { .. }
            | AuditEvent::LeaseUnreachable { .. }
            | AuditEvent::LeaseEnded { .. }
            | AuditEvent::RootRotationDelayed { .. } => {
                tracing::warn!(target: "sealed_store::audit", ?event);
            }
            _ => tracing::info!(target: "sealed_store::audit", ?event),
        }
    }
}

/// Writes each event as one JSON object a line, with `time` in Unix seconds, and flushes it.
///
/// A failing writer never fails the operation that is recorded; [`JsonLinesSink::failures`] counts.
pub struct JsonLinesSink<W: Write + Send> {
    inner: Mutex<(W, u64)>,
}

#[derive(serde::Serialize)]
struct Line<'a> {
    time: u64,
    #[serde(flatten)]
    event: &'a AuditEvent,
}

impl<W: Write + Send> JsonLinesSink<W> {
    /// A sink that writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self {
            inner: Mutex::new((writer, 0)),
        }
    }

    /// How many events could not be written.
    pub fn failures(&self) -> u64 {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// The writer back.
    pub fn into_inner(self) -> W {
        self.inner
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

impl<W: Write + Send> AuditSink for JsonLinesSink<W> {
    fn record(&self, event: &AuditEvent) {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (writer, failures) = &mut *inner;
        let written = serde_json::to_vec(&Line { time, event })
            .map_err(std::io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                // One write a line: two writers on one file then never mix within a line.
                writer.write_all(&line)?;
                writer.flush()
            });
        if written.is_err() {
            *failures += 1;
        }
    }
}
