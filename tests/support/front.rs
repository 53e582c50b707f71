//! A stable address in front of a process that restarts, like the address of a Cloud Run service.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

/// Forwards connections. Dropping it closes the address.
pub struct StableAddress {
    address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    accepting: AbortHandle,
}

impl StableAddress {
    /// Starts without a target: connections are closed immediately.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (target, current) = watch::channel(None);
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let Some(target) = *current.borrow() else { continue };
                tokio::spawn(async move {
                    // When one side closes, both are closed.
                    if let Ok(mut server) = TcpStream::connect::<SocketAddr>(target).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { address, target, accepting: accepting.abort_handle() }
    }

    /// As `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forwards new connections to `url` from now on.
    pub fn forward_to(&self, url: &str) {
        let address = url.strip_prefix("http://").and_then(|address| address.parse().ok()).expect("an address");
        self.target.send_replace(Some(address));
    }
}

impl Drop for StableAddress {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
