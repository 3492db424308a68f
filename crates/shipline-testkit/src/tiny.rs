//! The tiny platform: three components whose "builds" are one-line shell scripts, and looks at what a run left behind.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test double that cannot work fails its test at once"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::remote::{Ecr, RemoteGitops, RemoteRegistry};
use crate::world::{Ran, World};

/// Its components.
pub const COMPONENTS: &[&str] = &["web", "api", "worker"];

/// The fixture in a world of its own; `program` is the binary under test.
#[must_use]
pub fn world(program: &str) -> World {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny");
    World::new(program, &fixture)
}

/// Gives a component another name: its folder, its key and its manifests.
///
/// # Panics
/// Where it is none of this platform.
pub fn rename(world: &World, component: &str, name: &str) {
    let rename = |from: String, to: String| {
        let repository = world.repository();
        std::fs::rename(repository.join(from), repository.join(to)).unwrap();
    };
    rename(component.to_owned(), name.to_owned());
    for environment in ["staging", "production"] {
        let folder = format!("gitops/{environment}/{name}");
        rename(format!("gitops/{environment}/{component}"), folder.clone());
        world.replace(&format!("{folder}/deployment.yaml"), component, name);
    }
    world.replace(
        "pipeline.yaml",
        &format!("  {component}:\n    path: {component}"),
        &format!("  {name}:\n    path: {name}"),
    );
    world.replace(
        "pipeline.yaml",
        &format!("components: [{component}"),
        &format!("components: [{name}"),
    );
}

/// Runs git on the local GitOps repository.
///
/// # Panics
/// Where what it looks for does not hold.
pub fn gitops(world: &World, arguments: &[&str]) -> String {
    let mut all = vec!["--git-dir", ".shipline/gitops.git"];
    all.extend(arguments);
    world.git(&all)
}

/// Commits on the GitOps branch, the seed included.
///
/// # Panics
/// Where what it looks for does not hold.
pub fn commits(world: &World) -> usize {
    gitops(world, &["rev-list", "--count", "main"])
        .parse()
        .unwrap()
}

/// The same, `None` where the repository is not there yet.
#[must_use]
pub fn commits_or_none(world: &World) -> Option<usize> {
    world
        .repository()
        .join(".shipline/gitops.git/HEAD")
        .exists()
        .then(|| commits(world))
}

/// The image that an environment declares for a component.
///
/// # Panics
/// Where what it looks for does not hold.
pub fn declared(world: &World, environment: &str, component: &str) -> String {
    let text = gitops(
        world,
        &[
            "show",
            &format!("main:{environment}/{component}/deployment.yaml"),
        ],
    );
    let line = text.lines().find(|line| line.contains("image: ")).unwrap();
    line.trim()
        .trim_start_matches("image: ")
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

/// The tag of a declared image.
///
/// # Panics
/// Where what it looks for does not hold.
pub fn declared_tag(world: &World, environment: &str, component: &str) -> String {
    declared(world, environment, component)
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned()
}

/// `repository:tag` → digest, as the local registry's index says.
///
/// # Panics
/// Where what it looks for does not hold.
pub fn tags(world: &World) -> Vec<(String, String)> {
    let path = world.repository().join(".shipline/registry/index.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        return Vec::new();
    };
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut tags: Vec<(String, String)> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| {
            let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str()?;
            Some((
                name.to_owned(),
                entry["digest"].as_str().unwrap().to_owned(),
            ))
        })
        .collect();
    tags.sort();
    tags
}

/// Runs a pipeline that must end green.
///
/// # Panics
/// Where what it looks for does not hold.
#[track_caller]
pub fn green(world: &World, arguments: &[&str]) -> Ran {
    world.run(arguments).expect(0)
}

/// The digests of the layers of an image in the local registry.
///
/// # Panics
/// Where the image is not there.
#[must_use]
pub fn layers(world: &World, digest: &str) -> Vec<String> {
    let blobs = world.repository().join(".shipline/registry/blobs/sha256");
    let manifest = std::fs::read(blobs.join(digest.trim_start_matches("sha256:"))).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect()
}

