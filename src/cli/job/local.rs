//! Which gateway to ask: a named one, the one on this machine, or one inside this process for this one job.

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

/// A gateway on this machine answers at once or not at all.
const PROBE: Duration = Duration::from_secs(2);

/// The gateway that this command talks to.
pub(super) enum Service {
    /// Runs elsewhere.
    Running(url::Url),
    /// Runs in this process.
    Embedded { url: url::Url, shutdown: Shutdown, ended: JoinHandle<Result<(), AppError>>, alive: watch::Receiver<()> },
}

impl Service {
    /// The gateway that `url` names, else the one on this machine, else one in this process.
    pub(super) async fn find(url: Option<&url::Url>, invocation: &Invocation) -> anyhow::Result<Self> {
        let named = url.cloned().map_or_else(
            || invocation.environment.get("MEDIAFORGE_URL").map(str::parse).transpose(),
            |url| Ok(Some(url)),
        );
        let named = named.map_err(|error| Failure::new(Exit::Usage, format!("MEDIAFORGE_URL is no URL: {error}")))?;
        if let Some(url) = named {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(Failure::new(Exit::Usage, format!("{url} is no http:// or https:// address")).into());
            }
            return Ok(Self::Running(url));
        }
        let loaded = invocation.load(None, Vec::new())?;
        let url = local_url(loaded.config.gateway.listen)?;
        if is_gateway(&url).await? {
            return Ok(Self::Running(url));
        }
        let data = loaded.config.data_dir.display();
        output::note(format!("no gateway answers at {url}; running one here for this job, with its data in {data}"));
        Self::embedded(loaded, invocation).await
    }

    async fn embedded(loaded: Loaded, invocation: &Invocation) -> anyhow::Result<Self> {
        let mut config = loaded.config;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        (config.gateway.listen, config.worker.listen) = (free, free);
        // The addresses that others would use are not this process's.
        (config.gateway.public_url, config.queue.embedded.push_url) = (None, None);
        // The job's end is this command's to tell; only what is broken is worth a line.
        config.telemetry.filter = "error".into();
        telemetry::init(&config.telemetry, &invocation.environment)
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;

        let shutdown = Shutdown::new();
        let running = app::start(&config, Roles::ALL, shutdown.clone()).await.context("cannot run the system here")?;
        let url = running.addresses.gateway.as_deref().context("the system here has no gateway")?;
        let url = url.parse().with_context(|| format!("the gateway here has the address {url:?}"))?;
        let (alive_until_dropped, alive) = watch::channel(());
        let ended = tokio::spawn(async move {
            let ended = running.wait().await;
            drop(alive_until_dropped);
            ended
        });
        Ok(Self::Embedded { url, shutdown, ended, alive })
    }

    /// What becomes of a job that this command no longer waits for.
    pub(super) fn afterwards(&self) -> &'static str {
        match self {
            Self::Running(_) => "the job goes on",
            Self::Embedded { .. } => "the job goes on with the next `serve` or other command on this data directory",
        }
    }

    /// Whether the gateway stays when this command ends.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    pub(super) fn url(&self) -> &url::Url {
        match self {
            Self::Running(url) | Self::Embedded { url, .. } => url,
        }
    }

    /// Resolves when the gateway in this process ends by itself, which it should not.
    pub(super) async fn failed(&self) -> anyhow::Error {
        match self {
            Self::Running(_) => std::future::pending().await,
            Self::Embedded { alive, .. } => {
                // An error is the end of the sender: nothing is ever sent.
                let _ = alive.clone().changed().await;
                anyhow::anyhow!("the system here ended before the job did")
            }
        }
    }

    /// Drains what runs in this process, or hands it back `at_once`; a job that is not done goes on with the next one on
    /// its data directory.
    pub(super) async fn stop(self, at_once: bool) -> anyhow::Result<()> {
        let Self::Embedded { shutdown, ended, .. } = self else { return Ok(()) };
        if at_once {
            shutdown.force();
        } else {
            shutdown.request();
        }
        ended.await.context("the system here crashed")?.context("the system here did not end well")
    }
}

/// Where a client on this machine finds what listens on `listen`.
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

/// Whether a gateway of ours answers there. Other programs like port 8080 too, and must not get somebody's prompt.
async fn is_gateway(url: &url::Url) -> anyhow::Result<bool> {
    #[derive(Deserialize)]
    struct Health {
        service: String,
    }
    if url.port() == Some(0) {
        return Ok(false);
    }
    let client = api::client(url, None).context("cannot set up HTTP")?;
    let answer = async { client.get(url.join("health").ok()?).send().await.ok()?.json::<Health>().await.ok() };
    let health = tokio::time::timeout(PROBE, answer).await.ok().flatten();
    Ok(health.is_some_and(|health| health.service == "gateway"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_everybody_is_reached_at_home() {
        assert_eq!(local_url("0.0.0.0:8080".parse().unwrap()).unwrap().as_str(), "http://127.0.0.1:8080/");
        assert_eq!(local_url("[::]:81".parse().unwrap()).unwrap().as_str(), "http://[::1]:81/");
        assert_eq!(local_url("10.0.0.7:81".parse().unwrap()).unwrap().as_str(), "http://10.0.0.7:81/");
    }
}
