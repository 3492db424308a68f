//! Containers of the sample's images on the engine of this machine.

use std::process::Command;

use shipline_testkit::world::{Ran, World};

/// Starts an image of a component and asks it how it is; it is gone afterwards, container and name.
pub(super) fn assert_runs(world: &World, image: &str, component: &str) {
    let container = Container::start(world, image, super::port(component));
    let body = container.get(world, "/health");
    assert!(body.starts_with("HTTP/1.1 200"), "{image}: {body}");
    if component == "frontend" {
        let page = container.get(world, "/");
        assert!(
            page.starts_with("HTTP/1.1 200") && page.contains("<html"),
            "{image}: {page}"
        );
    }
    drop(container);
    let _ = output(world.command("docker").args(["rmi", image]));
}

/// A running container; it is removed when this is dropped.
struct Container {
    id: String,
    address: String,
}

impl Container {
    fn start(world: &World, image: &str, port: u16) -> Self {
        let id = output(world.command("docker").args([
            "run",
            "--detach",
            "--read-only",
            "--publish",
            &format!("127.0.0.1::{port}"),
            image,
        ]));
        let address = output(
            world
                .command("docker")
                .args(["port", &id, &format!("{port}/tcp")]),
        );
        Self {
            id,
            address: address.lines().next().unwrap_or_default().to_owned(),
        }
    }

    /// Asks until the container listens.
    fn get(&self, world: &World, path: &str) -> String {
        use std::io::{Read as _, Write as _};
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let mut answer = String::new();
            let asked = std::net::TcpStream::connect(&self.address).and_then(|mut stream| {
                write!(
                    stream,
                    "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )?;
                stream.read_to_string(&mut answer)
            });
            if asked.is_ok() && !answer.is_empty() {
                return answer;
            }
            if std::time::Instant::now() > deadline {
                let logs = world
                    .command("docker")
                    .args(["logs", &self.id])
                    .output()
                    .unwrap();
                panic!(
                    "no answer from {}: {asked:?} {}",
                    self.address,
                    String::from_utf8_lossy(&logs.stderr)
                );
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["rm", "--force", &self.id])
            .output();
    }
}

/// What a command that must succeed prints.
pub(super) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    ran.expect(0).stdout
}
