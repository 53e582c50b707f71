//! Opens the listeners of the roles.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use super::AppError;

/// How many connections may wait to be accepted. With a shorter queue, a burst of clients has to retry after a second.
const BACKLOG: u32 = 4096;

/// A listener and its base URL for clients on this machine.
pub(super) struct Bound {
    pub listener: TcpListener,
    pub url: String,
}

/// Listens on `address`, which is configured under `key`.
pub(super) fn bind(address: SocketAddr, key: &'static str) -> Result<Bound, AppError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Otherwise closing connections of a previous process would keep the address in use.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener = listen().map_err(|source| AppError::Listen { address, key, source })?;
    let url = base_url(listener.local_addr().unwrap_or(address));
    Ok(Bound { listener, url })
}

fn base_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{address}")
}
