//! The Docker engine of this machine, the base image that tests build on (nothing can be pulled where tests run), and names for
//! what they build: one engine serves several clones at once.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test double that cannot work fails its test at once"
)]

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sha2::Digest as _;

use crate::needs;

/// The base image of the tests in the engine: a static busybox and nothing else.
pub const BASE: &str = "shipline-test-base:3";

/// The label by which an image says what component it is of.
pub const COMPONENT_LABEL: &str = "io.shipline.component";

/// Runs the engine's own client: its output, or what it complains of.
///
/// # Errors
/// Where it cannot be started or fails.
pub fn docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Whether the engine is there with the base image, which is made where it is missing.
///
/// # Panics
/// Where it is not, and everything was promised.
#[must_use]
pub fn base(test: &str) -> bool {
    static MADE: OnceLock<bool> = OnceLock::new();
    needs::docker(test)
        && needs::component(
            test,
            *MADE.get_or_init(|| {
                docker(&["image", "inspect", BASE]).is_ok()
                    || base_archive().is_some_and(|tar| load(&tar))
            }),
            "a static /bin/busybox",
        )
}

/// The base image's file system as a tar; nothing where there is no busybox to make it of.
///
/// # Panics
/// Where the tar cannot be written.
#[must_use]
pub fn base_archive() -> Option<Vec<u8>> {
    let busybox = std::fs::read(Path::new("/bin/busybox")).ok()?;
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Directory);
    for directory in ["bin", "etc", "tmp"] {
        tar.append_data(&mut header.clone(), directory, std::io::empty())
            .unwrap();
    }
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(busybox.len() as u64);
    tar.append_data(&mut header.clone(), "bin/busybox", busybox.as_slice())
        .unwrap();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    for applet in ["sh", "cat", "wc", "sleep", "echo", "ls", "mkdir", "test"] {
        tar.append_link(&mut header.clone(), format!("bin/{applet}"), "busybox")
            .unwrap();
    }
    Some(tar.into_inner().unwrap())
}

/// Loads the base image. The archive says everything, so that two who do this at once get one image and not two under one name
/// after the other, as `docker import` would make them.
fn load(tar: &[u8]) -> bool {
    let child = Command::new("docker")
        .args(["load", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    child.is_ok_and(|mut child| {
        let written = child
            .stdin
            .take()
            .is_some_and(|mut input| input.write_all(&archive_of(tar)).is_ok());
        child.wait().is_ok_and(|status| status.success()) && written
    })
}

/// What `docker save` would make of the base image.
fn archive_of(layer: &[u8]) -> Vec<u8> {
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2025-01-01T00:00:00Z",
        "config": {},
        "rootfs": {
            "type": "layers",
            "diff_ids": [format!("sha256:{}", hex::encode(sha2::Sha256::digest(layer)))],
        },
    })
    .to_string();
    let manifest = serde_json::json!([{
        "Config": "config.json",
        "RepoTags": [BASE],
        "Layers": ["layer.tar"],
    }])
    .to_string();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in [
        ("layer.tar", layer),
        ("config.json", config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

/// The images of one component that a test builds. Its name is no other's, in whatever clone of the repository; the images are
/// found by their label and removed when this is dropped, those that lost their name to a later build too.
#[derive(Debug)]
pub struct EngineImages {
    component: String,
}

impl EngineImages {
    /// For a component whose name begins with `stem`.
    #[must_use]
    pub fn new(stem: &str) -> Self {
        // The keys of a hash map are the one source of randomness in the standard library.
        let random = RandomState::new().build_hasher().finish();
        Self {
            component: format!("{stem}-{:08x}", random >> 32),
        }
    }

    /// The component's name.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.component
    }

    /// The name in the engine of the component's image with this tag.
    #[must_use]
    pub fn reference(&self, tag: &str) -> String {
        format!("shipline.local/{}:{tag}", self.component)
    }
}

impl Drop for EngineImages {
    fn drop(&mut self) {
        let label = format!("label={COMPONENT_LABEL}={}", self.component);
        let found = docker(&["images", "--quiet", "--no-trunc", "--filter", &label]);
        let mut images: Vec<String> = found
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect();
        images.sort();
        images.dedup();
        for image in images {
            // One may be gone already: as a part of another, or because somebody cleans up beside us.
            let _ = docker(&["rmi", "--force", &image]);
        }
    }
}

/// Whether a process with exactly these arguments runs on this machine, in a container or not.
///
/// # Panics
/// Where there is no `/proc`.
#[must_use]
pub fn runs(command: &str) -> bool {
    let wanted = command.replace(' ', "\0");
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).trim_end_matches('\0') == wanted)
    })
}

/// Waits for something that happens by itself.
///
/// # Panics
/// Where it has not happened after two minutes.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(
            begin.elapsed() < Duration::from_secs(120),
            "waited in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
