//! Real services that tests start, where the machine has them.

mod docker_registry;
pub mod engine;
mod ministack;
mod moto;
mod podman;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use docker_registry::{DockerRegistry, RegistryAccess};
pub use ministack::Ministack;
pub use moto::Moto;
pub use podman::Podman;

/// Set in CI: what is missing fails the test that wants it.
const REQUIRE_ALL: &str = "SHIPLINE_TEST_REQUIRE_ALL";
/// How long a service may take until it listens.
const READY: Duration = Duration::from_secs(60);

/// Says that a test is skipped because `what` is not there.
///
/// # Panics
/// Where the environment says that nothing may be skipped.
#[allow(clippy::disallowed_methods, clippy::print_stderr)]
pub fn skip(what: &str) {
    assert!(
        std::env::var_os(REQUIRE_ALL).is_none(),
        "{what} is not installed, and {REQUIRE_ALL} is set"
    );
    eprintln!("skipped: {what} is not installed");
}

/// A child process that is ended with the test.
#[derive(Debug)]
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where ports for services are taken from: below those that the kernel gives to whoever asks for any, so that no connection of
/// somebody's happens to get one between our look and the service's own.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port of loopback that no other test uses, in whatever process, until this is dropped.
#[derive(Debug)]
struct Port {
    number: u16,
    /// Whoever has the name has the port. The kernel gives it back with the process, and keeps it where it keeps ports: in the
    /// network namespace.
    _name: UnixListener,
}

impl Port {
    fn take() -> io::Result<Self> {
        // Processes and threads begin at different ones, mostly.
        let random = RandomState::new().build_hasher().finish();
        let begin = (random % u64::from(PORTS.end - PORTS.start)) as u16;
        for step in 0..PORTS.end - PORTS.start {
            let number = PORTS.start + (begin + step) % (PORTS.end - PORTS.start);
            let name = format!("shipline-test-port-{number}");
            let name = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            if let Ok(held) = UnixListener::bind_addr(&name)
                && TcpListener::bind(("127.0.0.1", number)).is_ok()
            {
                return Ok(Self {
                    number,
                    _name: held,
                });
            }
        }
        Err(io::Error::other("no port is free"))
    }
}

/// Starts `program` and waits until something listens on `port`; `None` where the program is not installed.
#[allow(clippy::disallowed_methods)]
fn start(
    program: &str,
    arguments: &[&str],
    environment: &[(&str, String)],
    port: &Port,
) -> io::Result<Option<Service>> {
    let child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut service = match child {
        Ok(child) => Service(child),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port.number));
    let begin = Instant::now();
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        if let Some(status) = service.0.try_wait()? {
            return Err(io::Error::other(format!("{program} ended with {status}")));
        }
        if begin.elapsed() > READY {
            return Err(io::Error::other(format!("{program} does not listen")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Some(service))
}
