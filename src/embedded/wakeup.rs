//! Tells the other process that there is something new in the database, and hears it.
//!
//! Each process binds a datagram socket in the data directory; after a commit the writer sends one byte to the others.
//! A byte says no more than "look": losing one costs a quarter of a second, because everybody also looks at SQLite's
//! commit counter four times a second. Where a socket cannot be bound (a path over 108 bytes, Windows), that look is
//! all there is.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

#[cfg(unix)]
use std::os::unix::net::UnixDatagram as Socket;

use super::{Signals, writer::WakeHandle};

/// How often to look without having been woken for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often to look for new processes to ring for.
const SCAN_EVERY: Duration = Duration::from_secs(1);
const PREFIX: &str = "wakeup-";
const SUFFIX: &str = ".sock";

/// Tells the handles of one process apart (tests open several).
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A socket that never exists, where the platform has none.
#[cfg(not(unix))]
#[derive(Debug)]
struct Socket(std::convert::Infallible);

/// This process's wakeup; dropping it takes it down.
#[derive(Debug)]
pub(super) struct WakeupListener {
    directory: PathBuf,
    path: PathBuf,
    socket: Option<Arc<Socket>>,
    signals: Arc<Signals>,
    stop: Arc<AtomicBool>,
}

impl WakeupListener {
    /// Binds the socket if that is possible.
    pub(super) fn bind(directory: &Path, signals: Arc<Signals>) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id()));
        let socket = bind(&path).inspect_err(|error| {
            tracing::debug!(path = %path.display(), error = %error, "no wakeup here; looking four times a second");
        });
        let stop = Arc::new(AtomicBool::new(false));
        Self { directory: directory.to_owned(), path, socket: socket.ok().map(Arc::new), signals, stop }
    }

    /// Starts the thread that listens and looks.
    pub(super) fn listen(&self, wake_handle: WakeHandle) -> io::Result<()> {
        let (socket, signals, stop) = (self.socket.clone(), Arc::clone(&self.signals), Arc::clone(&self.stop));
        thread::Builder::new().name("embedded-wakeup".to_owned()).spawn(move || {
            let mut looked = Instant::now();
            while !stop.load(Ordering::Acquire) {
                if rang(socket.as_deref()) {
                    signals.foreign.send_modify(|count| *count += 1);
                }
                if looked.elapsed() >= LOOK_EVERY {
                    looked = Instant::now();
                    wake_handle.wake();
                }
            }
        })?;
        Ok(())
    }

    /// What the writer rings the others with.
    pub(super) fn notifier(&self) -> Notifier {
        let (directory, own) = (self.directory.clone(), self.path.clone());
        Notifier { directory, own, voice: voice(), others: Vec::new(), scanned: None }
    }
}

impl Drop for WakeupListener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if self.socket.is_some() {
            // Ends the listener's wait at once. It holds nothing that anybody waits for, so nobody joins it.
            if let Some(voice) = voice() {
                let _ = send(&voice, &self.path);
            }
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Rings at the other processes' doors.
#[derive(Debug)]
pub(super) struct Notifier {
    directory: PathBuf,
    own: PathBuf,
    voice: Option<Socket>,
    others: Vec<PathBuf>,
    scanned: Option<Instant>,
}

impl Notifier {
    /// Never blocks: a full socket buffer means that they will wake anyway.
    pub(super) fn notify(&mut self) {
        let Some(voice) = &self.voice else { return };
        if self.scanned.is_none_or(|at| at.elapsed() >= SCAN_EVERY) {
            self.others = doors(&self.directory, &self.own);
            self.scanned = Some(Instant::now());
        }
        self.others.retain(|door| match send(voice, door) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Left behind by a process that was killed: nobody listens there, and nobody will.
                let _ = fs::remove_file(door);
                false
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            _ => true,
        });
    }
}

fn doors(directory: &Path, own: &Path) -> Vec<PathBuf> {
    let is_door = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(PREFIX) && name.ends_with(SUFFIX) && path != own
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_door).collect()
}

#[cfg(unix)]
fn bind(path: &Path) -> io::Result<Socket> {
    // A process id can come back; a file of that name is then a dead process's.
    let _ = fs::remove_file(path);
    let socket = Socket::bind(path)?;
    socket.set_read_timeout(Some(LOOK_EVERY))?;
    Ok(socket)
}

#[cfg(unix)]
fn voice() -> Option<Socket> {
    let socket = Socket::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

#[cfg(unix)]
fn send(voice: &Socket, door: &Path) -> io::Result<usize> {
    voice.send_to(&[1], door)
}

/// Waits for the wakeup, a quarter of a second at most.
#[cfg(unix)]
fn rang(socket: Option<&Socket>) -> bool {
    let Some(socket) = socket else {
        thread::sleep(LOOK_EVERY);
        return false;
    };
    match socket.recv(&mut [0; 8]) {
        Ok(_) => true,
        Err(error) => {
            if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
                // Whatever it is, it must not become a busy loop.
                thread::sleep(LOOK_EVERY);
            }
            false
        }
    }
}

#[cfg(not(unix))]
fn bind(_path: &Path) -> io::Result<Socket> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
fn voice() -> Option<Socket> {
    None
}

#[cfg(not(unix))]
fn send(voice: &Socket, _door: &Path) -> io::Result<usize> {
    match voice.0 {}
}

#[cfg(not(unix))]
fn rang(_socket: Option<&Socket>) -> bool {
    thread::sleep(LOOK_EVERY);
    false
}
