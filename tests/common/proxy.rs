//! A TCP proxy on loopback that does harm where it is told to, for tests of network providers.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Which way the bytes go that a fault meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the service.
    Asking,
    /// From the service to the client.
    Answering,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Harm {
    /// The connection ends, both ways: half a question, half an answer, none at all.
    Cut,
    /// Nothing more goes this way, and the connection stays.
    Silence,
    /// Once, and then the rest goes on.
    Delay(Duration),
    /// Byte by byte from there on, with this pause before each.
    Trickle(Duration),
    /// One bit is turned, and the rest goes on.
    Flip,
    /// All bytes from there on are others.
    Garbage,
}

/// `harm` on connection number `connection` (from 0, since the fault was set; `None`: on each), after `after` bytes went `way`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    pub connection: Option<usize>,
    pub way: Way,
    pub after: usize,
    pub harm: Harm,
}

/// What went through a connection.
#[derive(Debug, Default, Clone)]
pub struct Traffic {
    pub asked: Vec<u8>,
    pub answered: Vec<u8>,
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    seen: Vec<Traffic>,
    /// Raised by each `set`: what was silenced or slowed before ends.
    round: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    /// Waits for a time, or until the fault is changed: then `false`.
    fn waited(&self, round: u64, time: Option<Duration>) -> bool {
        let state = self.state.lock().unwrap();
        let same = |state: &mut State| state.round == round;
        match time {
            None => {
                drop(self.changed.wait_while(state, same).unwrap());
                false
            }
            Some(time) => {
                let waited = self.changed.wait_timeout_while(state, time, same);
                waited.unwrap().1.timed_out()
            }
        }
    }
}

pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    pub fn to(service: SocketAddr) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), service)
    }

    /// As [`Proxy::to`], where a service wants a certain port.
    pub fn on(listener: TcpListener, service: SocketAddr) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let ended = Arc::new(AtomicBool::new(false));
        let (ours, over) = (Arc::clone(&shared), Arc::clone(&ended));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let shared = Arc::clone(&ours);
                let (number, round, fault) = {
                    let mut state = shared.state.lock().unwrap();
                    state.seen.push(Traffic::default());
                    (state.seen.len() - 1, state.round, state.fault)
                };
                let fault = fault.filter(|fault| fault.connection.is_none_or(|at| at == number));
                // A service that is not there is a connection that is cut.
                let Ok(server) = TcpStream::connect(service) else {
                    continue;
                };
                let _ = client.set_nodelay(true);
                let _ = server.set_nodelay(true);
                for (way, from, to) in [
                    (Way::Asking, &client, &server),
                    (Way::Answering, &server, &client),
                ] {
                    let pump = Pump {
                        from: from.try_clone().unwrap(),
                        to: to.try_clone().unwrap(),
                        way,
                        number,
                        round,
                        fault: fault.filter(|fault| fault.way == way),
                        shared: Arc::clone(&shared),
                    };
                    std::thread::spawn(move || pump.run());
                }
            }
        });
        Self {
            address,
            shared,
            ended,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The fault of connections from now on; what is held up by an earlier one is let go and cut.
    pub fn set(&self, fault: Option<Fault>) {
        let mut state = self.shared.state.lock().unwrap();
        state.fault = fault;
        state.seen.clear();
        state.round += 1;
        self.shared.changed.notify_all();
    }

    /// What went through, connection by connection, since the fault was set.
    pub fn seen(&self) -> Vec<Traffic> {
        self.shared.state.lock().unwrap().seen.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        self.set(None);
        let _ = TcpStream::connect(self.address);
    }
}

struct Pump {
    from: TcpStream,
    to: TcpStream,
    way: Way,
    number: usize,
    round: u64,
    fault: Option<Fault>,
    shared: Arc<Shared>,
}

impl Pump {
    fn run(mut self) {
        if self.pumped().is_none() {
            let _ = self.from.shutdown(Shutdown::Both);
            let _ = self.to.shutdown(Shutdown::Both);
        } else {
            let _ = self.to.shutdown(Shutdown::Write);
        }
    }

    /// `None` if the connection is to end both ways.
    fn pumped(&mut self) -> Option<()> {
        let mut done = 0;
        let mut buffer = [0; 16 << 10];
        let after = self.fault.map_or(usize::MAX, |fault| fault.after);
        if after == 0 {
            self.harm()?;
        }
        loop {
            let got = self.from.read(&mut buffer).ok()?;
            if got == 0 {
                return Some(());
            }
            let (clean, rest) = buffer[..got].split_at_mut(after.saturating_sub(done).min(got));
            self.pass(clean)?;
            if done < after && done + got >= after {
                self.harm()?;
            }
            done += got;
            self.meet(rest)?;
        }
    }

    /// Bytes that the fault has nothing to do with.
    fn pass(&mut self, bytes: &[u8]) -> Option<()> {
        if bytes.is_empty() {
            return Some(());
        }
        {
            let mut state = self.shared.state.lock().unwrap();
            if state.round == self.round
                && let Some(seen) = state.seen.get_mut(self.number)
            {
                match self.way {
                    Way::Asking => seen.asked.extend_from_slice(bytes),
                    Way::Answering => seen.answered.extend_from_slice(bytes),
                }
            }
        }
        self.to.write_all(bytes).ok()
    }

    /// The fault's place is reached.
    fn harm(&self) -> Option<()> {
        match self.fault?.harm {
            Harm::Cut => None,
            Harm::Silence => {
                self.shared.waited(self.round, None);
                None
            }
            Harm::Delay(time) => self.shared.waited(self.round, Some(time)).then_some(()),
            Harm::Trickle(_) | Harm::Flip | Harm::Garbage => Some(()),
        }
    }

    /// Bytes behind the fault's place.
    fn meet(&mut self, bytes: &mut [u8]) -> Option<()> {
        let Some(fault) = self.fault else {
            return self.pass(bytes);
        };
        match fault.harm {
            Harm::Flip => {
                if let Some(byte) = bytes.first_mut() {
                    *byte ^= 1;
                    self.fault = None;
                }
                self.pass(bytes)
            }
            Harm::Garbage => {
                for byte in &mut *bytes {
                    *byte ^= 0x55;
                }
                self.pass(bytes)
            }
            Harm::Trickle(pause) => {
                for byte in bytes.chunks(1) {
                    if !self.shared.waited(self.round, Some(pause)) {
                        return None;
                    }
                    self.pass(byte)?;
                }
                Some(())
            }
            _ => self.pass(bytes),
        }
    }
}
