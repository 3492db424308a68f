//! The peers: Docker, buildah, umoci with skopeo. What the machine does not have is named, not measured.

#![allow(clippy::disallowed_methods, reason = "a bench starts programs")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;
use crate::engine::BuildCache;

/// Another way from a context to an image in a registry.
pub(crate) trait Peer {
    /// Builds `context` and pushes it as `tag`.
    fn publish(&self, context: &Path, tag: &str) -> Result<(), Failure>;

    /// Repository of the registry that it pushes to.
    fn repository(&self) -> &'static str;

    /// Who does the work.
    fn worker(&self) -> Worker;

    /// Removes what is left outside of the bench's directory.
    fn clean(&self);
}

/// Who does a peer's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worker {
    /// Programs that the bench starts.
    Programs,
    /// A daemon, whose processor time and memory are not only this work's.
    Daemon,
}

/// A peer, or why there is none.
type Found = Result<Box<dyn Peer>, String>;

/// All peers by their titles.
pub(crate) fn all(directory: &Path, host: &str) -> io::Result<Vec<(&'static str, Found)>> {
    fs::create_dir_all(directory)?;
    Ok(vec![
        (
            "docker build (BuildKit) + push",
            Docker::find(directory, host),
        ),
        (
            "buildah bud --layers + push",
            Buildah::find(directory, host),
        ),
        ("umoci insert + skopeo copy", Umoci::find(directory, host)),
    ])
}

/// Runs a program to its end; its last lines are the error.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines[lines.len().saturating_sub(2)..].join(" / ");
    Err(format!("{program}: {}: {last}", output.status).into())
}

/// Why `program` cannot be used, if it is so.
fn installed(program: &str, arguments: &[&str]) -> Result<(), String> {
    run(Command::new(program).args(arguments)).map_err(|error| error.to_string())
}

/// Repositories of the peers.
const DOCKER: &str = "docker/frontend";
const BUILDAH: &str = "buildah/frontend";
const UMOCI: &str = "umoci/frontend";

/// The image that shows whether a client can build.
const PROBE: &str = "shipline-bench-probe";

struct Docker {
    program: &'static str,
    image: String,
    cache: BuildCache,
}

impl Docker {
    /// The first client that can build with BuildKit: newer ones need a plugin for it, which is not everywhere.
    fn find(directory: &Path, host: &str) -> Found {
        let probe = directory.join("docker-probe");
        fs::create_dir_all(&probe)
            .and_then(|()| {
                fs::write(
                    probe.join("Dockerfile"),
                    "FROM scratch\nCOPY Dockerfile /\n",
                )
            })
            .map_err(|error| error.to_string())?;
        let mut problems = Vec::new();
        for program in ["docker", "/usr/bin/docker"] {
            match run(buildkit(program)
                .args(["build", "--quiet", "--tag", PROBE])
                .arg(&probe))
            {
                Ok(()) => {
                    run(Command::new(program).args(["image", "rm", PROBE]))
                        .map_err(|error| error.to_string())?;
                    return Ok(Box::new(Self {
                        program,
                        image: format!("{host}/{DOCKER}"),
                        cache: BuildCache::look(program),
                    }));
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
        Err(problems.join("; "))
    }
}

/// A client that reaches an engine.
pub(crate) fn docker_engine() -> Result<&'static str, String> {
    installed("docker", &["version", "--format", "{{.Server.Version}}"]).map(|()| "docker")
}

/// Removes an image from the engine, where it is there.
pub(crate) fn remove_image(client: &str, image: &str) {
    // It may never have been built.
    let _ = run(Command::new(client).args(["image", "rm", image]));
}

fn buildkit(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("DOCKER_BUILDKIT", "1");
    command
}

impl Peer for Docker {
    fn publish(&self, context: &Path, tag: &str) -> Result<(), Failure> {
        let image = format!("{}:{tag}", self.image);
        let mut build = buildkit(self.program);
        build.args(["build", "--tag", &image]);
        if tag == "first" {
            // An earlier run of the bench left this content in the daemon's cache.
            build.arg("--no-cache");
        }
        run(build.arg(context))?;
        run(Command::new(self.program).args(["push", &image]))
    }

    fn repository(&self) -> &'static str {
        DOCKER
    }

    fn worker(&self) -> Worker {
        Worker::Daemon
    }

    fn clean(&self) {
        for tag in ["first", "again", "changed"] {
            remove_image(self.program, &format!("{}:{tag}", self.image));
        }
        self.cache.restore();
    }
}

struct Buildah {
    directory: PathBuf,
    driver: &'static str,
    image: String,
}

impl Buildah {
    fn find(directory: &Path, host: &str) -> Found {
        installed("buildah", &["--version"])?;
        let mut problems = Vec::new();
        for driver in ["overlay", "vfs"] {
            let peer = Self {
                directory: directory.join(format!("buildah-{driver}")),
                driver,
                image: format!("{host}/{BUILDAH}"),
            };
            match run(peer.buildah().args(["from", "scratch"])) {
                Ok(()) => return Ok(Box::new(peer)),
                Err(error) => problems.push(error.to_string()),
            }
        }
        Err(problems.join("; "))
    }

