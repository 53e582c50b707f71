//! `mediaforge serve`
#![expect(clippy::doc_markdown, reason = "these doc comments are help texts")]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Exit, Failure, Invocation, output};
use crate::{
    app::{self, Addresses},
    config::{Flag, Loaded, Roles},
    lifecycle::Shutdown,
    telemetry::{self, Look},
};

/// The default address of the gateway.
const DEFAULT_GATEWAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Run the system: the gateway, the worker, or both in one process
///
/// Without ROLE, one process does everything. `serve gateway` and `serve worker` are two processes on one machine with
/// the same --data-dir. At the first Ctrl-C or SIGTERM the process accepts no further work, gives running work time to
/// finish (worker.drain), hands back the rest and exits. A second signal ends it at once. Nothing is lost: the leases
/// lapse and the next worker takes over.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mediaforge serve
  mediaforge serve gateway --data-dir /var/lib/mediaforge
  mediaforge serve worker  --data-dir /var/lib/mediaforge
  mediaforge serve --gateway-listen 127.0.0.1:0 --worker-listen 127.0.0.1:0 --ready-file ready.json

Exit codes: 0 stopped by a signal, 1 failure, 2 wrong usage or configuration, 130 or 143 ended at once by a second signal.")]
pub(super) struct ServeArgs {
    /// The role of this process [default: both]
    role: Option<Role>,
    /// Write {"gateway":"http://...","worker":"http://...","pid":N} to FILE as soon as everything listens
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ready_file: Option<PathBuf>,
    /// Address of the gateway; port 0 picks a free one [env: MEDIAFORGE_GATEWAY__LISTEN, PORT] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    gateway_listen: Option<SocketAddr>,
    /// Address of the worker; port 0 picks a free one [env: MEDIAFORGE_WORKER__LISTEN] [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR:PORT")]
    worker_listen: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Accept jobs over HTTP
    Gateway,
    /// Run jobs
    Worker,
}

impl Role {
    /// Both roles if none is named.
    pub(super) fn roles(role: Option<Self>) -> Roles {
        match role {
            None => Roles::ALL,
            Some(Self::Gateway) => Roles::GATEWAY,
            Some(Self::Worker) => Roles::WORKER,
        }
    }
}

pub(super) async fn run(args: ServeArgs, invocation: &Invocation) -> anyhow::Result<Exit> {
    let roles = Role::roles(args.role);
    let loaded = invocation.load(Some(roles), flags(&args, roles)?)?;
    let look = telemetry::init(&loaded.config.telemetry, &invocation.environment)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    if let Some(file) = &args.ready_file {
        // A file from an earlier run would give a waiting process the wrong address.
        remove(file)?;
    }

    let shutdown = Shutdown::new();
    // In its own task, so that signals also work while the roles start.
    let second_signal = tokio::spawn(shutdown.on_signals().context("cannot listen for signals")?);
    let ended = tokio::select! {
        ended = serve(&args, look, &loaded, roles, shutdown) => ended.map(|()| Exit::Done),
        signal = second_signal => signal.map(|signal| Exit::Signal(signal.exit_code())).context("cannot listen for signals"),
    };
    if let Some(file) = &args.ready_file {
        remove(file)?;
    }
    match ended {
        // In a JSON log, the error must be a JSON line too.
        Err(error) if look == Look::Json => {
            tracing::error!("{error:#}");
            Ok(super::exit_of(&error))
        }
        ended => ended,
    }
}

async fn serve(args: &ServeArgs, look: Look, loaded: &Loaded, roles: Roles, shutdown: Shutdown) -> anyhow::Result<()> {
    let running = app::start(&loaded.config, roles, shutdown).await.context("cannot start")?;
    if let Some(file) = &args.ready_file {
        write_ready_file(file, &running.addresses)?;
    }
    announce(look, loaded, &running.addresses)?;
    running.wait().await.context("did not stop cleanly")
}

fn flags(args: &ServeArgs, roles: Roles) -> Result<Vec<Flag>, Failure> {
    let listen = [
        (args.gateway_listen, roles.gateway, "--gateway-listen", "gateway.listen"),
        (args.worker_listen, roles.worker, "--worker-listen", "worker.listen"),
    ];
    let mut flags = Vec::new();
    for (address, runs, name, key) in listen {
        let Some(address) = address else { continue };
        if !runs {
            let message = format!("{name} is the address of a role that this process does not run");
            return Err(
                Failure::new(Exit::Usage, message).hint(format!("leave out {name}, or leave out ROLE to run both"))
            );
        }
        flags.push(Flag { name, key, value: address.to_string() });
    }
    Ok(flags)
}

