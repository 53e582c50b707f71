//! An address that stays while the process behind it comes and goes, as that of a Cloud Run service does.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

/// Passes connections on. Dropping it closes the address.
pub struct Front {
    address: SocketAddr,
    behind: watch::Sender<Option<SocketAddr>>,
    accepting: AbortHandle,
}

impl Front {
    /// One with nothing behind it: connections are closed at once.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (behind, current) = watch::channel(None);
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let Some(behind) = *current.borrow() else { continue };
                tokio::spawn(async move {
                    // Whatever ends either side ends both.
                    if let Ok(mut server) = TcpStream::connect::<SocketAddr>(behind).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { address, behind, accepting: accepting.abort_handle() }
    }

    /// As `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where new connections lead from now on.
    pub fn lead_to(&self, url: &str) {
        let address = url.strip_prefix("http://").and_then(|address| address.parse().ok()).expect("an address");
        self.behind.send_replace(Some(address));
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
