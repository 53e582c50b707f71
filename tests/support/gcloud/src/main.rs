//! The emulators as a program: prints the environment variables for clients, and runs until it is interrupted.

use std::{
    env,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use gcloud_emulator::Emulator;

const USAGE: &str = "usage: gcloud-emulator [--host ADDRESS] [--port PORT] [--speed FACTOR]

Serves Pub/Sub and Firestore in memory, gRPC and REST on one port.

  --host ADDRESS   127.0.0.1 unless set; 0.0.0.0 in a container
  --port PORT      8085 unless set; 0 takes a free one
  --speed FACTOR   makes the waits of Pub/Sub so many times shorter than documented";

/// The address from the arguments.
struct Arguments {
    address: SocketAddr,
    speed: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(arguments) = parse(env::args().skip(1)) else {
        let _ = writeln!(io::stderr(), "{USAGE}");
        return ExitCode::from(2);
    };
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "the emulator cannot run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Arguments> {
    let (mut host, mut port, mut speed) = (IpAddr::V4(Ipv4Addr::LOCALHOST), 8085, 1.0);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--host" => host = value.parse().ok()?,
            "--port" => port = value.parse().ok()?,
            "--speed" => speed = value.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0)?,
            _ => return None,
        }
    }
    Some(Arguments { address: SocketAddr::new(host, port), speed })
}

async fn run(Arguments { address, speed }: Arguments) -> io::Result<()> {
    let emulator = Emulator::start_at(address).await?;
    emulator.pubsub().speed(speed);
    let address = emulator.address();
    writeln!(io::stdout(), "PUBSUB_EMULATOR_HOST={address}\nFIRESTORE_EMULATOR_HOST={address}")?;
    tokio::signal::ctrl_c().await
}