/// All files of an image in the local registry, by path, its layers laid over each other.
///
/// # Panics
/// Where what it looks for does not hold.
pub fn image_files(world: &World, digest: &str) -> Vec<(String, String)> {
    let files = image_bytes(world, digest);
    files
        .into_iter()
        .map(|(path, bytes)| (path, String::from_utf8_lossy(&bytes).into_owned()))
        .collect()
}

/// The same as bytes.
///
/// # Panics
/// Where the image is not whole.
#[must_use]
pub fn image_bytes(world: &World, digest: &str) -> Vec<(String, Vec<u8>)> {
    let blobs = world.repository().join(".shipline/registry/blobs/sha256");
    let read =
        |digest: &str| std::fs::read(blobs.join(digest.trim_start_matches("sha256:"))).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&read(digest)).unwrap();
    let mut files = std::collections::BTreeMap::new();
    for layer in manifest["layers"].as_array().unwrap() {
        let bytes = read(layer["digest"].as_str().unwrap());
        let zipped = bytes.starts_with(&[0x1f, 0x8b]);
        let tar: Box<dyn std::io::Read + '_> = if zipped {
            Box::new(flate2::read::MultiGzDecoder::new(bytes.as_slice()))
        } else {
            Box::new(bytes.as_slice())
        };
        let mut archive = tar::Archive::new(tar);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.header().entry_type().is_file() {
                let path = entry.path().unwrap().display().to_string();
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
                files.insert(path, bytes);
            }
        }
    }
    files.into_iter().collect()
}

/// Everything that must hold after a completed run of both pipelines, however often earlier ones were killed.
///
/// # Panics
/// Where what it looks for does not hold.
#[track_caller]
pub fn assert_complete(world: &World) {
    let tags = tags(world);
    let digest = |name: &str| {
        tags.iter()
            .find(|(tag, _)| tag == name)
            .map(|(_, digest)| digest.clone())
    };
    for component in COMPONENTS.iter().copied() {
        let tag = declared_tag(world, "staging", component);
        assert!(
            digest(&format!("{component}:{tag}")).is_some(),
            "{component}:{tag} is deployed and not in the registry: {tags:#?}"
        );
        if component == "web" {
            let twin = tag
                .strip_prefix("staging-")
                .expect("staging runs a staging image");
            let twin = digest(&format!("web:{twin}"))
                .unwrap_or_else(|| panic!("the twin web:{twin} is missing: {tags:#?}"));
            let files = image_files(world, &twin);
            assert!(
                files
                    .iter()
                    .any(|(_, text)| text.contains("https://tiny.example/api")),
                "{files:#?}"
            );
        }
    }
    for (name, digest) in &tags {
        assert!(
            !image_files(world, digest).is_empty(),
            "{name} is not whole"
        );
    }
    assert_no_leftovers(&world.repository().join(".shipline"));
}

/// No temporary file of ours stays behind once a later run has completed.
///
/// # Panics
/// Where what it looks for does not hold.
#[track_caller]
pub fn assert_no_leftovers(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        // Our own lock files stay: processes take turns by them. Git's mean that something was cut off.
        let of_git = entry
            .path()
            .components()
            .any(|part| part.as_os_str() == "gitops.git");
        assert!(
            !(name.contains(".tmp") || (name.ends_with(".lock") && of_git)),
            "left behind: {}",
            entry.path().display()
        );
        if entry.file_type().unwrap().is_dir() {
            assert_no_leftovers(&entry.path());
        }
    }
}

/// Command lines of processes that still run in the world's folder.
///
/// # Panics
/// Where what it looks for does not hold.
pub fn processes(world: &World) -> Vec<String> {
    let folder = world.path("").canonicalize().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let path = entry.path();
        if std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder)) {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let state = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
            if !state.contains(") Z ") && !line.is_empty() {
                found.push(String::from_utf8_lossy(&line).replace('\0', " "));
            }
        }
    }
    found
}