fn remove(file: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the ready file {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a temporary file and renames it, so that a waiting process never reads half a file.
fn write_ready_file(file: &Path, addresses: &Addresses) -> anyhow::Result<()> {
    let mut ready = json!({ "pid": std::process::id() });
    for (role, url) in [("gateway", &addresses.gateway), ("worker", &addresses.worker)] {
        if let Some(url) = url {
            ready[role] = url.as_str().into();
        }
    }
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    std::fs::write(&temporary, ready.to_string())
        .and_then(|()| std::fs::rename(&temporary, file))
        .with_context(|| format!("cannot write the ready file {}", file.display()))
}

/// Prints a welcome text, or one line in a JSON log.
fn announce(look: Look, loaded: &Loaded, addresses: &Addresses) -> anyhow::Result<()> {
    let (gateway, worker) = (addresses.gateway.as_deref(), addresses.worker.as_deref());
    match look {
        Look::Json => {
            let data_dir = addresses.data_dir.display();
            tracing::info!(gateway, worker, %data_dir, profile = loaded.profile.name(), "listening");
        }
        Look::Text => output::line(welcome(&program(), loaded, addresses))?,
    }
    Ok(())
}

/// This program as the user called it, because after `cargo run` it is not on the search path.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "mediaforge".into())
}

fn welcome(program: &str, loaded: &Loaded, addresses: &Addresses) -> String {
    const BOLD: &str = "\u{1b}[1m";
    const RESET: &str = "\u{1b}[0m";
    let version = env!("CARGO_PKG_VERSION");
    let mut lines = vec![format!("{BOLD}MediaForge {version}{RESET} (profile {})", loaded.profile), String::new()];
    if let Some(gateway) = &addresses.gateway {
        lines.push(format!("  Gateway   {gateway}"));
        lines.push(format!("  API docs  {gateway}/docs"));
    }
    if let Some(worker) = &addresses.worker {
        lines.push(format!("  Worker    {worker}"));
    }
    lines.push(format!("  Data      {}", addresses.data_dir.display()));
    if let Some(gateway) = &addresses.gateway {
        // `generate` finds only the default address by itself.
        let url = match loaded.config.gateway.listen {
            listen if listen == DEFAULT_GATEWAY => String::new(),
            _ => format!(" --url {gateway}"),
        };
        lines.extend([
            String::new(),
            "Try it:".into(),
            format!("  {program} generate \"a lighthouse at dawn\"{url}"),
            format!("  curl {gateway}/generate -H 'Content-Type: application/json' \\"),
            r#"    -d '{"userId":"local","prompt":"a lighthouse at dawn","width":1536,"height":1024}'"#.into(),
        ]);
    }
    lines.extend([String::new(), "Press Ctrl-C to stop.".into()]);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(dir: &Path) -> Addresses {
        Addresses { gateway: Some("http://127.0.0.1:8080".into()), worker: None, data_dir: dir.to_owned() }
    }

    #[test]
    fn the_ready_file_names_only_what_runs_and_replaces_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ready.json");
        std::fs::write(&file, "old").unwrap();
        write_ready_file(&file, &addresses(dir.path())).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(ready, json!({ "gateway": "http://127.0.0.1:8080", "pid": std::process::id() }));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
        remove(&file).unwrap();
        remove(&file).unwrap();
    }

    #[test]
    fn an_address_of_a_role_that_does_not_run_is_refused() {
        let args = ServeArgs {
            role: Some(Role::Worker),
            ready_file: None,
            gateway_listen: Some("127.0.0.1:1".parse().unwrap()),
            worker_listen: Some("127.0.0.1:2".parse().unwrap()),
        };
        assert_eq!(flags(&args, Roles::WORKER).unwrap_err().exit, Exit::Usage);
        let both = flags(&args, Roles::ALL).unwrap();
        assert_eq!(both.iter().map(|flag| flag.name).collect::<Vec<_>>(), ["--gateway-listen", "--worker-listen"]);
    }

    #[test]
    fn the_welcome_shows_where_to_go() {
        let environment = crate::config::Environment::of([]).with_user_data_dir("/data");
        let loaded = crate::config::load(&crate::config::Sources { environment, ..Default::default() }).unwrap();
        let text = welcome("mediaforge", &loaded, &addresses(Path::new("/data")));
        for part in [
            "http://127.0.0.1:8080/docs",
            "/data",
            "curl http://127.0.0.1:8080/generate",
            "mediaforge generate \"a lighthouse at dawn\"\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