    fn buildah(&self) -> Command {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(self.directory.join("root"))
            .arg("--runroot")
            .arg(self.directory.join("run"))
            .args(["--storage-driver", self.driver]);
        command
    }
}

impl Peer for Buildah {
    fn publish(&self, context: &Path, tag: &str) -> Result<(), Failure> {
        let image = format!("{}:{tag}", self.image);
        run(self
            .buildah()
            .args(["bud", "--layers", "--quiet", "--tag", &image])
            .arg(context))?;
        run(self
            .buildah()
            .args(["push", "--tls-verify=false", "--quiet", &image]))
    }

    fn repository(&self) -> &'static str {
        BUILDAH
    }

    fn worker(&self) -> Worker {
        Worker::Programs
    }

    fn clean(&self) {
        // Mounts in its storage would keep the bench's directory from being removed.
        let _ = run(self.buildah().args(["rm", "--all"]));
        let _ = run(self.buildah().args(["rmi", "--all", "--force"]));
    }
}

struct Umoci {
    layout: PathBuf,
    image: String,
}

impl Umoci {
    fn find(directory: &Path, host: &str) -> Found {
        installed("umoci", &["--version"])?;
        installed("skopeo", &["--version"])?;
        Ok(Box::new(Self {
            layout: directory.join("umoci"),
            image: format!("docker://{host}/{UMOCI}"),
        }))
    }
}

impl Peer for Umoci {
    /// It has no cache: each image is made from nothing.
    fn publish(&self, context: &Path, tag: &str) -> Result<(), Failure> {
        if self.layout.exists() {
            fs::remove_dir_all(&self.layout)?;
        }
        let layout = self.layout.display().to_string();
        let image = format!("{layout}:{tag}");
        run(Command::new("umoci").args(["init", "--layout", &layout]))?;
        run(Command::new("umoci").args(["new", "--image", &image]))?;
        for part in ["node_modules", "src"] {
            let target = format!("/app/{part}");
            run(Command::new("umoci")
                .args(["insert", "--image", &image])
                .arg(context.join(part))
                .arg(target))?;
        }
        run(Command::new("umoci").args([
            "config",
            "--image",
            &image,
            "--config.cmd",
            "/app/src/server.js",
        ]))?;
        let (source, target) = (format!("oci:{image}"), format!("{}:{tag}", self.image));
        run(Command::new("skopeo").args([
            "--insecure-policy",
            "copy",
            "--quiet",
            "--dest-tls-verify=false",
            &source,
            &target,
        ]))
    }

    fn repository(&self) -> &'static str {
        UMOCI
    }

    fn worker(&self) -> Worker {
        Worker::Programs
    }

    fn clean(&self) {}
}
