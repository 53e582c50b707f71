//! Wakes the other processes after a commit, and is woken by theirs.
//!
//! Each process binds a datagram socket in the data directory; after a commit the writer sends one byte to the others.
//! A byte only says that there may be a commit. Losing one costs a quarter of a second, because each process also reads
//! SQLite's commit counter four times a second. Where a socket cannot be bound (a path over 108 bytes, Windows), that
//! counter is the only way.

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

use super::CommitSignals;

/// How often to read the commit counter without a wakeup.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// How often to look for the sockets of new processes.
const SCAN_EVERY: Duration = Duration::from_secs(1);
const PREFIX: &str = "wakeup-";
const SUFFIX: &str = ".sock";

/// Tells the handles of one process apart (tests open several).
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Platforms without such sockets: this type has no value.
#[cfg(not(unix))]
#[derive(Debug)]
struct Socket(std::convert::Infallible);

/// The socket of this process. Dropping it removes the socket.
#[derive(Debug)]
pub(super) struct WakeupListener {
    directory: PathBuf,
    path: PathBuf,
    socket: Option<Arc<Socket>>,
    signals: Arc<CommitSignals>,
    stop: Arc<AtomicBool>,
}

impl WakeupListener {
    /// Binds the socket if that is possible.
    pub(super) fn bind(directory: &Path, signals: Arc<CommitSignals>) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id()));
        let socket = bind(&path).inspect_err(|error| {
            tracing::debug!(path = %path.display(), error = %error, "no wakeup socket; polling four times a second");
        });
        let stop = Arc::new(AtomicBool::new(false));
        Self { directory: directory.to_owned(), path, socket: socket.ok().map(Arc::new), signals, stop }
    }

    /// Starts the thread that waits for wakeups and polls; each poll calls `wake_writer`.
    pub(super) fn listen(&self, wake_writer: impl Fn() + Send + 'static) -> io::Result<()> {
        let (socket, signals, stop) = (self.socket.clone(), Arc::clone(&self.signals), Arc::clone(&self.stop));
        thread::Builder::new().name("embedded-wakeup".to_owned()).spawn(move || {
            let mut polled = Instant::now();
            while !stop.load(Ordering::Acquire) {
                if receive(socket.as_deref()) {
                    signals.foreign_commits.send_modify(|count| *count += 1);
                }
                if polled.elapsed() >= POLL_EVERY {
                    polled = Instant::now();
                    wake_writer();
                }
            }
        })?;
        Ok(())
    }

    /// The writer's means to wake the other processes.
    pub(super) fn notifier(&self) -> Notifier {
        let (directory, own) = (self.directory.clone(), self.path.clone());
        Notifier { directory, own, sender: sender(), others: Vec::new(), scanned: None }
    }
}

impl Drop for WakeupListener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if self.socket.is_some() {
            // Ends the thread's wait at once. Nothing depends on its end, so it is not joined.
            if let Some(sender) = sender() {
                let _ = send(&sender, &self.path);
            }
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Wakes the other processes by their sockets.
#[derive(Debug)]
pub(super) struct Notifier {
    directory: PathBuf,
    own: PathBuf,
    sender: Option<Socket>,
    others: Vec<PathBuf>,
    scanned: Option<Instant>,
}

impl Notifier {
    /// Never blocks: a process with a full socket buffer wakes anyway.
    pub(super) fn notify(&mut self) {
        let Some(sender) = &self.sender else { return };
        if self.scanned.is_none_or(|at| at.elapsed() >= SCAN_EVERY) {
            self.others = other_sockets(&self.directory, &self.own);
            self.scanned = Some(Instant::now());
        }
        self.others.retain(|socket| match send(sender, socket) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // The file of a process that was killed.
                let _ = fs::remove_file(socket);
                false
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            _ => true,
        });
    }
}

fn other_sockets(directory: &Path, own: &Path) -> Vec<PathBuf> {
    let is_socket = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(PREFIX) && name.ends_with(SUFFIX) && path != own
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_socket).collect()
}

#[cfg(unix)]
fn bind(path: &Path) -> io::Result<Socket> {
    // The system reuses process ids: a file of this name belongs to a dead process.
    let _ = fs::remove_file(path);
    let socket = Socket::bind(path)?;
    socket.set_read_timeout(Some(POLL_EVERY))?;
    Ok(socket)
}

#[cfg(unix)]
fn sender() -> Option<Socket> {
    let socket = Socket::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

#[cfg(unix)]
fn send(sender: &Socket, path: &Path) -> io::Result<usize> {
    sender.send_to(&[1], path)
}

/// Waits for a wakeup, a quarter of a second at most; returns whether one came.
#[cfg(unix)]
fn receive(socket: Option<&Socket>) -> bool {
    let Some(socket) = socket else {
        thread::sleep(POLL_EVERY);
        return false;
    };
    match socket.recv(&mut [0; 8]) {
        Ok(_) => true,
        Err(error) => {
            if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
                // An unknown error must not cause a busy loop.
                thread::sleep(POLL_EVERY);
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
fn sender() -> Option<Socket> {
    None
}

#[cfg(not(unix))]
fn send(sender: &Socket, _path: &Path) -> io::Result<usize> {
    match sender.0 {}
}

#[cfg(not(unix))]
fn receive(_socket: Option<&Socket>) -> bool {
    thread::sleep(POLL_EVERY);
    false
}
