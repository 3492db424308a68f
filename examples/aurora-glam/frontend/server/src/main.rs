//! Serves the exported frontend: `server FOLDER` until SIGTERM, `server --health` to ask whether it does.

mod http;
mod serve;
mod site;

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::site::Site;

/// The port, unless `PORT` says otherwise.
const PORT: u16 = 3000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["--health"] => port().and_then(health),
        [folder] if !folder.starts_with('-') => {
            port().and_then(|port| run(Path::new(folder), port))
        }
        _ => Err("usage: server FOLDER | --health".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("frontend: {error}");
            ExitCode::FAILURE
        }
    }
}

fn port() -> Result<u16, Box<dyn Error>> {
    match std::env::var("PORT") {
        Ok(text) if !text.is_empty() => match text.parse() {
            Ok(port @ 1..) => Ok(port),
            _ => Err(format!("PORT is {text:?}, expected a number from 1 to 65535").into()),
        },
        _ => Ok(PORT),
    }
}

fn run(folder: &Path, port: u16) -> Result<(), Box<dyn Error>> {
    let site = Site::read(folder)
        .map_err(|error| format!("failed to read {}: {error}", folder.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| format!("failed to listen on {address}: {error}"))?;
        eprintln!("frontend: {} files on port {port}", site.len());
        serve::serve(listener, site, async {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        })
        .await;
        Ok(())
    })
}

/// Asks the server of this container how it is: there is no shell or curl in it that could.
fn health(port: u16) -> Result<(), Box<dyn Error>> {
    let patience = Duration::from_secs(2);
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.lines().next() {
        Some("HTTP/1.1 200 OK") => Ok(()),
        other => Err(format!("the server answers {}", other.unwrap_or("nothing")).into()),
    }
}