/// Waits until nothing runs in the world's folder any more: what a killed run has started ends by itself.
///
/// # Panics
/// Where something goes on.
#[track_caller]
pub fn assert_no_process(world: &World) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left = processes(world);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "children are left: {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The tiny platform with a profile `ci` that publishes to a remote registry and to a GitOps repository behind a URL.
#[derive(Debug)]
pub struct RemoteTiny {
    /// Its world.
    pub world: World,
    /// Where its images go.
    pub registry: RemoteRegistry,
    /// Where its commits go.
    pub gitops: RemoteGitops,
}

impl RemoteTiny {
    /// With the fake ECR and its immutable tags.
    #[must_use]
    pub fn ecr(program: &str) -> Self {
        Self::new(program, RemoteRegistry::Ecr(Ecr::start(COMPONENTS)))
    }

    /// With this registry.
    #[must_use]
    pub fn new(program: &str, registry: RemoteRegistry) -> Self {
        let mut world = world(program);
        for (name, value) in registry.login() {
            world = world.with(name, value);
        }
        let gitops = RemoteGitops::start(&world, &world.repository().join("gitops"));
        let profile = format!(
            "  ci:\n    registry: {}\n    gitops: {{ url: \"{}\", branch: main }}\n\ncomponents:\n",
            registry.spec(),
            gitops.url()
        );
        world.replace("pipeline.yaml", "\ncomponents:\n", &profile);
        world.commit("Add the profile ci");
        Self {
            world,
            registry,
            gitops,
        }
    }

    /// Changes every image and commits that. One layer is a megabyte long and cannot be compressed well: it goes over the
    /// wire in pieces.
    pub fn edit(&self, edition: u64) {
        let greeting = format!("edition {edition} of ");
        self.world.write("lib/greeting.txt", &greeting);
        let page = format!("<script>fetch(\"@API@/me\")</script> {edition}\n");
        self.world.write("web/index.html", &page);
        self.world.write("web/style.css", &noise(edition, 1 << 20));
        self.world.commit("Edit");
    }

    /// Everything that must hold after a completed run of both pipelines, however often earlier ones were killed.
    ///
    /// # Panics
    /// Where it does not hold.
    #[track_caller]
    pub fn assert_complete(&self) {
        self.assert_nothing_wrong();
        let tags = self.registry.tags();
        let prefix = format!("{}/", self.registry.prefix());
        for component in COMPONENTS {
            let image = self.gitops.declared(&self.world, component);
            let name = image
                .strip_prefix(&prefix)
                .unwrap_or_else(|| panic!("{image} is in another registry than {prefix}"));
            for name in [name, &name.replace(":staging-", ":")] {
                assert!(
                    tags.contains_key(name),
                    "{image} is deployed and {name} not in the registry: {tags:#?}"
                );
            }
        }
        assert_no_leftovers(&self.world.repository().join(".shipline"));
    }

    /// What must hold at any time: a tag names a whole image, and the one that its name says; no build has two tags.
    ///
    /// # Panics
    /// Where it does not hold.
    #[track_caller]
    pub fn assert_nothing_wrong(&self) {
        assert_eq!(self.registry.broken(), Vec::<String>::new());
        let store = self.world.repository().join(".shipline/store/blobs/sha256");
        let read = |digest: &str| -> serde_json::Value {
            let bytes = std::fs::read(store.join(digest.trim_start_matches("sha256:"))).unwrap();
            serde_json::from_slice(&bytes).unwrap()
        };
        let mut builds = BTreeSet::new();
        for (name, digest) in self.registry.tags() {
            let manifest = read(&digest);
            let config = read(manifest["config"]["digest"].as_str().unwrap());
            let label = |name: &str| config["config"]["Labels"][name].as_str().unwrap_or("");
            let commit = &label("org.opencontainers.image.revision")[..8];
            let component = label("io.shipline.component");
            let build = match label("io.shipline.variant") {
                "staging" => format!("{component}:staging-{commit}"),
                _ => format!("{component}:{commit}"),
            };
            assert_eq!(name.rsplit_once('-').unwrap().0, build, "{name}: {digest}");
            assert!(builds.insert(build), "a second tag for one build: {name}");
        }
    }
}

/// Printable text that does not compress to less than three quarters.
#[must_use]
pub fn noise(seed: u64, length: usize) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(length);
    for _ in 0..length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(SIGNS[(state >> 33) as usize % 64]));
    }
    text
}
