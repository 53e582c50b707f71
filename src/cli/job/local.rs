//! Finds the gateway: the one in --url, the one on this machine, or one started in this process for this one job.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use serde::Deserialize;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    super::{Exit, Failure, Invocation, output},
    api,
};
use crate::{
    app::{self, AppError, Roles},
    config::Loaded,
    lifecycle::Shutdown,
    telemetry,
};

/// A gateway on this machine answers within this time.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The gateway that this command uses.
pub(super) enum Service {
    /// Runs in another process.
    Running(url::Url),
    /// Runs in this process.
    Embedded { url: url::Url, shutdown: Shutdown, ended: JoinHandle<Result<(), AppError>>, alive: watch::Receiver<()> },
}

impl Service {
    /// Uses the gateway at `url`, else the one on this machine, else starts one in this process.
    pub(super) async fn find(url: Option<&url::Url>, invocation: &Invocation) -> anyhow::Result<Self> {
        let named = url.cloned().map_or_else(
            || invocation.environment.get("MEDIAFORGE_URL").map(str::parse).transpose(),
            |url| Ok(Some(url)),
        );
        let named =
            named.map_err(|error| Failure::new(Exit::Usage, format!("MEDIAFORGE_URL is not a URL: {error}")))?;
        if let Some(url) = named {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(Failure::new(Exit::Usage, format!("{url} must begin with http:// or https://")).into());
            }
            return Ok(Self::Running(url));
        }
        let loaded = invocation.load(None, Vec::new())?;
        let url = local_url(loaded.config.gateway.listen)?;
        if is_gateway(&url).await? {
            return Ok(Self::Running(url));
        }
        let data = loaded.config.data_dir.display();
        output::note(format!("no gateway answers at {url}; starting one for this job, with its data in {data}"));
        Self::embedded(loaded, invocation).await
    }

    async fn embedded(loaded: Loaded, invocation: &Invocation) -> anyhow::Result<Self> {
        let mut config = loaded.config;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        (config.gateway.listen, config.worker.listen) = (free, free);
        // These addresses lead to other processes.
        (config.gateway.public_url, config.queue.embedded.push_url) = (None, None);
        // The command itself reports how the job ends, so the log contains only errors.
        config.telemetry.filter = "error".into();
        telemetry::init(&config.telemetry, &invocation.environment)
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;

        let shutdown = Shutdown::new();
        let running =
            app::start(&config, Roles::ALL, shutdown.clone()).await.context("cannot start the embedded system")?;
        let url = running.addresses.gateway.as_deref().context("the embedded system has no gateway")?;
        let url = url.parse().with_context(|| format!("the embedded gateway has the address {url:?}"))?;
        let (alive_until_dropped, alive) = watch::channel(());
        let ended = tokio::spawn(async move {
            let ended = running.wait().await;
            drop(alive_until_dropped);
            ended
        });
        Ok(Self::Embedded { url, shutdown, ended, alive })
    }

    /// What happens to a job when this command stops waiting for it.
    pub(super) fn job_fate(&self) -> &'static str {
        match self {
            Self::Running(_) => "the job continues",
            Self::Embedded { .. } => "the job continues with the next `serve` or other command on this data directory",
        }
    }

    /// Whether the gateway continues to run when this command ends.
    pub(super) fn outlives_command(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    pub(super) fn url(&self) -> &url::Url {
        match self {
            Self::Running(url) | Self::Embedded { url, .. } => url,
        }
    }

    /// Resolves if the gateway in this process ends unexpectedly.
    pub(super) async fn failed(&self) -> anyhow::Error {
        match self {
            Self::Running(_) => std::future::pending().await,
            Self::Embedded { alive, .. } => {
                // Nothing is ever sent; an error means that the sender was dropped.
                let _ = alive.clone().changed().await;
                anyhow::anyhow!("the embedded system ended before the job")
            }
        }
    }

    /// Stops the system in this process. Running work may finish, or is handed back if `at_once`. An unfinished job
    /// continues with the next system on the data directory.
    pub(super) async fn stop(self, at_once: bool) -> anyhow::Result<()> {
        let Self::Embedded { shutdown, ended, .. } = self else { return Ok(()) };
        if at_once {
            shutdown.force();
        } else {
            shutdown.request();
        }
        ended.await.context("the embedded system crashed")?.context("the embedded system did not stop cleanly")
    }
}

/// The address at which a client on this machine reaches `listen`.
fn local_url(listen: SocketAddr) -> anyhow::Result<url::Url> {
    let mut reachable = listen;
    if listen.ip().is_unspecified() {
        reachable.set_ip(if listen.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    Ok(format!("http://{reachable}").parse()?)
}

/// Whether a MediaForge gateway answers at `url`. Other programs use port 8080 too, and they must not receive the prompt.
async fn is_gateway(url: &url::Url) -> anyhow::Result<bool> {
    #[derive(Deserialize)]
    struct Health {
        service: String,
    }
    if url.port() == Some(0) {
        return Ok(false);
    }
    let client = api::client(url, None).context("cannot create the HTTP client")?;
    let answer = async { client.get(url.join("health").ok()?).send().await.ok()?.json::<Health>().await.ok() };
    let health = tokio::time::timeout(PROBE_TIMEOUT, answer).await.ok().flatten();
    Ok(health.is_some_and(|health| health.service == "gateway"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_reached_by_loopback() {
        assert_eq!(local_url("0.0.0.0:8080".parse().unwrap()).unwrap().as_str(), "http://127.0.0.1:8080/");
        assert_eq!(local_url("[::]:81".parse().unwrap()).unwrap().as_str(), "http://[::1]:81/");
        assert_eq!(local_url("10.0.0.7:81".parse().unwrap()).unwrap().as_str(), "http://10.0.0.7:81/");
    }
}
