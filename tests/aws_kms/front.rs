//! What stands before a service: it counts the calls, and can answer in its place or not at all.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

#[derive(Clone, Debug)]
pub enum Mode {
    /// The service answers.
    Pass,
    /// Nobody answers, until the mode changes: then the service does.
    Hang,
    /// The connection is closed without an answer.
    Cut,
    /// The service's answer stops after so many bytes, and the connection is closed.
    Half(usize),
    /// The service's answer stops after so many bytes, and the connection stays.
    Stall(usize),
    /// Bytes of our own.
    Answer(Vec<u8>),
}

struct Shared {
    upstream: SocketAddr,
    mode: Mutex<Mode>,
    changed: Condvar,
    calls: Mutex<Vec<String>>,
    /// Hanging calls, and those of them that the client gave up.
    hanging: Mutex<(usize, usize)>,
    hangs: Condvar,
}

pub struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Front {
    pub fn of(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            mode: Mutex::new(Mode::Pass),
            changed: Condvar::new(),
            calls: Mutex::default(),
            hanging: Mutex::default(),
            hangs: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepting);
                // A client that goes away in the middle is no error here.
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
        self.shared.changed.notify_all();
    }

    /// The operations that were called since the last time.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.calls.lock().unwrap())
    }

    /// Waits until so many calls hang.
    pub fn wait_for_hanging(&self, count: usize) {
        self.wait(|(hanging, _)| *hanging >= count);
    }

    /// Waits until the client gave up so many of the calls that hung.
    pub fn wait_for_given_up(&self, count: usize) {
        self.wait(|(_, given_up)| *given_up >= count);
    }

    fn wait(&self, is_so: impl Fn(&(usize, usize)) -> bool) {
        let hanging = self.shared.hanging.lock().unwrap();
        let (hanging, waited) = self
            .shared
            .hangs
            .wait_timeout_while(hanging, Duration::from_secs(60), |state| !is_so(state))
            .unwrap();
        assert!(!waited.timed_out(), "{hanging:?}");
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> Option<()> {
        let request = message(&mut client)?;
        let operation = match header(&request, "x-amz-target") {
            Some(target) => target.rsplit('.').next()?.to_owned(),
            // STS: in the form that is sent.
            None => {
                let text = String::from_utf8_lossy(&request);
                let (_, action) = text.split_once("Action=")?;
                action.split('&').next()?.to_owned()
            }
        };
        self.calls.lock().unwrap().push(operation);
        let mode = self.mode.lock().unwrap().clone();
        match mode {
            Mode::Pass => client.write_all(&self.ask(&request)?).ok(),
            Mode::Hang => self.hang(client, &request),
            Mode::Cut => None,
            Mode::Half(bytes) => client.write_all(self.ask(&request)?.get(..bytes)?).ok(),
            Mode::Stall(bytes) => {
                client.write_all(self.ask(&request)?.get(..bytes)?).ok()?;
                // Until the client goes.
                client.read(&mut [0]).map(drop).ok()
            }
            Mode::Answer(bytes) => client.write_all(&bytes).ok(),
        }
    }

    fn hang(&self, mut client: TcpStream, request: &[u8]) -> Option<()> {
        self.hanging.lock().unwrap().0 += 1;
        self.hangs.notify_all();
        client
            .set_read_timeout(Some(Duration::from_millis(20)))
            .ok()?;
        loop {
            let mode = self.mode.lock().unwrap();
            let (mode, _) = self
                .changed
                .wait_timeout(mode, Duration::from_millis(5))
                .unwrap();
            if !matches!(*mode, Mode::Hang) {
                drop(mode);
                return client.write_all(&self.ask(request)?).ok();
            }
            drop(mode);
            // The end of its stream, or a reset: it is gone.
            let gone = match client.read(&mut [0]) {
                Ok(read) => read == 0,
                Err(error) => !matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ),
            };
            if gone {
                self.hanging.lock().unwrap().1 += 1;
                self.hangs.notify_all();
                return None;
            }
        }
    }

    fn ask(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut service = TcpStream::connect(self.upstream).ok()?;
        service.write_all(request).ok()?;
        message(&mut service)
    }
}

/// A request or an answer, whole.
pub fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let length = header(&bytes[..head + 4], "content-length");
            let body = length.map_or(Some(0), |length| length.parse().ok())?;
            if bytes.len() >= head + 4 + body {
                return Some(bytes);
            }
        }
        let read = stream.read(&mut buffer).ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn header(message: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(message);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let headers: HashMap<_, _> = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    headers.get(name).cloned()
}
